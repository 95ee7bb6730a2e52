"""Many calls at once for a long time: `python -m tests.benchmarks.live.soak --minutes 10`.

Scripted callers keep 50 lines busy in real time: they ask, interrupt, nod, fall silent, type, press keys and
hang up at any moment; whenever a call is over the next one begins. The speech engines are stubs; responder,
cache, tools and database are real. Looks for memory that grows, calls that do not end, and records that were
not finalised exactly once.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loguru import logger

from serving.call.filing import save_set_aside
from serving.call.live import LiveCall
from serving.call.record import CallRecord, TurnRecord
from serving.call.responder import Responder
from serving.call.store import CallStore
from serving.settings import Settings
from tests.benchmarks.live.callers import Caller
from tests.benchmarks.live.engines import ToneLine, ToneTts
from tests.benchmarks.live.memory import growth, resident_mb
from tests.benchmarks.live.rig import Rig
from tests.serving.call.phone import SCOPE, KeywordTagger, fill_cache, toolbox

LONGEST_CALL_S = 150.0
"""A call that takes longer is stuck: no caller of ours stays that long."""
AFTER_HANG_UP_S = 5.0
"""How long a call may live on without its caller."""


@dataclass(slots=True)
class Ledger:
    """An observer that counts how often each turn and call was finalised."""

    turns: Counter[tuple[str, int]] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    interrupted: int = 0
    resumed: int = 0

    def turn_committed(self, turn: TurnRecord) -> None:
        self.turns[turn.call_id, turn.index] += 1
        self.decisions[turn.decision.value] += 1
        self.interrupted += turn.interrupted
        self.resumed += turn.resumed

    def call_ended(self, call: CallRecord) -> None:
        self.calls[call.call_id] += 1
        self.endings[call.ending.value if call.ending else "none"] += 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a soak found.

    Attributes:
        stuck: calls that did not end.
        twice: turns or calls that were finalised more than once.
        unfinished: calls without an end, or with a turn missing, in the database after what it had refused
            was saved again, as a server does when it starts.
        refused: writes that the database refused at first.
        growth: of the resident memory after the warm-up, as a share.
    """

    seconds: float
    lines: int
    calls: int
    turns: int
    interrupted: int
    resumed: int
    stuck: int
    twice: int
    unfinished: int
    refused: int
    resident_mb: float
    growth: float
    endings: dict[str, int]
    decisions: dict[str, int]

    @property
    def clean(self) -> bool:
        """Nothing stuck, lost or doubled; memory is judged by whoever knows how long it took."""
        return not (self.stuck or self.twice or self.unfinished)


class Soak:
    """Busy lines.

    Args:
        folder: of the installation; its database is looked at in the end.
        lines: concurrent calls.
        seed: of all callers.
    """

    def __init__(self, folder: Path, lines: int, seed: int = 7) -> None:
        self._settings = Settings(home=folder / "var", mlruns=folder / "mlruns", keep_recordings=False)
        self._ledger = Ledger()
        self._store = CallStore(self._settings.records_url)
        self._lines = lines
        self._draw = random.Random(seed)
        self._opened: list[str] = []
        self._stuck = 0

    async def run(self, seconds: float) -> Report:
        """Keep the lines busy, let the last calls end, look at what they left."""
        began = time.monotonic()
        resident: list[float] = []
        fill_cache(self._settings.home / "cache")
        box, tagger = toolbox(self._settings.home / "cache"), KeywordTagger()
        with Rig(
            self._settings,
            self._store,
            self._ledger,
            lambda: Responder(box, tagger, SCOPE),
            ToneTts(seconds=None),
            keep_sound=True,
        ) as rig:
            watch = asyncio.create_task(self._watch(resident))
            # The lines do not begin together: each gets its first call some time in the first seconds.
            await asyncio.gather(*(self._line(rig, began + seconds, place) for place in range(self._lines)))
            watch.cancel()
            self._stuck += await rig.all_closed()
            refused = rig.record_failures
        self._store.close()
        return self._report(time.monotonic() - began, resident, refused)

    async def _line(self, rig: Rig, until: float, place: int) -> None:
        await asyncio.sleep(min(3.0, max(0.0, until - time.monotonic())) * place / self._lines)
        while time.monotonic() < until:
            line = ToneLine(asyncio.get_running_loop())
            call = rig.open(line)
            self._opened.append(call.call.call_id)
            caller = Caller(call, line, _over(call), random.Random(self._draw.random()))
            try:
                await asyncio.wait_for(caller.live(), LONGEST_CALL_S)
                async with asyncio.timeout(AFTER_HANG_UP_S):
                    while not call.ended:
                        await asyncio.sleep(0.02)
            except TimeoutError:
                self._stuck += 1
                call.gone("stuck")

    async def _watch(self, resident: list[float]) -> None:
        while True:
            resident.append(resident_mb())
            await asyncio.sleep(1.0)

    def _report(self, seconds: float, resident: list[float], refused: int) -> Report:
        ledger = self._ledger
        stored = CallStore(self._settings.records_url)
        save_set_aside(self._settings.home / "unsaved", stored)
        unfinished = sum(not self._complete(stored, call_id) for call_id in self._opened)
        stored.close()
        twice = sum(count > 1 for count in (*ledger.turns.values(), *ledger.calls.values()))
        return Report(
            seconds=round(seconds, 1),
            lines=self._lines,
            calls=len(self._opened),
            turns=len(ledger.turns),
            interrupted=ledger.interrupted,
            resumed=ledger.resumed,
            stuck=self._stuck,
            twice=twice,
            unfinished=unfinished,
            refused=refused,
            resident_mb=round(resident[-1], 1),
            growth=round(growth(resident), 4),
            endings=dict(ledger.endings),
            decisions=dict(ledger.decisions),
        )

    def _complete(self, stored: CallStore, call_id: str) -> bool:
        """Whether the database has the call with its end and each of its turns, in order, once."""
        call = stored.call(call_id)
        indices = [turn.index for turn in call.turns]
        told = sorted(index for owner, index in self._ledger.turns if owner == call_id)
        return (
            call.ended_at is not None
            and indices == list(range(1, len(indices) + 1))
            and indices == told
            and self._ledger.calls[call_id] == 1
        )


def _over(call: LiveCall) -> Callable[[], bool]:
    return lambda: call.ended


def main() -> None:
    """Soak and print the report as JSON; exit 1 where something was stuck, lost, doubled, or grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(Soak(Path(folder), args.lines, args.seed).run(args.minutes * 60))
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    raise SystemExit(0 if report.clean and report.growth <= 0.05 else 1)


if __name__ == "__main__":
    main()
