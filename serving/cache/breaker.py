"""A dependency that failed a few times in a row is left alone for a while, so that it costs nobody time."""

import threading
import time
from collections.abc import Callable

MOST_FAILURES = 3
REST_S = 2.0


class Breaker:
    """Counts failures in a row. Thread-safe.

    After `most` of them nothing is asked for `rest_s` seconds; then one try at a time, until one succeeds.

    Args:
        now: monotonic seconds.
    """

    def __init__(
        self,
        *,
        most: int = MOST_FAILURES,
        rest_s: float = REST_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._rest_s = rest_s
        self._now = now
        self._failures = 0
        self._again_at = 0.0
        self._lock = threading.Lock()

    def may_ask(self) -> bool:
        """Whether to ask now; who is told yes says afterwards how it went."""
        with self._lock:
            if self._failures < self._most:
                return True
            now = self._now()
            if now < self._again_at:
                return False
            self._again_at = now + self._rest_s  # for the others: this one tries
            return True

    def succeeded(self) -> bool:
        """It answered; whether it had been left alone before."""
        with self._lock:
            rested, self._failures = self._failures >= self._most, 0
            return rested

    def failed(self) -> bool:
        """It did not answer; whether it is left alone from now on."""
        with self._lock:
            self._failures += 1
            self._again_at = self._now() + self._rest_s
            return self._failures == self._most
