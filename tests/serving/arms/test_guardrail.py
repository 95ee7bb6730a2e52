"""Harm is found soon, and where there is none nothing is found, however often one looks."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.arms.guardrail import CallOutcome, Guard, Harm, Tally, _most_evidence, harmful, judge
from serving.arms.sequential import Counts, difference_evidence
from serving.errors import InvalidInputError
from tests.properties import examples

RUNS, CALLS = 500, 250
EVERYDAY = {Harm.TRANSFERRED: 0.05, Harm.FAILED: 0.15, Harm.SLOW: 0.05}
EVERYDAY_GUARD = Guard()


def first_halt(
    rates: dict[Harm, float], *, seed: int, calls: int, share: float = 0.5, guard: Guard = EVERYDAY_GUARD
) -> int | None:
    """Number of the call after which a challenger with these rates is halted; the champion's are everyday."""
    draw, tally = random.Random(seed), Tally()
    for number in range(1, calls + 1):
        challenger = draw.random() < share
        chances = rates if challenger else EVERYDAY
        harms = frozenset(harm for harm, chance in chances.items() if draw.random() < chance)
        tally = tally.with_calls([CallOutcome(challenger, harms)])
        if harmful(tally, guard):
            return number
    return None


@pytest.mark.parametrize("guard", [EVERYDAY_GUARD, Guard(transferred=0.0, failed=0.0, slow=0.0)])
def test_an_equal_challenger_is_halted_in_at_most_alpha_of_runs_looked_at_after_every_call(
    guard: Guard,
) -> None:
    halts = [first_halt(EVERYDAY, seed=seed, calls=CALLS, guard=guard) for seed in range(RUNS)]
    assert sum(halt is not None for halt in halts) <= guard.alpha * RUNS


@pytest.mark.parametrize(
    ("harm", "rate", "within"),
    [(Harm.TRANSFERRED, 0.6, 120), (Harm.FAILED, 0.9, 100), (Harm.SLOW, 0.8, 100)],
)
def test_a_broken_challenger_is_halted_soon(harm: Harm, rate: float, within: int) -> None:
    halts = [first_halt(EVERYDAY | {harm: rate}, seed=seed, calls=within) for seed in range(30)]
    assert None not in halts


def test_a_broken_challenger_with_a_tenth_of_the_callers_is_halted_too() -> None:
    halts = [first_halt(EVERYDAY | {Harm.FAILED: 0.9}, seed=seed, calls=400, share=0.1) for seed in range(15)]
    assert None not in halts


def test_harm_within_the_margin_is_allowed_however_surely_it_is_known() -> None:
    many = 200_000
    tally = Tally(
        {harm: Counts(many // 10, many) for harm in Harm},
        {harm: Counts(many // 10 + many // 100, many) for harm in Harm},  # one point more
    )
    assert not harmful(tally, Guard())
    assert not any(finding.broken for finding in judge(tally, Guard()))
    assert harmful(tally, Guard(transferred=0.0))


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
@examples(150)
def test_the_bound_that_most_looks_end_at_is_one(
    ours: int, theirs: int, p: float, q: float, margin: float
) -> None:
    champion, challenger = Counts(round(p * ours), ours), Counts(round(q * theirs), theirs)
    assume(challenger.rate - champion.rate > margin)
    assert (
        difference_evidence(champion, challenger, margin)
        <= _most_evidence(champion, challenger, margin) + 1e-9
    )


@pytest.mark.parametrize("bad", [3, 8, 15, 25, 40, 60])
def test_the_quick_answer_and_the_intervals_agree(bad: int) -> None:
    tally = Tally({harm: Counts(6, 80) for harm in Harm}, {harm: Counts(bad, 60) for harm in Harm})
    assert harmful(tally, Guard()) == any(finding.broken for finding in judge(tally, Guard()))


def test_a_challenger_that_does_better_is_never_halted() -> None:
    tally = Tally({harm: Counts(400, 500) for harm in Harm}, {harm: Counts(5, 500) for harm in Harm})
    assert not harmful(tally, Guard())


def test_one_arm_alone_says_nothing() -> None:
    tally = Tally().with_calls([CallOutcome(True, frozenset(Harm))] * 200)
    assert not harmful(tally, Guard())
    assert {(finding.low, finding.high) for finding in judge(tally, Guard())} == {(-1.0, 1.0)}


def test_a_finding_says_its_figures() -> None:
    tally = Tally({harm: Counts(5, 100) for harm in Harm}, {harm: Counts(60, 100) for harm in Harm})
    said = str(judge(tally, Guard())[0])
    assert said.startswith(
        "transferred after a failure: 60 of 100 calls against 5 of 100 calls, difference +"
    )
    assert said.endswith("margin 2.0 pp")


def test_the_shares_of_a_split_have_no_more_error_probability_together_than_the_split() -> None:
    parts = [Guard(alpha=0.05).at_share(place).alpha for place in range(1_000)]
    assert sum(parts) <= 0.05
    assert sum(parts[:20]) > 0.045
    assert min(parts[:3]) > 0.004


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0}, {"alpha": 1}, {"failed": -0.1}, {"slow": 1.0}, {"slow_s": 0}]
)
def test_a_guardrail_without_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="guardrail"):
        Guard(**wrong)
