"""Threads for the work of live calls, apart by kind, so that an engine that hangs takes no other's threads.

What becomes of a thread whose work hangs is told in `serving.work_pool`.
"""

from collections.abc import Callable

from serving.work_pool import WorkPool

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

    def submit(self, name: str, job: Callable[[], None]) -> Callable[[], bool]:
        """Do work of a name (`serving.call.scheduler.Scheduler.work` lists them); see `WorkPool.submit`."""
        return self._by_name[name].submit(job)

    def close(self) -> None:
        """Nothing more is done; records that are being written have a moment."""
        for kind, pool in self._pools.items():
            pool.close(_LAST_WORDS_S if kind == _RECORDS else 0.0)
