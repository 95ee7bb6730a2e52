"""Threads of live calls: what hangs takes no other work's threads, is made up for, and holds up no exit."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from serving.call.patience import Patience
from serving.call.pools import WorkPools
from serving.call.scheduler import AsyncScheduler
from serving.errors import EngineTimeoutError, UnavailableError
from serving.work_pool import WorkPool
from tests.serving.transports.loopback import until

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("ears", "stt", "guess", "answer", "tts", "records")
LATE_S = 0.02
_Result = TypeVar("_Result")


class Hanging:
    """Jobs that hang until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.begun.release()
        assert self.let_go.wait(30)

    def wait_for(self, jobs: int) -> None:
        for _ in range(jobs):
            assert self.begun.acquire(timeout=10)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go.set()


@pytest.fixture
def pools() -> Iterator[WorkPools]:
    made = WorkPools(max_calls=4)
    yield made
    made.close()


async def done(
    scheduler: AsyncScheduler, name: str, job: Callable[[], _Result], limit_s: float = 10.0
) -> _Result | None:
    """What a piece of work gives."""
    result: asyncio.Future[_Result | None] = asyncio.get_running_loop().create_future()

    def tell(value: _Result | None, error: Exception | None) -> None:
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    scheduler.work(name, job, tell, limit_s)
    return await result


async def given_up(scheduler: AsyncScheduler, name: str, job: Callable[[], None], pieces: int) -> None:
    """Give up so many pieces of work at the same moment."""
    late = [done(scheduler, name, job, LATE_S) for _ in range(pieces)]
    for error in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(error, EngineTimeoutError)


@pytest.mark.parametrize("name", NAMES)
def test_where_every_thread_of_a_kind_hangs_other_work_runs_and_later_its_own_again(
    pools: WorkPools, hanging: Hanging, name: str
) -> None:
    others = [other for other in NAMES if {name, other} != {"stt", "guess"} and other != name]

    async def call() -> None:
        one, another = AsyncScheduler(pools), AsyncScheduler(pools)
        hung = [asyncio.ensure_future(done(one, name, hanging, 0.3)) for _ in range(4)]
        await asyncio.to_thread(lambda: hanging.wait_for(4))
        for other in others:
            assert await done(another, other, lambda: "done", 0.2) == "done"
        assert not any(job.done() for job in hung), "they still hang, and were not given up"
        with pytest.raises(EngineTimeoutError):
            await done(another, name, lambda: "done", 0.01)
        for error in await asyncio.gather(*hung, return_exceptions=True):
            assert isinstance(error, EngineTimeoutError)
        assert pools.hung == 4
        assert await done(another, name, lambda: "done") == "done"

    asyncio.run(call())
    assert not pools.stuck
    hanging.let_go.set()
    until(lambda: pools.hung == 0)


def test_work_that_waited_for_what_hangs_is_done_when_that_is_given_up(
    pools: WorkPools, hanging: Hanging
) -> None:
    async def call() -> object:
        scheduler = AsyncScheduler(pools)
        hung = asyncio.ensure_future(given_up(scheduler, "tts", hanging, 4))
        later = asyncio.ensure_future(done(scheduler, "tts", lambda: "done"))
        await hung
        return await later

    assert asyncio.run(call()) == "done"


def test_threads_are_made_up_for_so_often_and_then_the_kind_says_that_it_is_stuck(
    pools: WorkPools, hanging: Hanging
) -> None:
    async def call() -> None:
        scheduler = AsyncScheduler(pools)
        for hung in (4, 8, 12):
            assert not pools.stuck
            await given_up(scheduler, "tts", hanging, 4)
            assert pools.hung == hung
        assert pools.stuck == ("voices",)
        threads = threading.active_count()
        await given_up(scheduler, "tts", hanging, 4)
        assert (pools.hung, threading.active_count()) == (12, threads), "what waits does not hang"
        assert await done(scheduler, "answer", lambda: "done") == "done"
        hanging.let_go.set()
        assert await done(scheduler, "tts", lambda: "done") == "done"

    asyncio.run(call())
    until(lambda: pools.hung == 0)
    assert not pools.stuck


def test_work_that_was_given_up_before_it_began_is_never_done(hanging: Hanging) -> None:
    pool, done_anyway = WorkPool("voices", 1), threading.Event()
    pool.submit(hanging)
    hanging.wait_for(1)
    give_up = pool.submit(done_anyway.set)
    assert give_up()
    assert give_up(), "it says the same again"
    assert pool.hung == 0
    hanging.let_go.set()
    last = threading.Event()
    pool.submit(last.set)
    assert last.wait(10)
    assert not done_anyway.is_set()
    pool.close()


def test_what_was_dropped_keeps_nothing_alive_though_no_thread_is_ever_free(hanging: Hanging) -> None:
    pool = WorkPool("tools", 1, replacements=0)
    give_up = pool.submit(hanging)
    hanging.wait_for(1)
    give_up()
    assert pool.stuck
    caller = Hanging()
    alive = weakref.ref(caller)
    assert pool.submit(caller)()
    del caller
    gc.collect()
    assert alive() is None
    pool.close()


