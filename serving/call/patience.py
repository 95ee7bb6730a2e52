"""A time limit for engines that cannot be trusted to keep their own.

An engine works in a thread of its own; when it is late the call goes on without it. The thread cannot be
stopped, so the number of those that hang is limited: beyond it, engines are not asked at all.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

from serving.errors import EngineTimeoutError, UnavailableError
from serving.settings import Settings
from serving.speech.protocols import EngineInfo

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")
MOST_AT_ONCE = 64
"""Engines at work or hanging in one process."""


def llm_limit_s(settings: Settings, llm: EngineInfo) -> float:
    """The engine's own limit and a moment more, for the whole of a turn, seconds."""
    own = {"local": settings.local_llm_timeout_s, "vllm": settings.vllm_timeout_s}
    return own.get(llm.name, settings.mistral_timeout_s) + 2.0


class Patience:
    """Waits for work, but not for ever.

    Args:
        limit_s: how long a piece of work may take, seconds: a language model's whole turn, an utterance's
            recognition, a sentence's sound.
        most: threads at work or hanging at a time.
    """

    def __init__(self, limit_s: float, most: int = MOST_AT_ONCE) -> None:
        self._limit_s = limit_s
        self._free = threading.BoundedSemaphore(most)

    def deadline(self) -> float:
        """When work that begins now must be done, on `time.monotonic`."""
        return time.monotonic() + self._limit_s

    def wait_for(self, work: Callable[[], _Result], deadline: float) -> _Result:
        """Do work in a thread and wait for its result.

        Raises:
            EngineTimeoutError: it was not done by the deadline.
            UnavailableError: too many engines hang already, or no thread can be had.
            Exception: what the work raised.
        """
        if not self._free.acquire(blocking=False):
            raise UnavailableError("Too many engines are at work or hang.")
        done: SimpleQueue[tuple[_Result | None, Exception | None]] = SimpleQueue()

        def run() -> None:
            try:
                done.put((work(), None))
            except Exception as error:  # it is raised again where somebody waits for it
                done.put((None, error))
            finally:
                self._free.release()

        context = contextvars.copy_context()  # what is logged in the thread belongs to the call, too
        try:
            threading.Thread(target=context.run, args=(run,), name="engine", daemon=True).start()
        except RuntimeError as exhausted:
            self._free.release()
            raise UnavailableError("No thread can be had for an engine.") from exhausted
        try:
            result, error = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise self._late() from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # the work's own, also where that is None

    def each(self, work: Callable[[], Iterable[_Item]]) -> Iterator[_Item]:
        """Give the items that work yields, each as soon as it is there, until the time for all is over.

        Raises:
            EngineTimeoutError: they did not end in time.
            UnavailableError: too many engines hang already.
            Exception: what the work raised.
        """
        deadline = self.deadline()
        items = self.wait_for(lambda: iter(work()), deadline)
        while True:
            item = self.wait_for(lambda: next(items, _END), deadline)
            if isinstance(item, _End):
                return
            yield item
            if time.monotonic() > deadline:  # work that is always quick, and never done
                raise self._late()

    def _late(self) -> EngineTimeoutError:
        return EngineTimeoutError(f"The engine did not answer within {self._limit_s:g} s.")


class _End:
    """Stands behind the last item."""


_END = _End()
