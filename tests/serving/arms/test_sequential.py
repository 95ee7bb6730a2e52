"""Intervals that stay valid while one looks: simulated streams, exact formulas, ordinary intervals."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.arms.betting import SIZES, Floats
from serving.arms.sequential import (
    Counts,
    difference_evidence,
    difference_sequence,
    mean_difference_sequence,
    sample_ratio_e_value,
)
from serving.errors import InvalidInputError
from tests.properties import examples

ALPHA, LIMIT = 0.05, math.log(1 / 0.05)
PATHS, LOOKS = 500, 2_000
counts = st.integers(0, 400).flatmap(lambda n: st.builds(Counts, st.integers(0, n), st.just(n)))
rates = st.floats(0.001, 0.999)
small_lists = st.lists(st.floats(0, 1), max_size=60)


def log_wealth(steps: Floats) -> Floats:
    """Log of the average wealth of all bets whose log growths are given, one row per bet."""
    return np.asarray(np.logaddexp.reduce(steps, axis=0) - math.log(len(steps)))


def against_rate(successes: Floats, trials: Floats, rate: float) -> Floats:
    """Log wealth against a rate, by the formula."""
    bets = [
        successes * math.log1p(s * (win / odds - 1))
        + (trials - successes) * math.log1p(s * (lose / odds - 1))
        for s in SIZES
        for win, lose, odds in ((1, 0, rate), (0, 1, 1 - rate))
    ]
    return log_wealth(np.array(bets))


def against_mean(values: Floats, mean: float) -> float:
    """Log wealth against a mean after all values, by the formula."""
    bets = [
        np.log1p(s * (part / odds - 1)).sum()
        for s in SIZES
        for part, odds in ((values, mean), (1 - values, 1 - mean))
    ]
    return float(log_wealth(np.array(bets)))


def paths(seed: int, share: float, rate: float, better: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Successes and trials of champion and challenger after each caller, shape (PATHS, LOOKS) each."""
    rng = np.random.default_rng(seed)
    routed = rng.random((PATHS, LOOKS)) < share
    good = rng.random((PATHS, LOOKS)) < np.where(routed, rate + better, rate)
    columns = (good & ~routed, ~routed, good & routed, routed)
    k0, n0, k1, n1 = (column.cumsum(axis=1).astype(np.float64) for column in columns)
    return k0, n0, k1, n1


