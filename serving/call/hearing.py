"""From a caller's sound to one utterance of text: frames, voice activity, recognition.

Frames are fed in step with the call's clock, so recognition that keeps up with speech costs no latency.
Sound just before the detected start is fed too, because a detector needs a moment to be sure.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from serving.audio import AudioClip, AudioFrame, silence
from serving.call.clock import Clock
from serving.speech.protocols import SttEngine, SttStream, Transcript
from serving.speech.resample import StreamResampler
from serving.speech.vad import SpeechDetector, SpeechEnded, SpeechStarted

PRE_ROLL_S = 0.4
"""Sound before the detected start that recognition hears too, seconds."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A caller's speech, recognised up to its last frame but not finished.

    Attributes:
        started: start of the voice, call clock; None where there was none.
        ended: end of the voice (not of the silence after it).
        decided: when the end of the turn was decided.
        stream: recognition to finish.
        cut: the speech was longer than allowed and was ended.
    """

    started: float | None
    ended: float
    decided: float
    stream: SttStream
    cut: bool = False

    @property
    def seconds(self) -> float:
        """Length of the speech."""
        return self.ended - self.started if self.started is not None else 0.0

    def finish(self) -> Transcript:
        """The recognised text."""
        return self.stream.finish()


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
            self._next += 1
            yield self._frames[self._next - 1]


def listen(
    line: Line, detector: SpeechDetector, engine: SttEngine, clock: Clock, *, max_seconds: float
) -> Utterance:
    """Hear one utterance: up to the silence that ends it, the length limit, or the end of the line.

    Args:
        line: where the sound comes from; what follows the utterance stays in it.
        detector: voice activity of this call.
        engine: recognition; its stream is left open for the caller to finish.
        clock: the call's clock, moved along with the sound.
        max_seconds: speech longer than this is ended.
    """
    detector.reset()
    stream = engine.stream()
    resampler: StreamResampler | None = None
    before: deque[AudioFrame] = deque()
    started: float | None = None
    now = clock.now()
    for frame in line.frames():
        clock.wait_until(frame.end)
        now = frame.end
        resampler = resampler or StreamResampler(frame.clip.rate)
        ended: float | None = None
        for event in detector.feed(frame):
            if isinstance(event, SpeechStarted) and started is None:
                started = event.time
                for earlier in before:
                    stream.feed(resampler.feed(earlier.clip.samples))
                before.clear()
            elif isinstance(event, SpeechEnded):
                ended = event.time
        if started is None:
            before.append(frame)
            while frame.end - before[0].start > PRE_ROLL_S:
                before.popleft()
            continue
        stream.feed(resampler.feed(frame.clip.samples))
        if ended is not None:
            return Utterance(started, ended, clock.now(), stream)
        if now - started > max_seconds:
            return Utterance(started, now, clock.now(), stream, cut=True)
    return Utterance(started, now, clock.now(), stream)
