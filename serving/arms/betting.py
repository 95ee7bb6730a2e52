"""Wealth of bets against what two arms' means could be: the engine behind `serving.arms.sequential`.

Pure functions of arrays: values of 0 to 1 and how often each occurred, in any order.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CELLS = 512
"""Cells that possible means are cut into, twice: the whole range, then what is left of it."""
GRAINS = 16_384
"""Values are rounded to so many steps of their range, each bet to the side on which it wins less."""
SIZES: Floats = np.geomspace(0.9, 0.001, 12)
"""What a bet stakes of its wealth; the small ones suit many values of much spread. Shape (bets,)."""

Tally = tuple[Floats, Floats]
"""Distinct values of an arm, 0 to 1, and how often each occurred; shapes (values,)."""


def difference_of_means(champion: Tally, challenger: Tally, alpha: float) -> tuple[float, float]:
    """Least and largest difference of two means (challenger's minus champion's) that no bet has ruled out.

    Wealth that stakes a part s on "above" a mean m at fair odds multiplies by 1 - s + s x/m at a value x, on
    "below" by 1 - s + s (1-x)/(1-m). Against the true mean the average wealth of several bets is a martingale
    of mean 1 (Waudby-Smith & Ramdas 2023, "Estimating means of bounded random variables by betting", section
    4; bets of fixed sizes mixed, as in Cover's universal portfolio). So is the product of both arms' wealths
    in whatever order they take turns, and by Ville's inequality it ever reaches 1/alpha with probability at
    most alpha. What is left is every pair of means whose product is below that.

    Means are judged in cells, by a lower bound of the wealth in the whole cell: a bet on "above" wins less
    the larger m is, one on "below" the smaller. Rounding never makes the result too short.

    Args:
        champion: its values.
        challenger: its values.
        alpha: chance of ever ruling out the truth, between 0 and 1.
    """
    limit = -math.log(alpha)
    whole = np.linspace(0.0, 1.0, CELLS + 1)
    first, second, _ = _left(champion, challenger, whole, whole, limit)
    return _left(champion, challenger, first, second, limit)[2]


def log_evidence(champion: Tally, challenger: Tally, difference: float) -> float:
    """Log of the least wealth of `difference_of_means` over all pairs of means with one difference.

    Args:
        champion: its values.
        challenger: its values.
        difference: challenger's mean minus champion's, between -1 and 1.
    """
    edges = np.linspace(max(0.0, -difference), min(1.0, 1.0 - difference), CELLS + 1)
    wealth = _log_wealth(champion, edges) + _log_wealth(challenger, edges + difference)
    best = int(wealth.argmin())
    middle = np.full(2, edges[best : best + 2].mean())
    reached = _log_wealth(champion, middle) + _log_wealth(challenger, middle + difference)
    # Elsewhere the wealth is larger than what is reached here, so only these cells need a closer look.
    near = np.nonzero(wealth <= reached[0])[0]
    closer = np.linspace(edges[near.min()], edges[near.max() + 1], CELLS + 1)
    return float((_log_wealth(champion, closer) + _log_wealth(challenger, closer + difference)).min())


def tally(values: Floats) -> Tally:
    """Distinct values and how often each occurred."""
    distinct, times = np.unique(values, return_counts=True)
    return distinct, times.astype(np.float64)


def _left(
    champion: Tally, challenger: Tally, our_edges: Floats, their_edges: Floats, limit: float
) -> tuple[Floats, Floats, tuple[float, float]]:
    """What the two means can still be: finer edges of each, and the least and largest difference.

    Args:
        champion: its values.
        challenger: its values.
        our_edges: edges of the champion's cells, shape (CELLS + 1,).
        their_edges: edges of the challenger's.
        limit: log wealth at which a pair of means is ruled out.
    """
    wealth = _log_wealth(champion, our_edges)[:, None] + _log_wealth(challenger, their_edges)[None, :]
    possible = wealth < limit
    rows = np.nonzero(possible.any(axis=1))[0]
    # The challenger's first and last possible cell beside each possible one of the champion.
    first = possible[rows].argmax(axis=1)
    last = CELLS - 1 - possible[rows, ::-1].argmax(axis=1)
    return (
        np.linspace(our_edges[rows[0]], our_edges[rows[-1] + 1], CELLS + 1),
        np.linspace(their_edges[first.min()], their_edges[last.max() + 1], CELLS + 1),
        (
            float((their_edges[first] - our_edges[rows + 1]).min()),
            float((their_edges[last + 1] - our_edges[rows]).max()),
        ),
    )


def _log_wealth(values: Tally, edges: Floats) -> Floats:
    """Lower bounds of the log of the average wealth against the means of each cell between edges."""
    above, below, stakes = edges[1:], edges[:-1], SIZES[:, None]
    up, down = np.zeros((len(SIZES), len(above))), np.zeros((len(SIZES), len(above)))
    for value, times in _rounded(values, np.floor):
        up += times * np.log1p(stakes * (value / above - 1))
    for value, times in _rounded(values, np.ceil):
        down += times * np.log1p(stakes * ((1 - value) / (1 - below) - 1))
    bets = np.concatenate([up, down])
    best = bets.max(axis=0)
    return np.asarray(best + np.log(np.exp(bets - best).mean(axis=0)), dtype=np.float64)


def _rounded(values: Tally, to: np.ufunc) -> list[tuple[float, float]]:
    distinct, group = np.unique(to(values[0] * GRAINS), return_inverse=True)
    times = np.bincount(group, weights=values[1], minlength=distinct.size)
    return [(float(value) / GRAINS, float(count)) for value, count in zip(distinct, times, strict=True)]
