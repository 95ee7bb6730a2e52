"""Daemon threads for one kind of work, so that work which hangs holds up neither its own kind nor the exit.

Work that is given up while it runs keeps its thread, which Python cannot take away from it; the thread is
then made up for by a fresh one, up to a limit.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from loguru import logger

REPLACEMENTS = 2
"""How many times over the threads of a kind are made up for while they hang; then the kind stands still."""


class _Work:
    """A job that is begun once, by a thread or by whoever drops it, and over once, done or given up."""

    __slots__ = ("_began", "_over", "dropped", "job")

    def __init__(self, job: Callable[[], None]) -> None:
        self.job = job
        self.dropped = False
        """It was never done and never will be."""
        self._began = threading.Lock()
        self._over = threading.Lock()

    def begin(self) -> bool:
        """Whether nobody has begun it before."""
        return self._began.acquire(blocking=False)

    def drop(self) -> bool:
        """Whether nobody had begun it; nobody will."""
        if not self.begin():
            return False
        self.dropped = True
        self.job = _nothing  # what is left of it waits for a thread, and none may ever be free
        return self.end()

    def end(self) -> bool:
        """Whether nobody has ended it before."""
        return self._over.acquire(blocking=False)


def _nothing() -> None:
    """What a dropped job is."""


class WorkPool:
    """Daemon threads for one kind of work, made as they are needed.

    Every 20 ms of sound of every line is one piece of work: it passes one queue and a few locks that nobody
    holds, all of them C, and no condition.

    Args:
        kind: its name in logs.
        threads: how many work at a time, those that hang not counted.
        replacements: how many times over the threads may be made up for.
    """

    def __init__(self, kind: str, threads: int, *, replacements: int = REPLACEMENTS) -> None:
        self._kind = kind
        self._threads = threads
        self._most_hung = threads * replacements
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._wanted = 0
        """Pieces that wait or are being done."""
        self._alive = 0
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

    def submit(self, job: Callable[[], None]) -> Callable[[], bool]:
        """Do work in a thread, after what came before; `job` raises nothing.

        Returns:
            What gives it up: work that waits is dropped, work that runs loses its thread. It tells whether
            the work never began and never will. Harmless when the work is over.

        Raises:
            RuntimeError: the pool is closed.
        """
        work = _Work(job)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads for {self._kind} are closed")
            self._wanted += 1
            self._staff()
            self._queue.put(work)
        return lambda: self._give_up(work)

    def close(self, wait_s: float = 0.0) -> None:
        """Drop what waits; nothing more is done.

        Args:
            wait_s: how long to let work finish, that which waits as well; what hangs is not waited for.
        """
        deadline = time.monotonic() + wait_s
        with self._lock:
            self._closed = True
            while wait_s and self._wanted and time.monotonic() < deadline:
                self._quiet.wait(deadline - time.monotonic())
            with contextlib.suppress(Empty):
                while True:
                    work = self._queue.get_nowait()
                    if work is not None:
                        self._wanted -= work.drop()
            for _ in range(self._alive):
                self._queue.put(None)

    def _staff(self) -> None:
        """Have threads for what is wanted; the lock is held.

        One that cannot be had now is asked for again with the next work.
        """
        most = min(self._threads, self._threads + self._most_hung - self._hung)
        while self._alive < min(most, self._wanted):
            self._made += 1
            name = f"{self._kind}-{self._made}"
            try:
                threading.Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError as error:
                logger.error("a thread for {} cannot be had: {}", self._kind, error)
                return
            self._alive += 1

    def _give_up(self, work: _Work) -> bool:
        if work.drop():
            self._no_more_wanted()
            return True
        if not work.end():
            return work.dropped
        with self._lock:
            self._wanted -= 1
            self._hung += 1
            self._alive -= 1
            self._staff()
            hung, stuck = self._hung, self.stuck
            if self._closed:
                self._quiet.notify_all()
        logger.error(
            "{} hangs and keeps its thread, {} in all; {}",
            *(self._kind, hung),
            "nothing of its kind is done any more" if stuck else "a fresh one takes its place",
        )
        return False

    def _run(self) -> None:
        """A thread's life: it ends with the pool, or with work that had been given up."""
        while (work := self._queue.get()) is not None:
            if not work.begin():
                continue
            try:
                work.job()
            except BaseException as error:  # the thread must live on for the next
                logger.error("{} broke: {}", self._kind, type(error).__name__)
            if not work.end():
                self._came_back()
                return
            self._no_more_wanted()
            del work  # while the thread waits, it keeps nothing alive of who asked for it

    def _no_more_wanted(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._closed:
                self._quiet.notify_all()

    def _came_back(self) -> None:
        """Work that had been given up is over; another thread has taken the place of its own."""
        with self._lock:
            self._hung -= 1
            self._staff()
        logger.info("{} that hung came back", self._kind)
