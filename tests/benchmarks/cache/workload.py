"""Caches of any size to time: real sentences' vectors, over intents as uneven as callers' questions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from serving.language.protocols import Embeddings
from tests.benchmarks.cache.stopwatch import Stopwatch

LARGEST_BUCKET = 0.05
"""Share of all entries in the largest bucket: 5,000 of 100,000."""
NEAR, FAR = 0.97, 0.5
"""Cosine of a question to the entry or sentence that it was made from: half are near, half are far."""
MORE = 200
FEWEST = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """What a cache holds and is asked.

    Attributes:
        vectors: of `stored`, then `asked`, then `more`; unit rows.
        intents: of `stored`; an intent is a bucket here.
        more: texts to insert one by one at the end.
        warmup: the first undisturbed lookups, which are not timed.
    """

    stored: list[str]
    intents: list[str]
    asked: list[str]
    asked_intents: list[str]
    more: list[str]
    vectors: Embeddings = field(repr=False)
    warmup: int

    def by_text(self) -> dict[str, Embeddings]:
        """Text → vector."""
        return dict(zip([*self.stored, *self.asked, *self.more], self.vectors, strict=True))


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one cache of one size was; times in ms, without embedding.

    Attributes:
        p50, p99, per_s: of the lookups that the kernel did not disturb, one after the other; of all where
            fewer than `FEWEST` are left.
        p99_all: with the disturbed ones.
        disturbed: share of those.
        hit_share: of all lookups.
        fill_per_s: entries in a second when all were given at once.
        insert_per_s: entries in a second, one by one, into the full cache.
    """

    side: str
    entries: int
    p50: float
    p99: float
    per_s: float
    p99_all: float
    disturbed: float
    hit_share: float
    fill_per_s: float
    insert_per_s: float

    @classmethod
    def of(
        cls,
        side: str,
        work: Workload,
        filled_s: float,
        watch: Stopwatch,
        hits: int,
        insert_s: float,
    ) -> Self:
        """From times in seconds."""
        took, disturbed = np.asarray(watch.took_s), np.asarray(watch.disturbed)
        quiet = took[~disturbed][work.warmup :]
        if len(quiet) < min(FEWEST, len(took) - work.warmup):  # all are: lookups longer than a time slice
            quiet = took[work.warmup :]
        p50, p99 = 1_000 * np.percentile(quiet, [50, 99])
        entries = len(work.stored)
        return cls(
            side,
            entries,
            float(p50),
            float(p99),
            1 / float(quiet.mean()),
            1_000 * float(np.percentile(took, 99)),
            float(disturbed.mean()),
            hits / len(took),
            entries / filled_s,
            1 / insert_s,
        )


def workload(
    texts: Sequence[str], vectors: Embeddings, intents: Sequence[str], entries: int, asked: int
) -> Workload:
    """Entries near real sentences, and questions near entries or far from all.

    Args:
        texts: real sentences.
        vectors: theirs; unit rows.
        intents: their names; 20 at least, for the largest bucket's share.
        entries: how many to store.
        asked: how many questions to time.
    """
    rng = np.random.default_rng(7)
    kinds = len(intents)
    shares = _capped(1 / np.arange(1, kinds + 1), LARGEST_BUCKET)
    kind = rng.choice(kinds, entries + MORE, p=shares)
    # A sentence belongs to one intent: intents share the sentences among themselves.
    sentence = rng.integers(0, len(texts) // kinds, entries + MORE) * kinds + kind
    stored = _near(rng, vectors[sentence], 0.9)
    warmup = min(100, asked)
    picked = rng.integers(0, entries, asked + warmup)
    cosine = np.where(np.arange(asked + warmup) % 2, NEAR, FAR)
    questions = _near(rng, stored[picked], cosine[:, None])
    names = [f"{texts[row]} ({at})" for at, row in enumerate(sentence)]
    return Workload(
        stored=names[:entries],
        intents=[intents[each] for each in kind[:entries]],
        asked=[f"{texts[sentence[row]]}, asked {at}" for at, row in enumerate(picked)],
        asked_intents=[intents[kind[row]] for row in picked],
        more=names[entries:],
        vectors=np.concatenate([stored[:entries], questions, stored[entries:]]),
        warmup=warmup,
    )


def _capped(shares: np.ndarray, most: float) -> np.ndarray:
    """Shares of which none is above `most`; what is cut off goes to the others."""
    shares = shares / shares.sum()
    for _ in range(len(shares)):
        over = shares > most
        spare = (shares[over] - most).sum()
        if spare <= 1e-12:
            break
        shares = np.where(over, most, shares)
        shares[~over] *= 1 + spare / shares[~over].sum()
    scaled: np.ndarray = shares / shares.sum()
    return scaled


def _near(rng: np.random.Generator, vectors: Embeddings, cosine: float | np.ndarray) -> Embeddings:
    """Unit vectors at a chosen cosine from the given ones, in random directions."""
    noise = rng.standard_normal(vectors.shape).astype(np.float32)
    noise -= np.sum(noise * vectors, axis=1, keepdims=True) * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    mixed = cosine * vectors + np.sqrt(1 - np.square(cosine)) * noise
    unit: Embeddings = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    return unit
