"""What feedback makes believed of an entry, and what shadow checks bound of all hits; pure functions.

The accuracy is the posterior mean of "a hit on this entry is right" (`posterior`); it sinks and rises by
itself. Quarantine does not: it is set by a person, or by the engine twice, and only a person lifts it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from serving.cache.protocol import Belief, Feedback, Signal
from serving.errors import InvalidInputError

PRIOR = 0.99
"""π where nothing is certified: an approved answer to its own words is hardly ever wrong."""
LEAST_PRIOR = 0.96
"""Least π: one soft doubt leaves 0.904, above the floor of 0.9 that is served; two leave 0.853."""
Prior = Callable[[str], float]
"""Intent → π, the accuracy without feedback, 0 to 1; `rule.prior_of` makes the certified one."""
PRIOR_WEIGHT = 4.0
"""How many hard observations the prior is worth."""
HARD, SOFT = 1.0, 0.25
"""Weight of somebody who looked at the answer, and of what a caller did next."""
HALF_LIFE = timedelta(days=30)
"""Age at which an observation weighs half."""
SHADOW_WINDOW = timedelta(days=90)
"""Shadow checks older than this say nothing of what is served now."""
SHADOWS_TO_QUARANTINE = 2
"""Disagreements of the engine, in different calls or turns, that stop an entry until a person has looked.

