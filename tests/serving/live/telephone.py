"""A telephone for tests: a live call on a virtual clock, with a caller whose every sound is placed in time.

The line plays what it gets at the pace of a real one and sends marks back; the recogniser knows what it will
hear; the responder answers from a list. Half a minute of call takes milliseconds and goes the same way
each time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from serving.audio import SPEECH_RATE, AudioClip, Samples
from serving.call.book import CallBook
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.ears import Ears
from serving.call.live import LiveCall
from serving.call.live_parts import Parts
from serving.call.live_state import LiveSnapshot
from serving.call.machine import Next, TurnPolicy
from serving.call.ports import Journal
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.recording import Recording
from serving.call.scheduler import VirtualScheduler
from serving.call.turn_taking import TurnTaking, load_turn_taking
from serving.language.protocols import Message
from serving.settings import default_data_dir
from serving.speech.protocols import EngineInfo, SttEngine, Transcript, TtsEngine
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings
from tests.serving.call.phone import HummingTts, LoudnessVad, Watcher, loud

FRAME = 320
"""Samples of 20 ms at 16 kHz."""
HANG_OVER_S = 0.6


class VirtualLine:
    """Plays at the pace of a real line; knows what was audible when.

    Args:
        scheduler: its time.
        latency_s: from sending to playing.
        marks: whether the far end tells what it has played.
    """

    transport = "browser"
    rate = SPEECH_RATE

    def __init__(self, scheduler: VirtualScheduler, latency_s: float = 0.0, *, marks: bool = True) -> None:
        self._scheduler = scheduler
        self._latency = latency_s
        self._marks = marks
        self.free = 0.0
        self.audible: list[tuple[float, float]] = []
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.ahead: list[float] = []
        self.cleared: list[float] = []
        self.sent: list[float] = []
        self.over: bool | None = None
        self._pending: list[tuple[float, str]] = []

    def play(self, samples: Samples) -> None:
        now = self._scheduler.now()
        start = max(self.free, now + self._latency)
        self.free = start + len(samples) / self.rate
        self.sent.append(now)
        self.ahead.append(self.free - now - self._latency)
        self.audible.append((start, self.free))

    def mark(self, name: str) -> None:
        if self._marks:
            at = max(self.free, self._scheduler.now())
            self._pending.append((at, name))
            self._scheduler.later(at, lambda: self._back(name))

    def _back(self, name: str) -> None:
        if any(item[1] == name for item in self._pending):
            self._pending = [item for item in self._pending if item[1] != name]
            self.call.marked(name)

    def clear(self) -> None:
        """A far end may tell of the marks that it threw away, as Twilio does."""
        now = self._scheduler.now()
        self.cleared.append(now)
        self.audible = [(a, min(b, now)) for a, b in self.audible if a < now]
        self.free = now
        dropped, self._pending = self._pending, []
        for _, name in dropped:
            self._scheduler.later(now + 0.01, lambda name=name: self.call.marked(name))

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        self.told.append((event, data))

    def end(self, *, transfer: bool) -> None:
        self.over = transfer

    def silent_from(self) -> float:
        """When the last sound ended."""
        return max((end for _, end in self.audible), default=0.0)

    call: LiveCall


Told = str | tuple[str, float] | Exception


class TellingStt:
    """Hears what it was told, utterance by utterance; partial texts grow with the sound.

    Args:
        told: texts, texts with a confidence, or exceptions.
        words_per_s: of partial texts; 0 for none.
    """

    info = EngineInfo("told", "a list")

    def __init__(self, told: Sequence[Told], words_per_s: float = 0.0) -> None:
        self._told = iter(told)
        self.words_per_s = words_per_s
        self.cancelled = self.guesses = 0

    def stream(self) -> "TellingStream":
        return TellingStream(self, next(self._told, ""))


@dataclass
class TellingStream:
    engine: TellingStt
    told: Told
    samples: int = 0

    def feed(self, samples: Samples) -> None:
        self.samples += len(samples)

    def partial(self) -> str:
        if isinstance(self.told, Exception):
            return ""
        text = self.told if isinstance(self.told, str) else self.told[0]
        heard = max(0.0, self.samples / SPEECH_RATE - 0.4)
        return " ".join(text.split()[: int(heard * self.engine.words_per_s)])

    def guess(self) -> Callable[[], Transcript]:
        self.engine.guesses += 1
        return self.finish

    def finish(self) -> Transcript:
        if isinstance(self.told, Exception):
            raise self.told
        text, confidence = self.told if isinstance(self.told, tuple) else (self.told, 0.95)
        return Transcript(text, confidence, "told", self.samples / SPEECH_RATE)

    def cancel(self) -> None:
        self.engine.cancelled += 1


@dataclass
class Replies:
    """Answers by the words of the turn; anything else is echoed.

    Attributes:
        replies: text → answer, reply fields, or an exception to raise.
        opening: said before the greeting.
    """

    replies: Mapping[str, str | Mapping[str, Any] | Exception] = field(default_factory=dict)
    greeting: str = "Welcome to the bank."
    asked: list[HeardTurn] = field(default_factory=list)
    states: list[DialogueState] = field(default_factory=list)

    def prompt(self, name: str, attempt: int = 0) -> str:
        return self.greeting if name == "greeting" else f"Prompt {name.replace('_', ' ')}."

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        self.asked.append(turn)
        self.states.append(state)
        found = self.replies.get(turn.text, f"You said {turn.text}.")
        if isinstance(found, Exception):
            raise found
        fields: dict[str, Any] = {"answer": found} if isinstance(found, str) else dict(found)
        for sentence in fields.pop("stream", ()):
            assert turn.say is not None
            turn.say(sentence)
        laps.mark("llm")
        messages = (*state.messages, Message("user", turn.text), Message("assistant", fields["answer"]))
        known = DialogueState(messages=messages, last_answer=fields["answer"])
        return Reply(
            **{"text": turn.text, "decision": Decision.ANSWER, "state": known, "next": Next.LISTEN, **fields}
        )


class MemoryRecords:
    """A database that keeps calls in memory and counts how often each thing was written."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.turns: list[TurnRecord] = []
        self.ended: list[CallRecord] = []

    def begin(self, call: CallRecord) -> None:
        self.begun.append(call.call_id)

    def add_turn(self, turn: TurnRecord) -> None:
        self.turns.append(turn)

    def end(self, call: CallRecord) -> None:
        self.ended.append(call)

    def save(self, call: CallRecord) -> None:
        raise AssertionError("nothing was missing")


