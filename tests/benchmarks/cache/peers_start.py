"""How soon a saved cache answers after a start, and what an entry costs: ours, GPTCache, plain FAISS.

    python -m tests.benchmarks.cache.peers --only-start

Each cache is filled and saved, then opened by fresh processes (`peers_opened`). An entry's memory is the
difference between a process with all entries and one with a few, so that libraries and lexicons, which cost
the same for any number, are left out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.cache.alone import open_cache, scope_of
from serving.cache.publishing import publish
from serving.settings import Settings
from tests.benchmarks.cache.peers_opened import ANSWERS, ASKED, INDEX
from tests.benchmarks.cache.sides import GptCache, Looked, entry_of
from tests.benchmarks.cache.workload import Workload
from tests.benchmarks.peer_environment import ROOT

FEW = 1_000
TIMES = 5
_TENANT = "started"
_OPEN = "from tests.benchmarks.cache.peers_opened import main; main()"


@dataclass(frozen=True, slots=True)
class Start:
    """One saved cache, opened.

    Attributes:
        answered_s: from the first import to the first answer; the quickest of `TIMES` processes.
        worked_s: processor time of the quickest, the interpreter's own start included.
        few_s: the same with `FEW` entries: what a start costs anyhow.
        own: bytes of the process's own memory that one more entry costs.
        resident: the same with files that are mapped, which all processes share.
        on_disk: bytes of an entry in files.
    """

    side: str
    entries: int
    answered_s: float
    worked_s: float
    few_s: float
    own: float
    resident: float
    on_disk: float


def starts(work: Callable[[int], Workload], entries: int, fingerprint: str, *, gptcache: bool) -> list[Start]:
    """Every cache with so many entries.

    Args:
        work: number of entries → what a cache of that size holds.
        entries: how many.
        fingerprint: of the encoder that made the vectors.
        gptcache: whether GPTCache is there.
    """
    sides = ("ours", *(["GPTCache"] if gptcache else ()), "FAISS")
    counts = (FEW, entries)
    with tempfile.TemporaryDirectory() as parent:
        folders = {(side, count): Path(parent) / side / str(count) for side in sides for count in counts}
        for (side, count), folder in folders.items():
            folder.mkdir(parents=True)
            _save(side, work(count), folder, fingerprint)
        seen: dict[tuple[str, int], list[dict[str, Any]]] = {at: [] for at in folders}
        for _ in range(TIMES):  # in turn, so that the machine's other work meets all alike
            for (side, count), folder in folders.items():
                seen[side, count].append(_opened(side, folder))
        sizes = {side: _bytes(folders[side, entries]) / entries for side in sides}
    return [_start(side, entries, seen[side, FEW], seen[side, entries], sizes[side]) for side in sides]


def _start(
    side: str, entries: int, small: list[dict[str, Any]], large: list[dict[str, Any]], on_disk: float
) -> Start:
    return Start(
        side,
        entries,
        min(it["answered_s"] for it in large),
        min(it["worked_s"] for it in large),
        min(it["answered_s"] for it in small),
        grown_by_entry(small, large, "own", entries),
        grown_by_entry(small, large, "resident", entries),
        on_disk,
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def start_line(found: Start) -> str:
    """The figures in a line."""
    took = f"{found.answered_s:.2f} s ({found.worked_s:.2f} s of a core; {found.few_s:.2f} s with {FEW:,})"
    memory = f"{found.own:,.0f} B own memory, {found.resident:,.0f} B with mapped files"
    return (
        f"{found.entries:>7} entries  {found.side:<9} first answer after {took}  "
        f"an entry: {memory}, {found.on_disk:,.0f} B on disk"
    )


def grown_by_entry(
    small: Sequence[Mapping[str, float]], large: Sequence[Mapping[str, float]], kind: str, entries: int
) -> float:
    """Bytes that one more entry costs.

    Args:
        small: memory of processes with `FEW` entries; medians count.
        large: of processes with all.
        kind: of memory.
        entries: how many all are.
    """
    grown = statistics.median(it[kind] for it in large) - statistics.median(it[kind] for it in small)
    return grown / (entries - FEW)


def _opened(side: str, folder: Path) -> dict[str, Any]:
    """What a fresh process tells of a saved cache."""
    python = GptCache.python() if side == "GPTCache" else Path(sys.executable)
    done = subprocess.run(
        [str(python), "-c", _OPEN, side, str(folder)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"{side}: {(done.stderr or done.stdout).strip()[-2_000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _save(side: str, work: Workload, folder: Path, fingerprint: str) -> None:
    known = work.by_text()
    at = next(at for at, _ in enumerate(work.asked) if at % 2)  # near an entry
    asked = {
        "text": work.asked[at],
        "intent": work.asked_intents[at],
        "vector": known[work.asked[at]].tolist(),
        "fingerprint": fingerprint,
        "tenant": _TENANT,
        "threshold": GptCache.default,
    }
    (folder / ASKED).write_text(json.dumps(asked), encoding="utf-8")
    if side == "GPTCache":
        GptCache(known).save(work, folder)
    elif side == "FAISS":
        _save_faiss(work, folder)
    else:
        _save_ours(work, folder, known, fingerprint)


def _save_ours(work: Workload, folder: Path, known: Mapping[str, np.ndarray], fingerprint: str) -> None:
    embedder = Looked(known, fingerprint)
    with open_cache(Settings(home=folder), embedder=embedder) as cache:
        scope = scope_of(cache, _TENANT)
        entries = [
            entry_of(text, intent, scope) for text, intent in zip(work.stored, work.intents, strict=True)
        ]
        cache.writer.store.insert(scope, entries, embedder.embed(work.stored), actor="benchmark")
        publish(cache.writer.store, cache.folder)


def _save_faiss(work: Workload, folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatIP(work.vectors.shape[1])
    index.add(work.vectors[: len(work.stored)])
    faiss.write_index(index, str(folder / INDEX))
    answers = [f"The answer to: {text}" for text in work.stored]
    (folder / ANSWERS).write_text(json.dumps(answers), encoding="utf-8")
