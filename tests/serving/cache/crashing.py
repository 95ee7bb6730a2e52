"""A writer that is killed: at a step of its work, or at any moment; and what must hold of what it leaves.

The writer is a process of its own, ended by SIGKILL. It keeps a journal beside the cache: every step before
it is taken, every change once it has returned. Whatever the journal says is done must be there, whatever it
had not committed must not, and whoever comes next must be able to work.
"""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from serving.cache.protocol import Feedback, Signal
from serving.cache.publishing import publish
from serving.cache.store import CacheStore
from serving.cache.store_file import Steps, no_steps
from serving.cache.types import CacheEntry
from tests.serving.cache_world import AFTER, NOON, SCOPE, WordEmbedder, entry, open_cache, served

JOURNAL = "journal"
FIRST = entry()
OTHERS = [entry(f"What does a wire transfer of {n} dollars cost?", f"{n}0 cents.") for n in (100, 200, 300)]
LATER = [entry(f"What does a wire transfer of {n} dollars cost?", f"{n}0 cents.") for n in (700, 800)]
PROMOTED = [entry(scope=AFTER), entry("Is a wire transfer safe?", "Yes.", AFTER)]
Act = Callable[[CacheStore, Steps], object]


@dataclass(frozen=True, slots=True)
class Left:
    """What a store holds: id → answer, quarantined, accuracy; the audit's actions; how much was told."""

    entries: dict[str, tuple[str, bool, float]]
    audit: tuple[str, ...]
    told: int


def _replace(store: CacheStore, scope: object, entries: list[CacheEntry]) -> None:
    vectors = WordEmbedder().embed([item.question for item in entries])
    store.replace_scope(AFTER if scope == AFTER else SCOPE, entries, vectors, actor="test")


def _insert(store: CacheStore, new: CacheEntry) -> None:
    store.insert(SCOPE, [new], WordEmbedder().embed([new.question]), actor="test")


ACTS: tuple[Act, ...] = (
    lambda store, _: store.entries(),
    lambda store, _: _replace(store, SCOPE, [FIRST, *OTHERS]),
    lambda store, steps: publish(store, store.path.parent, steps=steps),
    lambda store, _: _insert(store, LATER[0]),
    lambda store, _: store.quarantine(OTHERS[0].id, actor="test", why="wrong"),
    lambda store, _: _insert(store, LATER[1]),
    lambda store, _: store.remove([OTHERS[1].id], actor="test", why="evicted"),
    lambda store, _: store.set_accuracy({OTHERS[2].id: 0.95}, actor="test"),
    lambda store, _: store.add_feedback(Feedback(FIRST.id, Signal.SETTLED, NOON, "call:1:2", "test")),
    lambda store, _: store.count_hits({FIRST.id: (3, NOON)}),
    lambda store, _: _replace(store, AFTER, PROMOTED),
    lambda store, steps: publish(store, store.path.parent, steps=steps),
    lambda store, _: store.remove_scopes([AFTER.key], actor="test"),
    lambda store, steps: publish(store, store.path.parent, steps=steps),
)
"""A day of a cache, on a file of version 1 that has one entry."""


def killed_at(folder: Path, step: int) -> tuple[str, int]:
    """Do all of `ACTS` in another process and kill it before its n-th step (0: let it end).

    Returns:
        The step, and how many acts had returned.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=act_until, args=(folder, step))
    process.start()
    process.join(60)
    assert process.exitcode == (-signal.SIGKILL if step else 0)
    lines = (folder / JOURNAL).read_text().splitlines()
    steps = [line.removeprefix("step ") for line in lines if line.startswith("step ")]
    return (steps[-1], sum(line == "done" for line in lines))


def steps_of(folder: Path, before: Path) -> list[str]:
    """The steps of a writer that nobody kills, on a copy of a folder."""
    shutil.copytree(before, folder)
    killed_at(folder, 0)
    lines = (folder / JOURNAL).read_text().splitlines()
    return [line.removeprefix("step ") for line in lines if line.startswith("step ")]


def act_until(folder: Path, step: int) -> None:
    """What the other process does."""
    journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    taken = 0

    def steps(name: str) -> None:
        nonlocal taken
        taken += 1
        os.write(journal, f"step {name}\n".encode())
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)

    store = CacheStore(folder / "cache.sqlite", steps=steps)
    for act in ACTS:
        act(store, steps)
        os.write(journal, b"done\n")
    os.close(journal)


def killed_after(folder: Path, seconds: float) -> tuple[int, int]:
    """Let another process write without end, and kill it.

    Returns:
        How many entries it had been told are on disk, and the last version of the other scope that was.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=write_without_end, args=(folder,))
    process.start()
    while not (folder / JOURNAL).exists():
        time.sleep(0.001)
    time.sleep(seconds)
    process.kill()
    process.join(60)
    lines = (folder / JOURNAL).read_text().splitlines()
    versions = [int(line.split()[1]) for line in lines if line.startswith("version ")]
    return sum(line == "inserted" for line in lines), max(versions, default=-1)


