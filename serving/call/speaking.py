"""The bot's voice in one call: a text becomes sounds that play one after another, and are on record.

Sentences are made while earlier ones play. Personal values are put into a sentence at the last moment, so
that the ledger, which says what was heard, never holds one. A voice that breaks is told as such: what was
not heard must not count as said.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from loguru import logger

from serving.audio import AudioClip
from serving.call.clock import Clock, Laps
from serving.call.faults import fault
from serving.call.patience import Patience
from serving.call.playout import PlayoutLedger
from serving.call.recording import Recording
from serving.errors import EngineError
from serving.speech.protocols import TtsEngine
from serving.speech.sentences import speakable_sentences
from serving.spoken import say_digits, verbalise

MAX_REPLY_S = 300.0
"""Longest sound of one reply, seconds: the longest answer (2,000 characters) at the slowest rate of speech
(80 words a minute) takes less. A voice that gives more does not end, and would fill the memory."""


@dataclass(slots=True)
class Spoken:
    """What became of a text.

    Attributes:
        first_sound: when its first sound played, call clock; None where nothing played.
        seconds: length of its sound.
        error: why it was not spoken to the end; empty when it was.
    """

    first_sound: float | None = None
    seconds: float = 0.0
    error: str = ""


class Voice:
    """Speaks for the bot.

    Args:
        tts: text-to-speech; None in typed calls, where a text counts as heard when it is there.
        clock: the call's clock, moved to the end of what is spoken.
        recording: gets the bot's side of the call.
        patience: how long a sentence may take to make.
    """

    def __init__(self, tts: TtsEngine | None, clock: Clock, recording: Recording, patience: Patience) -> None:
        self._tts = tts
        self._clock = clock
        self._recording = recording
        self._patience = patience
        self._ledger = PlayoutLedger()

    def say(self, text: str, values: Mapping[str, str], laps: Laps | None) -> Spoken:
        """Speak a text to its end, or until the voice breaks.

        Args:
            text: with placeholders.
            values: placeholder → what is said in its place.
            laps: stage times of the turn; None outside a turn (greeting).
        """
        self._ledger = PlayoutLedger()
        if self._tts is None:
            return Spoken(laps.mark("reply") if laps else self._clock.now())
        spoken = Spoken()
        try:
            for sentence in speakable_sentences(text):
                self._say_sentence(self._tts, sentence, values, laps, spoken)
        except Exception as error:  # an engine's bug must not end the call
            spoken.error = fault("tts", error)
        if spoken.first_sound is None and not spoken.error:
            spoken.error = "tts: silence"
        if spoken.error:
            logger.warning("speaking failed: {}", spoken.error)
        if self._ledger.end is not None:
            self._clock.wait_until(self._ledger.end)
        return spoken

    def heard(self) -> str:
        """What of the latest text was played by now, with placeholders."""
        return self._ledger.heard(self._clock.now())

    def _say_sentence(
        self, tts: TtsEngine, sentence: str, values: Mapping[str, str], laps: Laps | None, spoken: Spoken
    ) -> None:
        begun = False
        words = filled(verbalise(sentence), values)
        for clip in self._patience.each(lambda: tts.synthesise(words)):
            if not len(clip.samples):
                continue
            if spoken.seconds + clip.seconds > MAX_REPLY_S:
                raise EngineError(f"The voice gave more than {MAX_REPLY_S:g} s for one reply.")
            start = self._queue(sentence, clip, laps if spoken.first_sound is None else None, begun=begun)
            begun = True
            spoken.first_sound = start if spoken.first_sound is None else spoken.first_sound
            spoken.seconds += clip.seconds

    def _queue(self, sentence: str, clip: AudioClip, laps: Laps | None, *, begun: bool) -> float:
        ready = laps.mark("tts") if laps else self._clock.now()
        start = self._ledger.more(clip, ready) if begun else self._ledger.add(sentence, clip, ready)
        self._recording.bot(start, clip)
        return start


def filled(sentence: str, values: Mapping[str, str]) -> str:
    """The sentence with the caller's own values in place of placeholders."""
    for placeholder, value in values.items():
        words = say_digits(value) if value.isdecimal() else verbalise(value)
        sentence = sentence.replace(placeholder, words)
    return sentence
