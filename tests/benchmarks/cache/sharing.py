"""How soon replicas hold what one of them learnt, and what a lookup over HTTP costs, on this machine.

python -m tests.benchmarks.cache.sharing --times 200

A real Redis, two replicas in this process, an embedder without a model: what is measured is the way, not the
encoder.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from loguru import logger

from serving.cache.local import LocalCache
from tests.serving.cache.conformance import SetClock
from tests.serving.cache.replicas import OFFER, QUESTIONS
from tests.serving.cache.worlds import local, remote, served, shared
from tests.serving.cache_world import SCOPE, ask
from tests.serving.sessions.servers import RedisServer


def seconds_until(holds: Callable[[], bool]) -> float:
    """How long it takes to come true; looked at all the time."""
    begun = time.perf_counter()
    while not holds():
        time.sleep(0.0005)
        if time.perf_counter() - begun > 30:
            raise AssertionError("it did not come true within 30 s")
    return time.perf_counter() - begun


def spread(one: LocalCache, other: LocalCache, times: int) -> dict[str, list[float]]:
    """Seconds from what is on disk here to what is so there, of each kind of change."""
    found: dict[str, list[float]] = {"insert": [], "quarantine": [], "release": [], "removal": []}
    here, there = one.writer.store, other.writer.store
    for question in QUESTIONS[:times]:
        entry = one.insert(replace(OFFER, question=question), SCOPE, actor="bench").entry
        assert entry is not None
        id_ = entry.id
        found["insert"].append(seconds_until(lambda id_=id_: there.get(id_) is not None))
        here.quarantine(id_, actor="bench", why="bench")
        found["quarantine"].append(seconds_until(lambda id_=id_: _quarantined(there, id_)))
        here.release(id_, actor="bench")
        found["release"].append(seconds_until(lambda id_=id_: not _quarantined(there, id_)))
        here.remove([id_], actor="bench", why="bench")
        found["removal"].append(seconds_until(lambda id_=id_: there.get(id_) is None))
    return found


def over_http(folder: Path, times: int) -> dict[str, list[float]]:
    """Seconds of a hit for the same words: in this process, and asked over HTTP on one kept connection."""
    found: dict[str, list[float]] = {"hit, in process": [], "hit, over HTTP": []}
    with local(folder, SetClock()) as cache, served(cache) as url, remote(url) as client:
        cache.create_scope(SCOPE, actor="bench")
        cache.insert(OFFER, SCOPE, actor="bench")
        for name, asked in (("hit, in process", cache), ("hit, over HTTP", client)):
            query = ask(OFFER.question)
            for _ in range(10 * times):
                begun = time.perf_counter()
                assert asked.lookup(query, SCOPE).entry is not None
                found[name].append(time.perf_counter() - begun)
    return found


def _quarantined(store: object, entry_id: str) -> bool:
    found = store.get(entry_id)  # type: ignore[attr-defined]  # a store
    return found is not None and found.quarantined_at is not None


def _line(name: str, seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return (
        f"{name:<16} {len(ordered):>6}  p50 {1000 * statistics.median(ordered):8.2f} ms  "
        f"p99 {1000 * p99:8.2f} ms  longest {1000 * ordered[-1]:8.2f} ms"
    )


def main() -> None:
    """Run and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    given = parser.parse_args()
    logger.disable("serving")
    server = RedisServer()
    with contextlib.ExitStack() as opened:
        opened.callback(server.stop)
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        clock = SetClock()
        one = opened.enter_context(shared(folder / "one", clock, server.url, "bench"))
        other = opened.enter_context(shared(folder / "other", clock, server.url, "bench"))
        one.create_scope(SCOPE, actor="bench")
        seconds_until(lambda: bool(other.writer.store.scopes()))
        found = spread(one, other, given.times) | over_http(folder / "served", given.times)
    for name, seconds in found.items():
        print(_line(name, seconds))  # noqa: T201  # what it is run for


if __name__ == "__main__":
    main()
