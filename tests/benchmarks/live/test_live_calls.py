"""Live calls in real time, shortly: what must hold on every machine, however busy it is.

How fast it goes is printed, not judged; the long versions are `make bench` and `make soak`.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.replay import NoRecords
from serving.call.responder import Responder
from serving.call.runtime import Runtime
from serving.settings import Settings
from tests.benchmarks.live import barge_in
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.our_side import OurCall
from tests.benchmarks.live.our_side import measure as measure_ours
from tests.benchmarks.live.rig import Rig
from tests.benchmarks.live.soak import Soak
from tests.circle.fixtures import Circle


@pytest.mark.slow
def test_every_turn_of_a_few_concurrent_calls_is_answered(tmp_path: Path) -> None:
    step = asyncio.run(measure_ours(3, 4.0, tmp_path, records=True))
    print("\n", asdict(step))  # noqa: T201
    assert step.turns >= 2
    assert step.missed == 0


@pytest.mark.slow
@pytest.mark.parametrize("through_server", [False, True])
def test_an_interruption_silences_the_bot_and_a_nod_never_does(tmp_path: Path, through_server: bool) -> None:
    findings = asyncio.run(barge_in.measure(tmp_path, 4, 1, through_server=through_server))
    print("\n", json.dumps(findings.summary()))  # noqa: T201
    assert len(findings.interruptions) == 4
    assert findings.nods == 4
    assert findings.cut_by_nods == 0
    assert sum(turn.interrupted for turn in findings.turns) >= 4


@pytest.mark.slow
def test_fifty_busy_lines_leave_no_call_stuck_and_each_record_once(tmp_path: Path) -> None:
    report = asyncio.run(Soak(tmp_path, lines=50).run(8.0))
    print("\n", json.dumps(asdict(report)))  # noqa: T201
    assert report.clean
    assert report.calls >= 50
    assert report.turns >= 50
    assert report.interrupted > 0


class Seen:
    """An observer that keeps the turns."""

    def __init__(self) -> None:
        self.turns: list[TurnRecord] = []

    def turn_committed(self, turn: TurnRecord) -> None:
        self.turns.append(turn)

    def call_ended(self, call: CallRecord) -> None: ...


@pytest.mark.slow
@pytest.mark.benchmark(group="a spoken turn that the cache answers, its sound made before")
def test_cached_answers_with_sound_made_before(benchmark: Any, finished_circle: Circle) -> None:
    """Expected: end of turn decided to first frame sent, beyond recognition, p95 at most 50 ms."""
    seconds = 4.0 if benchmark.disabled else 40.0
    with Runtime(finished_circle.settings, voice=False) as runtime:
        served = runtime.adapter.current

        def responder() -> Responder:
            return Responder(runtime.box, served.tagger, runtime.scope(served))

        step, seen = benchmark.pedantic(_cached, (finished_circle.settings, responder, seconds))
    print("\n", asdict(step))  # noqa: T201
    assert step.missed == 0
    assert {turn.decision for turn in seen.turns if turn.voice_to_voice_s} == {Decision.CACHE_HIT}


def _cached(settings: Settings, responder: Callable[[], Responder], seconds: float) -> tuple[w.Step, Seen]:
    """Two calls that ask for the same cached answer; the turns that are not counted make its sound."""
    seen = Seen()
    settings = settings.model_copy(update={"end_of_turn_silence_s": w.SILENCE_S, "keep_recordings": False})

    async def run() -> w.Step:
        with Rig(settings, NoRecords(), seen, responder, keep_sound=True) as rig:

            async def opener(_: int) -> w.Session:
                return OurCall(rig)

            step = await w.run_step("cached", opener, 2, seconds, w.SILENCE_S + w.STT_S)
            await rig.all_closed()
            return step

    return asyncio.run(run()), seen
