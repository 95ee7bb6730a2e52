"""What a session needs from outside: a responder, engines, and where the call leaves its traces."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.record import CallRecord, TurnRecord
from serving.speech.protocols import SttEngine, TtsEngine, Vad


class Responding(Protocol):
    """Finds replies; see `serving.call.responder.Responder`."""

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        """Reply to a turn."""
        ...

    def prompt(self, name: str, attempt: int = 0) -> str:
        """Wording of a fixed phrase."""
        ...


class CallObserver(Protocol):
    """Watches a call without touching it: a console, metrics, a live monitor."""

    def turn_committed(self, turn: TurnRecord) -> None:
        """A turn was finalised."""
        ...

    def call_ended(self, call: CallRecord) -> None:
        """The call is over and recorded."""
        ...


class Records(Protocol):
    """Where records go; see `serving.call.store.CallStore`."""

    def begin(self, call: CallRecord) -> None:
        """A call began."""
        ...

    def add_turn(self, turn: TurnRecord) -> None:
        """A turn was finalised."""
        ...

    def end(self, call: CallRecord) -> None:
        """A call ended."""
        ...

    def save(self, call: CallRecord) -> None:
        """Write whatever of a call is not there yet."""
        ...


@dataclass(frozen=True, slots=True)
class Engines:
    """The speech engines of a call; None for calls that are typed.

    Attributes:
        in_use: held while a call hears and speaks a turn. Engines take one utterance at a time, so calls
            that share them take turns; a call with engines of its own never waits.
    """

    stt: SttEngine | None
    tts: TtsEngine | None
    vad: Vad | None
    in_use: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def names(self) -> dict[str, str]:
        """Names for the call record."""
        return {
            "stt": self.stt.info.name if self.stt else "typed",
            "tts": self.tts.info.name if self.tts else "text",
        }


@dataclass(frozen=True, slots=True)
class Journal:
    """Where a call leaves its traces.

    Attributes:
        records: the database.
        aside: folder for records that it does not take.
        observers: who watches; told after a record was stored, or kept for later.
        recording: path of the stereo recording; None keeps none.
        record_failed: told of each write to the database that failed.
    """

    records: Records
    aside: Path
    observers: tuple[CallObserver, ...] = ()
    recording: Path | None = None
    record_failed: Callable[[], None] = lambda: None
