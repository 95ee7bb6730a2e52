"""Sound that was made before: sentences of a voice, kept up to a number of bytes, the oldest use first out.

A cached answer or a legal wording that is already sound starts within milliseconds. Only sentences without
personal values may be put here; they live in memory and nowhere else.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from loguru import logger

from serving.audio import AudioClip
from serving.speech.protocols import TtsEngine

MAX_BYTES = 64_000_000
"""About 24 minutes of speech at 22 kHz."""


class SpeechCache:
    """Sentences as sound, for one voice; thread-safe.

    Args:
        tts: the voice.
        max_bytes: samples kept.
    """

    def __init__(self, tts: TtsEngine, max_bytes: int = MAX_BYTES) -> None:
        self._tts = tts
        self._max = max_bytes
        self._bytes = 0
        self._sounds: OrderedDict[str, tuple[AudioClip, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, words: str) -> tuple[AudioClip, ...] | None:
        """The sound of a sentence; None where it has not been made."""
        with self._lock:
            found = self._sounds.get(words)
            if found is not None:
                self._sounds.move_to_end(words)
            return found

    def put(self, words: str, clips: tuple[AudioClip, ...]) -> None:
        """Keep the sound of a sentence; one larger than the cache is not kept."""
        size = _size(clips)
        if not clips or size > self._max:
            return
        with self._lock:
            old = self._sounds.pop(words, ())
            self._sounds[words] = clips
            self._bytes += size - _size(old)
            while self._bytes > self._max:
                _, dropped = self._sounds.popitem(last=False)
                self._bytes -= _size(dropped)

    def make(self, words: str) -> tuple[AudioClip, ...]:
        """The sound of a sentence, made and kept where it is not there yet.

        Raises:
            Exception: the voice's own.
        """
        found = self.get(words)
        if found is None:
            found = tuple(clip for clip in self._tts.synthesise(words) if len(clip.samples))
            self.put(words, found)
        return found

    def warm(self, sentences: Iterable[str]) -> int:
        """Make sentences beforehand; returns how many there are. One that fails is left for later."""
        made = 0
        for words in sentences:
            try:
                made += bool(self.make(words))
            except Exception as error:  # a caller who needs it will be told
                logger.warning("a sentence could not be made beforehand: {}", type(error).__name__)
        return made


def _size(clips: Iterable[AudioClip]) -> int:
    return sum(clip.samples.nbytes for clip in clips)
