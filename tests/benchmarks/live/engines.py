"""Speech engines and a line for measured calls: fixed delays instead of models, tones instead of words.

A caller "says" a phrase as a tone whose pitch stands for it; the recogniser really hears the pitch. The
delays are waited out in the threads that the loop gives its engines, as work of a real engine would be
that runs outside of Python.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.audio import AudioClip, Samples
from serving.call.line import LineEvents
from serving.speech.protocols import EngineInfo, Transcript
from tests.benchmarks.live import workload as w

PHRASES: Mapping[str, float] = {
    w.WORDS: 220.0,
    "okay": 300.0,
    "mm-hm": 360.0,
    "where is the nearest branch": 420.0,
    "what is the monthly payment on twenty thousand dollars over five years": 480.0,
    "do not record this call": 540.0,
    "i want to speak to an agent": 600.0,
    "i lost my card": 660.0,
    "thank you bye": 720.0,
    "the weather in the mountains": 780.0,
}
"""What callers say, and at which pitch (Hz); the bot hums at 150."""
BOT_HERTZ = 150.0
_TONE = 1_000
"""Amplitude from which a sample belongs to a tone."""


def said(words: str, seconds: float) -> Samples:
    """The sound of a phrase."""
    return w.voice(seconds, PHRASES[words])


class EnergyVad:
    """The energy decision of both sides of the benchmark."""

    chunk_samples = w.CHUNK

    def probability(self, chunk: Samples) -> float:
        return float(w.voiced(chunk))

    def reset(self) -> None:
        """Nothing is remembered."""


@dataclass(slots=True)
class ToneStt:
    """Hears pitches.

    Args:
        finish_s: how long the final text takes.
    """

    finish_s: float = w.STT_S
    info: EngineInfo = field(default_factory=lambda: EngineInfo("tone", "pitches"))

    def stream(self) -> "ToneStream":
        return ToneStream(self.finish_s, self.info.name)


@dataclass(slots=True)
class ToneStream:
    finish_s: float
    engine: str
    _sound: list[Samples] = field(default_factory=list)

    def feed(self, samples: Samples) -> None:
        self._sound.append(samples)

    def partial(self) -> str:
        """Nothing before the end, as from most recognisers on one's own machine."""
        return ""

    def guess(self) -> Callable[[], Transcript]:
        sound = tuple(self._sound)
        return lambda: self._recognised(sound)

    def finish(self) -> Transcript:
        return self._recognised(tuple(self._sound))

    def _recognised(self, pieces: tuple[Samples, ...]) -> Transcript:
        time.sleep(self.finish_s)
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
        return Transcript(words_of(sound), 0.95, self.engine, len(sound) / w.RATE)

    def cancel(self) -> None:
        self._sound.clear()


def words_of(sound: Samples) -> str:
    """The phrase whose pitch is nearest to the sound's; nothing where there is no tone."""
    if not len(sound) or int(np.abs(sound).max()) < _TONE:
        return ""
    rises = np.flatnonzero((sound[:-1] <= 0) & (sound[1:] > 0))
    if len(rises) < 3:
        return ""
    hertz = w.RATE / float(np.median(np.diff(rises)))
    return min(PHRASES, key=lambda words: abs(PHRASES[words] - hertz))


@dataclass(slots=True)
class ToneTts:
    """Hums for each text.

    Args:
        first_s: how long its first sound takes; the rest follows at once.
        seconds: length of the sound of one text; default: a tenth of a second for each word.
    """

    first_s: float = w.TTS_S
    seconds: float | None = w.REPLY_S
    rate: int = w.RATE
    info: EngineInfo = field(default_factory=lambda: EngineInfo("tone", "a hum"))

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        time.sleep(self.first_s)
        seconds = 0.1 * len(text.split()) if self.seconds is None else self.seconds
        yield AudioClip(w.voice(seconds, BOT_HERTZ), self.rate)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the call did to its line, and when.

    Attributes:
        what: `sound`, `clear`, `end`, or the name of an event that was told.
    """

    at: float
    what: str
    seconds: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)


class ToneLine:
    """A far end in this process: plays in real time, echoes marks when their sound has been played.

    Args:
        loop: the event loop of the call.
        on_sound: told whenever sound arrives.
        log: gets what happens on the line; None keeps nothing.
    """

    transport = "bench"
    rate = w.RATE

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_sound: Callable[[], None] = lambda: None,
        log: list[Sent] | None = None,
    ) -> None:
        self.call: LineEvents | None = None
        self.ended = False
        self.transferred = False
        self._loop = loop
        self._on_sound = on_sound
        self._log = log
        self._until = 0.0
        self._marks: dict[str, asyncio.TimerHandle] = {}

    @property
    def playing_until(self) -> float:
        """When what was sent so far has been played, loop time."""
        return self._until

    def play(self, samples: Samples) -> None:
        self._on_sound()
        self._until = max(self._until, self._loop.time()) + len(samples) / self.rate
        self._note("sound", len(samples) / self.rate)

    def mark(self, name: str) -> None:
        self._marks[name] = self._loop.call_at(max(self._until, self._loop.time()), self._played, name)

    def clear(self) -> None:
        """As at Twilio, marks of what was thrown away come back too."""
        self._until = min(self._until, self._loop.time())
        self._note("clear")
        for name, timer in list(self._marks.items()):
            timer.cancel()
            self._loop.call_soon(self._played, name)

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        self._note(event, 0.0, data)

    def end(self, *, transfer: bool) -> None:
        self.ended, self.transferred = True, transfer
        self._note("end")

    def _played(self, name: str) -> None:
        if self._marks.pop(name, None) is not None and self.call is not None:
            self.call.marked(name)

    def _note(self, what: str, seconds: float = 0.0, data: Mapping[str, Any] | None = None) -> None:
        if self._log is not None:
            self._log.append(Sent(self._loop.time(), what, seconds, dict(data or {})))
