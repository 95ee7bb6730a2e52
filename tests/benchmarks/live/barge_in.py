"""Interruptions in real time, on the loop and through a server: `python -m tests.benchmarks.live.barge_in`.

A witness beside the call hears the same frames through a detector of its own and so knows, without asking
the call, when somebody may be interrupting and when an interruption is sure; the line knows when it was
last fed and when it fell silent. Nods ("okay", "mm-hm") must never cut an answer.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from loguru import logger

from serving.audio import AudioClip, AudioFrame, Samples
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.record import CallRecord, TurnRecord
from serving.call.store import CallStore
from serving.settings import Settings
from serving.speech.vad import EndpointSettings, SpeechDetector, SpeechStarted
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.engines import EnergyVad, Sent, ToneLine, ToneTts, said
from tests.benchmarks.live.over_socket import FarCall, called
from tests.benchmarks.live.rig import FixedResponder, Rig
from tests.serving.transports.loopback import served

ANSWER_S = 6.0
"""Long enough to be interrupted, or nodded at, at any moment."""
VOICE_S = 1.0
NOD_S = 0.4


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interruption, seconds.

    Attributes:
        fed_after: from the candidate to the last sound that was sent; negative where none came after it.
        silent_after: from the confirmation to the silence of the line.
        total: from the first voiced sample to the silence.
    """

    fed_after: float
    silent_after: float
    total: float


@dataclass(slots=True)
class Findings:
    """What a run of calls showed."""

    interruptions: list[Interruption] = field(default_factory=list)
    nods: int = 0
    cut_by_nods: int = 0
    turns: list[TurnRecord] = field(default_factory=list)

    def turn_committed(self, turn: TurnRecord) -> None:
        self.turns.append(turn)

    def call_ended(self, call: CallRecord) -> None:
        """Only turns are of interest."""

    def summary(self) -> dict[str, float]:
        """p95 of each time in milliseconds, and how many nods cut an answer."""

        def p95(name: str) -> float:
            values = np.asarray([getattr(item, name) for item in self.interruptions])
            return round(w.percentile(values, 0.95) * 1_000, 1)

        return {
            "interruptions": len(self.interruptions),
            "feeding_stops_after_candidate_ms": p95("fed_after"),
            "silence_after_confirmation_ms": p95("silent_after"),
            "voice_to_silence_ms": p95("total"),
            "nods": self.nods,
            "cut_by_nods": self.cut_by_nods,
        }


class Witness:
    """Hears what the call hears, and notes when a voice may be, and when it is, an interruption."""

    def __init__(self, settings: Settings) -> None:
        self._detector = SpeechDetector(EnergyVad(), EndpointSettings(threshold=settings.vad_threshold))
        self._confirm_s = settings.barge_in_s
        self._heard_s = 0.0
        self._onset: float | None = None
        self.candidate: float | None = None
        self.confirmed: float | None = None

    def hear(self, samples: Samples, now: float) -> None:
        """A frame was given to the call at `now`."""
        frame = AudioFrame(AudioClip(samples, w.RATE), self._heard_s)
        self._heard_s = frame.end
        for event in self._detector.feed(frame):
            if isinstance(event, SpeechStarted):
                self._onset, self.candidate = event.time, now
        voiced_s = self._detector.state.last_voice - self._onset if self._onset is not None else 0.0
        if self.confirmed is None and voiced_s >= self._confirm_s - 1e-6:
            self.confirmed = now

    def forget(self) -> None:
        """The next voice is another one."""
        self._onset = self.candidate = self.confirmed = None


