"""Time and work for a live call: real on an event loop, virtual for tests and replay.

A live call does no I/O and waits for nothing: it asks for work to be done elsewhere and to be told, and for
timers. On the event loop work runs in threads; on the virtual clock it runs at once and is said to have
taken as long as the test likes, so a call of half a minute takes milliseconds and always goes the same way.
"""

from __future__ import annotations  # else each piece of work evaluates its closures' types anew

import asyncio
import contextvars
import gc
import heapq
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from loguru import logger

from serving.errors import EngineTimeoutError

_Result = TypeVar("_Result")
Done = Callable[[_Result | None, Exception | None], None]
"""Told what work gave: its result, or the exception that it raised."""

_SWITCH_S = 0.0005
"""How long a thread may keep the interpreter from the event loop that feeds all lines, seconds. Python's own
5 ms are added to every hand-over between engine and loop; at 60 calls this took a third off the latency."""


def favour_the_loop() -> None:
    """Let threads hand the interpreter back sooner; for a process that serves live calls, once."""
    sys.setswitchinterval(_SWITCH_S)


def freeze_what_is_loaded() -> None:
    """Keep the cycle collector away from all that exists now; for a server that is ready for its first call.

    A full pass stops every line while it looks at each object: 40 ms with the stub engines of the benchmark,
    many times that beside real ones. What was loaded lives as long as the process in any case; an adapter
    that is replaced later is freed by reference counts, and at worst what it holds in cycles stays, once.
    """
    gc.collect()
    gc.freeze()


class Timer(Protocol):
    """A moment that was asked for."""

    def cancel(self) -> None:
        """Forget it; harmless afterwards."""
        ...


class Scheduler(Protocol):
    """A call's time and hands. Everything it calls is called on one thread, one after another."""

    def now(self) -> float:
        """Seconds since the call began; never goes back."""
        ...

    def later(self, moment: float, action: Callable[[], None]) -> Timer:
        """Call `action` when `now()` has reached `moment`."""
        ...

    def soon(self, action: Callable[[], None]) -> None:
        """Call `action` on the call's thread; may be called from any other."""
        ...

    def work(self, name: str, job: Callable[[], _Result], done: Done[_Result], limit_s: float) -> None:
        """Do work elsewhere, then call `done`.

        Work that is late is given up with an `EngineTimeoutError`; what it gives afterwards is dropped.

        Args:
            name: what kind of work: `ears`, `stt`, `guess`, `answer`, `tts`, `records`.
            job: runs in another thread.
            limit_s: how long it may take, seconds.
        """
        ...


class Workers(Protocol):
    """Threads that know which kind of work they are given, as `serving.call.pools.WorkPools`."""

    def submit(self, name: str, job: Callable[[], None]) -> Callable[[], object]:
        """Do it, and return what gives it up; harmless when the work is over."""
        ...


