"""Drift: what the index is and is not, and how often simulated weeks with and without drift are called so."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.drift import (
    CONFIDENCE,
    ENERGY,
    INTENTS,
    MEAN_CONFIDENCE,
    OUT_OF_SCOPE,
    DriftPolicy,
    DriftReport,
    DriftVerdict,
    Reference,
    Tagged,
    watch,
)
from evaluation.drift_report import PLOT, markdown, write_drift_report
from evaluation.stability import decile_edges, stability_index
from evaluation.statistics import Floats
from serving.errors import InvalidInputError

LABELS = 60
COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=30).filter(any)
PAIRS = st.integers(2, 20).flatmap(
    lambda bins: st.tuples(
        *[st.lists(st.integers(0, 300), min_size=bins, max_size=bins).filter(any) for _ in range(2)]
    )
)


def floats(counts: list[int]) -> Floats:
    return np.array(counts, dtype=np.float64)


# The index


@given(COUNTS, st.integers(1, 50))
def test_the_index_of_equal_distributions_is_zero_whatever_their_sizes(counts: list[int], times: int) -> None:
    assert stability_index(floats(counts), floats(counts) * times) == pytest.approx(0, abs=1e-12)


@given(PAIRS)
def test_the_index_is_never_negative_and_the_same_with_both_sides_exchanged(
    pair: tuple[list[int], list[int]],
) -> None:
    there, here = floats(pair[0]), floats(pair[1])
    assert stability_index(there, here) >= 0
    assert stability_index(there, here) == pytest.approx(float(stability_index(here, there)), abs=1e-12)


@given(PAIRS, st.permutations(range(20)))
def test_the_order_of_the_bins_does_not_matter(pair: tuple[list[int], list[int]], order: list[int]) -> None:
    there, here = floats(pair[0]), floats(pair[1])
    places = [place for place in order if place < len(there)]
    assert stability_index(there[places], here[places]) == pytest.approx(float(stability_index(there, here)))


@given(PAIRS)
def test_the_index_grows_with_the_shift(pair: tuple[list[int], list[int]]) -> None:
    there, other = (floats(side) / sum(side) for side in pair)
    steps = [
        float(stability_index(1_000 * there, 1_000 * ((1 - t) * there + t * other)))
        for t in np.linspace(0, 1, 9)
    ]
    assert all(before <= after + 1e-9 for before, after in pairwise(steps))


def test_the_index_of_large_samples_is_the_textbook_formula() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.3, 0.3])
    textbook = float(((q - p) * np.log(q / p)).sum())
    assert stability_index(p * 1e7, q * 1e7) == pytest.approx(textbook, rel=1e-5)


@pytest.mark.parametrize(
    ("there", "here"), [([1, 2], [1, 2, 3]), ([0, 0], [1, 2]), ([1, 2], [-1, 2]), ([1, 2], [float("nan"), 1])]
)
def test_counts_that_cannot_be_compared_are_refused(there: list[float], here: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        stability_index(np.array(there), np.array(here))


def test_values_that_repeat_make_fewer_deciles() -> None:
    assert decile_edges([1.0] * 90 + [0.2] * 10).tolist() == pytest.approx([0.92, 1.0])


# Weeks


Draw = Callable[[np.random.Generator], float]


def sure(rng: np.random.Generator) -> float:
    return float(rng.beta(8, 0.8))


def less_sure(rng: np.random.Generator) -> float:
    return float(rng.beta(6, 1.2))


def asked(share_of_new: float = 0.0) -> Floats:
    """Shares of the intents, some asked often; a part of all calls is about five of them."""
    shares = 1 / np.arange(5, LABELS + 5)
    shares = (1 - share_of_new) * shares / shares.sum()
    shares[-5:] += share_of_new / 5
    return np.asarray(shares)


def with_energy(texts: list[Tagged], seed: int, lower: float = 0.0) -> list[Tagged]:
    """Energies around 7, with a standard deviation of about 2, from logits of the adapters that we have."""
    drawn = np.random.default_rng(seed).normal(7.0 - 2.0 * lower, 2.0, len(texts))
    return [replace(text, energy=float(energy)) for text, energy in zip(texts, drawn, strict=True)]


def reference() -> Reference:
    rng = np.random.default_rng(11)
    counts = {f"intent_{place}": round(4_000 * share) for place, share in enumerate(asked())}
    held = [Tagged("any", sure(rng), rng.random() > 0.05) for _ in range(1_000)]
    return Reference(counts, tuple(with_energy(held, 12)))


def week(
    seed: int,
    *,
    turns: int = 400,
    shares: Floats | None = None,
    draw: Draw = sure,
    outside: float = 0.05,
    lower: float = 0.0,
) -> list[Tagged]:
    """Calls of about three turns; in three of ten a turn stays with the intent of the one before.

    Energies are `lower` by so many standard deviations.
    """
    rng = np.random.default_rng(seed)
    often = np.cumsum(asked() if shares is None else shares)
    found: list[Tagged] = []
    while len(found) < turns:
        intent = -1
        call = f"call {len(found)}"
        for _ in range(1 + rng.poisson(2)):
            if intent < 0 or rng.random() > 0.3:
                intent = int(np.searchsorted(often, rng.random() * often[-1]))
            found.append(Tagged(f"intent_{intent}", draw(rng), rng.random() > outside, call))
    return with_energy(found[:turns], seed + 1_000, lower)


TRAINED_FOR = reference()
QUICK = DriftPolicy(resamples=300)


def drifted(make: Callable[[int], list[Tagged]], weeks: int) -> list[DriftReport]:
    reports = [watch(TRAINED_FOR, make(seed), QUICK) for seed in range(weeks)]
    return [report for report in reports if report.verdict is DriftVerdict.DRIFTED]


def test_weeks_without_drift_are_seldom_called_drifted() -> None:
    """A rate of 5 % gives more than six of fifty once in a hundred; docs/evaluation.md has ours."""
    assert len(drifted(week, 50)) <= 6


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ({INTENTS}, lambda seed: week(seed, shares=asked(0.4))),
        ({CONFIDENCE, MEAN_CONFIDENCE}, lambda seed: week(seed, draw=less_sure)),
        ({OUT_OF_SCOPE}, lambda seed: week(seed, outside=0.17)),
        ({ENERGY}, lambda seed: week(seed, lower=0.7)),
    ],
)
def test_weeks_that_drifted_are_found_in_at_least_eight_of_ten(
    what: set[str], make: Callable[[int], list[Tagged]]
) -> None:
    assert sum(what <= set(report.drifted) for report in drifted(make, 20)) >= 16


def test_a_small_shift_is_no_drift_however_sure_one_is_of_it() -> None:
    report = watch(TRAINED_FOR, week(1, turns=6_000, shares=asked(0.08)), QUICK)
    index = report.measures[0].interval
    assert index is not None
    assert 0 < index.low < index.estimate < 0.25
    assert report.verdict is DriftVerdict.STABLE


def test_the_energy_shift_is_in_standard_deviations_of_the_held_out_texts_and_has_an_interval() -> None:
    report = watch(TRAINED_FOR, week(8, turns=1_000, lower=0.7), QUICK)
    shift = report.measures[-1].interval
    assert report.drifted == (ENERGY,)
    assert shift is not None
    assert shift.low < shift.estimate < shift.high < -0.5
    assert shift.estimate == pytest.approx(-0.7, abs=0.1)
    assert (shift.level, shift.items) == (0.99, report.calls)  # five intervals hold together at 95 %
    held, now = zip(*((share.reference, share.calls) for share in report.energy), strict=True)
    assert held == pytest.approx([0.1] * 10)
    assert sum(now) == pytest.approx(1)
    assert now[0] > 0.2  # where the lowest tenth of the held-out texts lies


def test_a_small_shift_of_the_energy_is_no_drift_however_sure_one_is_of_it() -> None:
    measure = watch(TRAINED_FOR, week(9, turns=4_000, lower=0.25), QUICK).measures[-1]
    assert measure.interval is not None
    assert measure.interval.high < 0
    assert not measure.drifted


def test_where_too_few_turns_record_an_energy_the_page_says_so_and_the_others_decide() -> None:
    turns = [replace(t, energy=None) if i % 2 else t for i, t in enumerate(week(10, shares=asked(0.6)))]
    report = watch(TRAINED_FOR, turns, QUICK)
    energy = report.measures[-1]
    assert (energy.name, energy.interval, energy.drifted) == (ENERGY, None, False)
    assert all(measure.interval is not None for measure in report.measures[:-1])
    assert report.drifted == (INTENTS,)
    calls = len({turn.group for turn in turns if turn.energy is not None})
    told = f"200 turns of {calls} calls record it, and a verdict needs 400 of 100"
    assert energy.missing == told
    assert f"Not judged: {ENERGY}; {told}. The other measures decide." in markdown(report, "Drift")


def test_a_reference_from_before_energies_judges_by_the_others() -> None:
    old = replace(TRAINED_FOR, held_out=tuple(replace(item, energy=None) for item in TRAINED_FOR.held_out))
    report = watch(old, week(11, outside=0.17), QUICK)
    assert report.drifted == (OUT_OF_SCOPE,)
    assert "no energies" in report.measures[-1].missing
    assert report.energy == ()
    assert "## Energy" not in markdown(report, "Drift")


def test_energies_that_are_all_alike_have_no_unit_to_measure_a_shift_in() -> None:
    held = tuple(replace(item, energy=5.0) for item in TRAINED_FOR.held_out)
    report = watch(replace(TRAINED_FOR, held_out=held), week(12), QUICK)
    assert report.verdict is DriftVerdict.STABLE
    assert report.measures[-1].missing


def test_an_intent_that_training_never_had_counts_as_a_change() -> None:
    turns = week(2)
    new = [
        Tagged("unheard_of", t.probability, t.in_scope, t.group) if i % 3 else t for i, t in enumerate(turns)
    ]
    report = watch(TRAINED_FOR, new, QUICK)
    assert report.drifted == (INTENTS,)
    assert report.intents[0].name == "unheard_of"


def test_turns_of_few_calls_make_a_wider_interval_than_as_many_that_stand_alone() -> None:
    together = [Tagged(t.intent, t.probability, i % 40 >= 4, f"call {i // 4}") for i, t in enumerate(week(3))]
    alone = [Tagged(t.intent, t.probability, t.in_scope, f"call {i}") for i, t in enumerate(together)]
    of_calls, of_turns = (watch(TRAINED_FOR, each, QUICK).measures[3].interval for each in (together, alone))
    assert of_calls is not None
    assert of_turns is not None
    assert of_calls.estimate == of_turns.estimate
    assert of_calls.high - of_calls.low > 1.5 * (of_turns.high - of_turns.low)
    assert (of_calls.items, of_turns.items) == (100, 400)


@pytest.mark.parametrize("turns", [0, 1, 399])
def test_too_few_turns_are_not_enough_instead_of_a_verdict(turns: int) -> None:
    report = watch(TRAINED_FOR, week(4, turns=400, outside=0.9)[:turns])
    assert report.verdict is DriftVerdict.NOT_ENOUGH
    assert all(measure.interval is None for measure in report.measures)
    assert "a verdict needs 400 turns of 100 calls" in markdown(report, "Drift")


def test_many_turns_of_too_few_calls_are_not_enough_either() -> None:
    one_call = [Tagged(t.intent, t.probability, t.in_scope, "the only call") for t in week(5)]
    assert watch(TRAINED_FOR, one_call).verdict is DriftVerdict.NOT_ENOUGH


def test_the_same_week_gives_the_same_report() -> None:
    assert watch(TRAINED_FOR, week(6), QUICK) == watch(TRAINED_FOR, week(6), QUICK)


@pytest.mark.parametrize(
    "change",
    [
        {"slight_psi": 0.3},
        {"min_turns": 0},
        {"energy_shift": -0.1},
        {"level": 1.0},
        {"mean_shift": -0.1},
        {"resamples": 0},
    ],
)
def test_a_policy_without_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="policy of drift"):
        DriftPolicy(**change)  # type: ignore[arg-type]  # that is what is tested


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_that_is_none_is_refused(probability: float) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        Tagged("any", probability, in_scope=True)


@pytest.mark.parametrize("energy", [float("nan"), float("inf"), float("-inf")])
def test_an_energy_that_is_no_number_is_refused(energy: float) -> None:
    with pytest.raises(InvalidInputError, match="finite number"):
        Tagged("any", 0.5, in_scope=True, energy=energy)


def test_a_reference_without_texts_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="training texts"):
        Reference({}, TRAINED_FOR.held_out)
    with pytest.raises(InvalidInputError, match="held-out"):
        Reference({"a": 1}, ())


def test_the_page_names_what_drifted_and_stands_beside_its_plot(tmp_path: Path) -> None:
    report = watch(TRAINED_FOR, week(7, shares=asked(0.6)), QUICK)
    page = write_drift_report(report, tmp_path / "drift", "banking-lora/3").read_text(encoding="utf-8")
    assert page.startswith("# banking-lora/3: drifted")
    assert f"Drifted: {INTENTS}" in page
    assert report.intents[0].name in page
    assert "## Energy" in page
    assert f"| {ENERGY} |" in page
    assert (tmp_path / "drift" / PLOT).read_text(encoding="utf-8").startswith("<?xml")
