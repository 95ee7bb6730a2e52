"""What a live call tells of itself while it goes on: to its line, and to whoever watches all calls.

Everything told is redacted. Who is told must not disturb: what breaks in telling costs nothing else.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from serving.call.book import CallBook
from serving.call.dialogue import DialogueState
from serving.call.faults import fault
from serving.call.line import Line
from serving.call.live_state import LiveSnapshot
from serving.call.machine import Ending, TurnState
from serving.call.record import TurnRecord
from serving.call.understanding import redacted_words
from serving.plain import plain


class LiveNews:
    """Tells what happens.

    Args:
        book: the call's record.
        line: where the caller is.
        changed: told of each change of state.
    """

    def __init__(self, book: CallBook, line: Line, changed: Callable[[LiveSnapshot], None]) -> None:
        self._book = book
        self._line = line
        self._changed = changed
        self._heard = (-1, "")

    def began(self) -> None:
        """The call has begun."""
        call = self._book.call
        about = {"call_id": call.call_id, "adapter": call.adapter, "engines": dict(call.engines)}
        self._tell("call", about)

    def state(self, state: TurnState, happened: str) -> None:
        """The call's state has changed, and what brought it about."""
        call, turns = self._book.call, self._book.turns
        snapshot = LiveSnapshot(
            call.call_id, call.started_at, datetime.now(UTC), call.transport, call.adapter,
            state.phase.value, state.turn, state.epoch, happened,
            turns[-1].decision.value if turns else "", arm=call.arm,
        )  # fmt: skip
        self._tell("state", {"phase": snapshot.phase, "turn": state.turn, "happened": happened})
        try:
            self._changed(snapshot)
        except Exception as error:
            self._book.notes.warning("a watcher failed: {}", fault("live state", error))

    def partial(self, turn: int, text: str, dialogue: DialogueState) -> None:
        """Words that are being heard, when they have changed; what cannot be redacted is not shown."""
        if (turn, text) == self._heard:  # asked ten times a second, and a minute of words takes a millisecond
            return
        self._heard = turn, text
        try:
            words = redacted_words(text, dialogue, growing=True).text if text else ""
        except Exception as error:
            self._book.notes.debug("words are not shown: {}", fault("redaction", error))
            return
        if words:
            self._tell("partial", {"turn": turn, "text": words})

    def said(self, turn: int, sentence: str) -> None:
        """A sentence, with placeholders, is on its way to the caller."""
        self._tell("say", {"turn": turn, "text": sentence})

    def committed(self, record: TurnRecord) -> None:
        """A turn is finalised."""
        self._tell("turn", {"turn": plain(record)})

    def ended(self, ending: Ending, *, transfer: bool) -> None:
        """The call is over."""
        self._tell("ended", {"ending": ending.value, "transfer": transfer})

    def _tell(self, event: str, facts: Mapping[str, Any]) -> None:
        try:
            self._line.tell(event, facts)
        except Exception as error:
            self._book.notes.warning("the line was not told: {}", fault("line", error))
