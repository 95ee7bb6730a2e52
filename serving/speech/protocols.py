"""What every speech engine promises; one conformance suite holds them to it.

Engines are synchronous. A stream is used by one thread at a time; any number of streams of an engine may
live side by side, in any threads, and wait for each other where the engine cannot do two things at once.
They raise only `serving.errors`; they never download anything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from serving.audio import SPEECH_RATE, AudioClip, Samples

EngineT_co = TypeVar("EngineT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """How an engine names itself in records, metrics and at start-up.

    Attributes:
        name: short and stable, used as a metric label: `pocketsphinx`, `whisper`, `espeak`, …
        model: what it runs: a model's file name and size, a voice, a language model's name.
        note: one sentence a reader must know, such as "fallback, about 14 % WER on a narrow domain".
    """

    name: str
    model: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class EngineChoice(Generic[EngineT_co]):
    """An engine and the one sentence that explains why it is this one."""

    engine: EngineT_co
    reason: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A final recognition result.

    Attributes:
        text: lower-case words as the engine heard them, no punctuation promised; may be empty.
        confidence: the engine's own belief in the whole text, 0 to 1; comparable only within one engine.
        engine: `EngineInfo.name`.
        seconds: length of the audio that was recognised.
    """

    text: str
    confidence: float
    engine: str
    seconds: float


class Vad(Protocol):
    """Voice activity: a probability of speech for every 32 ms at 16 kHz."""

    chunk_samples: int
    """Samples that `probability` takes, exactly (512)."""

    def probability(self, chunk: Samples) -> float:
        """Probability in [0, 1] that this chunk holds speech; depends on the chunks before it."""
        ...

    def reset(self) -> None:
        """Forget the past; call at the start of a call."""
        ...


class SttStream(Protocol):
    """One utterance on its way to text."""

    def feed(self, samples: Samples) -> None:
        """Take the next int16 samples at 16 kHz (any number)."""
        ...

    def partial(self) -> str:
        """Text so far; empty where the engine has no partial results."""
        ...

    def guess(self) -> Callable[[], Transcript]:
        """What recognises the sound so far as if it were all; for another thread, while feeding goes on."""
        ...

    def finish(self) -> Transcript:
        """The final text. An utterance without speech gives an empty text, not an error."""
        ...

    def cancel(self) -> None:
        """Drop the utterance; the engine is ready for the next. Harmless after `finish`."""
        ...


class SttEngine(Protocol):
    """Speech-to-text."""

    info: EngineInfo

    def stream(self) -> SttStream:
        """Start an utterance; others that are not finished go on."""
        ...


class TtsEngine(Protocol):
    """Text-to-speech."""

    info: EngineInfo
    rate: int
    """Rate of the clips it yields, Hz."""

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        """Speak a text, piece by piece in order; empty or unspeakable text yields nothing.

        Numbers must already be words (`serving.spoken.verbalise`): engines differ in reading digits.
        """
        ...


def transcribe(engine: SttEngine, audio: AudioClip) -> Transcript:
    """Recognise one whole clip, resampled to 16 kHz."""
    stream = engine.stream()
    stream.feed(audio.resampled(SPEECH_RATE).samples)
    return stream.finish()
