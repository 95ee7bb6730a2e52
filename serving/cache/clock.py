"""The time by which entries expire; it never goes back, whatever is done to the machine's clock."""

import threading
from collections.abc import Callable
from datetime import datetime


class ForwardClock:
    """The latest of the clock, all that was told before, and what the cache itself has witnessed.

    Args:
        now: UTC time of the machine.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._latest: datetime | None = None
        self._turning = threading.Lock()

    def now(self, witnessed: datetime | None = None) -> datetime:
        """UTC time.

        Args:
            witnessed: a time that has certainly passed, such as that of the newest entry.
        """
        with self._turning:
            times = [self._now(), self._latest, witnessed]
            self._latest = max(time for time in times if time is not None)
            return self._latest
