"""What a KPI is made of: a share, a mean or percentiles, each with its counts and its doubt.

Pure functions from counts and raw values; nothing here knows calls. A figure that cannot be stated
carries the status that says why, never a zero.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from evaluation.statistics import Interval, clopper_pearson, mean_interval, wilson

FEW = 30
"""A share or a mean of fewer units is marked: its interval is wide and its luck large."""
FEW_BEYOND = 5
"""A percentile is marked where fewer values than this are expected beyond it (p95 needs 100 values)."""
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_CURVE_POINTS = 101


class Status(StrEnum):
    """Whether a figure can be stated, and if not, why."""

    MEASURED = "measured"
    NO_DATA = "no data"
    """Nothing happened that the figure could be about."""
    NOT_MATURE = "not mature"
    """All its calls are younger than the time in which a caller may come back."""
    NOT_TRACEABLE = "not traceable"
    """No call carries the caller's hash, so nobody can be seen coming back."""
    NOT_ASKED = "not asked"
    """Callers were not asked, or none answered."""
    NOT_MEASURED = "not measured"
    """Nobody checked."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with everything needed to judge it.

    Attributes:
        status: the numbers below mean something only where this is `measured`.
        numerator: units that count.
        denominator: units that could have counted.
        interval: two-sided 95 % interval; None without a denominator.
        few: fewer than `FEW` units.
        response: share of callers who answered, where the figure rests on answers.
    """

    status: Status
    numerator: int = 0
    denominator: int = 0
    interval: Interval | None = None
    few: bool = False
    response: "Rate | None" = None

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None where it cannot be stated."""
        return self.interval.estimate if self.interval else None


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of seconds.

    Attributes:
        items: values behind it.
        seconds: the mean; None without values.
        interval: Student's t, not below zero; None for fewer than two values.
        few: fewer than `FEW` values.
    """

    items: int
    seconds: float | None = None
    interval: Interval | None = None
    few: bool = False


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of raw seconds (linear interpolation, as numpy); never averaged from others.

    Attributes:
        items: values behind them.
        few: names of the percentiles with too few values beyond them.
        curve: the sorted values, thinned to 101 evenly spaced quantiles where there are more.
    """

    items: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    few: tuple[str, ...] = ()
    curve: tuple[float, ...] = ()


def share(
    numerator: int,
    denominator: int,
    *,
    exact: bool = False,
    empty: Status = Status.NO_DATA,
    response: Rate | None = None,
) -> Rate:
    """A share with Wilson's interval, or Clopper and Pearson's where `exact`.

    Args:
        numerator: units that count.
        denominator: units that could have counted; 0 gives the status `empty`.
        exact: for rare and costly events, where an interval must not be too short.
        empty: why there is no denominator.
        response: share of callers who answered.
    """
    if denominator == 0:
        return Rate(empty, response=response)
    interval = (clopper_pearson if exact else wilson)(numerator, denominator)
    return Rate(Status.MEASURED, numerator, denominator, interval, denominator < FEW, response)


def mean_seconds(values: Iterable[float]) -> Mean:
    """Mean of the usable values with Student's t interval."""
    numbers = [value for value in values if usable(value)]
    if not numbers:
        return Mean(0)
    if len(numbers) == 1:
        return Mean(1, numbers[0], None, few=True)
    interval = mean_interval(numbers)
    clipped = Interval(
        interval.estimate, max(0.0, interval.low), interval.high, interval.level, interval.items
    )
    return Mean(len(numbers), interval.estimate, clipped, len(numbers) < FEW)


def percentiles(values: Sequence[float]) -> Percentiles:
    """Percentiles of raw values; a value that is no duration is left out."""
    numbers = np.sort(np.array([value for value in values if usable(value)], dtype=np.float64))
    if not numbers.size:
        return Percentiles(0)
    found = {name: float(np.quantile(numbers, level)) for name, level in PERCENTILES.items()}
    # Rounding keeps 100 x (1 - 0.95) from being a hair below 5.
    few = tuple(n for n, level in PERCENTILES.items() if round(numbers.size * (1 - level), 6) < FEW_BEYOND)
    curve = numbers
    if numbers.size > _CURVE_POINTS:
        curve = np.quantile(numbers, np.linspace(0, 1, _CURVE_POINTS))
    return Percentiles(
        int(numbers.size),
        p50=found["p50"],
        p90=found["p90"],
        p95=found["p95"],
        p99=found["p99"],
        few=few,
        curve=tuple(float(value) for value in curve),
    )


def usable(value: float | None) -> bool:
    """Whether a stored number is a duration: finite and not negative."""
    return value is not None and math.isfinite(value) and value >= 0
