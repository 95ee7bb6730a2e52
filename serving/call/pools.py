"""Threads for the work of live calls, apart by kind, so that an engine that hangs takes no other's threads.

Work that is given up while it runs keeps its thread, which Python cannot take away from it; the thread is
then made up for by a fresh one, up to a limit. All are daemon threads: one that hangs holds up no exit.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from loguru import logger

REPLACEMENTS = 2
"""How many times over the threads of a kind are made up for while they hang; then the kind stands still."""
_LAST_WORDS_S = 3.0
"""How long closing waits for records that are being written, seconds."""
_FEWEST = 2
"""A guess must not wait for the recognition that it is to save, even where one call is taken."""
_RECORDS = "records"
_KINDS = {
    "ears": ("hearing", 16),
    "stt": ("recognition", 16),
    "guess": ("recognition", 16),
    "tts": ("voices", 16),
    "answer": ("answers", 32),
    _RECORDS: (_RECORDS, 4),
}
"""Kind of each work by its name, and the most threads of the kind: answers wait for networks, the others for
processors and a database that are no faster for more threads."""


class _Stage(Enum):
    WAITING = auto()
    RUNNING = auto()
    HUNG = auto()
    OVER = auto()


@dataclass(slots=True, eq=False)
class _Work:
    job: Callable[[], None]
    stage: _Stage = _Stage.WAITING


class WorkPool:
    """Daemon threads for one kind of work, made as they are needed.

    Args:
        kind: its name in logs.
        threads: how many work at a time, those that hang not counted.
        replacements: how many times over the threads may be made up for.
    """

    def __init__(self, kind: str, threads: int, *, replacements: int = REPLACEMENTS) -> None:
        self._kind = kind
        self._threads = threads
        self._most_hung = threads * replacements
        self._waiting: deque[_Work] = deque()
        self._change = threading.Condition()
        self._alive = 0
        self._idle = 0
        self._hung = 0
        self._made = 0
        self._closed = False

    @property
    def hung(self) -> int:
        """Work that was given up and still occupies a thread."""
        return self._hung

    @property
    def stuck(self) -> bool:
        """Every thread hangs and none is made up for any more: nothing of this kind is done."""
        return self._hung >= self._threads + self._most_hung

    def submit(self, job: Callable[[], None]) -> Callable[[], None]:
        """Do work in a thread, after what came before; `job` raises nothing.

        Returns:
            What gives it up: work that waits is dropped, work that runs loses its thread. Harmless when the
            work is over.

        Raises:
            RuntimeError: the pool is closed.
        """
        work = _Work(job)
        with self._change:
            if self._closed:
                raise RuntimeError(f"the threads for {self._kind} are closed")
            self._waiting.append(work)
            self._staff()
            self._change.notify()
        return lambda: self._give_up(work)

    def close(self, wait_s: float = 0.0) -> None:
        """Drop what waits; nothing more is done.

        Args:
            wait_s: how long to let work finish, that which waits as well; what hangs is not waited for.
        """
        deadline = time.monotonic() + wait_s
        with self._change:
            self._closed = True
            while wait_s and (self._waiting or self._alive - self._idle) and time.monotonic() < deadline:
                self._change.wait(deadline - time.monotonic())
            for work in self._waiting:
                work.stage = _Stage.OVER
            self._waiting.clear()
            self._change.notify_all()

    def _staff(self) -> None:
        """Have threads for what waits; the lock is held."""
        most = min(self._threads, self._threads + self._most_hung - self._hung)
        while self._alive < most and self._idle < len(self._waiting):
            self._made += 1
            name = f"{self._kind}-{self._made}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._alive += 1
            self._idle += 1
            thread.start()

    def _give_up(self, work: _Work) -> None:
        with self._change:
            if work.stage is _Stage.WAITING:
                self._waiting.remove(work)
            if work.stage is not _Stage.RUNNING:
                work.stage = _Stage.OVER
                return
            work.stage = _Stage.HUNG
            self._hung += 1
            self._alive -= 1
            self._staff()
            hung, stuck = self._hung, self.stuck
        logger.error(
            "{} hangs and keeps its thread, {} in all; {}",
            *(self._kind, hung),
            "nothing of its kind is done any more" if stuck else "a fresh one takes its place",
        )

    def _run(self) -> None:
        """A thread's life: it ends with the pool, or with work that had been given up."""
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                self._idle -= 1
                if not self._waiting:
                    self._alive -= 1
                    return
                work = self._waiting.popleft()
                work.stage = _Stage.RUNNING
            try:
                work.job()
            except BaseException as error:  # the thread must live on for the next
                logger.error("{} broke: {}", self._kind, type(error).__name__)
            if not self._done(work):
                logger.info("{} that hung came back", self._kind)
                return

    def _done(self, work: _Work) -> bool:
        """Whether the thread goes on; it does not where another has taken its place."""
        with self._change:
            late = work.stage is _Stage.HUNG
            work.stage = _Stage.OVER
            if late:
                self._hung -= 1
                self._staff()
            else:
                self._idle += 1
                if self._closed:
                    self._change.notify_all()
            return not late


class WorkPools:
    """Threads for all kinds of work of live calls; `AsyncScheduler` hands work to it by its name.

    Args:
        max_calls: calls at a time; each has at most one piece of work of a name in hand.
    """

    def __init__(self, max_calls: int) -> None:
        self._pools: dict[str, WorkPool] = {}
        self._by_name: dict[str, WorkPool] = {}
        for name, (kind, most) in _KINDS.items():
            threads = max(_FEWEST, min(max_calls, most))
            self._by_name[name] = self._pools.setdefault(kind, WorkPool(kind, threads))

    @property
    def hung(self) -> int:
        """Work of all kinds that was given up and still occupies a thread."""
        return sum(pool.hung for pool in self._pools.values())

    @property
    def stuck(self) -> tuple[str, ...]:
        """Kinds of work of which nothing is done any more."""
        return tuple(kind for kind, pool in self._pools.items() if pool.stuck)

    def submit(self, name: str, job: Callable[[], None]) -> Callable[[], None]:
        """Do work of a name (`serving.call.scheduler.Scheduler.work` lists them); see `WorkPool.submit`."""
        return self._by_name[name].submit(job)

    def close(self) -> None:
        """Nothing more is done; records that are being written have a moment."""
        for kind, pool in self._pools.items():
            pool.close(_LAST_WORDS_S if kind == _RECORDS else 0.0)
