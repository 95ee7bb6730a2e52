"""The record of one call in the making: turns finalised once, the end, and who is told.

What a half-duplex session and a live call have in common once a turn is over. Nothing here blocks but
`file_turn` and `file_end`, which write to the database and never raise.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from serving.call.dialogue import DialogueState
from serving.call.faults import fault
from serving.call.filing import Filing
from serving.call.machine import Ending
from serving.call.open_turn import OpenTurn
from serving.call.ports import CallObserver, Journal
from serving.call.record import CallRecord, TurnRecord, Unrecorded
from serving.call.recording import Recording
from serving.call.understanding import left_open, redacted_words

CUT_TAIL = 500
"""Characters behind the limit of a turn that are read but never kept: a value that was cut in two is not
recognised as one, and is shorter than this."""


class CallBook:
    """What is written down of a call.

    Args:
        call: its record at the start.
        journal: where records go, and who watches.
        max_turn_chars: longest text of a turn that is kept.
    """

    def __init__(self, call: CallRecord, journal: Journal, max_turn_chars: int) -> None:
        self.call = call
        """Complete once the call has ended."""
        self.notes = logger.bind(call=call.call_id)
        """The call's log."""
        self._journal = journal
        self._filing = Filing(journal.records, journal.aside, journal.record_failed)
        self._max_chars = max_turn_chars
        self._turns: list[TurnRecord] = []

    def named(self) -> AbstractContextManager[None]:
        """Lines that are logged in this context, wherever in the code, name the call."""
        return logger.contextualize(call=self.call.call_id)

    @property
    def turns(self) -> tuple[TurnRecord, ...]:
        """Turns finalised so far."""
        return tuple(self._turns)

    @property
    def most_chars(self) -> int:
        """Characters of a turn that are read."""
        return self._max_chars + CUT_TAIL

    def begin(self) -> None:
        """File the beginning."""
        self.notes.info("call began: {}, adapter {}", self.call.transport, self.call.adapter)
        self._filing.begin(self.call)

    def cleaned(self, text: str) -> str:
        """Words on one line: control characters and broken Unicode become spaces.

        What is longer than any turn may be is cut before anything looks at it.
        """
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[: self.most_chars]

    def finalise(
        self, turn: OpenTurn, dialogue: DialogueState, *, heard: str, interrupted: bool
    ) -> tuple[TurnRecord, DialogueState]:
        """Close a turn; returns its record and the dialogue, which knows what its words introduced."""
        text = turn.reply.text if turn.reply else ""
        if turn.reply is None:
            text, dialogue = self._redacted(turn, dialogue)
        record = turn.finalised(self.call.call_id, text=text, heard=heard, interrupted=interrupted)
        self._turns.append(record)
        return record, dialogue

    def file_turn(self, record: TurnRecord) -> None:
        """Write a turn down and tell of it."""
        self._filing.add_turn(record)
        self.notes.info(
            "turn {}: {}, {:.0f} ms", record.index, record.decision, 1_000 * (record.voice_to_voice_s or 0.0)
        )
        self._tell(lambda observer: observer.turn_committed(record))

    def missed(self) -> None:
        """A record that was to be written hangs, or was given up before it began."""
        self._filing.missed()

    def close(self, ending: Ending, **facts: Any) -> None:
        """Complete the call's record.

        Args:
            ending: how it ended.
            facts: further fields of `CallRecord`.
        """
        self.call = replace(self.call, ended_at=datetime.now(UTC), ending=ending, turns=self.turns, **facts)

    def file_end(self, recording: Recording) -> None:
        """Write the recording and the end of the call down, and tell of it."""
        path, unrecorded = self._write(recording)
        self.call = replace(self.call, recording=path, unrecorded=unrecorded)
        self._filing.end(self.call)
        self.notes.info("call ended: {} after {} turns", self.call.ending, len(self._turns))
        self._tell(lambda observer: observer.call_ended(self.call))

    def _redacted(self, turn: OpenTurn, dialogue: DialogueState) -> tuple[str, DialogueState]:
        """The words of a turn without a reply; what they introduce keeps its placeholder in later turns.

        What they begin ("my name is"), the next turn goes on with, as it does behind an answer.
        """
        try:
            redacted = redacted_words(turn.text, dialogue)
            begun = left_open(turn.text, dialogue)[1] or dialogue.unfinished
        except Exception as error:  # words that cannot be redacted are not kept
            turn.failed(fault("redaction", error))
            return "", dialogue
        whole = redacted.text[:-CUT_TAIL] if len(turn.text) >= self.most_chars else redacted.text
        later = replace(dialogue, placeholders=redacted.placeholders, unfinished=begun)
        return whole[: self._max_chars], later

    def _write(self, recording: Recording) -> tuple[str | None, Unrecorded | None]:
        """The recording's path, or why there is none; a full disk costs the recording, not the call."""
        if self._journal.recording is None:
            return None, Unrecorded.OFF
        try:
            path = recording.write(self._journal.recording)
        except Exception as error:  # the sound library has errors of its own for a full disk
            self.notes.error("the recording could not be written: {}", fault("recording", error))
            return None, Unrecorded.UNWRITABLE
        if path is None:
            return None, recording.erased or Unrecorded.EMPTY
        return str(path), None

    def _tell(self, notify: Callable[[CallObserver], None]) -> None:
        for observer in self._journal.observers:
            try:
                notify(observer)
            except Exception as error:  # who watches must not disturb
                self.notes.warning("an observer failed: {}", fault(type(observer).__name__, error))


def share(confidence: float) -> float:
    """A confidence between 0 and 1; NaN is none."""
    return 0.0 if math.isnan(confidence) else min(1.0, max(0.0, confidence))
