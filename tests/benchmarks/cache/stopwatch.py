"""Times of single calls, and which of them the kernel disturbed; needs nothing but Python."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
FEWEST = 30


@dataclass(slots=True)
class Stopwatch:
    """Times in seconds, in order.

    Attributes:
        disturbed: for each, whether the kernel gave this thread's processor to somebody else meanwhile, which
            says something about the machine and nothing about the cache. Waiting for a disk is none.
    """

    took_s: list[float] = field(default_factory=list)
    disturbed: list[bool] = field(default_factory=list)

    def time(self, call: Callable[[], T]) -> T:
        """Make one call and keep its time."""
        before = _switches()
        begin = time.perf_counter()
        result = call()
        self.took_s.append(time.perf_counter() - begin)
        self.disturbed.append(_switches() != before)
        return result

    def quiet_ms(self) -> list[float]:
        """The undisturbed times in milliseconds; all of them where nearly all were disturbed."""
        quiet = [took for took, busy in zip(self.took_s, self.disturbed, strict=True) if not busy]
        return [1_000 * took for took in (quiet if len(quiet) >= FEWEST else self.took_s)]


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
