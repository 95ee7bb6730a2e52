"""A voice without a sound: silence as long as a person would speak, for replays of calls without engines."""

from collections.abc import Iterator

from serving.audio import SPEECH_RATE, AudioClip, silence
from serving.speech.protocols import EngineInfo
from serving.speech.sentences import speakable_sentences

_CHARS_PER_S = 15.0
"""About 150 English words a minute."""


class PacedTts:
    """Speaks silence."""

    rate = SPEECH_RATE

    def __init__(self) -> None:
        self.info = EngineInfo("silent", f"silence at {_CHARS_PER_S:g} characters a second")

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        """One clip per sentence."""
        for sentence in speakable_sentences(text):
            yield silence(len(sentence) / _CHARS_PER_S, SPEECH_RATE)
