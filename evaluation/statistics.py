"""Intervals and tests behind every verdict: proportions, bootstrap, paired comparisons.

Pure functions of numbers; nothing here reads a file, prints or knows what the numbers mean. Every
function states its formula or where it is from. Shares and probabilities are 0 to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
RESAMPLES = 10_000
_FEW_VALUES = 64
"""Up to so many distinct values a bootstrap draws their counts instead of the items themselves."""
_CHUNK_CELLS = 4_000_000
"""Cells of one chunk of drawn indices, which bounds memory to about 64 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided interval.

    Attributes:
        estimate: the value observed.
        low: lower bound.
        high: upper bound.
        level: confidence, such as 0.95.
        items: independent units behind the estimate (clusters where items were clustered).
    """

    estimate: float
    low: float
    high: float
    level: float
    items: int

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of (new - old) over the same items.

    Attributes:
        interval: two-sided bootstrap interval of the difference.
        lower_bound: one-sided bound at `interval.level`: the difference is above it with that confidence.
        probability_better: share of the resamples in which new beats old; a tie counts half.
    """

    interval: Interval
    lower_bound: float
    probability_better: float


@dataclass(frozen=True, slots=True)
class Discordance:
    """A 2 x 2 table of paired right/wrong answers, without the two cells that agree.

    Attributes:
        gained: items that only the new one answers right.
        lost: items that only the old one answers right.
        items: all items.
    """

    gained: int
    lost: int
    items: int

    @property
    def rate(self) -> float:
        """Share of items on which the two differ in being right."""
        return (self.gained + self.lost) / self.items

    @property
    def difference(self) -> float:
        """Accuracy of the new one minus the old one's."""
        return (self.gained - self.lost) / self.items


# Proportions


def wilson(successes: int, items: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion, good also near 0 and 1 (Wilson 1927).

    With z the normal quantile: centre (p + z²/2n) / (1 + z²/n), half-width
    z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n).
    """
    _check_counts(successes, items, level)
    z = _normal_quantile(0.5 + level / 2)
    p, shrink = successes / items, 1 + z * z / items
    centre = (p + z * z / (2 * items)) / shrink
    half = z * math.sqrt(p * (1 - p) / items + z * z / (4 * items * items)) / shrink
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == items else min(1.0, centre + half)
    return Interval(p, low, high, level, items)


def clopper_pearson(successes: int, items: int, level: float = 0.95) -> Interval:
    """Exact interval of a proportion, never too short (Clopper & Pearson 1934).

    Low is the a/2 quantile of Beta(k, n-k+1), high the 1-a/2 quantile of Beta(k+1, n-k), a = 1 - level.
    """
    _check_counts(successes, items, level)
    tail = (1 - level) / 2
    return Interval(
        successes / items,
        _beta_low(successes, items, tail),
        _beta_high(successes, items, tail),
        level,
        items,
    )


def clopper_pearson_upper(events: int, items: int, level: float = 0.95) -> float:
    """Exact one-sided upper bound of a rate: `level` quantile of Beta(k+1, n-k).

    Without any event it is 1 - (1-level)^(1/n): 299 items prove a rate under 1 % at 95 %.
    """
    _check_counts(events, items, level)
    return _beta_high(events, items, 1 - level)


# Bootstrap


def bootstrap_mean(
    values: Sequence[float] | Array,
    *,
    clusters: Sequence[object] | Array | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a mean (Efron 1979); with `clusters`, whole clusters are drawn.

    Raises:
        InvalidInputError: no values, a value that is not finite, or lengths that differ.
    """
    numbers = _numbers(values, "values")
    return bootstrap_ratio(
        numbers, np.ones_like(numbers), clusters=clusters, level=level, resamples=resamples, seed=seed
    )


