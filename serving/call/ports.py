"""What a session needs from outside: a responder, engines, and where the call leaves its traces."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from serving.cache.types import CacheDecision, CacheQuery, CacheScope
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.patience import Patience
from serving.call.record import CallRecord, TurnRecord
from serving.errors import UnavailableError
from serving.speech.protocols import SttEngine, TtsEngine, Vad

SPEECH_LIMIT_S = 60.0
"""How long one piece of speech work may take: feeding or finishing an utterance, making a sentence. The
largest recogniser needs about 40 s for the longest utterance on two cores; more is a hang."""
ENGINES_WAIT_S = 180.0
"""How long a call waits for the engines of another one: a turn that recognises, answers and speaks, each
as slowly as it may."""


class Responding(Protocol):
    """Finds replies; see `serving.call.responder.Responder`."""

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        """Reply to a turn."""
        ...

    def prompt(self, name: str, attempt: int = 0) -> str:
        """Wording of a fixed phrase."""
        ...


class AskedCache(Protocol):
    """The cache that calls are answered from: of this home, or a service (`serving.cache.remote`)."""

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        """Decide on one question; never raises."""
        ...

    def warm(self, scope: CacheScope) -> int:
        """Get ready for a scope; its number of entries."""
        ...

    def generation(self) -> int:
        """Number of the live generation, at once; 0 where it is not known."""
        ...

    def close(self) -> None:
        """Let go of files or connections."""
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
        patience: time limit of each piece of work of the recogniser and the voice.
        wait_s: how long a call waits for its turn with them.
        in_use: held while a call hears and speaks a turn. Engines take one utterance at a time, so calls
            that share them take turns; a call with engines of its own never waits.
    """

    stt: SttEngine | None
    tts: TtsEngine | None
    vad: Vad | None
    patience: Patience = field(default_factory=lambda: Patience(SPEECH_LIMIT_S), repr=False, compare=False)
    wait_s: float = ENGINES_WAIT_S
    in_use: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the engines to oneself for the length of the block.

        Raises:
            UnavailableError: another call has kept them for too long.
        """
        if not self.in_use.acquire(timeout=self.wait_s):
            raise UnavailableError(
                f"The speech engines were busy with another call for {self.wait_s:g} s.",
                advice="Call again later; if it stays so, an engine hangs: restart the server.",
            )
        try:
            yield
        finally:
            self.in_use.release()

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
