"""How much a test set can prove: margins, power and sizes of a non-inferiority test.

Planned beforehand from the number of items and the share of items on which two good systems usually
disagree; nothing here looks at results. Each function names its formula: normal approximations for margins,
the exact distribution for the loss that a McNemar test finds, because groups of items are small.
"""

import math
from statistics import NormalDist

import numpy as np

from evaluation.statistics import Floats
from serving.errors import InvalidInputError

_NORMAL = NormalDist()
_PRECISION = 1e-4
"""Of a detectable loss."""


def non_inferiority_margin(
    items: int, discordance_rate: float, *, power: float = 0.80, level: float = 0.95
) -> float:
    """Smallest margin at which an equal challenger passes with the wanted power.

    The paired difference of two equally good systems has standard error sqrt(d/n), d the discordance;
    the one-sided bound lies z_level of it below the difference, hence
    margin = (z_level + z_power) sqrt(d/n) (Tango 1998, normal approximation).

    Args:
        items: items of the test set.
        discordance_rate: expected share of items on which exactly one of the two is right; plan it
            beforehand, since a margin from the observed share would reward changing many answers.
        power: probability that an equally good challenger passes.
        level: confidence of the one-sided bound.

    Raises:
        InvalidInputError: a number out of its range.
    """
    _check_plan(items, discordance_rate, level)
    if not 0.5 <= power < 1:
        raise InvalidInputError(f"Power must be from 0.5 to below 1; {power} was given.")
    return (_NORMAL.inv_cdf(level) + _NORMAL.inv_cdf(power)) * math.sqrt(discordance_rate / items)


def non_inferiority_power(
    items: int, discordance_rate: float, margin: float, *, difference: float = 0.0, level: float = 0.95
) -> float:
    """Probability that a challenger of a true accuracy difference passes the margin.

    Phi((difference + margin) / se - z_level) with se = sqrt((d - difference²)/n), the inverse of
    `non_inferiority_margin`.

    Raises:
        InvalidInputError: a number out of its range, or a difference that d cannot produce.
    """
    _check_plan(items, discordance_rate, level)
    if abs(difference) > discordance_rate:
        raise InvalidInputError(f"A discordance of {discordance_rate} cannot give {difference}.")
    error = math.sqrt((discordance_rate - difference**2) / items)
    return _NORMAL.cdf((difference + margin) / error - _NORMAL.inv_cdf(level)) if error else 1.0


def items_needed(margin: float, discordance_rate: float, *, power: float = 0.80, level: float = 0.95) -> int:
    """Test items with which `non_inferiority_margin` is at most `margin`: d ((z_level + z_power)/margin)²."""
    if margin <= 0:
        raise InvalidInputError(f"A margin must be positive; {margin} was given.")
    one = non_inferiority_margin(1, discordance_rate, power=power, level=level)
    return max(1, math.ceil((one / margin) ** 2))


def detectable_loss(
    items: int, discordance_rate: float, *, error: float, power: float = 0.80
) -> float | None:
    """Smallest loss of accuracy that the exact one-sided McNemar test finds with the wanted power.

    Each item is lost with probability (d + loss)/2 and gained with (d - loss)/2. Given m of n items on which
    exactly one is right, the lost ones are Binomial(m, (d + loss)/(2d)), and the test finds the loss from the
    fewest lost ones whose p-value is below the error; the power is the mean of that over m ~ Binomial(n, d)
    (Duffy 1984, Biometrics 40). A loss above the planned d needs a d as large as itself.

    Args:
        items: items in the group.
        discordance_rate: expected share of items on which exactly one of the two is right.
        error: the p-value below which the test speaks; of the first step, where several are corrected.
        power: chance to find the loss.

    Returns:
        The loss, 0 to 1; None where not even the loss of every item would be found.

    Raises:
        InvalidInputError: a number out of its range.
    """
    _check_plan(items, discordance_rate, 1 - error)
    if not 0.5 <= power < 1:
        raise InvalidInputError(f"Power must be from 0.5 to below 1; {power} was given.")
    discordant = np.arange(items + 1, dtype=np.float64)
    needed = _fewest_lost(discordant, error)
    if _power_of_mcnemar(discordant, needed, discordance_rate, 1.0) < power:
        return None
    missed, found = 0.0, 1.0
    while found - missed > _PRECISION:
        middle = (missed + found) / 2
        if _power_of_mcnemar(discordant, needed, discordance_rate, middle) < power:
            missed = middle
        else:
            found = middle
    return found


def _fewest_lost(discordant: Floats, error: float) -> Floats:
    """For each number m of discordant items the fewest lost ones with a p-value below the error.

    The p-value of k lost is P(X <= m - k), X ~ Binomial(m, 1/2); where none is below, the answer is m + 1.
    """
    from scipy import stats

    gained = stats.binom.ppf(error, discordant, 0.5)
    gained = gained - (stats.binom.cdf(gained, discordant, 0.5) >= error)
    return np.asarray(discordant - gained, dtype=np.float64)


def _power_of_mcnemar(discordant: Floats, needed: Floats, discordance_rate: float, loss: float) -> float:
    from scipy import stats

    rate = max(discordance_rate, loss)
    seen = stats.binom.pmf(discordant, len(discordant) - 1, rate)
    found = stats.binom.sf(needed - 1, discordant, (rate + loss) / (2 * rate))
    return float(seen @ found)


def _check_plan(items: int, discordance_rate: float, level: float) -> None:
    if not 0.5 <= level < 1:
        raise InvalidInputError(f"The level of a one-sided bound is from 0.5 to below 1; {level} was given.")
    if items <= 0 or not 0 < discordance_rate <= 1:
        raise InvalidInputError(
            f"A plan needs items and a discordance above 0, at most 1: {items}, {discordance_rate}."
        )
