"""Live calls of one server: admission before a socket is accepted, the drain, and how each call ended.

One event loop owns this; the shared state, which may block, is only asked through its background thread.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from loguru import logger

from serving.call.faults import fault
from serving.call.line import Line, LineEvents
from serving.call.live_background import BackgroundState
from serving.call.live_state import all_lines_busy, lines_closing
from serving.call.session import new_call_id
from serving.errors import UnavailableError

MAX_ENDINGS = 1_000
"""Ended calls whose end a carrier may still ask for; the oldest are forgotten."""


class LiveCaller(LineEvents, Protocol):
    """What a socket needs of a live call."""

    @property
    def ended(self) -> bool:
        """The call is over, and its line was told so."""
        ...

    def start(self) -> None:
        """Begin: greet the caller."""
        ...

    def abandon(self, why: str) -> None:
        """The process ends: file what is known of a call that is over; harmless otherwise."""
        ...


class OpenLive(Protocol):
    """Makes a live call that has not started."""

    def __call__(self, line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> LiveCaller:
        """Make it, with this id.

        Args:
            line: to the caller.
            call_id: under which it was admitted.
            caller_id: the caller's number or customer id; stored as a keyed hash only.
            closed: to be called on the event loop when the call is over and on record.
        """
        ...


class CarriedCall(Protocol):
    """A socket with its call, as the server sees it."""

    def stop(self, why: str) -> None:
        """End the call now, politely; harmless twice."""
        ...


class FarEnding(StrEnum):
    """What a carrier does with a caller whose stream is over."""

    TRANSFER = "transfer"
    HANG_UP = "hang_up"
    BROKEN = "broken"
    """Our side failed while the caller was on the line."""


class LiveCalls:
    """Admission, the calls in progress, and the drain.

    Args:
        open_call: makes the calls.
        state: slots, shared with other servers where it is Redis.
        most: calls at a time.
        counted: told the number of calls whenever it changes.
        refused: told why a caller was turned away: one of `serving.telemetry.metrics.REFUSALS`.
    """

    def __init__(
        self,
        open_call: OpenLive,
        state: BackgroundState,
        *,
        most: int,
        counted: Callable[[int], None] = lambda _number: None,
        refused: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._open_call = open_call
        self._state = state
        self._most = most
        self._counted = counted
        self._refused = refused
        self._slots: set[str] = set()
        self._carried: dict[str, CarriedCall] = {}
        self._unfiled: dict[str, LiveCaller] = {}
        self._endings: OrderedDict[str, FarEnding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def busy(self) -> bool:
        """Whether calls are in progress, or their records still on their way."""
        return bool(self._slots or self._unfiled)

    @property
    def draining(self) -> bool:
        """No more calls are taken."""
        return self._state.draining

    @property
    def full(self) -> bool:
        """All slots are taken by this server's own calls."""
        return len(self) >= self._most

    async def admit(self) -> str:
        """Take a slot and return the new call's id; `leave` gives it back.

        Raises:
            UnavailableError: all lines are busy, the server drains, or the shared state is out of reach.
        """
        call_id = new_call_id()
        try:
            self._check()
            self._slots.add(call_id)
            await self._state.admitted(call_id, self._most)
        except BaseException as error:
            self._slots.discard(call_id)
            if isinstance(error, UnavailableError):
                self._refused(_reason(error))
            raise
        self._counted(len(self))
        return call_id

    async def could_take(self) -> bool:
        """Whether a call would be admitted at this moment; holds nothing."""
        try:
            call_id = await self.admit()
        except UnavailableError:
            return False
        self.leave(call_id)
        return True

    def leave(self, call_id: str) -> None:
        """Give a slot back; harmless twice."""
        if call_id not in self._slots:
            return
        self._slots.discard(call_id)
        self._carried.pop(call_id, None)
        self._counted(len(self))
        self._state.release(call_id)

    def open(self, line: Line, call_id: str, caller_id: str) -> LiveCaller:
        """Make the call of a slot; it has not started.

        Raises:
            VoicebotError: it cannot be made.
        """
        call = self._open_call(
            line, call_id=call_id, caller_id=caller_id, closed=lambda: self._filed(call_id)
        )
        self._unfiled[call_id] = call
        return call

    def carry(self, call_id: str, call: CarriedCall) -> None:
        """Remember who carries a call, until `leave`."""
        self._carried[call_id] = call

    def drain(self) -> None:
        """Take no more calls; those in progress go on."""
        if not self.draining:
            logger.info("no more calls are taken; {} go on", len(self))
        self._state.drain()

    def stop(self, why: str) -> None:
        """End all calls in progress, politely; take no more."""
        self.drain()
        for call in list(self._carried.values()):
            call.stop(why)

    def abandon(self, why: str) -> None:
        """File calls that are over without the answers that are still being made for them."""
        for call_id, call in list(self._unfiled.items()):
            try:
                call.abandon(why)
            except Exception as error:  # the others are to be filed, and the server is to stop
                logger.error("call {} is not filed: {}", call_id, fault("abandon", error))

    def _filed(self, call_id: str) -> None:
        self._unfiled.pop(call_id, None)

    def ended(self, far_call: str, ending: FarEnding) -> None:
        """Remember how a carrier's call ended; the first word counts."""
        if not far_call or far_call in self._endings:
            return
        self._endings[far_call] = ending
        if len(self._endings) > MAX_ENDINGS:
            self._endings.popitem(last=False)

    def ending(self, far_call: str) -> FarEnding | None:
        """How a carrier's call ended here; None where it never was here, or long ago."""
        return self._endings.get(far_call)

    def _check(self) -> None:
        """What this server knows by itself, before the shared state is asked."""
        if self.draining:
            raise lines_closing()
        if self.full:
            raise all_lines_busy()


def _reason(error: UnavailableError) -> str:
    """Why a caller was turned away, from what the caller is told."""
    known = {lines_closing().message: "draining", all_lines_busy().message: "full"}
    return known.get(error.message, "unavailable")
