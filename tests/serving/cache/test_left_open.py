"""A cache that nobody closed: its hits are written wherever the garbage collector comes upon it."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from loguru import logger

import serving.cache.writer
from serving.cache import CosineRule, LocalCache
from serving.cache.local import _write_left
from serving.cache.store import FILE, CacheStore
from serving.cache.writer import CacheWriter
from serving.errors import UnavailableError
from tests.serving.cache.replicas import door
from tests.serving.cache_world import FEE, INTENT, NOON, SCOPE, WordEmbedder, entry, fill
from tests.serving.permissions import folder_of_all, without_rights

WITHIN_S = 10.0
"""Far more than any of this takes; a hang ends then, as a failure."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "cache", [entry()])
    return tmp_path / "cache"


def opened(folder: Path) -> LocalCache:
    """A cache that has answered once."""
    cache = LocalCache(folder, WordEmbedder(), door(), CosineRule(0.75))
    assert cache.lookup(cache.query(FEE, INTENT), SCOPE).entry
    return cache


def hits(folder: Path) -> int:
    return sum(it.hits for it in CacheStore(folder / FILE, read_only=True).stored())


def ends(work: Callable[[], object]) -> bool:
    """Whether work comes to an end in a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    return not thread.is_alive()


def interrupted(work: Callable[[], object], number: int, act: Callable[[], object]) -> bool:
    """Do work, and `act` before a bytecode of the writer's own code, as the collector may; whether it did."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != serving.cache.writer.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == -1:
                act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return left < 0


def test_a_cache_is_let_go_of_in_the_midst_of_its_writer(folder: Path) -> None:
    cache = opened(folder)
    writer, gone = cache.writer, weakref.ref(cache)
    cache.itself = cache  # type: ignore[attr-defined]  # a cycle, that only the collector finds
    del cache

    def collect() -> None:
        with writer._guard:
            gc.collect()

    assert ends(collect)
    assert (gone(), hits(folder)) == (None, 1)


def test_letting_go_waits_for_no_work_that_waits_for_this_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.cache.local._LEFT_WAITS_S", 0.05)
    cache = opened(folder)

    def collect() -> None:
        with cache.writer._guard:
            cache.writer._work_aside()  # and its first step needs the guard
            _write_left(cache.writer, folder, os.getpid())

    assert ends(collect)
    cache.close()
    assert hits(folder) == 1


def test_a_flush_within_any_step_writes_every_hit_once(folder: Path) -> None:
    id_, writer = entry().id, CacheWriter(folder)
    assert writer.store.path.exists()

    def work() -> None:
        writer.count_hit(id_, NOON + timedelta(seconds=rounds))
        writer.count_hit(id_, NOON)
        writer.flush()

    rounds = 0
    while interrupted(work, rounds, writer.flush):
        rounds += 1
    assert rounds > 50
    (stored,) = writer.store.stored()
    assert (stored.hits, stored.last_hit_at) == (2 * (rounds + 1), NOON + timedelta(seconds=rounds))


def test_hits_of_many_threads_are_all_written_once(folder: Path) -> None:
    id_, writer = entry().id, CacheWriter(folder)

    def serve() -> None:
        for at in range(100):
            writer.count_hit(id_, NOON)
            if at % 25 == 0:
                writer.flush()

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert hits(folder) == 400


@pytest.mark.parametrize("error", [UnavailableError("full"), PermissionError("not yours")])
def test_hits_that_cannot_be_written_are_kept_whatever_was_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    writer = CacheWriter(folder)
    writer.count_hit(entry().id, NOON)

    def refuse(_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writer.store, "count_hits", refuse)
        with pytest.raises(type(error)):
            writer.flush()
    writer.count_hit(entry().id, NOON)
    writer.flush()
    assert hits(folder) == 2


def test_a_folder_that_may_not_be_entered_any_more_is_left_alone() -> None:
    told: list[str] = []
    with folder_of_all() as above:
        folder = above / "cache"
        fill(folder, [entry()])
        cache = opened(folder)
        sink = logger.add(told.append, level="WARNING")
        folder.chmod(0o000)
        try:
            with without_rights():
                _write_left(cache.writer, folder, os.getpid())
        finally:
            folder.chmod(0o755)
            logger.remove(sink)
        assert told == []
        cache.close()
        assert hits(folder) == 1


def test_the_end_of_a_process_that_may_not_enter_the_folder_is_silent() -> None:
    code = """
        import os, sys
        from pathlib import Path
        from serving.cache import CosineRule, LocalCache
        from tests.serving.cache.replicas import door
        from tests.serving.cache_world import FEE, INTENT, SCOPE, WordEmbedder

        folder = Path(sys.argv[1])
        kept = LocalCache(folder, WordEmbedder(), door(), CosineRule(0.75))
        assert kept.lookup(kept.query(FEE, INTENT), SCOPE).entry
        folder.chmod(0o000)
        if os.geteuid() == 0:
            os.seteuid(65_534)
    """
    with folder_of_all() as above:
        fill(above / "cache", [entry()])
        command = [sys.executable, "-c", textwrap.dedent(code), str(above / "cache")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        (above / "cache").chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
