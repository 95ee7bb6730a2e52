"""The cache's size and speed, without embedding: `python -m tests.benchmarks.cache.size`.

For each size: search part p50 and p99 and lookups a second by one thread, agreement with comparing the whole
bucket, inserts a second in batches and one by one, publication, start-up, bytes of an entry on disk and in
memory. Then readers in crowds while a writer inserts.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from serving.cache.lookup import SemanticCache
from serving.cache.store import FILE, CacheStore
from serving.cache.types import CacheQuery, Outcome
from tests.benchmarks.cache.size_crowd import FRESH, Crowd, Prepared, crowd_of
from tests.benchmarks.cache.size_data import SCOPE, GivenVectors, Made, batches, entry, make, question

CASES = ((1_000, 100), (10_000, 2_500), (100_000, 5_000), (100_000, 100_000))
"""Entries, and entries in a bucket."""
LOOKUPS = 2_000
CHECKED = 300
SINGLE = 300
THRESHOLD = 0.8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a fresh process saw; times in milliseconds, memory in bytes.

    Attributes:
        start_s: opening the scope, files verified, in seconds.
        hit_p50, hit_p99: of semantic hits that kept the processor.
        miss_p50, miss_p99: of misses in a bucket, explained as far as that is cheap; the same.
        all_p99: of both, also where the kernel gave the processor to somebody else meanwhile.
        disturbed: share of those.
        exact_p50: of exact hits.
        per_s: lookups a second, two hits to a miss.
        agreed: share of answers that comparing the whole bucket gives as well.
        private: memory that is this process's alone, by opening.
        mapped: memory shared with the files by the end.
    """

    start_s: float
    hit_p50: float
    hit_p99: float
    miss_p50: float
    miss_p99: float
    all_p99: float
    disturbed: float
    exact_p50: float
    per_s: float
    agreed: float
    private: int
    mapped: int


@dataclass(frozen=True, slots=True)
class _Spent:
    """Milliseconds of each lookup, and whether the process kept the processor."""

    times: list[float]
    kept: list[bool]

    def percentile(self, p: float) -> float:
        """Of those that kept it, without the first few."""
        return float(np.percentile(np.array(self.times[20:])[self.kept[20:]], p))


def ask(folder: Path, count: int, per_bucket: int) -> Asked:
    """Open a cache and ask it; runs in a process of its own."""
    import faiss

    faiss.omp_set_num_threads(1)
    encoder = GivenVectors(per_bucket)
    before = _memory()["RssAnon"]
    cache = SemanticCache(folder, encoder, threshold=THRESHOLD)
    started = time.perf_counter()
    assert cache.warm(SCOPE) == count
    start_s, private = time.perf_counter() - started, _memory()["RssAnon"] - before
    queries = [_query(at, int(number), per_bucket) for at, number in enumerate(_numbers(count))]
    cache.embedder = Prepared([query for _, query in queries], per_bucket)
    spent = {"near": _Spent([], []), "far": _Spent([], []), "entry": _Spent([], [])}
    for kind, query in queries:
        switched, began = _switches(), time.perf_counter()
        decision = cache.lookup(query, SCOPE)
        spent[kind].times.append((time.perf_counter() - began) * 1_000)
        spent[kind].kept.append(_switches() == switched)
        assert (decision.outcome is Outcome.HIT) is (kind != "far"), decision
    mapped = _memory()["RssFile"]
    hit, miss = spent["near"], spent["far"]
    both = np.array(hit.times + miss.times)
    return Asked(
        start_s=start_s,
        hit_p50=hit.percentile(50),
        hit_p99=hit.percentile(99),
        miss_p50=miss.percentile(50),
        miss_p99=miss.percentile(99),
        all_p99=float(np.percentile(both, 99)),
        disturbed=1 - float(np.mean(hit.kept + miss.kept)),
        exact_p50=spent["entry"].percentile(50),
        per_s=1_000 / float(both.mean()),
        agreed=_agreed(cache, folder, queries, per_bucket),
        private=private,
        mapped=mapped,
    )


def _numbers(count: int) -> Iterator[int]:
    return iter(np.random.default_rng(7).integers(0, count, LOOKUPS))


def _query(at: int, number: int, per_bucket: int) -> tuple[str, CacheQuery]:
    """Two near an entry, one near none, one in the very words of an entry, and so on."""
    kind = ("near", "near", "far", "entry")[at % 4]
    query = question(kind, number, per_bucket)
    if kind == "entry":
        query = replace(query, text=entry(number, per_bucket).question)
    return kind, query


