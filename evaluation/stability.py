"""The population stability index and its bootstrap, over counts; nothing here knows what is counted.

The index of shares p (reference) and q (now) is the sum over bins of (q - p) ln(q / p): zero for equal
shares, never negative, the same with both sides exchanged (it is Jeffreys' divergence). It is larger than it
should be by chance alone, the more so with many bins, and `index_bootstrap` takes that off.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from evaluation.statistics import Floats, Interval
from serving.errors import InvalidInputError

HALF = 0.5
"""Turns that each bin is lent on both sides (Krichevsky & Trofimov 1981, from Jeffreys' prior), so that an
empty bin has a logarithm. They are handed out by the mean of both sides' shares instead of evenly, as a
Dirichlet prior around it: equal shares then stay equal whatever the sizes, and the index 0."""
DECILES = 10
_CHUNK_CELLS = 4_000_000
"""Cells of one chunk of draws, which bounds memory to about 32 MB."""


def stability_index(reference: Floats, now: Floats) -> Floats:
    """Population stability index of counts, over the last axis; leading axes are broadcast.

    Args:
        reference: counts by bin, shape (..., bins).
        now: counts of the same bins.

    Raises:
        InvalidInputError: bins that differ in number, a negative count, or a side without any.
    """
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if not first.shape or not second.shape or first.shape[-1] != second.shape[-1]:
        raise InvalidInputError(f"Both sides need the same bins: {first.shape}, {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()) or first.min() < 0 or second.min() < 0:
        raise InvalidInputError("Counts must be finite and not negative.")
    if not (first.sum(axis=-1).all() and second.sum(axis=-1).all()):
        raise InvalidInputError("The index compares two sides; one of them holds nothing.")
    middle = first / first.sum(axis=-1, keepdims=True) + second / second.sum(axis=-1, keepdims=True)
    middle /= 2
    p, q = _smoothed(first, middle), _smoothed(second, middle)
    # A bin that is empty on both sides has no share at all, and nothing to add.
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(middle > 0, (q - p) * np.log(q / p), 0.0)
    return np.asarray(np.maximum(0.0, terms.sum(axis=-1)))


def decile_edges(values: Sequence[float] | Floats) -> Floats:
    """The inner edges of ten bins that hold a tenth of the values each; fewer where values repeat."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise InvalidInputError("Deciles need values; none were given.")
    return np.asarray(np.unique(np.quantile(numbers, np.arange(1, DECILES) / DECILES)))


def grouped(rows: Floats, groups: Sequence[Hashable]) -> Floats:
    """Sums of the rows of each group, shape (groups, columns), in order of first appearance."""
    place: dict[Hashable, int] = {}
    index = np.array([place.setdefault(name, len(place)) for name in groups], dtype=np.intp)
    sums = np.zeros((len(place), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums


def index_bootstrap(reference: Floats, now: Floats, *, level: float, resamples: int, seed: int) -> Interval:
    """Index of two samples with a basic bootstrap interval, both freed of what chance adds.

    A resample adds as much chance to the index as the sample had, so twice the observed index minus the
    resamples' mean is without it, and the interval is mirrored at the observed index likewise (Davison &
    Hinkley, Bootstrap Methods and Their Application, 1997, sections 2.2 and 5.2). Nothing ends below 0.

    Args:
        reference: counts of independent texts by bin, shape (bins,).
        now: counts of the present by unit and bin, shape (units, bins); whole units are drawn, and counted
            as the interval's `items`.
        level: confidence of the two-sided interval.
        resamples: number of resamples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    observed = float(stability_index(reference, now.sum(axis=0)))
    draws = np.concatenate(
        [
            stability_index(_counts(rng, reference, len(sums)), sums)
            for sums in _resampled(now, resamples, rng)
        ]
    )
    low, high = _mirrored(observed, draws, level)
    estimate = max(0.0, 2 * observed - float(draws.mean()))
    return Interval(estimate, max(0.0, low), max(0.0, high), level, len(now))


def mean_shift(reference: Floats, now: Floats, *, level: float, resamples: int, seed: int) -> Interval:
    """Mean of now minus mean of the reference, with a basic bootstrap interval.

    Args:
        reference: sum and number of each unit, shape (units, 2).
        now: the same of the present.
        level: confidence of the two-sided interval.
        resamples: number of resamples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    then, here = (
        np.concatenate([sums[:, 0] / sums[:, 1] for sums in _resampled(side, resamples, rng)])
        for side in (reference, now)
    )
    observed = float(now[:, 0].sum() / now[:, 1].sum() - reference[:, 0].sum() / reference[:, 1].sum())
    low, high = _mirrored(observed, here - then, level)
    return Interval(observed, low, high, level, len(now))


def _mirrored(observed: float, draws: Floats, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(2 * observed - high), float(2 * observed - low)


def _resampled(units: Floats, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Column sums over as many units as there are, drawn with replacement; a chunk of resamples at a time."""
    count = len(units)
    step = max(1, _CHUNK_CELLS // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield np.asarray(times.astype(np.float64) @ units)


def _counts(rng: np.random.Generator, counts: Floats, resamples: int) -> Floats:
    """Counts of as many independent units, drawn with replacement; shape (resamples, bins)."""
    total = counts.sum()
    return rng.multinomial(int(total), counts / total, size=resamples).astype(np.float64)


def _smoothed(counts: Floats, middle: Floats) -> Floats:
    lent = HALF * counts.shape[-1]
    return np.asarray((counts + lent * middle) / (counts.sum(axis=-1, keepdims=True) + lent))