The engine is another judge, not the truth: a language model has an error rate of its own. One disagreement
is hard evidence and takes an entry below the serving floor of 0.9 (to 0.79 from a prior of 0.99, to 0.77 from
0.96) for some forty to sixty days unless others agree, which is stop enough; two that time or others could
outweigh again are a person's business.
"""


def uncertified(_intent: str) -> float:
    """π of every intent where no calibration serves."""
    return PRIOR


_WEIGHTS: dict[Signal, tuple[float, int]] = {
    Signal.WRONG: (HARD, 0),
    Signal.RIGHT: (HARD, 1),
    Signal.SHADOW_DISAGREES: (HARD, 0),
    Signal.SHADOW_AGREES: (HARD, 1),
    Signal.ESCALATED: (SOFT, 0),
    Signal.REASKED: (SOFT, 0),
    Signal.BARGED_IN: (SOFT, 0),
    Signal.SETTLED: (SOFT, 1),
}
"""Signal → weight, and whether it says that the hit was right. Surest first, and bad news before good."""
_SUREST = {signal: rank for rank, signal in enumerate(_WEIGHTS)}


def believe(entry_id: str, feedback: Iterable[Feedback], now: datetime, *, prior: float = PRIOR) -> Belief:
    """What is believed of an entry.

    A person's RIGHT settles all that was told before it: they have looked at the answer. Of what one origin
    tells, only the surest counts: a caller who interrupts and then asks again tells of one hit, not of two.
    So it is with all that one caller did in a call: nobody takes an entry from others by asking on and on.

    Args:
        entry_id: the entry.
        feedback: all that was told of it, in any order; of other entries nothing is read.
        now: UTC time.
        prior: accuracy without feedback, 0 to 1.

    Raises:
        InvalidInputError: a prior that is no probability.
    """
    mine = sorted((it for it in feedback if it.entry_id == entry_id), key=lambda it: it.at)
    open_ = _unsettled(mine)
    counted = _surest(_surest(open_, _origin), _witness)
    accuracy = posterior([(it.signal, now - it.at) for it in counted], prior=prior)
    disagreements = sum(it.signal is Signal.SHADOW_DISAGREES for it in counted)
    wrong = any(it.signal is Signal.WRONG for it in open_)
    return Belief(entry_id, accuracy, wrong or disagreements >= SHADOWS_TO_QUARANTINE)


def posterior(observations: Sequence[tuple[Signal, timedelta]], *, prior: float = PRIOR) -> float:
    """(w₀π + Σ wᵢyᵢ) / (w₀ + Σ wᵢ): the mean of a Beta posterior with fractional observations.

    Args:
        observations: signal and age; wᵢ halves with every `HALF_LIFE` of it, yᵢ is 1 where the hit was right.
        prior: π, 0 to 1.

    Raises:
        InvalidInputError: a prior that is no probability.
    """
    if not 0 <= prior <= 1:
        raise InvalidInputError(f"A prior accuracy is from 0 to 1, not {prior}.")
    total, right = PRIOR_WEIGHT, PRIOR_WEIGHT * prior
    for signal, age in observations:
        weight, verdict = _WEIGHTS[signal]
        # A clock that was ahead when the observation was made makes it no weightier.
        weight *= 0.5 ** (max(age, timedelta(0)) / HALF_LIFE)
        total += weight
        right += weight * verdict
    return min(1.0, right / total)


def _unsettled(feedback: Sequence[Feedback]) -> Sequence[Feedback]:
    """From the last RIGHT of a person on, oldest first."""
    for at in range(len(feedback) - 1, -1, -1):
        if feedback[at].signal is Signal.RIGHT:
            return feedback[at:]
    return feedback


def _surest(feedback: Iterable[Feedback], by: Callable[[Feedback], str]) -> list[Feedback]:
    """The surest observation of each kind; the oldest of two that are as sure."""
    surest: dict[str, Feedback] = {}
    for it in feedback:
        other = surest.get(by(it))
        if other is None or _SUREST[it.signal] < _SUREST[other.signal]:
            surest[by(it)] = it
    return list(surest.values())


def _origin(feedback: Feedback) -> str:
    return feedback.origin


def _witness(feedback: Feedback) -> str:
    """The call, of what its caller did in any turn (`call:<id>:<turn>`); the origin of all else."""
    call, _, _turn = feedback.origin.rpartition(":")
    caller = _WEIGHTS[feedback.signal][0] == SOFT and call.startswith("call:")
    return f"{call} by its caller" if caller else feedback.origin


@dataclass(frozen=True, slots=True)
class ShadowTally:
    """Hits that the engine answered as well.

    Attributes:
        checks: how many were compared.
        disagreements: how many of them it answered otherwise.
    """

    checks: int = 0
    disagreements: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.disagreements <= self.checks:
            raise InvalidInputError(f"{self.disagreements} of {self.checks} is no tally.")

    def upper_bound(self, alpha: float = 0.05) -> float:
        """Upper bound of the share of hits that the engine would answer otherwise; 1 before the first check.

        It is looked at all the time, so it must hold at all sizes at once: the chance that it is *ever* below
        the truth is at most `alpha`. The likelihood under a mixture of rates over that under one rate is a
        martingale under it, and by Ville's inequality ever reaches 1/alpha with probability at most alpha;
        the bound is the largest rate that has not been ruled out so (Robbins 1970, with a Beta mixture). A
        hit where the engine was wrong and the cache right counts as well, so false hits are rather fewer.

        Raises:
            InvalidInputError: an alpha that is not between 0 and 1.
        """
        if not 0 < alpha < 1:
            raise InvalidInputError(f"An error rate is between 0 and 1; {alpha} was given.")
        rate = self.disagreements / self.checks if self.checks else 1.0
        low, high = rate, 1.0
        for _ in range(60):  # halving, beyond what a float can tell apart
            middle = (low + high) / 2
            ruled_out = self._log_evidence(middle) >= -math.log(alpha)
            low, high = (low, middle) if ruled_out else (middle, high)
        return high

    def _log_evidence(self, rate: float) -> float:
        """Log of the mixture's likelihood over that of one rate strictly between 0 and 1."""
        if rate >= 1.0:
            return math.inf if self.disagreements < self.checks else -math.inf
        good = self.checks - self.disagreements
        mixture = _log_beta(_MIX[0] + self.disagreements, _MIX[1] + good) - _log_beta(*_MIX)
        return mixture - self.disagreements * math.log(rate) - good * math.log1p(-rate)


_MIX = (0.5, 30.0)
"""Beta distribution of the rates that the bound is sharpest for: a few in a hundred and less."""


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
