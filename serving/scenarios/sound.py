"""The sound of a call on its way to a browser: kept while the bot speaks, and packed without a file."""

import base64
import io
import wave
from collections.abc import Iterator

from serving.audio import SPEECH_RATE, AudioClip, concatenate
from serving.speech.protocols import TtsEngine


class KeptVoice:
    """A text-to-speech engine that keeps what it said until somebody takes it.

    One belongs to one call; it says what the engine behind it says.
    """

    def __init__(self, tts: TtsEngine) -> None:
        self._tts = tts
        self.info = tts.info
        self.rate = tts.rate
        self._clips: list[AudioClip] = []
        self._sentences: list[str] = []

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        """Speak a text through the engine behind."""
        self._sentences.append(text)
        for clip in self._tts.synthesise(text):
            self._clips.append(clip)
            yield clip

    def take(self) -> tuple[str, AudioClip | None]:
        """The words and the sound since the last time; no sound where nothing was spoken.

        The words are the true ones: only those outside a turn, which hold nothing of the caller, may be
        shown.
        """
        sentences, self._sentences = self._sentences, []
        clips, self._clips = self._clips, []
        sounding = [clip for clip in clips if len(clip.samples)]
        return " ".join(sentences), concatenate(sounding, self.rate) if sounding else None


def wav_url(clip: AudioClip) -> str:
    """The sound as a `data:` address of a 16 kHz mono WAV: a browser plays it, no disk ever holds it."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes(clip.resampled(SPEECH_RATE).samples.astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
