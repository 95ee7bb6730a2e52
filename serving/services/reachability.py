"""Whether what a server depends on answers: asked in the background, so that a health check never waits."""

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from loguru import logger

from serving.call.faults import fault

EVERY_S = 5.0
"""Seconds between two looks at a dependency."""
_STALE = 3
"""Looks that may be missing before a dependency that says nothing counts as gone."""


class Reachability:
    """The newest answer of each dependency; use it as a context manager.

    Args:
        checks: by name, each raising where its dependency does not answer; each may block for long.
        every_s: seconds between two looks.
        now: monotonic seconds.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        *,
        every_s: float = EVERY_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = dict(checks)
        self._every_s = every_s
        self._now = now
        self._answered: dict[str, float | None] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        begun = self._now()
        self._answered = dict.fromkeys(self._checks, begun)  # until the first look nothing speaks against it
        for name, check in self._checks.items():
            # One thread each: a dependency that hangs must not make the others look gone.
            thread = threading.Thread(target=self._look, args=(name, check), name=f"look-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(1.0)

    def now(self) -> dict[str, bool]:
        """Whether each dependency answered lately; returns at once."""
        oldest = self._now() - _STALE * self._every_s
        return {name: when is not None and when >= oldest for name, when in self._answered.items()}

    def _look(self, name: str, check: Callable[[], None]) -> None:
        answers = True
        while True:
            try:
                check()
            except Exception as error:  # whatever a driver raises
                self._answered[name] = None
                if answers:
                    logger.warning("{} does not answer: {}", name, fault(name, error))
                answers = False
            else:
                self._answered[name] = self._now()
                if not answers:
                    logger.info("{} answers again", name)
                answers = True
            if self._stop.wait(self._every_s):
                return
