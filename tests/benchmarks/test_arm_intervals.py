"""What an always-valid interval costs and saves: simulated callers, looked at after every one of them.

No figure here is of real calls; what must hold is in tests/serving/arms/test_sequential.py.
"""

import math
from statistics import NormalDist, quantiles
from typing import Any

import numpy as np
import pytest

from evaluation.statistics import clopper_pearson
from serving.arms.sequential import Counts, difference_evidence
from serving.cli.console import print_table
from tests.serving.arms.test_sequential import (
    ALPHA,
    LIMIT,
    LOOKS,
    PATHS,
    against_rate,
    ordinary_miss,
    paths,
)

TRUTHS = ((0.8, 0.0, 0.1), (0.5, 0.1, 0.5), (0.05, -0.03, 0.3))
"""Champion's rate, what the challenger adds, and the challenger's share."""
BASE, SIMULATED, MOST, STEP = 0.6, 60, 12_000, 50


@pytest.mark.benchmark(group="arms")
def test_how_often_a_daily_look_is_wrong_and_how_many_callers_a_verdict_takes(benchmark: Any) -> None:
    if benchmark.disabled:
        pytest.skip("a measurement of a minute")
    wrong: list[tuple[str, str, str]] = []
    needed: list[tuple[str, ...]] = []

    def measure() -> None:
        wrong.extend(_wrong(rate, better, share) for rate, better, share in TRUTHS)
        needed.extend(_needed(better) for better in (0.15, 0.10, 0.05))

    benchmark.pedantic(measure, rounds=1)
    print_table(
        f"Ever wrong within {LOOKS:,} callers, {PATHS} paths",
        ["truth", "always-valid", "ordinary 95 %"],
        wrong,
    )
    columns = ["truth", "median", "80 % of paths", "ordinary test, one look, 80 % power"]
    print_table(f"Callers of both arms until the verdict, {SIMULATED} paths", columns, needed)


def _wrong(rate: float, better: float, share: float) -> tuple[str, str, str]:
    k0, n0, k1, n1 = paths(1, share, rate, better)
    wealth = against_rate(k0, n0, rate) + against_rate(k1, n1, rate + better)
    at_most = int((wealth >= LIMIT).any(axis=1).sum())
    ordinary = int(ordinary_miss(k0, n0, k1, n1, better).any(axis=1).sum())
    truth = f"{rate:.0%} and {rate + better:.0%}, {share:.0%} to the challenger"
    return truth, f"at most {_percent(at_most)}", _percent(ordinary)


def _percent(count: int) -> str:
    found = clopper_pearson(count, PATHS)
    return f"{found.estimate:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _needed(better: float) -> tuple[str, ...]:
    """Callers until zero is ruled out, at equal shares; the ordinary number by the normal approximation."""
    found = sorted(_first_verdict(seed, better) for seed in range(SIMULATED))
    spread = BASE * (1 - BASE) + (BASE + better) * (1 - BASE - better)
    z = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(0.8)
    truth = f"{BASE:.0%} and {BASE + better:.0%}"
    shown = [f"{round(value, -1):,.0f}" for value in (quantiles(found, n=2)[0], quantiles(found, n=5)[3])]
    return truth, *shown, f"{2 * math.ceil(spread * (z / better) ** 2):,}"


def _first_verdict(seed: int, better: float) -> int:
    rng = np.random.default_rng(seed)
    routed = rng.random(MOST) < 0.5
    good = rng.random(MOST) < np.where(routed, BASE + better, BASE)
    for size in range(STEP, MOST + 1, STEP):
        ours, theirs = ~routed[:size], routed[:size]
        champion = Counts(int((good[:size] & ours).sum()), int(ours.sum()))
        challenger = Counts(int((good[:size] & theirs).sum()), int(theirs.sum()))
        if difference_evidence(champion, challenger) >= LIMIT:
            return size
    return MOST
