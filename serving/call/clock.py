"""The call's clock, in seconds since the call began.

For files, audio time passes at once but is counted: `wait_until` moves the clock to a moment that has
not come yet and leaves it alone when work has already taken longer. So recognising while the caller
still talks costs nothing, falling behind real time costs what it costs, and every latency is on one
scale.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Now(Protocol):
    """A time to be read."""

    def now(self) -> float:
        """Seconds since the call began; never goes back."""
        ...


class Clock(Now, Protocol):
    """Time of a call that can be waited for."""

    def wait_until(self, moment: float) -> None:
        """Return when `now()` is at least `moment`."""
        ...


class FileClock:
    """Counts computing as it takes place and skips over audio time.

    Args:
        counter: monotonic seconds; tests give one that stands still or ticks evenly.
    """

    def __init__(self, counter: Callable[[], float] = time.perf_counter) -> None:
        self._counter = counter
        self._origin = counter()
        self._skipped = 0.0

    def now(self) -> float:
        """Seconds computed plus seconds of audio skipped."""
        return self._counter() - self._origin + self._skipped

    def wait_until(self, moment: float) -> None:
        """Skip the time that is left until `moment`, if any."""
        self._skipped += max(0.0, moment - self.now())


class Laps:
    """Contiguous stage times of one turn: each mark closes a lap where the last one ended.

    Laps of the same name add up; all laps together are exactly the time since the start. May be marked by the
    thread that answers beside the one that speaks. Once closed it stays as it is: what an answer still takes
    when its first sound plays is no part of the caller's wait.
    """

    def __init__(self, clock: Now, start: float) -> None:
        self._clock = clock
        self._last = start
        self._lock = threading.Lock()
        self._closed = False
        self.seconds: dict[str, float] = {}

    def mark(self, stage: str, at: float | None = None) -> float:
        """Add the time since the last mark to `stage`; returns the clock's time of this mark.

        Args:
            stage: its name.
            at: when it ended, where that is known; default: now. Never before the last mark.
        """
        with self._lock:
            now = max(self._clock.now() if at is None else at, self._last)
            if not self._closed:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
                self._last = now
            return now

    def close(self) -> None:
        """Take no more marks."""
        with self._lock:
            self._closed = True
