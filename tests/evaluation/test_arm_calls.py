"""From call records to callers: who counts, once, and by the same definitions as the KPIs."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.arm_calls import (
    CARRIED,
    CHANGED,
    LATER,
    NO_END,
    SILENT,
    UNNAMED,
    YOUNG,
    observe,
    stretch_of,
)
from evaluation.arms import Observed, Stretch, Verdict, compare_arms
from evaluation.kpi import kpis
from serving.arms.split import Arm, Share
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision
from serving.errors import InvalidInputError, MissingError
from tests.evaluation.arm_world import SAME, SPLIT, START, a_split, call, simulated, turn
from tests.properties import examples

OURS, THEIRS = Arm.CHAMPION, Arm.CHALLENGER
NOW = START + timedelta(days=40)
STRETCH = Stretch(SPLIT, 0.5, START)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def seen(*calls: CallRecord, stretch: Stretch = STRETCH) -> Observed:
    return observe(calls, stretch, now=NOW)


def values(found: Observed) -> dict[str, dict[str, float]]:
    return {item.caller: dict(item.values) for item in found.observations}


def test_a_caller_counts_once_with_the_first_call_however_often_the_telephone_rings() -> None:
    first = call("a", "ann", OURS, day(1), survey=5)
    again = [call(f"b{n}", "ann", OURS, day(2 + n), survey=1) for n in range(10)]
    found = seen(*again, first)
    assert values(found)["ann"]["survey"] == 5
    assert len(found.observations) == len(found.draws) == 1
    assert found.apart[LATER] == 10


def test_calls_of_a_caller_in_the_other_arm_are_counted_apart() -> None:
    found = seen(
        call("a", "ann", OURS, day(1)), call("b", "ann", THEIRS, day(2)), call("c", "ben", THEIRS, day(2))
    )
    assert [item.challenger for item in found.observations] == [False, True]
    assert found.apart[CHANGED] == 1


def test_who_was_seen_under_another_split_or_share_is_left_out_whichever_arm_came_up() -> None:
    before = [
        call("a", "ann", THEIRS, day(-3), split="0" * 12),
        call("b", "ben", OURS, day(-3)),
        call("c", "cem", OURS, day(-3), split="", caller_key="", caller="hash of cem"),
    ]
    within = [
        call(f"{key}2", key, arm, day(1)) for key, arm in (("ann", OURS), ("ben", THEIRS), ("cem", OURS))
    ]
    found = seen(*before, *within)
    assert list(values(found)) == ["cem"]
    assert len(found.draws) == 1
    assert found.apart[CARRIED] == 2


def test_first_calls_that_cannot_be_judged_are_drawn_but_not_compared() -> None:
    found = seen(
        call("a", "ann", OURS, day(1), caller=""),
        call("b", "ben", OURS, day(1), ending=None, ended_at=None),
        call("c", "cem", THEIRS, day(1), ending=Ending.LOST),
        call("d", "dot", THEIRS, day(1), turn(text=" ", audio_s=0.0)),
        call("e", "eve", THEIRS, day(1)),
    )
    assert len(found.draws) == 5
    assert list(values(found)) == ["eve"]
    assert (found.apart[UNNAMED], found.apart[NO_END], found.apart[SILENT]) == (1, 2, 1)


def test_a_silent_first_call_is_not_replaced_by_a_second_one() -> None:
    silent = call("a", "ann", OURS, day(1), turn(text="", audio_s=0.0))
    found = seen(silent, call("b", "ann", OURS, day(2)), call("c", "ben", OURS, day(1)))
    assert list(values(found)) == ["ben"]


def test_a_young_call_says_nothing_yet_about_coming_back() -> None:
    found = seen(
        call("a", "ann", OURS, NOW - timedelta(days=6)), call("b", "ben", OURS, NOW - timedelta(days=7))
    )
    assert "resolved_containment" not in values(found)["ann"]
    assert values(found)["ben"]["resolved_containment"] == 1
    assert found.apart[YOUNG] == 1


def test_coming_back_counts_also_where_the_second_call_is_after_the_stretch() -> None:
    ended = replace(STRETCH, until=day(2))
    found = seen(
        call("a", "ann", OURS, day(1)), call("b", "ann", OURS, day(5), split="", caller_key=""), stretch=ended
    )
    assert values(found)["ann"]["resolved_containment"] == 0
    assert values(found)["ann"]["first_contact_resolution"] == 0


def test_the_values_of_a_caller_are_what_the_definitions_say() -> None:
    turns = (
        turn(1, voice_to_voice_s=1.0),
        turn(2, voice_to_voice_s=60.0, decision=Decision.REPROMPT),
        turn(3, voice_to_voice_s=None, error="tool"),
        turn(4, voice_to_voice_s=9.0, stt_engine="typed"),
    )
    moved = call(
        "a",
        "ann",
        OURS,
        day(1),
        *turns,
        ending=Ending.TRANSFERRED,
        confirmed=None,
        survey=3,
        duration_s=5_000.0,
    )
    assert values(seen(moved, call("b", "ben", OURS, day(1))))["ann"] == {
        "resolved_containment": 0.0,
        "csat": 0.0,
        "survey": 3.0,
        "transfer": 1.0,
        "failed_turns": 0.5,
        "handle_time": 600.0,
        "voice_to_voice": 3.0,
    }


def test_where_nobody_is_asked_to_confirm_nothing_is_called_unresolved() -> None:
    found = seen(
        call("a", "ann", OURS, day(1), confirmed=None), call("b", "ben", OURS, day(1), confirmed=None)
    )
    assert all("resolved_containment" not in item for item in values(found).values())


@examples(25)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_with_one_call_each_the_means_of_both_arms_are_the_kpis(seed: int, number: int) -> None:
    calls = [item for item in simulated(number, a_split(50), seed=seed) if item.call_id.endswith("-0")]
    found = values(observe(calls, Stretch(SPLIT, 0.5), now=NOW))
    rates = kpis(calls, now=NOW).rates
    for key, sign, of in (
        ("resolved_containment", 1, "resolved_containment"),
        ("first_contact_resolution", 1, "first_contact_resolution"),
        ("csat", 1, "csat"),
        ("transfer", -1, "raw_containment"),
    ):
        known = [item[key] for item in found.values() if key in item]
        mean = sum(known) / len(known) if known else None
        expected = rates[of].value
        assert len(known) == rates[of].denominator
        assert mean == (None if expected is None else pytest.approx(expected if sign > 0 else 1 - expected))


def test_a_caller_with_a_hundred_calls_moves_the_verdict_no_more_than_another() -> None:
    """Two callers who ring all day would, call by call, look like two hundred witnesses."""
    calls = simulated(60, a_split(50), challenger=SAME, seed=2)
    loud = next(item for item in calls if item.arm == THEIRS)
    flood = [
        replace(loud, call_id=f"flood-{n}", started_at=loud.started_at + timedelta(minutes=n + 1))
        for n in range(100)
    ]
    plain, loudly = (
        compare_arms(
            observe(some, Stretch(SPLIT, 0.5), now=NOW), Stretch(SPLIT, 0.5), now=NOW, primary="transfer"
        )
        for some in (calls, [*calls, *flood])
    )
    assert (plain.primary, plain.ratios) == (loudly.primary, loudly.ratios)
    assert plain.verdict is Verdict.UNDECIDED


# Stretches


def test_a_stretch_is_the_newest_share_that_gave_both_arms_callers() -> None:
    split = a_split(10, 50, 50, 0)
    assert stretch_of(split) == Stretch(SPLIT, 0.5, day(10), day(30))
    assert stretch_of(a_split(10)) == Stretch(SPLIT, 0.1, START, None)
    assert stretch_of(a_split(10).ended(day(3), by="ops", why="enough")).until == day(3)


@pytest.mark.parametrize("percent", [0, 100])
def test_a_split_of_one_arm_has_no_stretch(percent: int) -> None:
    with pytest.raises(MissingError, match="one arm"):
        stretch_of(replace(a_split(10), shares=(Share(START, percent),)))


def test_bad_records_and_a_split_without_calls_are_said() -> None:
    one = call("a", "ann", OURS, day(1))
    with pytest.raises(InvalidInputError, match="given twice"):
        seen(one, one)
    with pytest.raises(MissingError, match="No call of split"):
        seen(one, stretch=replace(STRETCH, split="f" * 12))
    with pytest.raises(InvalidInputError, match="no zone"):
        observe([one], STRETCH, now=datetime(2026, 12, 1))
