"""What feedback makes believed of an entry, and that the bound of false hits is one."""

import random
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.belief import HALF_LIFE, PRIOR, ShadowTally, believe, posterior
from serving.cache.nearby import ACCURACY_FLOOR
from serving.cache.protocol import Belief, Feedback, Signal
from serving.errors import InvalidInputError
from tests.properties import examples
from tests.serving.cache_world import NOON

NONE = timedelta(0)
SIGNALS = st.sampled_from(list(Signal))
ORIGINS = st.sampled_from(["call:a:1", "call:b:2", "person:kim:1"])
TOLD = st.lists(st.tuples(SIGNALS, ORIGINS, st.integers(0, 90)), max_size=8)


def told(*signals: Signal, start: datetime = NOON, entry: str = "e") -> list[Feedback]:
    """One observation an hour, each with an origin of its own."""
    return [
        Feedback(entry, signal, start + timedelta(hours=hour), f"call:{hour}:1", "test")
        for hour, signal in enumerate(signals)
    ]


def belief(*signals: Signal, prior: float = PRIOR, at: datetime = NOON) -> Belief:
    return believe("e", told(*signals, start=NOON - timedelta(hours=8)), at, prior=prior)


def test_wrongs_take_the_accuracy_down_as_the_design_says() -> None:
    found = [posterior([(Signal.WRONG, NONE)] * times, prior=0.95) for times in (1, 2, 3)]
    assert found == pytest.approx([0.76, 0.6333, 0.5429], abs=1e-4)


def test_an_observation_weighs_half_after_a_half_life() -> None:
    fresh, old = (posterior([(Signal.WRONG, age)], prior=1.0) for age in (NONE, HALF_LIFE))
    assert (fresh, old) == pytest.approx((4 / 5, 4 / 4.5))


def test_an_entry_nobody_told_anything_of_is_as_good_as_calibration_says() -> None:
    assert belief() == Belief("e", PRIOR, quarantined=False)


def test_one_wrong_quarantines_at_once_and_only_a_persons_right_releases() -> None:
    assert belief(Signal.WRONG).quarantined
    others = [signal for signal in Signal if signal not in {Signal.RIGHT, Signal.WRONG}]
    assert belief(Signal.WRONG, *others).quarantined
    assert believe("e", told(Signal.WRONG), NOON + 100 * HALF_LIFE).quarantined
    released = belief(Signal.WRONG, Signal.RIGHT)
    assert not released.quarantined
    assert released.accuracy >= ACCURACY_FLOOR
    assert belief(Signal.RIGHT, Signal.WRONG).quarantined
    assert belief(Signal.WRONG, Signal.RIGHT, Signal.WRONG).quarantined


def test_one_disagreement_of_the_engine_stops_serving_and_two_need_a_person() -> None:
    once, twice = belief(Signal.SHADOW_DISAGREES), belief(*[Signal.SHADOW_DISAGREES] * 2)
    assert not once.quarantined
    assert once.accuracy < ACCURACY_FLOOR
    assert twice.quarantined
    assert belief(*[Signal.SHADOW_DISAGREES] * 2, Signal.SHADOW_AGREES).quarantined
    assert not belief(*[Signal.SHADOW_DISAGREES] * 2, Signal.RIGHT).quarantined


def test_two_doubts_of_callers_rest_an_entry_and_time_brings_it_back() -> None:
    doubted = belief(Signal.REASKED, Signal.ESCALATED)
    assert doubted.accuracy < ACCURACY_FLOOR < belief(Signal.REASKED).accuracy
    assert belief(Signal.REASKED, Signal.ESCALATED, at=NOON + HALF_LIFE).accuracy > ACCURACY_FLOOR


def test_one_caller_takes_no_entry_from_all_others() -> None:
    again = [
        Feedback("e", signal, NOON, f"call:a:{turn}", "test")
        for turn, signal in enumerate([Signal.SETTLED, *[Signal.REASKED] * 9, Signal.ESCALATED])
    ]
    assert believe("e", again, NOON).accuracy == belief_of(Signal.ESCALATED) > ACCURACY_FLOOR
    engine = [Feedback("e", Signal.SHADOW_DISAGREES, NOON, f"call:a:{turn}", "shadow") for turn in range(2)]
    assert believe("e", [*again, *engine], NOON).quarantined