def test_who_breaks_when_told_that_work_is_late_keeps_it_from_nobody_else(
    pools: WorkPools, hanging: Hanging
) -> None:
    told: list[Exception | None] = []

    def breaks(_result: None, error: Exception | None) -> None:
        told.append(error)
        raise RuntimeError

    async def call() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        scheduler = AsyncScheduler(pools)
        for name in ("ears", "tts", "answer"):
            scheduler.work(name, hanging, breaks, LATE_S)
        async with asyncio.timeout(10):
            while len(told) < 3:
                await asyncio.sleep(0)

    asyncio.run(call())
    assert all(isinstance(error, EngineTimeoutError) for error in told)


def test_what_is_over_is_not_counted_as_hung() -> None:
    pool, over = WorkPool("voices", 1), threading.Event()
    give_up = pool.submit(lambda: None)
    pool.submit(over.set)
    assert over.wait(10)
    assert not give_up(), "it was done"
    assert pool.hung == 0
    pool.close()


def test_what_closing_dropped_never_began(hanging: Hanging) -> None:
    pool = WorkPool("voices", 1)
    began = pool.submit(hanging)
    hanging.wait_for(1)
    waits = pool.submit(hanging)
    pool.close()
    assert waits()
    assert not began()


def test_what_comes_back_behind_the_end_finds_no_thread_to_be_made(hanging: Hanging) -> None:
    pool = WorkPool("closed kind", 1, replacements=0)
    give_up = pool.submit(hanging)
    hanging.wait_for(1)
    give_up()
    pool.submit(lambda: None)
    pool.close()
    hanging.let_go.set()
    until(lambda: pool.hung == 0)
    until(lambda: not [it for it in threading.enumerate() if it.name.startswith("closed kind")])


def no_thread(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next so many threads cannot be started, as where a container may have no more of them."""
    start, left = threading.Thread.start, [times]

    def refused(thread: threading.Thread) -> None:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)


def test_work_waits_for_a_thread_that_cannot_be_had_now(monkeypatch: pytest.MonkeyPatch) -> None:
    no_thread(monkeypatch, 3)
    pool, over = WorkPool("voices", 1), [threading.Event() for _ in range(4)]
    for event in over[:3]:
        pool.submit(event.set)
    assert not any(event.is_set() for event in over)
    pool.submit(over[3].set)
    assert all(event.wait(10) for event in over)
    pool.close()


def test_work_whose_thread_cannot_be_had_in_time_never_began(monkeypatch: pytest.MonkeyPatch) -> None:
    no_thread(monkeypatch, 1)
    pool, done_anyway = WorkPool("voices", 1), threading.Event()
    assert pool.submit(done_anyway.set)()
    over = threading.Event()
    pool.submit(over.set)
    assert over.wait(10)
    assert not done_anyway.is_set()
    pool.close()


def test_engines_are_asked_again_after_threads_could_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    no_thread(monkeypatch, 3)
    patience = Patience(10.0, most=1)
    for _ in range(3):
        with pytest.raises(UnavailableError):
            patience.wait_for(lambda: "done", patience.deadline())
    assert patience.wait_for(lambda: "done", patience.deadline()) == "done"


def test_a_job_that_breaks_its_thread_leaves_it_to_the_next() -> None:
    pool, over = WorkPool("voices", 1), threading.Event()

    def leave() -> None:
        raise SystemExit

    pool.submit(leave)
    pool.submit(over.set)
    assert over.wait(10)
    pool.close()


def test_no_more_threads_work_than_the_kind_has(hanging: Hanging) -> None:
    pool = WorkPool("voices", 3)
    for _ in range(10):
        pool.submit(hanging)
    hanging.wait_for(3)
    assert not hanging.begun.acquire(blocking=False)
    hanging.let_go.set()
    hanging.wait_for(7)
    pool.close()


def test_closing_lets_records_be_written_and_takes_no_more(pools: WorkPools, hanging: Hanging) -> None:
    written: list[int] = []
    for number in range(20):
        pools.submit("records", lambda number=number: written.append(number))  # type: ignore[misc]
    pools.submit("tts", hanging)
    pools.close()
    assert sorted(written) == list(range(20))
    for name in NAMES:
        with pytest.raises(RuntimeError):
            pools.submit(name, lambda: None)


def test_one_executor_for_everything_is_enough_for_a_scheduler(hanging: Hanging) -> None:
    done_anyway = threading.Event()

    async def call(pool: ThreadPoolExecutor) -> None:
        scheduler = AsyncScheduler(pool)
        assert await done(scheduler, "answer", lambda: "done") == "done"
        await given_up(scheduler, "tts", hanging, 1)
        await given_up(scheduler, "ears", done_anyway.set, 1)

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(call(pool))
        hanging.let_go.set()
    assert not done_anyway.is_set(), "what was given up before it began is dropped"


def test_a_thread_that_hangs_does_not_hold_up_the_exit() -> None:
    code = """
import threading
from serving.call.pools import WorkPools
pools, begun = WorkPools(4), threading.Event()
give_up = pools.submit("tts", lambda: (begun.set(), threading.Event().wait()))
begun.wait()
give_up()
pools.submit("answer", lambda: threading.Event().wait())
pools.close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=True)
