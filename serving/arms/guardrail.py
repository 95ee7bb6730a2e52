"""When a challenger is taken back by itself: three harms, each judged after every call that ended.

A call counts once for each harm, so that a talkative caller weighs no more than another. The difference of
the arms' rates is bounded by an always-valid interval (`serving.arms.sequential`), so looking after each
call costs nothing; the harms share the error probability (Bonferroni). Its assumption, one rate given the
past, holds for callers, not for the calls of one caller: give each caller's first call only. Nor does it hold
across shares: where the challenger's grows before a bad week, most of its callers, but few of the champion's,
have called in that week. So the calls under each share are judged alone, each with a part of the error
probability (`Guard.at_share`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serving.arms.sequential import Counts, difference_evidence, difference_sequence
from serving.errors import InvalidInputError

_NO_CALLS = Counts(0, 0)


class Harm(StrEnum):
    """What can go wrong in a call."""

    TRANSFERRED = "transferred after a failure"
    FAILED = "a turn failed"
    SLOW = "a slow turn"


@dataclass(frozen=True, slots=True)
class Guard:
    """What a challenger must not make worse, stated before the first call of the split.

    Attributes:
        alpha: largest probability, over the whole life of a split, that a challenger which does no harm
            beyond the margins is taken back.
        transferred: margin of calls that went to a person after a failure, as a share of calls.
        failed: margin of calls with a turn that failed, was not understood or found out of scope.
        slow: margin of calls with a turn slower than `slow_s`.
        slow_s: time in which a turn is thought about (without hearing and speaking), seconds. At the
            champion's 95th percentile, "more calls beyond it" says that the challenger's lies higher.
    """

    alpha: float = 0.05
    transferred: float = 0.02
    failed: float = 0.05
    slow: float = 0.05
    slow_s: float = 1.0

    def __post_init__(self) -> None:
        shares = (self.transferred, self.failed, self.slow)
        if not 0 < self.alpha < 1 or not all(0 <= share < 1 for share in shares) or not self.slow_s > 0:
            raise InvalidInputError(
                "A guardrail needs an error probability and margins from 0 to 1, and a time above 0 s."
            )

    def at_share(self, place: int) -> "Guard":
        """The guard of the calls under one share; the parts of `alpha` add up to it over all shares.

        Args:
            place: 0 for the first share.
        """
        return replace(self, alpha=self.alpha / ((place + 1) * (place + 2)))

    def margin(self, harm: Harm) -> float:
        """The margin of a harm, as a share of calls."""
        return {Harm.TRANSFERRED: self.transferred, Harm.FAILED: self.failed, Harm.SLOW: self.slow}[harm]


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What an ended call means for the guardrail.

    Attributes:
        challenger: it was answered by the challenger.
        harms: what went wrong.
    """

    challenger: bool
    harms: frozenset[Harm]


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls of both arms so far.

    Attributes:
        champion: calls with each harm, of all the champion's calls.
        challenger: the same of the challenger's.
    """

    champion: Mapping[Harm, Counts] = field(default_factory=dict)
    challenger: Mapping[Harm, Counts] = field(default_factory=dict)

    def with_calls(self, outcomes: Iterable[CallOutcome]) -> "Tally":
        """The tally with more calls."""
        fresh: dict[bool, list[CallOutcome]] = {False: [], True: []}
        for outcome in outcomes:
            fresh[outcome.challenger].append(outcome)
        return Tally(_added(self.champion, fresh[False]), _added(self.challenger, fresh[True]))


@dataclass(frozen=True, slots=True)
class Finding:
    """One harm, judged.

    Attributes:
        champion: the champion's calls with it, of all.
        challenger: the challenger's.
        low: always-valid lower bound of the challenger's rate minus the champion's.
        high: upper bound.
        margin: what the lower bound must not exceed.
    """

    harm: Harm
    champion: Counts
    challenger: Counts
    low: float
    high: float
    margin: float

    @property
    def broken(self) -> bool:
        """Whether the challenger does more harm than allowed, beyond doubt."""
        return self.low > self.margin

    def __str__(self) -> str:
        return (
            f"{self.harm.value}: {_share(self.challenger)} against {_share(self.champion)}, difference "
            f"{100 * self.low:+.1f} to {100 * self.high:+.1f} pp, margin {100 * self.margin:.1f} pp"
        )


def harmful(tally: Tally, guard: Guard) -> bool:
    """Whether `judge` would find a harm broken; mostly in microseconds, where that takes some thirty ms."""
    return any(_beyond(harm, tally, guard) for harm in Harm)


def judge(tally: Tally, guard: Guard) -> tuple[Finding, ...]:
    """Each harm with the interval of its difference; before both arms have calls nothing is known."""
    return tuple(_judged(harm, tally, guard) for harm in Harm)


def _beyond(harm: Harm, tally: Tally, guard: Guard) -> bool:
    champion, challenger = tally.champion.get(harm, _NO_CALLS), tally.challenger.get(harm, _NO_CALLS)
    if champion.rate is None or challenger.rate is None:
        return False
    margin, needed = guard.margin(harm), -math.log(guard.alpha / len(Harm))
    if challenger.rate - champion.rate <= margin or _most_evidence(champion, challenger, margin) < needed:
        return False
    return difference_evidence(champion, challenger, margin) >= needed


def _most_evidence(champion: Counts, challenger: Counts, difference: float) -> float:
    """An upper bound of `difference_evidence` in microseconds: most looks end here.

    Each bet of it is a likelihood ratio against a pair of rates, so none wins more than the ratio of the best
    rates there are; and the least wealth over all pairs with the difference is at most that of one of them.
    """
    successes = champion.successes + challenger.successes - difference * challenger.trials
    pooled = min(max(successes / (champion.trials + challenger.trials), 1e-9), 1 - difference - 1e-9)
    return _surprise(champion, pooled) + _surprise(challenger, pooled + difference)


def _surprise(counts: Counts, rate: float) -> float:
    """Log likelihood of the observed rate less that of another one, which is neither 0 nor 1."""
    found = ((counts.successes, rate), (counts.trials - counts.successes, 1 - rate))
    return sum(number * math.log(number / counts.trials / chance) for number, chance in found if number)


def _judged(harm: Harm, tally: Tally, guard: Guard) -> Finding:
    champion, challenger = tally.champion.get(harm, _NO_CALLS), tally.challenger.get(harm, _NO_CALLS)
    low, high = -1.0, 1.0
    if champion.trials and challenger.trials:
        low, high = difference_sequence(champion, challenger, guard.alpha / len(Harm))
    return Finding(harm, champion, challenger, low, high, guard.margin(harm))


def _added(before: Mapping[Harm, Counts], outcomes: list[CallOutcome]) -> dict[Harm, Counts]:
    return {
        harm: Counts(
            before.get(harm, _NO_CALLS).successes + sum(harm in outcome.harms for outcome in outcomes),
            before.get(harm, _NO_CALLS).trials + len(outcomes),
        )
        for harm in Harm
    }


def _share(counts: Counts) -> str:
    return f"{counts.successes} of {counts.trials} calls"
