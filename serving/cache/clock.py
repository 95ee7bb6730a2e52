"""The time by which entries expire; it never goes back, whatever is done to the machine's clock."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from serving.errors import InvalidInputError


def utc(at: datetime, what: str) -> datetime:
    """A time that somebody else gave, in UTC.

    Args:
        at: the time.
        what: it is the time of, for the error.

    Raises:
        InvalidInputError: it has no time zone, or is no time of the calendar in UTC.
    """
    if at.tzinfo is None:
        raise InvalidInputError(f"The {what} has no time zone.", advice="Give it in UTC.")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInputError(f"The {what} is no time in UTC.") from error


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
