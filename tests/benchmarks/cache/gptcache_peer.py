"""GPTCache's side of the comparison; runs in the environment of `gptcache-requirements.txt`.

It gets texts with their vectors, so that it needs no model: `embedding_func` looks a text up. Everything
else is as its `init_similar_cache` sets it up: SQLite, FAISS (flat, L2), SearchDistanceEvaluation. It is
asked and filled through its `get` and `put`.

    python -m tests.benchmarks.cache.gptcache_peer JOB.json VECTORS.npy OUT.json
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation
from gptcache.utils.log import gptcache_log

from tests.benchmarks.cache.stopwatch import Stopwatch

MANY = 10_000_000
"""Entries up to which nothing is evicted; its default is 1,000."""
CHUNK = 40
"""Caches in one process: each maps its tables anew, and all that were mapped before make the next slower."""


class Peer:
    """One GPTCache with its own files.

    Args:
        folder: an empty folder.
        vectors: text → its vector.
        threshold: its `similarity_threshold`.
    """

    def __init__(self, folder: str, vectors: dict[str, np.ndarray], threshold: float) -> None:
        dimension = len(next(iter(vectors.values())))
        self.cache = Cache()
        self.cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: vectors[text],
            data_manager=get_data_manager(
                CacheBase("sqlite", sql_url=f"sqlite:///{folder}/sqlite.db"),
                VectorBase("faiss", dimension=dimension, index_path=f"{folder}/faiss.index"),
                max_size=MANY,
            ),
            similarity_evaluation=SearchDistanceEvaluation(),
            # A report writes one more row for every hit.
            config=Config(similarity_threshold=threshold, disable_report=True),
        )

    def fill(self, texts: list[str]) -> None:
        """All at once; each text's answer is its position."""
        step = 1_000
        for start in range(0, len(texts), step):
            chunk = texts[start : start + step]
            self.cache.import_data(chunk, [str(start + at) for at in range(len(chunk))])
        self.cache.flush()

    def put(self, text: str, answer: str) -> None:
        put(text, answer, cache_obj=self.cache)

    def ask(self, text: str) -> tuple[int, float]:
        """Position of the answer, -1 for none, and the score of what was served, from 0 to 1."""
        scores: list[float] = []
        found = get(text, cache_obj=self.cache, hit_callback=lambda hits: scores.append(hits[0][1]))
        return (-1, 0.0) if found is None else (int(found), scores[0])


def replay(job: dict[str, Any], vectors: dict[str, np.ndarray]) -> list[list[tuple[int, float]]]:
    """Ask each contest's probes of a cache that holds its stored questions."""
    contests = job["contests"]
    chunks = [contests[start : start + CHUNK] for start in range(0, len(contests), CHUNK)]
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        parts = pool.map(partial(_replay, job["threshold"], vectors), chunks, chunksize=1)
        return [row for part in parts for row in part]


def _replay(
    threshold: float, vectors: dict[str, np.ndarray], contests: list[dict[str, Any]]
) -> list[list[tuple[int, float]]]:
    results = []
    for contest in contests:
        peer = Peer(tempfile.mkdtemp(), vectors, threshold)
        for at, text in enumerate(contest["stored"]):
            peer.cache.import_data([text], [str(at)])
        results.append([peer.ask(text) for text in contest["probes"]])
    return results


def speed(job: dict[str, Any], vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fill, ask, then insert one by one."""
    peer = Peer(tempfile.mkdtemp(), vectors, job["threshold"])
    begin = time.perf_counter()
    peer.fill(job["stored"])
    filled = time.perf_counter() - begin
    watch, hits = Stopwatch(), 0
    for text in job["asked"]:
        hits += watch.time(partial(peer.ask, text))[0] >= 0
    begin = time.perf_counter()
    for text in job["more"]:
        peer.put(text, "new")
    inserted = time.perf_counter() - begin
    return {**asdict(watch), "fill_s": filled, "hits": hits, "insert_s": inserted / len(job["more"])}


def save(job: dict[str, Any], vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fill a cache whose files stay."""
    Peer(job["saved"], vectors, job["threshold"]).fill(job["stored"])
    return {}


def main(job_file: str, vectors_file: str, out: str) -> None:
    gptcache_log.setLevel("ERROR")
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    table = np.load(vectors_file)
    vectors = dict(zip(job["texts"], table, strict=True))
    tempfile.tempdir = job["folder"]
    result = {"replay": replay, "speed": speed, "save": save}[job["do"]](job, vectors)
    Path(out).write_text(json.dumps(result), encoding="utf-8")
    # Its own end would write every index once more.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
