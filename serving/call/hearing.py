"""From a caller's sound to one utterance of text: frames, voice activity, recognition.

Frames are fed in step with the call's clock, so recognition that keeps up with speech costs no latency.
Sound just before the detected start is fed too, because a detector needs a moment to be sure. An engine
that breaks breaks the utterance, never the call.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from serving.audio import AudioClip, AudioFrame, Samples, silence
from serving.call.clock import Clock
from serving.call.faults import fault
from serving.call.patience import Patience
from serving.speech.protocols import SttEngine, SttStream, Transcript
from serving.speech.resample import StreamResampler
from serving.speech.vad import SpeechDetector, SpeechEnded, SpeechStarted

_Result = TypeVar("_Result")

PRE_ROLL_S = 0.4
"""Sound before the detected start that recognition hears too, seconds."""


class Recognition:
    """One utterance at a recogniser that may break or hang at any point; the first failure is kept.

    Args:
        engine: the recogniser.
        patience: how long each piece of its work may take.
    """

    def __init__(self, engine: SttEngine, patience: Patience) -> None:
        self._patience = patience
        self.failure = ""
        """What broke first; empty while nothing has."""
        self._stream: SttStream | None = self._tried(engine.stream)

    def feed(self, samples: Samples) -> None:
        """Take sound at 16 kHz; ignored after a failure."""
        stream = self._stream
        if stream is not None and not self.failure:
            self._tried(lambda: stream.feed(samples))

    def finish(self) -> Transcript | None:
        """The recognised text; None after a failure, now or before."""
        stream = self._stream
        return self._tried(stream.finish) if stream is not None and not self.failure else None

    def cancel(self) -> None:
        """Drop the utterance."""
        if self._stream is not None:
            self._tried(self._stream.cancel)

    def fail(self, failure: str) -> None:
        """Give the utterance up for a reason outside of the recogniser."""
        self.failure = self.failure or failure
        self.cancel()

    def _tried(self, work: Callable[[], _Result]) -> _Result | None:
        try:
            return self._patience.wait_for(work, self._patience.deadline())
        except Exception as error:  # an engine's bug must not end the call
            self.failure = self.failure or fault("stt", error)
            return None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A caller's speech, recognised up to its last frame but not finished.

    Attributes:
        started: start of the voice, call clock; None where there was none.
        ended: end of the voice (not of the silence after it).
        decided: when the end of the turn was decided.
        recognition: to finish, or to cancel.
        cut: the speech was longer than allowed and was ended.
    """

    started: float | None
    ended: float
    decided: float
    recognition: Recognition
    cut: bool = False

    @property
    def seconds(self) -> float:
        """Length of the speech."""
        return self.ended - self.started if self.started is not None else 0.0


class Line:
    """One caller line of sound, consumed utterance by utterance.

    Args:
        clip: the sound; silence long enough to end the turn is added behind it.
        start: when it begins on the call's clock, seconds.
        hang_over_s: silence that ends a turn.
    """

    def __init__(self, clip: AudioClip, start: float, hang_over_s: float) -> None:
        tail = silence(hang_over_s + 0.3, clip.rate)
        self._frames = [*clip.frames(start), *tail.frames(start + clip.seconds)]
        self._next = 0
        self._sound_end = start + clip.seconds
        self._heard: list[AudioFrame] = []

    @property
    def remaining(self) -> bool:
        """Whether sound of the caller (not only the silence behind it) is left."""
        return self._next < len(self._frames) and self._frames[self._next].start < self._sound_end

    def shift_to(self, start: float) -> None:
        """Let the rest begin at another time: the caller waited while the bot spoke."""
        if self._next < len(self._frames):
            delay = start - self._frames[self._next].start
            rest = self._frames[self._next :]
            self._frames = [AudioFrame(frame.clip, frame.start + delay) for frame in rest]
            self._next = 0
            self._sound_end += delay

    def frames(self) -> Iterator[AudioFrame]:
        """The frames that are left, each consumed as it is given."""
        while self._next < len(self._frames):
            frame = self._frames[self._next]
            if frame.start < self._sound_end:
                self._heard.append(frame)
            self._next += 1
            yield frame

    def drop(self) -> None:
        """Nothing more of this line will be heard."""
        self._next = len(self._frames)

    def take_heard(self) -> tuple[float, AudioClip] | None:
        """The caller's sound consumed since this was last asked, and when it began; None without any."""
        frames, self._heard = self._heard, []
        if not frames:
            return None
        samples = np.concatenate([frame.clip.samples for frame in frames])
        return frames[0].start, AudioClip(samples, frames[0].clip.rate)


def listen(
    line: Line, detector: SpeechDetector, recognition: Recognition, clock: Clock, *, max_seconds: float
) -> Utterance:
    """Hear one utterance: up to the silence that ends it, the length limit, or the end of the line.

    A detector that breaks ends the line: without it nobody knows where a turn ends.

    Args:
        line: where the sound comes from; what follows the utterance stays in it.
        detector: voice activity of this call.
        recognition: just begun; what it heard is left open for the caller to finish.
        clock: the call's clock, moved along with the sound.
        max_seconds: speech longer than this is ended.
    """
    try:
        started, ended, cut = _until_end(line, detector, recognition, clock, max_seconds)
    except Exception as error:  # recognition keeps its own failures, so this is the detector's
        line.drop()
        recognition.fail(fault("vad", error))
        started, ended, cut = None, clock.now(), False
    return Utterance(started, ended, clock.now(), recognition, cut=cut)


def _until_end(
    line: Line, detector: SpeechDetector, recognition: Recognition, clock: Clock, max_seconds: float
) -> tuple[float | None, float, bool]:
    """Start and end of the voice, and whether it was cut; the start is None where there was no voice."""
    detector.reset()
    resampler: StreamResampler | None = None
    before: deque[AudioFrame] = deque()
    started: float | None = None
    now = clock.now()
    for frame in line.frames():
        clock.wait_until(frame.end)
        now = frame.end
        resampler = resampler or StreamResampler(frame.clip.rate)
        before.append(frame)
        ended: float | None = None
        for event in detector.feed(frame):
            if isinstance(event, SpeechStarted) and started is None:
                started = event.time
            elif isinstance(event, SpeechEnded):
                ended = event.time
        if started is None:
            # Half a frame of tolerance: which frame is the first must not hang on a rounding of the clock.
            while frame.end - before[0].start > PRE_ROLL_S + frame.clip.seconds / 2:
                before.popleft()
            continue
        while before:
            recognition.feed(resampler.feed(before.popleft().clip.samples))
        if ended is not None:
            return started, ended, False
        if now - started > max_seconds:
            return started, now, True
    owed = detector.finish()
    return started, owed[0].time if owed else now, False
