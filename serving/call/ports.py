"""What a session needs from outside: a responder, engines, and where the call leaves its traces."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Engines:
    """The speech engines of a call; None for calls that are typed."""

    stt: SttEngine | None
    tts: TtsEngine | None
    vad: Vad | None

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
        observers: who watches; told after a record is stored.
        recording: path of the stereo recording; None keeps none.
    """

    records: Records
    observers: tuple[CallObserver, ...] = ()
    recording: Path | None = None
