"""What replicas of a cache tell each other of an entry, and how it is sealed.

Each piece of news is a whole state with the stamp of its change, so that news may come twice, late and in
any order: of two states the one with the later stamp holds. Vectors and signatures are never sent; who
receives an answer judges it and makes them anew.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from serving.cache.protocol import Feedback, Offer
from serving.cache.types import CacheScope
from serving.cache.wire import decode, encode
from serving.errors import IntegrityError

_CONTEXT = b"voicebot cache news 1"


@dataclass(frozen=True, slots=True)
class Content:
    """Whether an entry is there, and which.

    Attributes:
        stamp: of the change; a later one is larger, on whichever replica.
        scope: where it is; None for an entry that is gone.
        offer: what would make the entry anew; None for an entry that is gone.
    """

    stamp: int
    scope: CacheScope | None = None
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether an entry is kept from being served.

    Attributes:
        stamp: as of `Content`.
        since: UTC time since which it is; None while it may be served.
    """

    stamp: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class News:
    """States of an entry that changed, or an observation of it; or a scope that was made.

    Attributes:
        entry: its id, or the scope's key.
    """

    entry: str
    content: Content | None = None
    standing: Standing | None = None
    feedback: Feedback | None = None
    scope: CacheScope | None = None

    @property
    def newest(self) -> int:
        """The latest stamp in it."""
        return max((it.stamp for it in (self.content, self.standing) if it is not None), default=0)

    @property
    def oldest(self) -> int:
        """The earliest stamp in it."""
        return min((it.stamp for it in (self.content, self.standing) if it is not None), default=0)

    @property
    def offers(self) -> bool:
        """Whether it brings an answer, which takes time to judge and to embed."""
        return self.content is not None and self.content.offer is not None


class Seal:
    """Writes and reads news; with a key nothing is believed that was not written with it.

    Args:
        key: shared by all replicas; empty for no seal.
        namespace: of the tenant: what was sealed for one is nothing for another.
    """

    def __init__(self, key: bytes, namespace: str) -> None:
        self._key = key
        self._context = b"\0".join((_CONTEXT, namespace.encode(), b""))

    def close(self, body: bytes) -> str:
        """A body with its seal before it."""
        return f"{self._mac(body)}:{body.decode()}"

    def open(self, text: str) -> bytes:
        """The body of what `close` made.

        Raises:
            IntegrityError: it carries no seal of this key.
        """
        mac, colon, body = text.partition(":")
        content = body.encode("utf-8", "replace")
        if not colon or not hmac.compare_digest(mac.encode(), self._mac(content).encode()):
            raise IntegrityError("News of a cache carry no valid seal.")
        return content

    def write(self, news: News) -> str:
        """News as text."""
        return self.close(encode(news))

    def read(self, text: str) -> News:
        """News from text.

        Raises:
            IntegrityError: not sealed with this key, or no news.
        """
        news = decode(News, self.open(text))
        content = news.content
        if content is not None and (content.scope is None) is not (content.offer is None):
            raise IntegrityError("News of a cache hold an answer without a scope.")
        if news.feedback is not None and news.feedback.entry_id != news.entry:
            raise IntegrityError("News of a cache hold an observation of another entry.")
        if news.scope is not None and news.scope.key != news.entry:
            raise IntegrityError("News of a cache hold a scope of another key.")
        return news

    def _mac(self, body: bytes) -> str:
        return hmac.new(self._key, self._context + body, hashlib.sha256).hexdigest() if self._key else ""
