"""Champion against challenger, looked at after every call: intervals and alarms that stay valid.

An ordinary interval holds for one look at a size fixed beforehand; who looks daily and stops at the first
"significant" day is wrong far more often than the interval says. What is here holds at all sizes at once: the
chance that an interval *ever* misses, however often and for whatever reason one looks or stops, is at most
`alpha` (Ville 1939). Pure functions of counts and values.

The assumption behind all of them: an arm's outcomes have one mean, each given the past. Units are therefore
callers, not calls, and who is routed where must not depend on outcomes to come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.arms.betting import Floats, Tally, difference_of_means, log_evidence, tally
from serving.errors import InvalidInputError

CONCENTRATION = 100.0
"""Weight of the prior around the planned share, in callers: how near to it a broken share is looked for."""
_LARGEST_LOG = 700.0
"""An e-value is cut here (about 10³⁰⁴), just below what a float holds."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one arm has come to.

    Attributes:
        successes: trials that came out as counted.
        trials: callers whose outcome is known.

    Raises:
        InvalidInputError: negative counts, or more successes than trials.
    """

    successes: int
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.trials:
            raise InvalidInputError(
                f"{self.successes} of {self.trials} is no count.",
                advice="Give successes from 0 to the number of trials.",
            )

    @property
    def rate(self) -> float | None:
        """The observed share, 0 to 1; None without trials."""
        return self.successes / self.trials if self.trials else None


def difference_sequence(champion: Counts, challenger: Counts, alpha: float) -> tuple[float, float]:
    """Interval of challenger rate minus champion rate that is valid at all sizes of both arms at once.

    The method is `serving.arms.betting.difference_of_means`: mixed bets against every pair of rates
    (Waudby-Smith & Ramdas 2023), both arms' wealths multiplied. From some hundred callers on it is about
    twice as wide as the ordinary 95 % interval, which is the price of looking whenever one likes.

    Args:
        champion: its counts so far, none included.
        challenger: its counts so far, none included.
        alpha: chance that the interval ever misses, over all looks.

    Returns:
        Low and high end, -1 to 1; nothing is known before the first outcomes, so (-1, 1) there.

    Raises:
        InvalidInputError: alpha is not between 0 and 1.
    """
    _check_alpha(alpha)
    return difference_of_means(_tally_of(champion), _tally_of(challenger), alpha)


def difference_evidence(champion: Counts, challenger: Counts, difference: float = 0.0) -> float:
    """Natural logarithm of the e-value against "challenger rate minus champion rate is `difference`".

    The least wealth over all pairs of rates with that difference: it reaches log(1/alpha) where
    `difference_sequence` leaves the difference out, at a tenth of the work. If the difference is the true
    one, it *ever* reaches that with probability at most alpha; exp(-largest so far), at most 1, is an
    always-valid p-value.

    Raises:
        InvalidInputError: a difference of -1 or less, of 1 or more.
    """
    if not -1 < difference < 1:
        raise InvalidInputError(f"A difference of two rates is between -1 and 1; {difference} was given.")
    return log_evidence(_tally_of(champion), _tally_of(challenger), difference)


def mean_difference_sequence(
    champion: Sequence[float] | Floats,
    challenger: Sequence[float] | Floats,
    bounds: tuple[float, float],
    alpha: float,
) -> tuple[float, float]:
    """Interval of challenger mean minus champion mean of bounded values, valid at all sizes at once.

    For survey answers of 1 to 5, or seconds cut at a bound. Values that lie close together give a short
    interval: the bets that suit their spread win, see `serving.arms.betting.difference_of_means`.

    Args:
        champion: its values so far in any order, none included.
        challenger: its values so far in any order, none included.
        bounds: least and largest value possible, fixed before the first value.
        alpha: chance that the interval ever misses, over all looks.

    Returns:
        Low and high end in the values' unit.

    Raises:
        InvalidInputError: bounds that are none, a value outside them, or an alpha not between 0 and 1.
    """
    _check_alpha(alpha)
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidInputError(f"Bounds are two finite numbers, the lower one first: {low}, {high}.")
    start, end = difference_of_means(_scaled(champion, low, high), _scaled(challenger, low, high), alpha)
    return (high - low) * start, (high - low) * end


def sample_ratio_e_value(
    champion: int, challenger: int, share: float, *, concentration: float = CONCENTRATION
) -> float:
    """Evidence that callers are not split as planned; an alarm at 1/alpha is false with chance alpha at most.

    The likelihood of the two counts under Beta(concentration x share, concentration x (1 - share)) over that
    under the planned share (Lindon & Malek 2020, "Anytime-valid inference for multinomial count data"). It
    may be looked at after every caller. Count each caller once: a caller's second call says nothing new.

    Args:
        champion: callers in the champion's arm.
        challenger: callers in the challenger's arm.
        share: planned share of the challenger, between 0 and 1.
        concentration: how near to the plan a broken share is expected; the alarm is right with any.

    Raises:
        InvalidInputError: negative counts, or a share or concentration out of its range.
    """
    if min(champion, challenger) < 0:
        raise InvalidInputError(f"Callers cannot be negative: {champion}, {challenger}.")
    if not 0 < share < 1:
        raise InvalidInputError(
            f"A planned share is between 0 and 1; {share} was given.",
            advice="With one arm only there is no ratio to check.",
        )
    if not (math.isfinite(concentration) and concentration > 0):
        raise InvalidInputError(f"A concentration is a number above 0; {concentration} was given.")
    ours, theirs = concentration * share, concentration * (1 - share)
    mixture = _log_beta(ours + challenger, theirs + champion) - _log_beta(ours, theirs)
    planned = challenger * math.log(share) + champion * math.log1p(-share)
    return math.exp(min(mixture - planned, _LARGEST_LOG))


def _tally_of(counts: Counts) -> Tally:
    times = [counts.trials - counts.successes, counts.successes]
    return np.array([0.0, 1.0]), np.array(times, dtype=np.float64)


def _scaled(values: Sequence[float] | Floats, low: float, high: float) -> Tally:
    numbers = np.asarray(values, dtype=np.float64)
    if not ((numbers >= low) & (numbers <= high)).all():
        raise InvalidInputError(
            f"Every value must be a number from {low:g} to {high:g}.",
            advice="Cut values at bounds that are fixed before the first one is seen.",
        )
    return tally(np.asarray((numbers - low) / (high - low), dtype=np.float64))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidInputError(f"An error rate is between 0 and 1; {alpha} was given.")
