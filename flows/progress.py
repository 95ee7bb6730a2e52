"""What a flow tells while it works: steps with a bar on a terminal, nothing where nobody looks.

A context variable carries the reporter, because Prefect stores flow parameters and a live display is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Reporter(Protocol):
    """Shows where the work stands."""

    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of a named piece of work are finished."""
        ...


class _Silent:
    def step(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show nothing."""


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=_Silent())  # noqa: B039  # immutable


def report(name: str, done: int, total: int, note: str = "") -> None:
    """Tell the reporter of this context."""
    _reporter.get().step(name, done, total, note)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Let `report` reach `reporter` inside the block."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
