"""Comparisons of two arms: callers whose true difference is known, and what takes a verdict away."""

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.arm_metrics import METRICS, metric_of
from evaluation.arms import (
    RATIO_ALPHA,
    ArmsReport,
    Draw,
    Observation,
    Observed,
    Stretch,
    Verdict,
    compare_arms,
    sample_ratio,
)
from serving.arms.split import PrimaryMetric
from serving.errors import InvalidInputError
from tests.evaluation.arm_world import SPLIT, START
from tests.properties import examples

NOW = START + timedelta(days=60)
HALF = Stretch(SPLIT, 0.5)


def observed(
    outcomes: Sequence[tuple[bool, float]], key: str = PrimaryMetric.RESOLVED_CONTAINMENT
) -> Observed:
    """Callers in order: whether the challenger answered, and the value of one metric."""
    found = tuple(
        Observation(f"caller {n}", challenger, START + timedelta(minutes=n), {key: value})
        for n, (challenger, value) in enumerate(outcomes)
    )
    return Observed(tuple(Draw(item.started_at, item.challenger) for item in found), found)


def callers(number: int, *rates: float, share: float = 0.5, seed: int = 0) -> list[tuple[bool, float]]:
    """Callers of a champion and a challenger of these success rates."""
    rng = random.Random(seed)
    arms = [rng.random() < share for _ in range(number)]
    return [(arm, float(rng.random() < rates[arm])) for arm in arms]


def judged(found: Observed, stretch: Stretch = HALF, **more: object) -> ArmsReport:
    return compare_arms(found, stretch, now=NOW, **more)  # type: ignore[arg-type]  # options of the test


def test_a_challenger_twenty_points_better_is_called_better_and_its_mirror_worse() -> None:
    assert judged(observed(callers(800, 0.5, 0.7))).verdict is Verdict.BETTER
    assert judged(observed(callers(800, 0.7, 0.5))).verdict is Verdict.WORSE


def test_where_less_is_better_a_rise_is_called_worse() -> None:
    found = judged(observed(callers(800, 0.1, 0.4), "transfer"), primary="transfer")
    assert found.verdict is Verdict.WORSE
    assert found.primary.low > 0


def test_equal_arms_are_seldom_called_different_however_often_one_looks() -> None:
    """Twenty comparisons of 300 callers, looked at forty times each: alpha allows one."""
    reports = [judged(observed(callers(300, 0.7, 0.7, seed=seed))) for seed in range(20)]
    ever_wrong = [any(look.low > 0 or look.high < 0 for look in report.looks) for report in reports]
    assert sum(ever_wrong) <= 1


def test_the_exploratory_metrics_share_one_error_probability() -> None:
    found = judged(observed([]), alpha=0.05)
    assert found.metrics[0].alpha == 0.05
    assert sum(item.alpha for item in found.metrics[1:]) == pytest.approx(0.05)
    assert [item.primary for item in found.metrics] == [True] + [False] * (len(METRICS) - 1)


def test_an_exploratory_metric_never_decides() -> None:
    found = judged(observed(callers(800, 0.1, 0.6), "csat"))
    assert next(item for item in found.metrics if item.metric.key == "csat").verdict is Verdict.BETTER
    assert found.verdict is Verdict.UNDECIDED


def test_every_metric_may_be_named_as_the_one_that_decides() -> None:
    assert {metric.key for metric in METRICS} == set(PrimaryMetric)


def test_without_a_caller_nothing_is_known_and_nothing_breaks() -> None:
    found = judged(observed([]))
    assert found.verdict is Verdict.UNDECIDED
    assert (found.primary.low, found.primary.high) == (-1, 1)
    assert found.looks == ()


def test_callers_who_do_not_come_as_planned_take_the_verdict_from_every_metric() -> None:
    found = judged(observed(callers(800, 0.5, 0.8, share=0.35)))
    assert found.verdict is Verdict.REFUSED
    assert {item.verdict for item in found.metrics} == {Verdict.REFUSED}
    assert found.ratios[0].alarm_at is not None


def test_an_arm_that_loses_its_callers_on_the_way_is_noticed_though_they_were_drawn_as_planned() -> None:
    whole = observed(callers(1_000, 0.7, 0.7))
    rng = random.Random(1)
    left = tuple(item for item in whole.observations if not item.challenger or rng.random() < 0.6)
    found = judged(Observed(whole.draws, left))
    assert [ratio.alarm_at is not None for ratio in found.ratios] == [False, True]
    assert found.verdict is Verdict.REFUSED


def test_an_alarm_once_raised_stays_though_the_shares_become_even_again() -> None:
    draws = [Draw(START + timedelta(minutes=n), challenger=n >= 60) for n in range(120)]
    found = sample_ratio("all", draws, 0.5)
    assert (found.champion, found.challenger) == (60, 60)
    assert found.alarm_at is not None
    assert found.alarm_at < START + timedelta(minutes=60)
    assert found.e_value >= found.limit == 2 / RATIO_ALPHA


@examples(15)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=15))
def test_every_interval_holds_the_difference_seen_and_every_verdict_follows_from_it(
    outcomes: list[tuple[bool, float]],
) -> None:
    found = judged(observed(outcomes, "failed_turns"), primary="failed_turns")
    top = found.primary
    if top.difference is not None:
        assert top.low <= top.difference <= top.high
    assert (found.verdict is Verdict.UNDECIDED) == (top.low <= 0 <= top.high)
    assert len(found.looks) <= 40
    assert not outcomes or found.looks[-1].callers == len(outcomes)


def test_what_cannot_be_compared_is_refused() -> None:
    twice = observed([(False, 1.0)]).observations * 2
    with pytest.raises(InvalidInputError, match="observed twice"):
        judged(Observed((), twice))
    with pytest.raises(InvalidInputError, match="error rate"):
        judged(observed([]), alpha=1.0)
    with pytest.raises(InvalidInputError, match="no metric"):
        metric_of("revenue")
    for share in (0.0, 1.0):
        with pytest.raises(InvalidInputError, match="between 0 and 1"):
            Stretch(SPLIT, share)