def turn_taking() -> TurnTaking:
    return load_turn_taking(default_data_dir() / "lexicons" / "turn_taking.yaml")


POLICY = TurnPolicy(0.35, 3, 2_000, idle_s=8.0, filler_s=1.5, backchannels=turn_taking().backchannels)


class Telephone:
    """A live call with everything around it.

    Args:
        told: what the recogniser will hear, utterance by utterance.
        replies: the responder's.
        cost: seconds that kinds of work take.
    """

    def __init__(
        self,
        told: Sequence[Told] = (),
        replies: Replies | None = None,
        *,
        cost: Callable[[str], float] = lambda _name: 0.0,
        stt: SttEngine | None = None,
        tts: TtsEngine | None = None,
        policy: TurnPolicy = POLICY,
        folder: Path | None = None,
        latency_s: float = 0.0,
        marks: bool = True,
        words_per_s: float = 0.0,
        longest_s: float = 3_600.0,
    ) -> None:
        self.time = VirtualScheduler(cost)
        self.line = VirtualLine(self.time, latency_s, marks=marks)
        self.replies = replies or Replies()
        self.records = MemoryRecords()
        self.watcher = Watcher()
        self.states: list[LiveSnapshot] = []
        self.closed: list[CallRecord] = []
        tts = tts or HummingTts()
        path = folder / "call.wav" if folder else None
        record = CallRecord("c" * 32, datetime.now(UTC), "browser", "keywords/1", "s", {"stt": "told"})
        journal = Journal(self.records, Path("/nowhere"), (self.watcher,), path)
        self.book = CallBook(record, journal, 2_000)
        self.ears = Ears(
            stt or TellingStt(told, words_per_s), LoudnessVad(), EndpointSettings(hang_over_s=HANG_OVER_S),
            turn_taking(), 30.0,
        )  # fmt: skip
        parts = Parts(
            self.ears, tts, SpeechCache(tts), policy, self.states.append, self.closed.append, longest_s
        )
        self.recording = Recording(wanted=path is not None)
        self.call = LiveCall(self.replies, parts, self.book, self.recording, self.line, self.time)
        self.line.call = self.call
        self.call.start()

    def hear(self, clip: AudioClip) -> None:
        """The caller makes a sound, in real time."""
        samples = clip.resampled(SPEECH_RATE).samples
        for start in range(0, len(samples), FRAME):
            frame = np.pad(samples[start : start + FRAME], (0, max(0, FRAME - len(samples) + start)))
            self.time.run_until(self.time.now() + 0.02)
            self.call.sound(frame[:FRAME])

    def talk(self, seconds: float) -> None:
        """The caller talks."""
        self.hear(loud(seconds))

    def wait(self, seconds: float) -> None:
        """The caller is silent."""
        self.hear(AudioClip(np.zeros(round(seconds * SPEECH_RATE), np.int16), SPEECH_RATE))

    def wait_for(self, phase: str, most_s: float = 30.0) -> float:
        """Be silent until the call stands somewhere; returns when."""
        until = self.time.now() + most_s
        while self.call.state.phase.value != phase:
            assert self.time.now() < until, f"stays {self.call.state.phase.value}, never {phase}"
            self.wait(0.02)
        return self.time.now()

    def hearing_breaks(self, hear: Callable[[Any], Any]) -> None:
        """From now on, this happens to the caller's sound."""
        self.ears.hear = hear  # type: ignore[method-assign]

    def hang_up(self) -> tuple[TurnRecord, ...]:
        """The caller hangs up; the turns on record."""
        self.call.gone()
        self.time.run_until(self.time.now() + 200.0)
        return self.book.turns

    def texts(self) -> list[str]:
        return [turn.text for turn in self.book.turns]
