"""Typed calls in progress: admission, one turn at a time for each, and an end for those left behind."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.call.caller import CallerLine
from serving.call.record import CallRecord, TurnRecord
from serving.call.session import CallSession
from serving.errors import MissingError, UnavailableError

MAX_CALLS = 200
"""Calls in progress at a time; the next one is refused at once (design D9)."""
IDLE_S = 600.0
"""A typed call without a turn for this long has been left; it is ended and recorded, seconds."""


@dataclass(slots=True)
class _Open:
    session: CallSession
    last_turn: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class OpenCalls:
    """The calls of one server.

    Args:
        counted: told the number of calls whenever it changes.
        now: monotonic seconds.
    """

    def __init__(self, *, counted: Callable[[int], None], now: Callable[[], float] = time.monotonic) -> None:
        self._calls: dict[str, _Open] = {}
        self._admission = threading.Lock()
        self._counted = counted
        self._now = now

    def __len__(self) -> int:
        return len(self._calls)

    def admit(self, session: CallSession) -> None:
        """Take a slot for a new call, then start it.

        Raises:
            UnavailableError: all slots are taken.
        """
        self._end_idle()
        with self._admission:
            if len(self._calls) >= MAX_CALLS:
                raise UnavailableError("All lines are busy.", advice="Call again in a few minutes.")
            self._calls[session.call.call_id] = _Open(session, self._now())
            self._counted(len(self._calls))
        session.start()

    def turn(self, call_id: str, text: str) -> tuple[TurnRecord, bool]:
        """Take one turn; returns its record and whether the call is over.

        Raises:
            MissingError: no such call in progress.
        """
        call = self._find(call_id)
        with call.lock:
            if _over(call):
                raise _gone(call_id)
            call.last_turn = self._now()
            call.session.hear(CallerLine(None, text))
            record, ended = call.session.turns[-1], _over(call)
        if ended:
            self._forget(call_id)
        return record, ended

    def hang_up(self, call_id: str) -> CallRecord:
        """End a call and return its record.

        Raises:
            MissingError: no such call in progress.
        """
        call = self._find(call_id)
        with call.lock:
            call.session.hang_up()
        self._forget(call_id)
        return call.session.call

    def hang_up_all(self) -> None:
        """End every call: the server stops."""
        for call_id in list(self._calls):
            self.hang_up(call_id)

    def _end_idle(self) -> None:
        limit = self._now() - IDLE_S
        for call_id in [id_ for id_, call in list(self._calls.items()) if call.last_turn < limit]:
            self.hang_up(call_id)

    def _find(self, call_id: str) -> _Open:
        call = self._calls.get(call_id)
        if call is None:
            raise _gone(call_id)
        return call

    def _forget(self, call_id: str) -> None:
        with self._admission:
            self._calls.pop(call_id, None)
            self._counted(len(self._calls))


def _over(call: _Open) -> bool:
    return call.session.ended


def _gone(call_id: str) -> MissingError:
    return MissingError(f"There is no call {call_id[:64]} in progress.")