class Interrupter:
    """A caller who asks, interrupts or nods, and asks again.

    Args:
        call: started.
        log: of the line.
    """

    def __init__(
        self, call: LiveCall | FarCall, line: ToneLine, log: list[Sent], witness: Witness, draw: random.Random
    ) -> None:
        self._call, self._line, self._log, self._witness, self._draw = call, line, log, witness, draw
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()

    async def interrupts(self) -> Interruption | None:
        """Ask, let the bot begin, interrupt; None where the bot never spoke or never fell silent."""
        if not await self._bot_speaks():
            return None
        self._witness.forget()
        first_voice = self._due
        await self._say(w.WORDS, VOICE_S)
        candidate, confirmed = self._witness.candidate, self._witness.confirmed
        silent = next(
            (item.at for item in self._log if item.what == "clear" and item.at >= first_voice), None
        )
        if candidate is None or confirmed is None or silent is None:
            return None
        fed = [item.at for item in self._log if item.what == "sound" and first_voice <= item.at <= silent]
        return Interruption(max(fed, default=candidate) - candidate, silent - confirmed, silent - first_voice)

    async def nods(self) -> bool | None:
        """Ask, let the bot begin, nod; whether the answer was cut, None where the bot never spoke."""
        if not await self._bot_speaks():
            return None
        begin = self._loop.time()
        await self._say(self._draw.choice(("okay", "mm-hm")), NOD_S)
        await self._pause(ANSWER_S + 2.5)
        return any(item.what == "clear" and item.at >= begin for item in self._log)

    async def _bot_speaks(self) -> bool:
        await self._until(lambda: self._line.playing_until < self._loop.time() - 0.3)
        await self._say(w.WORDS, 0.8)
        await self._pause(0.5)
        spoke = await self._until(lambda: self._line.playing_until > self._loop.time())
        await self._pause(self._draw.uniform(0.3, 1.5))
        return spoke and self._line.playing_until > self._loop.time()

    async def _until(self, come: Callable[[], bool]) -> bool:
        for _ in range(round(15.0 / w.FRAME_S)):
            if come():
                return True
            await self._pause(w.FRAME_S)
        return False

    async def _say(self, words: str, seconds: float) -> None:
        sound = said(words, seconds)
        for start in range(0, len(sound) - w.FRAME + 1, w.FRAME):
            await self._frame(sound[start : start + w.FRAME])

    async def _pause(self, seconds: float) -> None:
        for _ in range(round(seconds / w.FRAME_S)):
            await self._frame(np.zeros(w.FRAME, np.int16))

    async def _frame(self, samples: Samples) -> None:
        self._due += w.FRAME_S
        await asyncio.sleep(max(0.0, self._due - self._loop.time()))
        self._call.sound(samples)
        self._witness.hear(samples, self._loop.time())


async def measure(
    folder: Path, calls: int, rounds: int, seed: int = 11, *, through_server: bool = False
) -> Findings:
    """Interrupt and nod `rounds` times in each of `calls` concurrent calls.

    With `through_server` callers are clients of a real server, which runs in a thread of its own, and the
    times include the way through both sockets.
    """
    settings = Settings(home=folder / "var", mlruns=folder / "mlruns", keep_recordings=False)
    findings = Findings()
    store = CallStore(settings.records_url)
    with Rig(settings, store, findings, FixedResponder, ToneTts(seconds=ANSWER_S)) as rig:

        async def one(place: int, address: str) -> None:
            await asyncio.sleep(place * 0.037)
            log: list[Sent] = []
            line = ToneLine(asyncio.get_running_loop(), log=log)
            async with called(address, line) if address else _beside(rig.open(line)) as call:
                caller = Interrupter(call, line, log, Witness(settings), random.Random(seed + place))
                for _ in range(rounds):
                    await _round(caller, findings)

        def open_call(line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> LiveCall:
            return rig.make(line, closed=closed)

        with served(open_call, most=calls) if through_server else nullcontext() as server:
            address = f"ws://127.0.0.1:{server.port}/ws" if server else ""
            await asyncio.gather(*(one(place, address) for place in range(calls)))
            await rig.all_closed()
    store.close()
    return findings


async def _round(caller: Interrupter, findings: Findings) -> None:
    interruption = await caller.interrupts()
    if interruption is not None:
        findings.interruptions.append(interruption)
    cut = await caller.nods()
    if cut is not None:
        findings.nods += 1
        findings.cut_by_nods += cut


@asynccontextmanager
async def _beside(call: LiveCall) -> AsyncIterator[LiveCall]:
    """A call in this process."""
    yield call
    call.gone()


def main() -> None:
    """Measure and print the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        for through_server in (False, True):
            home = Path(folder) / str(through_server)
            findings = asyncio.run(measure(home, args.calls, args.rounds, through_server=through_server))
            summary = {"through_server": through_server, **findings.summary()}
            sys.stdout.write(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
