"""The work that both sides of the live benchmark are given: the same sound, delays, clock and arithmetic.

Nothing here imports either side, so that the same file runs in the peer's environment. One caller says the
same sentence again and again in real time; the delays of the stub engines and the silence that ends a turn
are fixed, so whatever a turn takes beyond them was added by the framework.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

RATE = 16_000
"""Hz, both ways, so that neither side resamples."""
FRAME_S = 0.02
FRAME = round(RATE * FRAME_S)
CHUNK = 512
"""Samples that voice activity is judged on, on both sides (32 ms)."""

SILENCE_S = 0.64
"""Silence that ends a turn. A multiple of 20 and 32 ms, as is the speech, so that neither frames nor chunks
add a part of their own length to it."""
STT_S = 0.05
LLM_S = 0.1
TTS_S = 0.06
SPEECH_S = 0.96
REPLY_S = 1.28
CYCLE_S = 3.84
"""From one sentence of the caller to the next; leaves half a second after the reply of an idle loop."""
LEAD_S = 2.56
"""Silence at the start of a call: a greeting is heard in it."""
WORDS = "can i pay off my personal loan early"
ANSWER = "You can pay off a loan at any time."

_LOUD = 1_000_000.0
"""Mean square above which a chunk holds voice: the tone has 32 times as much."""


def voice(seconds: float, hertz: float = 220.0) -> Samples:
    """A tone that stands for speech."""
    time_line = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(8_000 * np.sin(2 * np.pi * hertz * time_line), np.int16)


def voiced(chunk: Samples) -> bool:
    """The energy decision that stands for voice activity detection on both sides."""
    loud = chunk.astype(np.float32)
    return float(np.dot(loud, loud)) > _LOUD * len(chunk)


def cycle_frames() -> list[Samples]:
    """One cycle of the caller's sound in frames: speech, then silence."""
    sound = np.concatenate([voice(SPEECH_S), np.zeros(round((CYCLE_S - SPEECH_S) * RATE), np.int16)])
    return [sound[start : start + FRAME] for start in range(0, len(sound), FRAME)]


LAST_VOICED = round(SPEECH_S / FRAME_S) - 1
"""Index in a cycle of the frame with the last voiced sample."""
_SILENT = np.zeros(FRAME, np.int16)


@dataclass(slots=True)
class Probe:
    """Times one call's turns: from its last voiced sample to the first sound that reaches its line."""

    taken: list[tuple[float, float]] = field(default_factory=list)
    """Moment of the last voiced sample, and seconds from it to the first sound."""
    missed: list[float] = field(default_factory=list)
    """Moments of last voiced samples after which no sound came before the next turn."""
    _waiting: float | None = None

    def turn_ended(self, moment: float) -> None:
        """The caller's last voiced sample was spoken at `moment`, whenever it could be delivered."""
        if self._waiting is not None:
            self.missed.append(self._waiting)
        self._waiting = moment

    def sound_sent(self) -> None:
        """Sound reached the line."""
        if self._waiting is not None:
            self.taken.append((self._waiting, time.perf_counter() - self._waiting))
            self._waiting = None


class Session(Protocol):
    """One call on one side."""

    probe: Probe

    def hear(self, frame: Samples) -> Awaitable[None] | None:
        """Take the caller's next 20 ms."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


Opener = Callable[[int], Awaitable[Session]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one number of concurrent calls gave.

    Attributes:
        added_ms: voice-to-voice minus what the fixed delays make unavoidable: p50, p95, worst.
        voice_ms: voice-to-voice as it is: p50, p95.
        core: share of one core that the process used.
    """

    side: str
    calls: int
    turns: int
    missed: int
    unavoidable_ms: float
    added_ms: tuple[float, float, float]
    voice_ms: tuple[float, float]
    core: float


def pin(core: int) -> None:
    """Keep this process, all of its threads included, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


async def run_step(side: str, opener: Opener, calls: int, seconds: float, unavoidable_s: float) -> Step:
    """Hold `calls` concurrent calls for one cycle of warm-up and `seconds` of measured turns."""
    sessions = [await opener(index) for index in range(calls)]
    gc.collect()
    start = time.perf_counter() + 0.2
    counted_from = start + LEAD_S + CYCLE_S
    counted_until = counted_from + seconds
    usage: list[float] = []
    await _feed(sessions, start, counted_from, counted_until, usage)
    for session in sessions:
        await session.close()
    return _step(side, sessions, (counted_from, counted_until), unavoidable_s, usage[0] / seconds)


async def _feed(
    sessions: Sequence[Session], start: float, counted_from: float, counted_until: float, usage: list[float]
) -> None:
    """Give every call its frames in real time, the calls spread evenly over the cycle.

    A frame is due when its last sample has been spoken. One task feeds all: what it costs is the same on
    both sides, and small.
    """
    frames = cycle_frames()
    offsets = [index * CYCLE_S / len(sessions) for index in range(len(sessions))]
    phases = sorted((offset % FRAME_S, int(offset / FRAME_S), index) for index, offset in enumerate(offsets))
    lead = round(LEAD_S / FRAME_S)
    began: float | None = None
    tick = 0
    while True:
        for phase, behind, index in phases:
            due = start + (tick + 1) * FRAME_S + phase
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            position = tick - behind - lead
            if position < -lead:  # a call's first frame is its first chunk's, whenever it begins
                continue
            session = sessions[index]
            if position >= 0 and position % len(frames) == LAST_VOICED:
                session.probe.turn_ended(due)
            waits = session.hear(frames[position % len(frames)] if position >= 0 else _SILENT)
            if waits is not None:
                await waits
        tick += 1
        now = time.perf_counter()
        if began is None and now >= counted_from:
            began = time.process_time()
        if began is not None and now >= counted_until and not usage:
            usage.append(time.process_time() - began)
        if now >= counted_until + CYCLE_S / 2:
            return


def _step(
    side: str, sessions: Sequence[Session], window: tuple[float, float], unavoidable_s: float, core: float
) -> Step:
    begin, end = window
    taken = [
        seconds for session in sessions for moment, seconds in session.probe.taken if begin <= moment < end
    ]
    missed = sum(begin <= moment < end for session in sessions for moment in session.probe.missed)
    voice_ms = np.asarray(taken + [float("inf")] * missed) * 1_000
    p50, p95 = percentile(voice_ms, 0.5), percentile(voice_ms, 0.95)
    worst = float(voice_ms.max()) if len(voice_ms) else float("inf")
    base = unavoidable_s * 1_000
    added = (round(p50 - base, 2), round(p95 - base, 2), round(worst - base, 2))
    return Step(
        side, len(sessions), len(taken), missed, round(base, 1), added, (round(p50, 2), round(p95, 2)),
        round(core, 3),
    )  # fmt: skip


def percentile(values: npt.NDArray[np.float64], share: float) -> float:
    """Smallest value that at least `share` of all values do not exceed; no interpolation with infinity."""
    if not len(values):
        return float("inf")
    return float(np.sort(values)[max(0, int(np.ceil(share * len(values))) - 1)])


def tell(step: Step) -> None:
    """Print a step as one line of JSON, the last thing that its process writes."""
    sys.stdout.write(json.dumps(asdict(step)) + "\n")
    sys.stdout.flush()
