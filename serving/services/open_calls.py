"""Typed calls in progress: admission, one turn at a time for each, and an end for those left behind."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loguru import logger

from serving.call.caller import CallerLine
from serving.call.faults import fault
from serving.call.record import CallRecord, TurnRecord
from serving.call.session import CallSession
from serving.errors import MissingError, RefusedError, UnavailableError

MAX_CALLS = 200
"""Calls in progress at a time; the next one is refused at once (design D9)."""
IDLE_S = 600.0
"""A typed call without a turn for this long has been left; it is ended and recorded, seconds."""


@dataclass(slots=True)
class _Open:
    session: CallSession
    last_turn: float
    leaving: bool = False
    """Somebody waits for the turn in progress, to hang up then."""
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
        self._closed = False
        self._counted = counted
        self._now = now

    def __len__(self) -> int:
        return len(self._calls)

    def admit(self, session: CallSession) -> None:
        """Take a slot for a new call, then start it.

        Raises:
            UnavailableError: all slots are taken, or the server stops.
        """
        self.end_idle()
        call = _Open(session, self._now())
        with call.lock:  # nobody may end it before it has begun
            with self._admission:
                if self._closed:
                    raise UnavailableError("The lines are being closed.", advice="Call again in a minute.")
                if len(self._calls) >= MAX_CALLS:
                    raise UnavailableError("All lines are busy.", advice="Call again in a few minutes.")
                self._calls[session.call.call_id] = call
                self._counted(len(self._calls))
            try:
                session.start()
            except BaseException:
                self._forget(session.call.call_id)
                raise

    def turn(self, call_id: str, text: str) -> tuple[TurnRecord, bool]:
        """Take one turn; returns its record and whether the call is over.

        A turn never waits for another one: each that did would keep a thread from all other calls.

        Raises:
            MissingError: no such call in progress.
            RefusedError: the turn before is still being answered.
        """
        call = self._find(call_id)
        if not call.lock.acquire(blocking=False):
            raise RefusedError("The turn before is still being answered.", advice="Wait for its answer.")
        try:
            if _over(call):
                raise _gone(call_id)
            call.session.hear(CallerLine(None, text))
            call.last_turn = self._now()
            record, ended = call.session.turns[-1], _over(call)
        finally:
            call.lock.release()
        if ended:
            self._forget(call_id)
        return record, ended

    def hang_up(self, call_id: str) -> CallRecord:
        """End a call, after its turn in progress, and return its record.

        Raises:
            MissingError: no such call in progress.
            RefusedError: somebody is hanging up already.
        """
        call = self._find(call_id)
        with self._admission:
            if call.leaving:
                raise RefusedError("This call is being ended already.", advice="Wait for its end.")
            call.leaving = True
        with call.lock:
            call.session.hang_up()
        self._forget(call_id)
        return call.session.call

    def end_idle(self) -> None:
        """End the calls that were left; one with a turn in progress was not."""
        for call_id, call in list(self._calls.items()):
            if not call.lock.acquire(blocking=False):
                continue
            try:
                left = call.last_turn < self._now() - IDLE_S
                if left:
                    _end(call.session)
            finally:
                call.lock.release()
            if left:
                self._forget(call_id)

    def refuse_more(self) -> None:
        """Admit no more; the calls in progress go on."""
        with self._admission:
            self._closed = True

    def close(self) -> None:
        """Admit no more, and end every call: the server stops."""
        self.refuse_more()
        for call_id, call in list(self._calls.items()):
            with call.lock:
                _end(call.session)
            self._forget(call_id)

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


def _end(session: CallSession) -> None:
    """Hang up; a call that cannot be ended must not keep the others from it."""
    try:
        session.hang_up()
    except Exception as error:
        logger.error("call {} could not be ended: {}", session.call.call_id, fault("end", error))


def _gone(call_id: str) -> MissingError:
    return MissingError(f"There is no call {call_id[:64]} in progress.")
