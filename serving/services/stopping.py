"""How a process that takes calls stops when it is told to: everything that is open is closed first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

KILLED_BY_SIGTERM = 128 + signal.SIGTERM
"""Exit code by the shell's convention."""


@contextmanager
def stopped_by_sigterm(exit_code: int = 0) -> Iterator[None]:
    """Turn SIGTERM into `SystemExit`; by default it ends the process on the spot, and calls stay open.

    A second one changes nothing: what the first one set off shall be done to its end.

    Args:
        exit_code: what the process ends with.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(exit_code)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
