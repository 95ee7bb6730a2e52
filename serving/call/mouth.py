"""The bot's voice on a live line: sentence by sentence, made while earlier ones play.

Sounds are made in a thread, at most a few seconds ahead of what was sent. What was made before is sent
without asking an engine. Personal values are put into a sentence at the last moment, and such a sentence is
never kept. Everything that belongs to a speech that was stopped is dropped by its epoch.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loguru import logger

from serving.audio import AudioClip, concatenate
from serving.call.clock import Laps
from serving.call.faults import fault
from serving.call.live_playout import LivePlayout
from serving.call.scheduler import Scheduler, Timer
from serving.call.speaking import MAX_REPLY_S, filled
from serving.errors import EngineError
from serving.speech.protocols import TtsEngine
from serving.speech.sentences import speakable_sentences
from serving.speech.speech_cache import SpeechCache
from serving.spoken import verbalise

_AHEAD_S = 3.0
"""Sound made and not sent, seconds, above which the next sentence waits."""
_LOOK_S = 0.5
"""How often is looked whether it may be made now."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    epoch: int
    text: str
    values: Mapping[str, str]
    laps: Laps | None
    spoken: bool


class Mouth:
    """Speaks for the bot.

    Args:
        tts: the voice.
        kept: sound that was made before.
        playout: where sound goes.
        scheduler: the call's time and hands.
        limit_s: how long a sentence may take to make.
        silent: told of an epoch of which no sound was made, or none that plays on.
        said: told of each sentence, with placeholders, as its sound is queued.
    """

    def __init__(
        self,
        tts: TtsEngine,
        kept: SpeechCache,
        playout: LivePlayout,
        scheduler: Scheduler,
        limit_s: float,
        *,
        silent: Callable[[int], None],
        said: Callable[[str], None],
    ) -> None:
        self._tts = tts
        self._kept = kept
        self._playout = playout
        self._scheduler = scheduler
        self._limit_s = limit_s
        self._silent = silent
        self._said = said
        self._epoch = 0
        self._waiting: deque[_Sentence] = deque()
        self._making: object | None = None
        """The job or the wait that is going on; what an older one gives is for nobody."""
        self._look: Timer | None = None
        self._complete = False
        self._seconds = 0.0
        self._sounded = False
        self.broken = ""
        """What broke in this speech; what was made before it still plays."""

    @property
    def seconds(self) -> float:
        """Sound made of this speech, seconds."""
        return self._seconds

    def begin(self, epoch: int) -> None:
        """A new speech, unless it is the one that is being spoken."""
        if epoch == self._epoch:
            return
        self._forget()
        self._epoch = epoch
        self._waiting.clear()
        self._complete = self._sounded = False
        self._seconds = 0.0
        self.broken = ""
        self._playout.begin(epoch)

    def say(
        self, text: str, values: Mapping[str, str], laps: Laps | None = None, *, spoken: bool = True
    ) -> None:
        """Add a text to the speech.

        Args:
            text: with placeholders.
            values: placeholder → what is said in its place.
            laps: stage times of the turn, marked at the first sound.
            spoken: part of the reply; a filler is not.
        """
        sentences = speakable_sentences(text)
        self._waiting.extend(_Sentence(self._epoch, s, values, laps, spoken) for s in sentences)
        self._make()

    def complete(self) -> None:
        """Nothing more will be added."""
        self._complete = True
        self._make()

    def drop(self) -> None:
        """The speech was stopped."""
        self._forget()
        self._waiting.clear()
        self._complete = False
        self._epoch = -1

    def _make(self) -> None:
        """Make the next sentence, if there is one and it is wanted now."""
        if self._making is not None or self.broken:
            return
        if not self._waiting:
            if self._complete:
                self._complete = False
                self._finish()
            return
        if self._playout.unsent_s > _AHEAD_S:
            self._making = object()
            self._look = self._scheduler.later(self._scheduler.now() + _LOOK_S, self._look_again)
            return
        sentence = self._waiting.popleft()
        try:
            plain = verbalise(sentence.text)
            words = filled(plain, sentence.values)
        except Exception as error:  # a text that cannot be put into words must not end the call
            self._fails(sentence, fault("tts", error))
            return
        found = self._kept.get(words)
        if found:
            self._sound(sentence, found)
            self._make()
            return
        self._synthesise(sentence, words, keep=words == plain)

    def _synthesise(self, sentence: _Sentence, words: str, *, keep: bool) -> None:
        """Have a sentence made; only words without personal values are kept."""
        mine = self._making = object()

        def job() -> tuple[AudioClip, ...]:
            if keep:
                return self._kept.make(words)
            return tuple(clip for clip in self._tts.synthesise(words) if len(clip.samples))

        def done(clips: tuple[AudioClip, ...] | None, error: Exception | None) -> None:
            if self._making is mine:
                self._made(sentence, clips, error)

        self._scheduler.work("tts", job, done, self._limit_s)

    def _look_again(self) -> None:
        self._look, self._making = None, None
        self._make()

    def _forget(self) -> None:
        """What is being made belongs to a speech that is over; the next one waits for none of it."""
        if self._look is not None:
            self._look.cancel()
        self._look, self._making = None, None

    def _fails(self, sentence: _Sentence, error: str) -> None:
        """A sentence cannot be spoken; a filler is no part of the reply, which goes on without it."""
        if sentence.spoken:
            self._break(error)
        else:
            logger.warning("a filler was not spoken: {}", error)
            self._make()

    def _made(
        self, sentence: _Sentence, clips: tuple[AudioClip, ...] | None, error: Exception | None
    ) -> None:
        self._making = None
        if error is not None or not clips:
            self._fails(sentence, fault("tts", error) if error else "tts: silence")
            return
        self._sound(sentence, clips)
        self._make()

    def _sound(self, sentence: _Sentence, clips: tuple[AudioClip, ...]) -> None:
        length = sum(clip.seconds for clip in clips)
        if self._seconds + length > MAX_REPLY_S:
            self._break(fault("tts", EngineError(f"More than {MAX_REPLY_S:g} s for one reply.")))
            return
        if clips and sentence.spoken and not self._sounded:
            self._sounded = True
            if sentence.laps is not None:
                sentence.laps.mark("tts")
        if sentence.spoken:
            self._seconds += length
        if clips:
            self._said(sentence.text)
            joined = clips if len(clips) == 1 else (_joined(clips),)
            self._playout.add(sentence.text, joined[0], spoken=sentence.spoken)

    def _finish(self) -> None:
        if self._sounded:
            self._playout.complete()
        else:
            self._break("tts: silence")

    def _break(self, error: str) -> None:
        """Drop the rest; what was made is heard to its end before anybody is told."""
        self._waiting.clear()
        self._complete = False
        self.broken = error
        if self._sounded:
            self._playout.complete()
        else:
            self._silent(self._epoch)


def _joined(clips: tuple[AudioClip, ...]) -> AudioClip:
    """Sounds of one sentence in one piece, so that what was heard of it can be told by its length."""
    return concatenate(list(clips), clips[0].rate)