def _agreed(
    cache: SemanticCache, folder: Path, queries: list[tuple[str, CacheQuery]], per_bucket: int
) -> float:
    """Share of hits that are what numpy finds by comparing all vectors of the bucket."""
    ids, vectors = CacheStore(folder / FILE, read_only=True).vectors(SCOPE.key)
    near = [query for kind, query in queries if kind == "near"][:CHECKED]
    agreed = 0
    for query in near:
        number = int(query.text.split()[1])
        first = number // per_bucket * per_bucket
        cosines = vectors[first : first + per_bucket] @ cache.embedder.embed([query.text])[0]
        best = int(np.argmax(cosines))
        found = cache.lookup(query, SCOPE)
        assert found.entry is not None
        assert found.similarity is not None
        agreed += found.entry.id == ids[first + best] and abs(found.similarity - cosines[best]) < 1e-5
    return agreed / len(near)


def _switches() -> int:
    """How often the kernel has taken the processor from this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _memory() -> dict[str, int]:
    """This process's resident memory by kind, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}


def _inserted_one_by_one(folder: Path, per_bucket: int) -> float:
    """Entries a second, each in a transaction of its own, with a reader at work beside."""
    cache = SemanticCache(folder, GivenVectors(per_bucket), threshold=THRESHOLD)
    cache.warm(SCOPE)
    store, spent = CacheStore(folder / FILE), 0.0
    for entries, vectors in batches(SINGLE, per_bucket, first=FRESH):
        for at, new in enumerate(entries):
            started = time.perf_counter()
            store.insert(SCOPE, [new], vectors[at : at + 1], actor="bench")
            spent += time.perf_counter() - started
    cache.close()
    return SINGLE / spent


def _on_disk(folder: Path) -> tuple[int, int]:
    """Bytes of the store and of the live generation."""
    store = sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))
    return store, sum(path.stat().st_size for path in folder.glob("gen-*/*"))


def measure(folder: Path, count: int, per_bucket: int) -> dict[str, object]:
    """All figures of one size."""
    made: Made = make(folder, count, per_bucket)
    store, generation = _on_disk(folder)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        asked: Asked = pool.submit(ask, folder, count, per_bucket).result()
    single = _inserted_one_by_one(folder, per_bucket)
    return {
        **asdict(made),
        **asdict(asked),
        "single_inserts_per_s": single,
        "store_bytes": store / count,
        "generation_bytes": generation / count,
    }


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--largest", type=int, default=100_000, help="leave out larger caches")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each crowd")
    given = parser.parse_args()
    logger.disable("serving")
    sizes, crowds = [], []
    for count, per_bucket in [case for case in CASES if case[0] <= given.largest]:
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(measure(Path(folder), count, per_bucket))
            if count > per_bucket and count == given.largest:
                crowds = [
                    crowd_of(kind, Path(folder), count, per_bucket, given.seconds)
                    for kind in ("processes", "threads")
                ]
    if given.json:
        told = [json.dumps({"sizes": sizes, "crowds": [asdict(crowd) for crowd in crowds]}, indent=1)]
    else:
        told = [*map(_line, sizes), *map(_crowd_line, crowds)]
    sys.stdout.write("\n".join(told) + "\n")


def _crowd_line(crowd: Crowd) -> str:
    return (
        f"{crowd.readers}: {crowd.per_s:,.0f} lookups/s, p50 {crowd.p50:.2f} ms, p99 {crowd.p99:.2f} ms, "
        f"{crowd.wrong} wrong, while {crowd.inserted_per_s:,.0f} entries/s were inserted"
    )


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['entries']:,} entries, {row['per_bucket']:,} a bucket: "
        f"hit p50 {row['hit_p50']:.2f} p99 {row['hit_p99']:.2f} ms, "
        f"miss p50 {row['miss_p50']:.2f} p99 {row['miss_p99']:.2f} ms "
        f"(with the {row['disturbed']:.0%} that others disturbed, p99 {row['all_p99']:.2f} ms), "
        f"same words {row['exact_p50']:.2f} ms, {row['per_s']:,.0f}/s, agreed {row['agreed']:.0%}; "
        f"inserts {row['inserted_per_s']:,.0f}/s in batches, {row['single_inserts_per_s']:,.0f}/s single, "
        f"published in {row['publish_s']:.2f} s, opened in {row['start_s']:.2f} s; "
        f"an entry: {row['store_bytes']:,.0f} + {row['generation_bytes']:,.0f} B on disk, "
        f"memory {row['private'] / row['entries']:,.0f} B own, {row['mapped'] / 1e6:,.0f} MB mapped in all"
    )


if __name__ == "__main__":
    main()
