"""Intervals, bootstrap and paired tests against scipy, published values and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.power import detectable_loss, items_needed, non_inferiority_margin, non_inferiority_power
from evaluation.statistics import (
    bootstrap_mean,
    bootstrap_ratio,
    clopper_pearson,
    clopper_pearson_upper,
    discordance,
    holm,
    mcnemar,
    mcnemar_worse,
    mean_interval,
    paired_bootstrap,
    wilson,
)
from serving.errors import InvalidInputError

proportions = st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.8, 0.9, 0.95, 0.99])
counts = st.integers(0, 300)


@given(proportions, levels)
def test_wilson_agrees_with_scipy(pair: tuple[int, int], level: float) -> None:
    ours = wilson(*pair, level)
    theirs = stats.binomtest(*pair).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(proportions, levels)
def test_clopper_pearson_agrees_with_scipy(pair: tuple[int, int], level: float) -> None:
    ours = clopper_pearson(*pair, level)
    theirs = stats.binomtest(*pair).proportion_ci(level, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(proportions, levels)
def test_every_interval_holds_its_estimate_and_stays_between_0_and_1(
    pair: tuple[int, int], level: float
) -> None:
    for interval in (wilson(*pair, level), clopper_pearson(*pair, level)):
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_299_served_without_an_error_prove_less_than_one_percent_and_298_do_not() -> None:
    assert clopper_pearson_upper(0, 299) < 0.01 < clopper_pearson_upper(0, 298)


@given(proportions)
def test_the_one_sided_bound_is_the_upper_end_of_the_two_sided_interval_at_twice_the_tail(
    pair: tuple[int, int],
) -> None:
    assert clopper_pearson_upper(*pair, 0.95) == pytest.approx(clopper_pearson(*pair, 0.90).high)


@given(counts, counts)
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


@given(counts, counts)
def test_the_one_sided_mcnemar_test_is_small_only_for_losses(gained: int, lost: int) -> None:
    if gained + lost:
        expected = stats.binomtest(gained, gained + lost, alternative="less").pvalue
        assert mcnemar_worse(gained, lost) == pytest.approx(expected)
    if gained >= lost:
        assert mcnemar_worse(gained, lost) >= 0.5


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_lies_between_the_p_value_and_bonferroni_and_keeps_the_order(
    values: list[float],
) -> None:
    adjusted = holm(values)
    for raw, corrected in zip(values, adjusted, strict=True):
        assert raw <= corrected <= min(1.0, raw * len(values)) + 1e-12
    order = np.argsort(values, kind="stable")
    assert list(adjusted[order]) == sorted(adjusted)


def test_holm_gives_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_bootstrap_of_a_mean_is_as_wide_as_the_normal_interval_for_many_items() -> None:
    values = np.random.default_rng(1).normal(3, 2, 2_000)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)
    assert interval.estimate == pytest.approx(values.mean())


def test_drawing_counts_of_few_values_gives_the_same_interval_as_drawing_items() -> None:
    rng = np.random.default_rng(2)
    right = (rng.random(900) < 0.9).astype(float)
    quick = bootstrap_mean(right)
    # A jitter far below one item makes every value distinct, which takes the other path.
    slow = bootstrap_mean(right + rng.random(900) * 1e-9)
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=2 / 900)


def test_clusters_that_answer_alike_widen_the_interval_by_the_square_root_of_their_size() -> None:
    per_call = np.random.default_rng(3).random(100)
    values, calls = np.repeat(per_call, 9), np.repeat(np.arange(100), 9)
    alone, clustered = bootstrap_mean(values), bootstrap_mean(values, clusters=calls)
    assert clustered.items == 100
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(3, rel=0.1)


def test_a_ratio_weighs_calls_by_their_words() -> None:
    interval = bootstrap_ratio([1, 30], [100, 100], clusters=["a", "b"])
    assert interval.estimate == pytest.approx(0.155)
    assert (interval.low, interval.high) == pytest.approx((0.01, 0.30))


def test_a_silent_call_adds_nothing_to_the_ratio() -> None:
    assert bootstrap_ratio([2, 0], [10, 0]).high == pytest.approx(0.2)


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_interval(seed: int) -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    first, second = (bootstrap_mean(values, seed=seed, resamples=200) for _ in range(2))
    assert first == second


def test_pairing_removes_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(4)
    difficulty = rng.normal(0, 5, 500)
    old = difficulty + rng.normal(0, 0.1, 500)
    new = difficulty + 0.05 + rng.normal(0, 0.1, 500)
    paired = paired_bootstrap(new, old)
    assert paired.lower_bound > 0
    assert paired.probability_better > 0.99
    assert paired.interval.high - paired.interval.low < 0.05


def test_identical_systems_differ_by_nothing_with_even_odds() -> None:
    paired = paired_bootstrap([1, 0, 1], [1, 0, 1])
    assert (paired.lower_bound, paired.probability_better) == (0.0, 0.5)


def test_discordance_counts_only_disagreement() -> None:
    table = discordance([True, True, False, False], [True, False, True, True])
    assert (table.gained, table.lost, table.rate, table.difference) == (1, 2, 0.75, -0.25)


def test_the_margin_at_3000_items_is_about_one_and_a_half_points() -> None:
    assert non_inferiority_margin(3_000, 0.08, power=0.9) == pytest.approx(0.015, abs=0.0005)


@given(st.integers(50, 20_000), st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_margin_and_power_are_inverse(items: int, rate: float, power: float) -> None:
    margin = non_inferiority_margin(items, rate, power=power)
    assert non_inferiority_power(items, rate, margin) == pytest.approx(power)
    assert items_needed(margin * (1 + 1e-9), rate, power=power) <= items


def test_an_equal_system_passes_the_planned_margin_with_the_planned_power_in_simulation() -> None:
    rng, items, rate = np.random.default_rng(5), 2_000, 0.06
    margin = non_inferiority_margin(items, rate, power=0.8)
    passed = 0
    for trial in range(400):
        drawn = rng.random(items)
        new, old = drawn < rate / 2, (drawn >= rate / 2) & (drawn < rate)
        passed += paired_bootstrap(new, old, resamples=1_000, seed=trial).lower_bound > -margin
    assert wilson(passed, 400, 0.999).low <= 0.8 <= wilson(passed, 400, 0.999).high


@pytest.mark.parametrize(
    ("items", "rate", "error"), [(240, 0.08, 0.05), (40, 0.08, 0.05 / 77), (10, 0.3, 0.1)]
)
def test_the_stated_loss_is_found_with_80_percent_power_in_simulation(
    items: int, rate: float, error: float
) -> None:
    loss = detectable_loss(items, rate, error=error)
    assert loss is not None
    spread = max(rate, loss)
    shares = [(spread - loss) / 2, (spread + loss) / 2, 1 - spread]
    drawn = np.random.default_rng(6).multinomial(items, shares, 1_000)
    found = sum(mcnemar_worse(int(gained), int(lost)) < error for gained, lost, _ in drawn)
    assert wilson(found, 1_000, 0.999).low <= 0.8 <= wilson(found, 1_000, 0.999).high


@given(st.integers(1, 500), st.floats(0.01, 0.5), st.floats(0.001, 0.4))
def test_more_items_never_find_only_a_larger_loss(items: int, rate: float, error: float) -> None:
    few, many = (detectable_loss(n, rate, error=error) for n in (items, 4 * items))
    assert few is None or (many is not None and many <= few + 1e-3)


def test_three_items_find_no_loss_at_all() -> None:
    assert detectable_loss(3, 0.08, error=0.05) is None  # losing all three has p = 1/8


def test_the_mean_of_three_seeds_has_students_interval() -> None:
    interval = mean_interval([0.93, 0.94, 0.935])
    theirs = stats.t.interval(0.95, 2, loc=0.935, scale=stats.sem([0.93, 0.94, 0.935]))
    assert (interval.low, interval.high) == pytest.approx(theirs)
    assert math.isinf(mean_interval([0.93]).high)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: wilson(1, 0),
        lambda: wilson(5, 4),
        lambda: wilson(-1, 4),
        lambda: clopper_pearson(1, 2, 1.0),
        lambda: bootstrap_mean([]),
        lambda: bootstrap_mean([1.0, math.nan]),
        lambda: bootstrap_mean([1.0], resamples=0),
        lambda: bootstrap_mean([1.0, 2.0], clusters=["a"]),
        lambda: bootstrap_ratio([1.0], [0.0]),
        lambda: bootstrap_ratio([1.0, 1.0], [2.0, -1.0]),
        lambda: paired_bootstrap([1.0], [1.0, 0.0]),
        lambda: discordance([], []),
        lambda: mcnemar(-1, 2),
        lambda: mcnemar_worse(1, -2),
        lambda: holm([0.5, 1.5]),
        lambda: non_inferiority_margin(0, 0.1),
        lambda: non_inferiority_margin(10, 0.0),
        lambda: detectable_loss(0, 0.1, error=0.05),
        lambda: detectable_loss(10, 0.1, error=0.6),
        lambda: detectable_loss(10, 0.1, error=0.05, power=1.0),
        lambda: non_inferiority_margin(10, 0.1, power=1.0),
        lambda: non_inferiority_power(10, 0.1, 0.01, difference=0.2),
        lambda: items_needed(0, 0.1),
    ],
)
def test_numbers_that_cannot_be_judged_are_refused(wrong) -> None:
    with pytest.raises(InvalidInputError):
        wrong()