def ordinary_miss(k0: Floats, n0: Floats, k1: Floats, n1: Floats, truth: float) -> Floats:
    """Whether the ordinary 95 % interval of a fixed size misses, from 30 callers in each arm on."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = k0 / n0, k1 / n1
        error = np.sqrt(p * (1 - p) / n0 + q * (1 - q) / n1)
        return np.asarray((np.minimum(n0, n1) >= 30) & (abs(q - p - truth) > 1.96 * error))


@pytest.mark.parametrize(("rate", "better", "share"), [(0.8, 0.0, 0.1), (0.5, 0.1, 0.5), (0.05, -0.03, 0.3)])
def test_who_looks_after_every_caller_is_ever_wrong_in_no_more_paths_than_alpha(
    rate: float, better: float, share: float
) -> None:
    """An interval cannot miss unless the wealth against the true pair reached 1/alpha: that is counted."""
    k0, n0, k1, n1 = paths(1, share, rate, better)
    wealth = against_rate(k0, n0, rate) + against_rate(k1, n1, rate + better)
    suspects = np.nonzero((wealth >= LIMIT).any(axis=1))[0]
    assert len(suspects) <= ALPHA * PATHS
    assert ordinary_miss(k0, n0, k1, n1, better).any(axis=1).mean() > 4 * ALPHA
    # At the worst moment of an innocent path the interval itself holds the truth.
    innocent = np.setdiff1d(np.arange(PATHS), suspects)
    for path in innocent[np.argsort(-wealth[innocent].max(axis=1))[:10]]:
        look = wealth[path].argmax()
        arms = [Counts(int(k[path, look]), int(n[path, look])) for k, n in ((k0, n0), (k1, n1))]
        low, high = difference_sequence(arms[0], arms[1], ALPHA)
        assert low <= better <= high


def test_who_looks_after_every_value_is_ever_wrong_about_means_in_no_more_paths_than_alpha() -> None:
    """Times of a long tail, cut at a bound, in two arms with the same mean."""
    rng = np.random.default_rng(2)
    values = np.minimum(rng.lognormal(5, 0.6, (200, 800)), 900) / 900
    mean = _cut_mean(5, 0.6, 900) / 900
    routed = rng.random(values.shape) < 0.3
    wealth = sum(_path_wealth(np.where(arm, values, mean), mean) for arm in (routed, ~routed))
    assert (np.asarray(wealth).max(axis=1) >= LIMIT).mean() <= ALPHA


def _path_wealth(values: Floats, mean: float) -> Floats:
    bets = [
        np.log1p(s * (part / odds - 1)).cumsum(axis=1)
        for s in SIZES
        for part, odds in ((values, mean), (1 - values, 1 - mean))
    ]
    return log_wealth(np.array(bets))


def _cut_mean(mu: float, sigma: float, cut: float) -> float:
    """Mean of a lognormal cut at a value: exp(mu + s²/2) Phi((log c - mu - s²)/s) + c Phi((mu - log c)/s)."""
    from scipy.stats import norm

    below = norm.cdf((math.log(cut) - mu - sigma**2) / sigma)
    return float(math.exp(mu + sigma**2 / 2) * below + cut * norm.cdf((mu - math.log(cut)) / sigma))


@examples(60)
@given(counts, counts, rates, rates)
def test_an_interval_of_rates_holds_every_pair_that_the_bets_have_not_ruled_out(
    champion: Counts, challenger: Counts, p: float, q: float
) -> None:
    given_rates = ((champion, p), (challenger, q))
    wealth = sum(
        float(against_rate(np.array(arm.successes), np.array(arm.trials), rate)) for arm, rate in given_rates
    )
    low, high = difference_sequence(champion, challenger, ALPHA)
    assert wealth >= LIMIT - 1e-9 or low <= q - p <= high


@examples(60)
@given(counts, counts, st.floats(-0.95, 0.95), rates)
def test_the_evidence_against_a_difference_is_the_least_over_all_pairs_of_rates_that_have_it(
    champion: Counts, challenger: Counts, difference: float, place: float
) -> None:
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    p = low + place * (high - low)
    pair = zip((champion, challenger), (p, p + difference), strict=True)
    wealth = sum(float(against_rate(np.array(a.successes), np.array(a.trials), rate)) for a, rate in pair)
    found = difference_evidence(champion, challenger, difference)
    assert found <= wealth + 1e-9
    # The interval rounds outwards to its cells and the evidence downwards, so they agree but for a hair.
    start, end = difference_sequence(champion, challenger, ALPHA)
    assert found < LIMIT or not start + 1e-4 < difference < end - 1e-4
    assert found > LIMIT - 0.05 or start - 1e-9 <= difference <= end + 1e-9


@examples(60)
@given(small_lists, small_lists, rates, rates)
def test_an_interval_of_means_holds_every_pair_that_the_bets_have_not_ruled_out(
    champion: list[float], challenger: list[float], p: float, q: float
) -> None:
    wealth = against_mean(np.array(champion), p) + against_mean(np.array(challenger), q)
    low, high = mean_difference_sequence(champion, challenger, (0, 1), ALPHA)
    assert wealth >= LIMIT - 1e-9 or low <= q - p <= high


@examples(60)
@given(counts, counts)
def test_swapping_the_arms_or_the_meaning_of_success_turns_the_interval_round(
    champion: Counts, challenger: Counts
) -> None:
    low, high = difference_sequence(champion, challenger, ALPHA)
    assert -1 <= low <= high <= 1
    assert difference_sequence(challenger, champion, ALPHA) == pytest.approx((-high, -low), abs=1e-9)
    failures = [Counts(arm.trials - arm.successes, arm.trials) for arm in (champion, challenger)]
    assert difference_sequence(failures[0], failures[1], ALPHA) == pytest.approx((-high, -low), abs=1e-9)
    if champion.rate is not None and challenger.rate is not None:
        assert low <= challenger.rate - champion.rate <= high


@examples(30)
@given(counts, counts)
def test_rates_are_means_of_zeros_and_ones(champion: Counts, challenger: Counts) -> None:
    values = [[1.0] * arm.successes + [0.0] * (arm.trials - arm.successes) for arm in (champion, challenger)]
    as_means = mean_difference_sequence(values[0], values[1], (0, 1), ALPHA)
    assert as_means == pytest.approx(difference_sequence(champion, challenger, ALPHA), abs=1e-12)


@examples(30)
@given(st.lists(st.floats(1, 5), min_size=1, max_size=40), st.lists(st.floats(1, 5), max_size=40))
def test_the_order_of_the_values_does_not_matter(champion: list[float], challenger: list[float]) -> None:
    straight = mean_difference_sequence(champion, challenger, (1, 5), ALPHA)
    assert mean_difference_sequence(champion[::-1], challenger[::-1], (1, 5), ALPHA) == straight


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("champion", "challenger"), [(100, 100), (1_000, 110), (50_000, 50_000)])
def test_looking_whenever_one_likes_costs_about_twice_the_ordinary_width(
    rate: float, champion: int, challenger: int
) -> None:
    arms = [Counts(round(rate * size), size) for size in (champion, challenger)]
    low, high = difference_sequence(arms[0], arms[1], ALPHA)
    ordinary = 2 * 1.96 * math.sqrt(rate * (1 - rate) * (1 / champion + 1 / challenger))
    assert high - low < 2.25 * ordinary


def test_times_that_lie_close_together_give_a_far_shorter_interval_than_their_bounds_would() -> None:
    rng = np.random.default_rng(3)
    calls = np.minimum(rng.lognormal(5, 0.5, (2, 2_000)), 1_800)
    low, high = mean_difference_sequence(calls[0], calls[1], (0, 1_800), ALPHA)
    ordinary = 2 * 1.96 * math.sqrt((calls.var(axis=1) / 2_000).sum())
    share = calls.mean() / 1_800
    by_bounds = 2 * 1.96 * 1_800 * math.sqrt(share * (1 - share) / 1_000)
    assert high - low < 2.3 * ordinary < 0.7 * by_bounds


def test_a_challenger_ten_points_better_is_seen_in_most_paths_within_two_thousand_callers_each_half() -> None:
    k0, n0, k1, n1 = (column[:100, -1] for column in paths(4, 0.5, 0.7, 0.1))
    seen = [
        difference_sequence(Counts(int(a), int(b)), Counts(int(c), int(d)), ALPHA)[0] > 0
        for a, b, c, d in zip(k0, n0, k1, n1, strict=True)
    ]
    assert np.mean(seen) > 0.8


def test_nothing_is_known_before_the_first_caller() -> None:
    assert difference_sequence(Counts(0, 0), Counts(0, 0), ALPHA) == (-1, 1)
    assert mean_difference_sequence([], [], (1, 5), ALPHA) == (-4, 4)
    assert sample_ratio_e_value(0, 0, 0.1) == 1


# The sample ratio


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_sound_split_ever_raises_the_alarm_in_no_more_paths_than_alpha(share: float) -> None:
    rng = np.random.default_rng(5)
    challengers = (rng.random((300, 1_000)) < share).cumsum(axis=1)
    largest = [
        max(sample_ratio_e_value(look + 1 - int(n), int(n), share) for look, n in enumerate(path))
        for path in challengers
    ]
    assert np.mean(np.array(largest) >= 1 / ALPHA) <= ALPHA


def test_a_tenth_that_is_a_seventh_is_noticed_and_a_tenth_that_is_a_tenth_is_not() -> None:
    assert sample_ratio_e_value(1_714, 286, 0.1) > 1_000
    assert sample_ratio_e_value(1_800, 200, 0.1) < 1


@examples(50)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.05, 0.1, 0.5, 0.9]))
def test_the_e_value_expects_no_growth_from_one_more_caller(
    champion: int, challenger: int, share: float
) -> None:
    """A martingale: the mean over the next caller's arm, as planned, is the value now."""
    now = sample_ratio_e_value(champion, challenger, share)
    ahead = share * sample_ratio_e_value(champion, challenger + 1, share)
    ahead += (1 - share) * sample_ratio_e_value(champion + 1, challenger, share)
    assert ahead == pytest.approx(now, rel=1e-9)


# Bad input

BAD: list[Callable[[], object]] = [
    lambda: Counts(-1, 3),
    lambda: Counts(4, 3),
    lambda: difference_sequence(Counts(0, 1), Counts(0, 1), 0.0),
    lambda: difference_sequence(Counts(0, 1), Counts(0, 1), math.nan),
    lambda: difference_evidence(Counts(0, 1), Counts(0, 1), 1.0),
    lambda: mean_difference_sequence([6.0], [], (1, 5), ALPHA),
    lambda: mean_difference_sequence([math.nan], [], (1, 5), ALPHA),
    lambda: mean_difference_sequence([], [], (5, 1), ALPHA),
    lambda: mean_difference_sequence([], [], (0, math.inf), ALPHA),
    lambda: sample_ratio_e_value(-1, 0, 0.1),
    lambda: sample_ratio_e_value(1, 0, 1.0),
    lambda: sample_ratio_e_value(1, 0, 0.1, concentration=0),
]


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_no_count_no_share_and_no_bound_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidInputError):
        wrong()