class _OnePool:
    """One executor for all kinds of work; work that hangs keeps one of its threads."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, _name: str, job: Callable[[], None]) -> Callable[[], None]:
        """See `Workers.submit`."""
        future = self._pool.submit(job)

        def give_up() -> None:
            future.cancel()

        return give_up


class AsyncScheduler:
    """Work in threads, timers on the running event loop.

    Args:
        pool: threads, by kind of work where one that hangs must not hold up the others.
        loop: default: the running one.
    """

    def __init__(self, pool: Executor | Workers, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._pool: Workers = _OnePool(pool) if isinstance(pool, Executor) else pool
        self._loop = loop or asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._limits: dict[object, tuple[float, Callable[[], None]]] = {}
        self._watch: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds since this was made."""
        return self._loop.time() - self._origin

    def later(self, moment: float, action: Callable[[], None]) -> Timer:
        """See `Scheduler.later`."""
        return self._loop.call_at(self._origin + moment, action)

    def soon(self, action: Callable[[], None]) -> None:
        """See `Scheduler.soon`."""
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:  # the loop has closed: the server is gone
            logger.debug("something came after the end")

    def work(self, name: str, job: Callable[[], _Result], done: Done[_Result], limit_s: float) -> None:
        """See `Scheduler.work`."""
        piece = object()

        def finish(result: _Result | None, error: Exception | None) -> None:
            if self._limits.pop(piece, None) is not None:
                done(result, error)

        def run() -> None:
            try:
                outcome: tuple[_Result | None, Exception | None] = (job(), None)
            except Exception as error:  # told to whoever waits for the result
                outcome = (None, error)
            self.soon(lambda: finish(*outcome))

        def give_up() -> None:
            abandon()
            finish(None, EngineTimeoutError(f"{name} did not finish within {limit_s:g} s."))

        # Lines that are logged in the thread know their call as those logged here do.
        here = contextvars.copy_context()
        abandon = self._pool.submit(name, lambda: here.run(run))
        self._limits[piece] = (self._loop.time() + limit_s, give_up)
        self._watch_limits()

    def _watch_limits(self) -> None:
        """One timer for the work that must be over first: nearly all of it is."""
        first = min(moment for moment, _ in self._limits.values())
        if self._watch is not None and self._watch.when() <= first:
            return
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(first, self._enforce_limits)

    def _enforce_limits(self) -> None:
        self._watch = None
        now = self._loop.time()
        try:
            for moment, give_up in list(self._limits.values()):
                if moment <= now:
                    give_up()
        finally:  # whoever is told of a piece may break; the others are told all the same
            if self._limits:
                self._watch_limits()


class Serial:
    """Work that must be done one piece after another; each begins when the one before is told of.

    Args:
        scheduler: where it is done.
        name: what kind of work it is.
        limit_s: how long a piece may take.
    """

    def __init__(self, scheduler: Scheduler, name: str, limit_s: float) -> None:
        self._scheduler = scheduler
        self._name = name
        self._limit_s = limit_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False

    def add(self, job: Callable[[], _Result], done: Done[_Result]) -> None:
        """Do a piece of work after all that was added before."""

        def finished(result: _Result | None, error: Exception | None) -> None:
            self._busy = False
            try:
                done(result, error)
            finally:
                self._next()

        self._waiting.append(lambda: self._scheduler.work(self._name, job, finished, self._limit_s))
        self._next()

    def _next(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._waiting.popleft()()


@dataclass(order=True, slots=True)
class _Moment:
    at: float
    order: int
    action: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.action = None


class VirtualScheduler:
    """Time that moves when it is told to.

    Args:
        cost: seconds that a kind of work takes; default: none.
    """

    def __init__(self, cost: Callable[[str], float] = lambda _name: 0.0) -> None:
        self._cost = cost
        self._now = 0.0
        self._order = 0
        self._moments: list[_Moment] = []

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def later(self, moment: float, action: Callable[[], None]) -> Timer:
        """See `Scheduler.later`."""
        self._order += 1
        entry = _Moment(max(moment, self._now), self._order, action)
        heapq.heappush(self._moments, entry)
        return entry

    def soon(self, action: Callable[[], None]) -> None:
        """See `Scheduler.soon`."""
        self.later(self._now, action)

    def work(self, name: str, job: Callable[[], _Result], done: Done[_Result], limit_s: float) -> None:
        """Run the job now; its end comes when its cost has passed, or its limit."""
        try:
            outcome: tuple[_Result | None, Exception | None] = (job(), None)
        except Exception as error:  # told to whoever waits for the result
            outcome = (None, error)
        cost = self._cost(name)
        if cost > limit_s:
            outcome = (None, EngineTimeoutError(f"{name} did not finish within {limit_s:g} s."))
        self.later(self._now + min(cost, limit_s), lambda: done(*outcome))

    def run_until(self, moment: float) -> None:
        """Let time pass up to a moment; all that is due happens in order."""
        while self._moments and self._moments[0].at <= moment:
            entry = heapq.heappop(self._moments)
            self._now = max(self._now, entry.at)
            if entry.action is not None:
                entry.action()
        self._now = max(self._now, moment)

    @property
    def pending(self) -> int:
        """Moments and results that are still to come."""
        return sum(entry.action is not None for entry in self._moments)