def test_one_hit_is_one_observation() -> None:
    same = [Feedback("e", signal, NOON, "call:a:1", "test") for signal in (Signal.BARGED_IN, Signal.REASKED)]
    assert believe("e", same, NOON).accuracy == belief_of(Signal.REASKED)
    both = [Feedback("e", signal, NOON, "call:a:1", "test") for signal in (Signal.SETTLED, Signal.REASKED)]
    assert believe("e", both, NOON).accuracy == belief_of(Signal.REASKED)


def belief_of(signal: Signal) -> float:
    return posterior([(signal, NONE)])


@given(told=TOLD)
@examples(100)
def test_a_belief_is_a_probability_whatever_the_order_it_was_told_in(
    told: list[tuple[Signal, str, int]],
) -> None:
    feedback = [
        Feedback("e", signal, NOON - timedelta(days=days), origin, "t") for signal, origin, days in told
    ]
    found = believe("e", feedback, NOON)
    assert 0 <= found.accuracy <= 1
    if len({it.at for it in feedback}) == len(feedback) <= 4:
        assert {believe("e", order, NOON) for order in permutations(feedback)} == {found}
    assert believe("e", [*feedback, *told_of_others()], NOON) == found


def told_of_others() -> list[Feedback]:
    return told(Signal.WRONG, Signal.RIGHT, entry="another")


@given(told=TOLD, good=st.sampled_from([Signal.SETTLED, Signal.SHADOW_AGREES]))
@examples(60)
def test_good_news_never_lowers_and_bad_news_never_raises(
    told: list[tuple[Signal, str, int]], good: Signal
) -> None:
    before = [
        Feedback("e", signal, NOON - timedelta(days=days), origin, "t") for signal, origin, days in told
    ]
    now = believe("e", before, NOON).accuracy
    up = believe("e", [*before, Feedback("e", good, NOON, "call:new:1", "t")], NOON).accuracy
    down = believe("e", [*before, Feedback("e", Signal.WRONG, NOON, "call:new:1", "t")], NOON).accuracy
    assert down <= now <= up + 1e-12


def test_feedback_from_the_future_weighs_no_more_than_fresh_one() -> None:
    assert posterior([(Signal.WRONG, -HALF_LIFE)]) == posterior([(Signal.WRONG, NONE)])


@pytest.mark.parametrize("prior", [-0.1, 1.1, float("nan")])
def test_a_prior_that_is_no_probability_is_refused(prior: float) -> None:
    with pytest.raises(InvalidInputError, match="prior"):
        posterior([], prior=prior)


def test_nothing_is_known_of_false_hits_before_the_first_check() -> None:
    assert ShadowTally().upper_bound() == 1.0
    assert ShadowTally(1, 1).upper_bound() == 1.0


def test_the_bound_of_false_hits_shrinks_with_checks_that_agree() -> None:
    bounds = [ShadowTally(checks).upper_bound() for checks in (10, 100, 299, 1_000, 10_000)]
    assert bounds == sorted(bounds, reverse=True)
    # One look at 299 hits without an error bounds 1 % (Clopper-Pearson); looking all the time costs a little.
    assert 0.01 < bounds[2] < 0.02
    assert bounds[4] < 0.001


@given(checks=st.integers(1, 5_000), share=st.floats(0, 1))
@examples(100)
def test_the_bound_lies_between_the_share_that_was_seen_and_one(checks: int, share: float) -> None:
    tally = ShadowTally(checks, round(checks * share))
    assert tally.disagreements / checks <= tally.upper_bound() <= 1
    assert tally.upper_bound(0.01) >= tally.upper_bound(0.05)
    assert ShadowTally(tally.checks + 1, tally.disagreements + 1).upper_bound() >= tally.upper_bound() - 1e-12


@pytest.mark.parametrize("rate", [0.005, 0.03, 0.2])
def test_looking_after_every_check_the_bound_is_ever_wrong_as_rarely_as_it_says(rate: float) -> None:
    chance = random.Random(20)
    missed = 0
    for _ in range(200):
        tally = ShadowTally()
        for _ in range(300):
            tally = ShadowTally(tally.checks + 1, tally.disagreements + (chance.random() < rate))
            if tally._log_evidence(rate) >= 3.0 and tally.upper_bound() < rate:  # the first is quick
                missed += 1
                break
    assert missed <= 20  # 5 % of 200, and three standard deviations


def test_a_tally_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        ShadowTally(1, 2)
    with pytest.raises(InvalidInputError):
        ShadowTally(-1, 0)
    with pytest.raises(InvalidInputError):
        ShadowTally().upper_bound(0)
