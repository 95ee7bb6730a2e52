"""Caches of a chosen size: made-up entries with vectors as crowded as those of real sentences.

Every bucket has a centre of its own, so that cosines inside it are as high (about 0.5) as those of real
questions of one intent. A question is near one entry, or near none.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from serving.cache.publishing import publish
from serving.cache.signature import Signature
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, CacheQuery, CacheScope
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

DIMENSION = 384
BATCH = 1_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SCOPE = CacheScope("bank", "en-US", "k", "p", "a/1", "none", "made up", f"made up:{DIMENSION}")
_ANSWER = "You can do that in the app under Cards, or by calling us; it takes two working days and is free. "
_INTENTS = 77


@dataclass(frozen=True, slots=True)
class Made:
    """A cache that was made: how many entries a second, and how long its publication took, in seconds."""

    entries: int
    per_bucket: int
    inserted_per_s: float
    publish_s: float


class GivenVectors:
    """An encoder that costs nothing: a text's vector follows from the number in it."""

    dimension = DIMENSION
    fingerprint = SCOPE.embedder

    def __init__(self, per_bucket: int) -> None:
        self._per_bucket = per_bucket

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors of entries ("entry 7"), of questions near one ("near 7") and of others ("far 7")."""
        return np.stack([self._vector(*text.split(" ", 1)) for text in texts])

    def _vector(self, kind: str, rest: str) -> Embeddings:
        number = int(rest.split(maxsplit=1)[0])
        centre = _direction(0, number // self._per_bucket)
        vector = centre + _direction(1, number)
        if kind == "near":
            vector = vector / np.linalg.norm(vector) + 0.5 * _direction(2, number)
        elif kind == "far":
            vector = centre + _direction(3, number)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def entry(number: int, per_bucket: int) -> CacheEntry:
    """Entry of a number; `per_bucket` in a row are of one bucket."""
    intent, signature = _bucket(number // per_bucket)
    return CacheEntry(
        id=f"{number:032x}",
        scope=SCOPE.key,
        intent=intent,
        cacheability=Cacheability.SEMANTIC,
        question=f"entry {number} as a caller would put it, in about ten words",
        signature=signature,
        answer=_ANSWER * 2,
        disclosures=(),
        source="made up",
        created_at=NOW,
        expires_at=None,
    )


def question(kind: str, number: int, per_bucket: int) -> CacheQuery:
    """A question near an entry (`near`), or in its bucket but near none (`far`)."""
    intent, signature = _bucket(number // per_bucket)
    return CacheQuery(f"{kind} {number} in other words", intent, Cacheability.SEMANTIC, signature)


def batches(count: int, per_bucket: int, *, first: int = 0) -> Iterator[tuple[list[CacheEntry], Embeddings]]:
    """Entries with their vectors, `BATCH` at a time."""
    encoder = GivenVectors(per_bucket)
    for start in range(first, first + count, BATCH):
        entries = [entry(n, per_bucket) for n in range(start, min(start + BATCH, first + count))]
        yield entries, encoder.embed([item.question for item in entries])


def make(folder: Path, count: int, per_bucket: int) -> Made:
    """Insert that many entries and publish them; making them up is not counted."""
    store = CacheStore(folder / "cache.sqlite")
    spent = 0.0
    for entries, vectors in batches(count, per_bucket):
        started = time.perf_counter()
        store.insert(SCOPE, entries, vectors, actor="bench")
        spent += time.perf_counter() - started
    started = time.perf_counter()
    publish(store, folder)
    return Made(count, per_bucket, count / spent, time.perf_counter() - started)


def _bucket(number: int) -> tuple[str, Signature]:
    return f"intent_{number % _INTENTS:02d}", Signature((("term", str(number)),))


def _direction(kind: int, number: int) -> Embeddings:
    """A random unit vector, always the same for a kind and a number."""
    vector = np.random.default_rng((kind, number)).standard_normal(DIMENSION)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
