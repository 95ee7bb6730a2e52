"""When an adapter that could not be loaded is tried again: later each time; another target at once."""

from dataclasses import dataclass
from typing import Generic, TypeVar

_Target = TypeVar("_Target")
"""What is to be loaded; two that are equal are the same."""
_MAX_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Failure(Generic[_Target]):
    """The last failure to load.

    Attributes:
        target: what could not be loaded; None where not even that was known.
        message: why; empty without a failure.
        wait_s: time until it is tried again, seconds.
        retry_at: when that is, monotonic seconds.
    """

    target: _Target | None = None
    message: str = ""
    wait_s: float = 0.0
    retry_at: float = 0.0

    def may_retry(self, target: _Target | None, now: float) -> bool:
        """Whether a target may be loaded at a monotonic time, in seconds."""
        return target != self.target or now >= self.retry_at

    def again(self, target: _Target | None, message: str, now: float, poll_s: float) -> "Failure[_Target]":
        """The failure after one more: the wait begins with `poll_s` and doubles up to a minute."""
        wait_s = min(_MAX_RETRY_S, 2 * self.wait_s if target == self.target and self.wait_s else poll_s)
        return Failure(target, message, wait_s, now + wait_s)
