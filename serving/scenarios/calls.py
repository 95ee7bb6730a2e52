"""A call that is carried through beside a browser: the same session as everywhere, in a thread of its own.

`ScenarioCall` runs `CallSession.run` with a caller who is watched, and tells what happens as it happens.
It decides nothing about the call and keeps nothing of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from loguru import logger

from serving.audio import AudioClip
from serving.call.caller import Caller, CallerLine, Feedback
from serving.call.faults import fault
from serving.call.record import CallRecord, TurnRecord
from serving.call.runtime import Runtime
from serving.errors import EngineError, VoicebotError
from serving.scenarios.sound import KeptVoice

IDLE_S = 600.0
"""A caller who types nothing for this long has left; the call is ended and recorded, seconds."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """The bot said its first words.

    Attributes:
        sound: None where the call has no voice.
    """

    words: str
    sound: AudioClip | None


@dataclass(frozen=True, slots=True)
class TurnSeen:
    """A turn was finalised.

    Attributes:
        line: number of the caller's line that it belongs to, from 0; a line with a pause may give two turns.
        caller: sound of that line; None for typed lines, and in a line's second turn.
        bot: sound of the reply; None where there is none.
    """

    turn: TurnRecord
    line: int
    caller: AudioClip | None
    bot: AudioClip | None


@dataclass(frozen=True, slots=True)
class LineDone:
    """The caller's line was answered in full; the bot waits for the next one."""


@dataclass(frozen=True, slots=True)
class CallOver:
    """The call has ended and is recorded."""

    call: CallRecord


@dataclass(frozen=True, slots=True)
class CallBroken:
    """The call could not go on; what had happened until then is recorded."""

    call: CallRecord
    error: VoicebotError


Event = Greeted | TurnSeen | LineDone | CallOver | CallBroken


class TypedLines:
    """Lines that come when somebody types them; an end of all lines when nobody does any more."""

    def __init__(self, *, idle_s: float = IDLE_S) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._idle_s = idle_s

    def add(self, text: str) -> None:
        """The next line."""
        self._lines.put(text)

    def end(self) -> None:
        """There will be no more."""
        self._lines.put(None)

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                line = self._lines.get(timeout=self._idle_s)
            except queue.Empty:
                return
            if line is None:
                return
            yield line


class ScenarioCall:
    """One call; `start` returns at once.

    Args:
        runtime: the installation, opened.
        caller: who calls; it may block between lines.
        tell: told of every event, from the call's own thread.
        script: id of the script that the caller follows.
        voice: whether the bot speaks.
        end_input: ends the wait of a caller who waits for somebody to type.
    """

    def __init__(
        self,
        runtime: Runtime,
        caller: Caller,
        tell: Callable[[Event], None],
        *,
        script: str = "",
        voice: bool = True,
        end_input: Callable[[], None] = lambda: None,
    ) -> None:
        self._tell = tell
        self._end_input = end_input
        self._watched = _WatchedCaller(caller, self._line_asked_for)
        self._kept = _kept_voice(runtime) if voice else None
        self._words = runtime.box.greeting
        # The lock of the engines is shared with everybody else who speaks through them.
        engines = replace(runtime.engines, tts=self._kept) if self._kept is not None else None
        self._session = runtime.open_call(
            caller.transport, script=script, observers=(self,), typed=self._kept is None, engines=engines
        )
        self._thread = threading.Thread(target=self._run, name="scenario call", daemon=True)

    def start(self) -> None:
        """Begin the call."""
        self._thread.start()

    def hang_up(self) -> None:
        """Let the call end, after the turn in progress; harmless twice."""
        self._watched.leaving = True
        self._end_input()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; returns whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def turn_committed(self, turn: TurnRecord) -> None:
        """Tell of a turn with the sounds that belong to it."""
        _, bot = self._kept.take() if self._kept else ("", None)
        self._tell(TurnSeen(turn, self._watched.asked - 1, self._watched.take_sound(), bot))

    def call_ended(self, call: CallRecord) -> None:
        """The thread itself tells of the end, when it is certain that nothing broke."""

    def _line_asked_for(self) -> None:
        if self._watched.asked:
            self._tell(LineDone())
        else:
            words, sound = self._kept.take() if self._kept else (self._words, None)
            self._tell(Greeted(words, sound))

    def _run(self) -> None:
        try:
            self._tell(CallOver(self._session.run(self._watched)))
        except VoicebotError as error:
            self._tell(CallBroken(self._session.call, error))
        except Exception as error:  # a bug ends this call, not the page
            name = fault("scenario", error)
            logger.error("call {} broke: {}", self._session.call.call_id, name)
            told = EngineError(f"The call broke ({name}).", advice="The server's log has more.")
            self._tell(CallBroken(self._session.call, told))


class _WatchedCaller:
    """A caller, and somebody who is told whenever the next line is asked for."""

    def __init__(self, caller: Caller, before_line: Callable[[], None]) -> None:
        self.transport = caller.transport
        self.leaving = False
        self.asked = 0
        self._caller = caller
        self._before_line = before_line
        self._sound: AudioClip | None = None

    @property
    def feedback(self) -> Feedback:
        """The caller's own; one who left before the end has no opinion."""
        return Feedback() if self.leaving else self._caller.feedback

    def next_line(self) -> CallerLine | None:
        """The caller's next line, or None once somebody hung up."""
        self._before_line()
        line = None if self.leaving else self._caller.next_line()
        if line is None or self.leaving:
            return None
        self.asked += 1
        self._sound = line.audio
        return line

    def take_sound(self) -> AudioClip | None:
        """The sound of the present line, once."""
        sound, self._sound = self._sound, None
        return sound


def _kept_voice(runtime: Runtime) -> KeptVoice | None:
    tts = runtime.engines.tts
    return KeptVoice(tts) if tts else None
