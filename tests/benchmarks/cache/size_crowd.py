"""Readers in a crowd, as processes or threads, while a writer inserts and publishes."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.cache.lookup import SemanticCache
from serving.cache.types import CacheQuery, Outcome
from serving.cache.writer import CacheWriter
from serving.language.protocols import Embeddings
from tests.benchmarks.cache.size_data import NOW, SCOPE, GivenVectors, entry, question

READERS = 8
PREPARED = 200
"""Questions of each reader, made up before anything is timed."""
FRESH = 10_000_000
"""Number of the first entry that the writer adds."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a crowd did; times in milliseconds.

    Attributes:
        readers: `8 processes` or `8 threads`.
        per_s: lookups a second, of all readers together.
        p50, p99: of one lookup.
        inserted_per_s: entries a second that the writer had on disk, one by one, meanwhile.
        wrong: decisions that were not the expected ones.
    """

    readers: str
    per_s: float
    p50: float
    p99: float
    inserted_per_s: float
    wrong: int


class Prepared:
    """An encoder that knows the vectors of its questions beforehand."""

    def __init__(self, queries: Sequence[CacheQuery], per_bucket: int) -> None:
        encoder = GivenVectors(per_bucket)
        self.dimension, self.fingerprint = encoder.dimension, encoder.fingerprint
        self._of = {query.text: encoder.embed([query.text]) for query in queries}

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Of one text."""
        return self._of[texts[0]]


def crowd_of(kind: str, folder: Path, count: int, per_bucket: int, seconds: float) -> Crowd:
    """Let `READERS` ask for some seconds while this process writes.

    Args:
        kind: `processes` or `threads`.
        folder: a cache of `count` entries.
        count: entries that are asked for.
        per_bucket: of them.
        seconds: how long.
    """
    context = multiprocessing.get_context("spawn")
    ready, begin = context.Barrier(READERS + 1), context.Event()
    args = [(folder, count, per_bucket, seconds, seed) for seed in range(READERS)]
    if kind == "threads":
        with ThreadPoolExecutor(READERS) as pool:
            jobs = [pool.submit(_read, ready.wait, begin.wait, *arg) for arg in args]
            inserted = _write(ready.wait, begin.set, folder, per_bucket, seconds)
            reports = [job.result() for job in jobs]
    else:
        found = context.SimpleQueue()
        readers = [context.Process(target=_report, args=(found, ready, begin, *arg)) for arg in args]
        for reader in readers:
            reader.start()
        inserted = _write(ready.wait, begin.set, folder, per_bucket, seconds)
        reports = [found.get() for _ in readers]
        for reader in readers:
            reader.join()
    times = np.concatenate([times for times, _ in reports]) * 1_000
    p50, p99 = (float(np.percentile(times, p)) for p in (50, 99))
    wrong = sum(wrong for _, wrong in reports)
    return Crowd(f"{READERS} {kind}", len(times) / seconds, p50, p99, inserted / seconds, wrong)


def _report(found, ready, begin, *args) -> None:  # type: ignore[no-untyped-def]  # a process's arguments
    found.put(_read(ready.wait, begin.wait, *args))


def _read(
    ready: Callable[[], object],
    begin: Callable[[], object],
    folder: Path,
    count: int,
    per_bucket: int,
    seconds: float,
    seed: int,
) -> tuple[Embeddings, int]:
    """Ask until the time is over: how long each lookup took in seconds, and how many went wrong."""
    numbers = np.random.default_rng(seed).integers(0, count, PREPARED)
    queries = [question("near", int(number), per_bucket) for number in numbers]
    cache = SemanticCache(folder, Prepared(queries, per_bucket), threshold=0.8)
    cache.warm(SCOPE)
    ready()
    begin()
    times, wrong, at, end = [], 0, 0, time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        decision = cache.lookup(queries[at % PREPARED], SCOPE)
        times.append(time.perf_counter() - started)
        wrong += decision.outcome is not Outcome.HIT
        at += 1
    return np.array(times, np.float32), wrong


def _write(
    ready: Callable[[], object], begin: Callable[[], object], folder: Path, per_bucket: int, seconds: float
) -> int:
    """Insert one by one until the time is over; how many."""
    encoder, writer = GivenVectors(per_bucket), CacheWriter(folder)
    ready()
    begin()
    number, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        new = entry(FRESH + number, per_bucket)
        writer.insert(SCOPE, [new], encoder.embed([new.question]), actor=f"bench {NOW.date()}")
        number += 1
    writer.close()
    return number
