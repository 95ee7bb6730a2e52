"""Waiting times: percentiles of raw values, and stages that add up."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.kpi_figures import percentiles
from evaluation.kpi_latency import ALL, Medium, latency, stage_order
from serving.call.record import Decision, TurnRecord


def turn(
    stages: dict[str, float],
    decision: Decision = Decision.ANSWER,
    *,
    typed: bool = False,
    whole: float | None = -1,
) -> TurnRecord:
    """A turn whose voice-to-voice time is the sum of its stages unless `whole` says otherwise."""
    return TurnRecord(
        call_id="c",
        index=1,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        text="words",
        stt_engine="typed" if typed else "whisper",
        confidence=1.0,
        audio_s=0.0,
        decision=decision,
        answer="",
        spoken="",
        interrupted=False,
        stages=stages,
        voice_to_voice_s=sum(stages.values()) if whole == -1 else whole,
        reply_s=0.0,
    )


@given(st.lists(st.floats(0, 60), min_size=1, max_size=300))
def test_percentiles_are_those_of_numpy_on_the_raw_values(values: list[float]) -> None:
    found = percentiles(values)

    assert found.items == len(values)
    for name, level in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        assert getattr(found, name) == pytest.approx(float(np.percentile(values, level)), abs=1e-9)
    assert len(found.curve) == min(len(values), 101)
    assert (found.curve[0], found.curve[-1]) == (min(values), max(values))


@pytest.mark.parametrize(("count", "few"), [(9, 4), (10, 3), (50, 2), (99, 2), (100, 1), (499, 1), (500, 0)])
def test_a_percentile_with_too_few_values_beyond_it_is_marked(count: int, few: int) -> None:
    assert len(percentiles([1.0] * count).few) == few


def test_what_is_no_duration_is_left_out_of_percentiles() -> None:
    assert percentiles([float("nan"), float("inf"), -1.0, 2.0]).p50 == 2.0
    assert percentiles([float("nan")]).p50 is None


def test_spoken_and_typed_turns_are_never_mixed() -> None:
    found = latency([turn({"stt": 1.0}), turn({"answer": 0.1}, typed=True), turn({"stt": 3.0})])

    assert found.of(Medium.SPOKEN).p50 == 2.0
    assert found.of(Medium.TYPED).p50 == 0.1


def test_decisions_have_percentiles_of_their_own() -> None:
    turns = [
        turn({"a": 0.1}, Decision.CACHE_HIT),
        turn({"a": 0.3}, Decision.CACHE_HIT),
        turn({"a": 1.0}, Decision.TOOL),
    ]
    found = latency(turns)

    assert [row.decision for row in found.waiting] == [ALL, "cache_hit", "tool"]
    assert found.of(Medium.SPOKEN, "cache_hit").p50 == pytest.approx(0.2)
    assert found.of(Medium.SPOKEN, "tool").items == 1
    assert found.of(Medium.SPOKEN, "apology").items == 0


stage_times = st.dictionaries(
    st.sampled_from(["end_of_turn", "stt", "intent", "cache", "tts"]), st.floats(0, 5), min_size=1
)


@given(st.lists(st.tuples(stage_times, st.sampled_from(Decision), st.booleans()), min_size=1, max_size=30))
def test_the_bars_of_the_breakdown_add_up_to_the_mean_wait(
    items: list[tuple[dict[str, float], Decision, bool]],
) -> None:
    found = latency([turn(stages, decision, typed=typed) for stages, decision, typed in items])

    assert found.uneven == 0
    for row in found.breakdown:
        assert sum(seconds for _, seconds in row.stages) == pytest.approx(row.total_s, abs=1e-9)
        waits = [
            sum(stages.values())
            for stages, decision, typed in items
            if typed is (row.medium is Medium.TYPED) and row.decision in {ALL, decision.value}
        ]
        assert row.turns == len(waits)
        assert row.total_s == pytest.approx(float(np.mean(waits)), abs=1e-9)


def test_a_turn_whose_stages_do_not_add_up_is_counted_and_left_out_of_the_breakdown() -> None:
    found = latency(
        [turn({"stt": 0.5}), turn({"stt": 0.5}, whole=0.9), turn({"stt": 1.0, "tts": -0.5}, whole=0.5)]
    )

    assert found.uneven == 2
    assert found.breakdown[0].turns == 1
    assert found.of(Medium.SPOKEN).items == 3


def test_turns_without_a_sound_and_with_an_impossible_time_are_counted() -> None:
    found = latency([turn({}, whole=None), turn({}, whole=float("nan")), turn({}, whole=-2.0)])

    assert (found.unheard, found.invalid) == (1, 2)
    assert found.waiting == ()


def test_stage_percentiles_are_over_the_turns_that_went_through_the_stage() -> None:
    found = latency(
        [turn({"stt": 0.2, "tts": 0.1}), turn({"stt": 0.4}), turn({"stt": 0.6, "tools": 9.0, "tts": 0.1})]
    )
    rows = {row.stage: row.seconds for row in found.stages}

    assert list(rows) == ["stt", "tools", "tts"]
    assert rows["stt"].p50 == pytest.approx(0.4)
    assert (rows["tools"].items, rows["tools"].p50) == (1, 9.0)


def test_a_stage_that_only_some_turns_have_keeps_its_place() -> None:
    turns = [
        turn({"a": 1.0, "d": 1.0}),
        turn({"a": 1.0, "b": 1.0, "d": 1.0}),
        turn({"b": 1.0, "c": 1.0, "d": 1.0}),
    ]

    assert stage_order(turns) == ("a", "b", "c", "d")