def bootstrap_ratio(
    numerators: Sequence[float] | Array,
    denominators: Sequence[float] | Array,
    *,
    clusters: Sequence[object] | Array | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of sum(numerators) / sum(denominators), such as errors per spoken word.

    Args:
        numerators: one number per item.
        denominators: one number per item, none negative, of positive sum.
        clusters: what items belong together (a call, a speaker); whole clusters are drawn, because
            items of one cluster are not independent. None: every item stands alone.
        level: confidence of the two-sided interval.
        resamples: number of resamples.
        seed: seed of the draws.

    Raises:
        InvalidInputError: nothing to average, numbers that are not finite, or lengths that differ.
    """
    _check_level(level)
    estimate, draws, units = _resampled_ratio(numerators, denominators, clusters, resamples, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level, units)


def paired_bootstrap(
    new: Sequence[float] | Array,
    old: Sequence[float] | Array,
    *,
    clusters: Sequence[object] | Array | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Bootstrap of the mean difference of two systems on the same items.

    Both scores of an item are drawn together, so what makes an item easy or hard for both cancels out
    (Koehn 2004). The one-sided bound is the `1 - level` quantile of the resampled differences.

    Raises:
        InvalidInputError: as `bootstrap_ratio`; or the two have different lengths.
    """
    _check_level(level)
    first, second = _numbers(new, "new scores"), _numbers(old, "old scores")
    if first.shape != second.shape:
        raise InvalidInputError(f"Paired scores differ in number: {first.size} and {second.size}.")
    estimate, draws, units = _resampled_ratio(first - second, np.ones_like(first), clusters, resamples, seed)
    tail = (1 - level) / 2
    low, high, bound = np.quantile(draws, [tail, 1 - tail, 1 - level])
    better = float(np.mean(draws > 0) + 0.5 * np.mean(draws == 0))
    return PairedDifference(Interval(estimate, float(low), float(high), level, units), float(bound), better)


# Paired right/wrong answers


def discordance(new: Sequence[bool] | Array, old: Sequence[bool] | Array) -> Discordance:
    """Count the items on which exactly one of two systems is right.

    Raises:
        InvalidInputError: no items, or lengths that differ.
    """
    first, second = np.asarray(new, dtype=bool), np.asarray(old, dtype=bool)
    if first.shape != second.shape or first.size == 0:
        raise InvalidInputError(
            f"Paired answers must be equal in number, at least one: {first.size}, {second.size}."
        )
    return Discordance(int((first & ~second).sum()), int((~first & second).sum()), int(first.size))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value: 2 P(X <= min(gained, lost)), X ~ Binomial(gained + lost, 1/2)."""
    if min(gained, lost) < 0:
        raise InvalidInputError(f"Counts cannot be negative: {gained}, {lost}.")
    return min(1.0, 2 * _fair_coin_tail(min(gained, lost), gained + lost))


def mcnemar_worse(gained: int, lost: int) -> float:
    """Exact one-sided p-value of "the new one is worse": P(X <= gained), X ~ Binomial(gained + lost, 1/2)."""
    if min(gained, lost) < 0:
        raise InvalidInputError(f"Counts cannot be negative: {gained}, {lost}.")
    return _fair_coin_tail(gained, gained + lost)


def holm(p_values: Sequence[float] | Array) -> Floats:
    """P-values adjusted for many tests at once (Holm 1979), in the order given.

    The i-th smallest (from 0) of m is multiplied by m - i, then made monotone and capped at 1; rejecting
    where the result is below a keeps the chance of any false rejection below a.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.size and not ((given >= 0) & (given <= 1)).all():
        raise InvalidInputError("P-values must be numbers from 0 to 1.")
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(given.size, 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if given.size else steps
    return adjusted


# Means of a few runs


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of a few independent runs (seeds) with Student's t interval: mean ± t sd/sqrt(n).

    One run has no spread to judge by; its interval is then the whole line.
    """
    _check_level(level)
    numbers = _numbers(values, "values")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, -math.inf, math.inf, level, 1)
    from scipy import stats

    half = float(stats.t.ppf(0.5 + level / 2, numbers.size - 1) * stats.sem(numbers))
    return Interval(mean, mean - half, mean + half, level, int(numbers.size))


# Helpers of the above


def _resampled_ratio(
    numerators: Sequence[float] | Array,
    denominators: Sequence[float] | Array,
    clusters: Sequence[object] | Array | None,
    resamples: int,
    seed: int,
) -> tuple[float, Floats, int]:
    """The observed ratio, the resampled ones, and the number of units that were drawn."""
    top, bottom = _numbers(numerators, "numerators"), _numbers(denominators, "denominators")
    if top.shape != bottom.shape:
        raise InvalidInputError(f"Numerators and denominators differ in number: {top.size}, {bottom.size}.")
    if (bottom < 0).any() or bottom.sum() <= 0:
        raise InvalidInputError("Denominators must not be negative and must not all be zero.")
    if resamples < 1:
        raise InvalidInputError(f"At least one resample is needed; {resamples} were asked for.")
    if clusters is not None:
        top, bottom = _cluster_sums(top, bottom, clusters)
    pairs = np.stack([top, bottom], axis=1)
    sums = _resampled_sums(pairs, resamples, np.random.default_rng(seed))
    # A resample whose drawn clusters are all empty has no ratio; it is left out.
    usable = sums[sums[:, 1] > 0]
    return float(top.sum() / bottom.sum()), usable[:, 0] / usable[:, 1], len(pairs)


def _cluster_sums(top: Floats, bottom: Floats, clusters: Sequence[object] | Array) -> tuple[Floats, Floats]:
    if len(clusters) != top.size:
        raise InvalidInputError(f"{top.size} items but {len(clusters)} cluster names.")
    position: dict[object, int] = {}
    index = np.array([position.setdefault(name, len(position)) for name in clusters])
    sums = np.bincount(index, weights=top), np.bincount(index, weights=bottom)
    return sums[0].astype(np.float64), sums[1].astype(np.float64)


def _resampled_sums(pairs: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums over `len(pairs)` rows drawn with replacement, shape (resamples, 2).

    Where few distinct rows exist (right or wrong), their counts are multinomial: the same distribution
    as drawing rows one by one, at a thousandth of the work.
    """
    units = len(pairs)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    if len(distinct) <= _FEW_VALUES:
        return np.asarray(rng.multinomial(units, counts / units, size=resamples) @ distinct)
    sums = np.empty((resamples, 2))
    step = max(1, _CHUNK_CELLS // units)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, units, size=(min(step, resamples - start), units))
        sums[start : start + len(drawn), 0] = pairs[:, 0][drawn].sum(axis=1)
        sums[start : start + len(drawn), 1] = pairs[:, 1][drawn].sum(axis=1)
    return sums


def _numbers(values: Sequence[float] | Array, what: str) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0:
        raise InvalidInputError(f"A list of {what} is needed, at least one.")
    if not np.isfinite(numbers).all():
        raise InvalidInputError(f"All {what} must be finite numbers.")
    return numbers


def _fair_coin_tail(count: int, throws: int) -> float:
    from scipy import stats

    return float(stats.binom.cdf(count, throws, 0.5))


def _beta_low(successes: int, items: int, tail: float) -> float:
    from scipy import stats

    return float(stats.beta.ppf(tail, successes, items - successes + 1)) if successes else 0.0


def _beta_high(successes: int, items: int, tail: float) -> float:
    from scipy import stats

    return float(stats.beta.ppf(1 - tail, successes + 1, items - successes)) if successes < items else 1.0


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _check_counts(successes: int, items: int, level: float) -> None:
    _check_level(level)
    if items <= 0 or not 0 <= successes <= items:
        raise InvalidInputError(f"{successes} of {items} is no proportion.")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InvalidInputError(f"A confidence level is between 0 and 1; {level} was given.")
