"""The ears of a live call: frames in, beginnings, middles and ends of the caller's utterances out.

Works in a thread, one batch of frames after another. How long a silence must last to end an utterance goes
by the words so far. Sound just before the detected start is recognised too, because a detector needs a
moment to be sure. Recognition that breaks breaks its utterance; a detector that breaks is told to the call.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from loguru import logger

from serving.audio import AudioFrame
from serving.call.faults import fault
from serving.call.turn_taking import TurnTaking
from serving.errors import EngineError
from serving.speech.protocols import SttEngine, SttStream, Transcript, Vad
from serving.speech.resample import StreamResampler
from serving.speech.vad import EndpointSettings, SpeechDetector, SpeechEnded, SpeechStarted

PRE_ROLL_S = 0.4
"""Sound before the detected start that recognition hears too, seconds."""
PARTIAL_EVERY_S = 0.1
"""How often a caller who is talking is looked at: for an interruption, and for how the turn may end."""
GUESS_LIMIT_S = 5.0
"""How long a guess that is being made is waited for before the utterance is recognised by itself, seconds."""
GUESS_AFTER_S = 0.2
"""Silence after which the words are recognised in case they were the last, seconds."""


@dataclass(frozen=True, slots=True)
class Began:
    """An utterance began, with its first voiced sound."""

    at: float


@dataclass(frozen=True, slots=True)
class GoesOn:
    """An utterance goes on.

    Attributes:
        at: up to when it was heard.
        seconds: from its first to its latest voiced sound.
        text: words so far, not redacted; empty where the engine has none yet.
    """

    at: float
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Over:
    """An utterance is over.

    Attributes:
        utterance: its number, from 1.
        began: first voiced sound.
        at: last voiced sound.
        cut: it was longer than allowed.
    """

    utterance: int
    began: float
    at: float
    cut: bool


@dataclass(frozen=True, slots=True)
class Quiet:
    """The caller has paused, and the utterance may be over.

    Attributes:
        recognise: begins recognition in case it is; for another thread, beside everything.
    """

    recognise: Callable[[], None]


Noticed = Began | GoesOn | Quiet | Over


class Hears(Protocol):
    """What a live call needs of ears."""

    @property
    def engine(self) -> str:
        """Name of the recogniser."""
        ...

    def hear(self, frames: Sequence[AudioFrame]) -> list[Noticed]:
        """Take the next frames."""
        ...

    def be_patient(self, patient: bool) -> None:
        """Whether no silence is to end a turn sooner than usual: what is said decides something."""
        ...

    def finish(self, utterance: int) -> Transcript:
        """Recognise an utterance that is over."""
        ...

    def close(self) -> None:
        """Let everything go that was begun."""
        ...


@dataclass(slots=True)
class _Guess:
    """What the words are if the voice does not come back after `voice_end`."""

    voice_end: float
    recognise: Callable[[], Transcript]
    ready: threading.Event = field(default_factory=threading.Event)
    transcript: Transcript | None = None

    def run(self) -> None:
        """Recognise; when no more words follow, they are there at once. A guess that breaks costs nothing."""
        try:
            self.transcript = self.recognise()
        except Exception as error:  # the utterance itself will be recognised, or fail, on its own
            logger.debug("a guess failed: {}", fault("stt", error))
        finally:
            self.ready.set()


@dataclass(slots=True)
class _Utterance:
    stream: SttStream | None
    began: float
    resampler: StreamResampler
    looked: float
    failure: str = ""
    voice_end: float = 0.0
    guess: _Guess | None = None


class Ears:
    """Hears one caller.

    Args:
        stt: the recogniser; its streams run beside those of other calls.
        vad: this call's own.
        limits: of speech; the hang-over is the usual one.
        turn_taking: tells when a silence ends a turn.
        max_s: longest utterance, seconds; what follows is another one.
    """

    def __init__(
        self, stt: SttEngine, vad: Vad, limits: EndpointSettings, turn_taking: TurnTaking, max_s: float
    ) -> None:
        self._stt = stt
        self._limits = limits
        self._detector = SpeechDetector(vad, limits)
        self._turn_taking = turn_taking
        self._max_s = max_s
        self._before: deque[AudioFrame] = deque()
        self._now: _Utterance | None = None
        self._over: dict[int, _Utterance] = {}
        self._count = 0
        self._patient = False

    @property
    def engine(self) -> str:
        """Name of the recogniser."""
        return self._stt.info.name

    def hear(self, frames: Sequence[AudioFrame]) -> list[Noticed]:
        """Take the next frames.

        Raises:
            Exception: the detector broke; nothing can be heard any more.
        """
        noticed: list[Noticed] = []
        for frame in frames:
            self._frame(frame, noticed)
        return noticed

    def finish(self, utterance: int) -> Transcript:
        """Recognise an utterance that is over; may run beside `hear`.

        Raises:
            EngineError: recognition broke, now or before.
        """
        found = self._over.pop(utterance)
        if found.stream is None or found.failure:
            raise EngineError(found.failure or "stt: no stream")
        guess = found.guess
        right = guess is not None and guess.voice_end == found.voice_end
        if guess is not None and right and guess.ready.wait(GUESS_LIMIT_S) and guess.transcript is not None:
            _cancel(found.stream)
            return guess.transcript
        return found.stream.finish()

    def be_patient(self, patient: bool) -> None:
        """See `Hears.be_patient`."""
        self._patient = patient

    def close(self) -> None:
        """Let everything go that was begun."""
        rest = [*self._over.values(), *([self._now] if self._now else [])]
        self._over.clear()
        self._now = None
        for utterance in rest:
            if utterance.stream is not None:
                _cancel(utterance.stream)

    def _frame(self, frame: AudioFrame, noticed: list[Noticed]) -> None:
        self._before.append(frame)
        for event in self._detector.feed(frame):
            if isinstance(event, SpeechStarted) and self._now is None:
                self._begin(event.time, frame)
                noticed.append(Began(event.time))
            elif isinstance(event, SpeechEnded) and self._now is not None:
                self._feed()
                noticed.append(self._end(event.time, cut=False))
        if self._now is None:
            while self._before and frame.end - self._before[0].start > PRE_ROLL_S + frame.clip.seconds / 2:
                self._before.popleft()
            return
        self._feed()
        if frame.end - self._now.began > self._max_s:
            self._detector.reset()
            noticed.append(self._end(frame.end, cut=True))
            return
        if frame.end - self._now.looked >= PARTIAL_EVERY_S:
            self._now.looked = frame.end
            noticed.append(self._goes_on(self._now, frame.end))
        self._pause(self._now, frame.end, noticed)

    def _pause(self, now: _Utterance, at: float, noticed: list[Noticed]) -> None:
        """Suggest a guess, once for each silence."""
        voice_end = self._detector.state.last_voice
        guessed = now.guess is not None and now.guess.voice_end == voice_end
        if at - voice_end >= GUESS_AFTER_S and not guessed and now.stream is not None and not now.failure:
            try:
                now.guess = _Guess(voice_end, now.stream.guess())
            except Exception as error:  # an engine's bug must not end the call
                now.failure = fault("stt", error)
            else:
                noticed.append(Quiet(now.guess.run))

    def _begin(self, at: float, frame: AudioFrame) -> None:
        self._count += 1
        self._now = _Utterance(None, at, StreamResampler(frame.clip.rate), frame.end)
        self._detector.settings = self._limits
        try:
            self._now.stream = self._stt.stream()
        except Exception as error:  # an engine's bug must not end the call
            self._now.failure = fault("stt", error)

    def _feed(self) -> None:
        now = self._now
        while self._before:
            frame = self._before.popleft()
            if now is None or now.stream is None or now.failure:
                continue
            try:
                now.stream.feed(now.resampler.feed(frame.clip.samples))
            except Exception as error:  # an engine's bug must not end the call
                now.failure = fault("stt", error)

    def _goes_on(self, now: _Utterance, at: float) -> GoesOn:
        text = ""
        if now.stream is not None and not now.failure:
            try:
                text = now.stream.partial()
            except Exception as error:  # an engine's bug must not end the call
                now.failure = fault("stt", error)
        silence = self._turn_taking.silence_s(text, self._limits.hang_over_s)
        if self._patient:
            silence = max(silence, self._limits.hang_over_s)
        self._detector.settings = replace(self._limits, hang_over_s=silence)
        return GoesOn(at, self._detector.state.last_voice - now.began, text)

    def _end(self, at: float, *, cut: bool) -> Over:
        assert self._now is not None
        self._now.voice_end = at
        self._over[self._count] = self._now
        began, self._now = self._now.began, None
        return Over(self._count, began, at, cut)


def _cancel(stream: SttStream) -> None:
    """Let a stream go; nobody needs what it might say of that."""
    try:
        stream.cancel()
    except Exception as error:  # an engine's bug must not end the call
        logger.warning("a stream was not let go: {}", fault("stt", error))