def write_without_end(folder: Path) -> None:
    """Insert entries one by one; now and then replace the other scope, and publish."""
    store = CacheStore(folder / "cache.sqlite")
    journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = 0
    while True:
        _insert(store, numbered(number))
        os.write(journal, b"inserted\n")
        if number % 3 == 1:
            version = [entry(item.question, f"version {number}", AFTER) for item in PROMOTED]
            _replace(store, AFTER, version)
            os.write(journal, f"version {number}\n".encode())
        if number % 4 == 2:
            publish(store, folder)
        number += 1


def numbered(number: int) -> CacheEntry:
    """One of endlessly many entries."""
    return entry(f"What does a wire transfer of {1000 + number} dollars cost?", f"Answer {number}.")


def left_in(folder: Path) -> Left:
    """What a writer finds that comes next; the folder stays as it is."""
    copy = folder.with_name(f"{folder.name}-looked-at")
    shutil.copytree(folder, copy)
    store = CacheStore(copy / "cache.sqlite")
    found = Left(
        {
            it.entry.id: (it.entry.answer, it.quarantined_at is not None, it.entry.accuracy)
            for it in store.stored()
        },
        tuple(row.action for row in reversed(store.audit_rows(1_000))),
        sum(map(len, store.told().values())),
    )
    shutil.rmtree(copy)
    return found


def days_of(folder: Path, before: Path) -> list[Left]:
    """What there is after each act where nobody is killed: before the first act, after it, and so on."""
    shutil.copytree(before, folder)
    store = CacheStore(folder / "cache.sqlite")
    found = [left_in(folder)]
    for act in ACTS:
        act(store, no_steps)
        found.append(left_in(folder))
    return found


def check_readers(folder: Path, left: Left) -> None:
    """Everything that is there and may be served is; nothing else is."""
    cache = open_cache(folder)
    for item, scope in [*((it, SCOPE) for it in (FIRST, *OTHERS, *LATER)), *((it, AFTER) for it in PROMOTED)]:
        answer, quarantined, _ = left.entries.get(item.id, ("", True, 0.0))
        expected = None if quarantined else answer
        assert served(cache, scope, item.question) == expected, item.question
        assert served(cache, scope, f"So {item.question}") == expected, item.question


def check_next_writer(folder: Path) -> None:
    """Whoever comes next finds a whole file and can insert and publish."""
    with closing(sqlite3.connect(folder / "cache.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    new = entry("Can I stop a wire transfer?", "Within an hour.")
    store = CacheStore(folder / "cache.sqlite")
    store.insert(SCOPE, [new], WordEmbedder().embed([new.question]), actor="test")
    publish(store, folder)
    assert served(open_cache(folder), text=f"So {new.question}") == "Within an hour."
    assert len(list(folder.glob("gen-*"))) <= 2


def check_killed_at(folder: Path, step: int, days: list[Left]) -> str:
    """Kill a writer before a step; everything that must hold; returns the step's name."""
    name, done = killed_at(folder, step)
    # A file that has been migrated or made holds what it held before.
    expected = days[done + (name.endswith(": committed") and not name.startswith("migrate"))]
    assert left_in(folder) == expected, name
    if name.startswith("migrate"):  # readers wait for a writer to bring an old file up to date
        CacheStore(folder / "cache.sqlite")
    check_readers(folder, expected)
    check_next_writer(folder)
    return name


def check_killed_after(folder: Path, seconds: float) -> int:
    """Kill a writer at some moment; everything that must hold; returns how many entries were on disk."""
    inserted, version = killed_after(folder, seconds)
    left = left_in(folder).entries
    known = [numbered(number) for number in range(inserted + 1)]
    there = [item.id in left for item in known]
    assert all(there[:inserted])
    answers = {left[item.id][0] for item in PROMOTED if item.id in left}
    assert len(answers) <= 1
    assert not answers or int(answers.pop().removeprefix("version ")) >= version
    cache = open_cache(folder)
    assert cache.generation() <= inserted // 4 + 2
    for item, is_there in zip(known, there, strict=True):
        assert served(cache, text=item.question) == (item.answer if is_there else None)
    for item in known[max(0, inserted - 3) : inserted]:
        assert served(cache, text=f"So {item.question}") == item.answer
    check_next_writer(folder)
    return inserted
