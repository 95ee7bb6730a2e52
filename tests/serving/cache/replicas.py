"""Replicas of a cache for tests: real stores, a real door, a real Redis, an embedder without a model."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path

from serving.cache.admission import Admission
from serving.cache.belief import believe
from serving.cache.protocol import Feedback, Offer, Signal
from serving.cache.store import FILE, CacheStore
from serving.cache.store_rows import StoredEntry
from serving.cache.types import CacheScope
from serving.language.injection import load_injection_guard
from serving.language.knowledge import Answer, Cacheability, Knowledge
from serving.services.cache_merge import Merger
from serving.services.cache_news import News, Seal
from serving.services.cache_sharing import CacheSharing
from serving.services.cache_stream import CacheStream
from serving.services.redis_link import RedisLink
from serving.settings import default_data_dir
from tests.serving.cache_world import FEE_ANSWER, INTENT, SCOPE, SIGNER, WordEmbedder

FEES = Answer(
    "fees", INTENT, Cacheability.SEMANTIC, ("What does a wire transfer cost?",), FEE_ANSWER, (), {}, None
)
HOURS = Answer(
    "hours", "opening_hours", Cacheability.EXACT, ("When are you open?",), "We open at 9.", (), {}, None
)
KNOWLEDGE = Knowledge((FEES, HOURS), {}, "sha256 of the knowledge")
OFFER = Offer("How much is a wire transfer?", INTENT, "A wire transfer is 25 dollars.", source="engine:test")
QUESTIONS = tuple(
    " ".join(parts)
    for parts in product(
        (
            "how much is",
            "what is the price of",
            "tell me the cost of",
            "what would I pay for",
            "what is the fee of",
        ),
        ("a", "one", "any", "some", "the usual", "an ordinary", "a simple", "every", "your", "a normal"),
        ("wire transfer", "wire transfer please", "wire transfer then", "wire transfer these days"),
        ("", "with you", "at your bank", "in a branch", "by phone"),
    )
)
"""A thousand ways to ask one thing."""


@cache
def door() -> Admission:
    """What admits offers of the two approved answers."""
    guard = load_injection_guard(default_data_dir() / "lexicons" / "injection.yaml")
    return Admission(KNOWLEDGE, SIGNER, guard)


class Replica:
    """A store with its sharing, which runs while `running`.

    Args:
        folder: of its cache.
        url: of Redis.
        namespace: of the tenant.
        key: of the seal.
        most: messages that are kept.
        rules: by which it judges.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        namespace: str,
        *,
        key: bytes = b"",
        most: int = 20_000,
        rules: str = "rules",
        embedder: WordEmbedder | None = None,
    ) -> None:
        self.store = CacheStore(folder / FILE)
        self.embedder = embedder or WordEmbedder()
        self._how = (url, namespace, key, most, rules)
        self.merger = Merger(self.store, door(), self.embedder)
        self._sharing: CacheSharing | None = None
        self.start()

    def start(self) -> None:
        url, namespace, key, most, rules = self._how
        seal = Seal(key, namespace)
        stream = CacheStream(RedisLink(url, namespace=namespace, timeout_s=2.0), seal, most=most)
        self._sharing = CacheSharing(self.store, stream, self.merger, seal, rules=rules)
        self._sharing.__enter__()

    def stop(self) -> None:
        if self._sharing is not None:
            self._sharing.close()
            self._sharing = None

    def insert(self, *questions: str, answer: str = OFFER.answer, scope: CacheScope = SCOPE) -> list[str]:
        """Ids of new entries."""
        entries = []
        for question in questions:
            made = door().admit(
                replace(OFFER, question=question, answer=answer), scope, now=datetime.now(UTC)
            )
            assert made.entry is not None, (question, made)
            entries.append(made.entry)
        vectors = WordEmbedder().embed([entry.question for entry in entries])
        self.store.insert(scope, entries, vectors, actor="test")
        return [entry.id for entry in entries]

    def tell(
        self, entry_id: str, signal: Signal, origin: str = "person:anna:1", *, ago: timedelta = timedelta()
    ) -> None:
        """Feedback as a cache takes it."""
        now = datetime.now(UTC)
        if self.store.add_feedback(Feedback(entry_id, signal, now - ago, origin, "anna", "a note")):
            belief = believe(entry_id, self.store.feedback(entry_id), now)
            self.store.set_accuracy({entry_id: belief.accuracy}, actor="anna")
            if belief.quarantined:
                self.store.quarantine(entry_id, actor="anna", why=signal.value)
            else:
                self.store.release(entry_id, actor="anna")

    def holds(self, *ids: str) -> bool:
        return all(self.store.get(id_) is not None for id_ in ids)

    def quarantines(self, entry_id: str) -> bool:
        found = self.store.get(entry_id)
        return found is not None and found.quarantined_at is not None

    def state(self) -> dict[str, tuple[str, bool, float, int]]:
        """What must be alike everywhere: answer, quarantine, accuracy, number of observations."""
        return {
            found.entry.id: _summary(found, len(self.store.feedback(found.entry.id)))
            for found in self.store.stored()
        }


Make = Callable[..., Replica]
"""Makes a replica of a name: `make("a", most=20)`."""


def _summary(found: StoredEntry, observations: int) -> tuple[str, bool, float, int]:
    entry = found.entry
    return entry.answer, found.quarantined_at is not None, round(entry.accuracy, 6), observations


def whisper(url: str, namespace: str, news: Sequence[News], *, key: bytes = b"") -> None:
    """Put news into the stream as somebody who can write there."""
    with closing(CacheStream(RedisLink(url, namespace=namespace), Seal(key, namespace))) as stream:
        stream.tell(news)
