"""The news of all replicas of a cache in Redis: a stream, and a whole state for late-comers.

An epoch begins when Redis knows nothing (any more). A replica whose place is not in the stream, because it
was cut off there or because another epoch has begun, takes the whole state and goes on from its place.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json import dumps, loads
from typing import Any

from serving.errors import IntegrityError
from serving.services.cache_news import News, Seal
from serving.services.redis_link import RedisLink

MOST_NEWS = 20_000
"""Messages that are kept, about; a replica that missed more takes a whole state."""
_CHUNK = 500
_KEPT_S = 600
"""How long a whole state stays after a newer one, seconds: somebody may be reading it."""
_LOCK_S = 20
_NEWS = "news"

_BEGIN = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
return redis.call('XADD', KEYS[2], '*', 'begin', ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Messages:
    """What was read: texts of news with the place of each."""

    texts: tuple[str, ...]
    positions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WholeState:
    """States of one replica, and the place up to which they hold, in an epoch."""

    news: tuple[News, ...]
    epoch: str
    position: str


class CacheStream:
    """One tenant's news.

    Args:
        link: to the server.
        seal: of the tenant's replicas.
        most: messages that are kept, about.

    Every method raises:
        UnavailableError: the server is gone, hangs, or refuses.
    """

    def __init__(self, link: RedisLink, seal: Seal, *, most: int = MOST_NEWS) -> None:
        self._link = link
        self._seal = seal
        self._most = most
        self._begin = link.client.register_script(_BEGIN)
        self._epoch, self._news, self._state, self._lock, self._count = (
            link.key("cache", part) for part in ("epoch", "news", "state", "state-lock", "count")
        )

    def check(self) -> None:
        """Ask whether the server answers."""
        with self._link.asked():
            self._link.client.ping()

    def begin(self) -> str:
        """Begin another epoch, in which nothing was told yet; the place before its first news.

        Every replica then takes the whole state that is left there, and tells what it has beyond.
        """
        before = self._pointer()
        with self._link.asked():
            if before is not None:
                self._link.client.expire(str(before["list"]), _KEPT_S)
            return str(self._begin([self._epoch, self._news, self._state], [uuid.uuid4().hex]))

    def tell(self, news: Sequence[News]) -> None:
        """Add news to the stream, in order; all of them, or an unknown part and an error."""
        with self._link.asked():
            pipe = self._link.client.pipeline(transaction=False)
            for it in news:
                text = {_NEWS: self._seal.write(it)}
                pipe.xadd(self._news, text, maxlen=self._most, approximate=True)
            pipe.incrby(self._count, len(news))
            pipe.execute()

    def read(self, epoch: str, position: str, *, wait_s: float, most: int = _CHUNK) -> Messages | None:
        """What follows a place, after some waiting where there is nothing; None where the place is lost."""
        with self._link.asked():
            pipe = self._link.client.pipeline()
            pipe.get(self._epoch).xrange(self._news, min=position, count=most + 1)
            found_epoch, entries = pipe.execute()
            if found_epoch != epoch or not entries or entries[0][0] != position:
                return None
            entries = entries[1:]
            if not entries and wait_s > 0:
                milliseconds = max(1, round(wait_s * 1000))  # 0 would be for ever
                found = self._link.client.xread({self._news: position}, count=most, block=milliseconds)
                entries = found[0][1] if found else []
        return Messages(
            tuple(str(data.get(_NEWS, "")) for _, data in entries), tuple(str(id_) for id_, _ in entries)
        )

    # The whole state

    def state(self) -> WholeState | None:
        """The newest whole state; None where there is none that can be used and whose place is in the stream.

        News in it that carry no valid seal, or are none, are left out.
        """
        pointer = self._pointer()
        if pointer is None:
            return None
        name, entries = str(pointer["list"]), int(pointer["entries"])
        with self._link.asked():
            length = self._link.client.llen(name)
        # Before it is read: the pointer is sealed, the length of a list is anybody's.
        if length != entries:
            return None
        texts = list(self._texts(name, entries))
        if len(texts) != entries or not self._there(pointer):
            return None
        epoch, position = str(pointer["epoch"]), str(pointer["position"])
        return WholeState(tuple(self._readable(texts)), epoch, position)

    def is_due(self) -> bool:
        """Whether so much was told since the newest whole state that somebody should leave another."""
        pointer = self._pointer()
        with self._link.asked():
            count = int(self._link.client.get(self._count) or 0)
        return pointer is None or count - int(pointer["count"]) >= self._most // 4 or not self._there(pointer)

    def take_turn(self) -> bool:
        """Whether it is this replica that leaves the next whole state; one at a time does."""
        with self._link.asked():
            return bool(self._link.client.set(self._lock, "1", nx=True, ex=_LOCK_S))

    def leave(self, news: Sequence[News], position: str) -> None:
        """Leave a whole state with the place up to which it holds, and give the turn back."""
        name = self._link.key("cache", "state", uuid.uuid4().hex)
        client = self._link.client
        with self._link.asked():
            count = int(client.get(self._count) or 0)
            for start in range(0, len(news), _CHUNK):
                client.rpush(name, *(self._seal.write(it) for it in news[start : start + _CHUNK]))
            pointer = {"list": name, "position": position, "entries": len(news), "count": count}
            pointer["epoch"] = client.get(self._epoch)
            before = self._pointer()
            client.set(self._state, self._seal.close(dumps(pointer).encode()))
            if before is not None:
                client.expire(str(before["list"]), _KEPT_S)
            client.delete(self._lock)

    def close(self) -> None:
        """Let the connections go."""
        self._link.close()

    def _pointer(self) -> dict[str, Any] | None:
        with self._link.asked():
            text = self._link.client.get(self._state)
        try:
            pointer = loads(self._seal.open(text or ""))
            int(pointer["entries"]), int(pointer["count"])
            str(pointer["list"]), str(pointer["epoch"]), str(pointer["position"])
        except (IntegrityError, ValueError, TypeError, KeyError):
            return None
        return dict(pointer)

    def _there(self, pointer: dict[str, Any]) -> bool:
        """Whether the stream goes on from a whole state without a gap."""
        position = str(pointer["position"])
        with self._link.asked():
            pipe = self._link.client.pipeline()
            epoch, found = pipe.get(self._epoch).xrange(self._news, min=position, max=position).execute()
        return bool(found) and epoch == pointer["epoch"]

    def _texts(self, name: str, entries: int) -> Iterator[str]:
        for start in range(0, entries, _CHUNK):
            with self._link.asked():
                texts = self._link.client.lrange(name, start, min(start + _CHUNK, entries) - 1)
            yield from texts

    def _readable(self, texts: Sequence[str]) -> Iterator[News]:
        for text in texts:
            try:
                yield self._seal.read(text)
            except IntegrityError:
                continue
