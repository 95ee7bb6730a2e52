"""A/B comparison of two arms: one verdict on a metric named beforehand, valid whenever one looks.

The unit is the caller, with the first call in the comparison: who calls ten times is no ten witnesses, and
that call alone is answered by an arm that was drawn at random for somebody who knew neither. Metrics are
means per caller of values between fixed bounds (shares: 0 or 1), so one always-valid interval serves all
(`serving.arms.sequential`). Pure functions of observations; what they are made of is in `arm_calls`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from statistics import fmean

from evaluation.arm_metrics import METRICS, Metric, metric_of
from serving.arms.sequential import mean_difference_sequence, sample_ratio_e_value
from serving.arms.split import PrimaryMetric
from serving.errors import InvalidInputError

RATIO_ALPHA = 0.001
"""Chance that a sound split ever raises one of the two sample-ratio alarms (each at half of it)."""
LOOKS = 40
"""Moments at which the primary metric's interval is computed for the plot."""


class Verdict(StrEnum):
    """What a comparison says of the challenger."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"
    """The interval holds zero: equal, or too early."""
    REFUSED = "refused"
    """Callers were not split as planned, so a difference need not come from the adapters."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one split gave the challenger one share.

    Attributes:
        split: its id.
        share: planned share of the challenger's callers, between 0 and 1.
        since: start; None: the split's first call on record.
        until: end, excluded; None: still going on.
    """

    split: str
    share: float
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InvalidInputError(
                f"A comparison needs a challenger's share between 0 and 1; {self.share:g} was given.",
                advice="Where one arm gets everybody there is nobody to compare with.",
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """One caller, with the first call of the stretch.

    Attributes:
        values: by metric key, within the metric's bounds; a metric that is not known is missing.
    """

    caller: str
    challenger: bool
    started_at: datetime
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Draw:
    """One caller given to an arm, whatever became of the call."""

    at: datetime
    challenger: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """What a stretch left, in order of time.

    Attributes:
        draws: every caller whose arm was drawn in the stretch.
        observations: those with a call that can be judged.
        apart: what is in no comparison, counted by reason.
        adapters: intent adapters that each arm's calls had.
    """

    draws: tuple[Draw, ...]
    observations: tuple[Observation, ...]
    apart: Mapping[str, int] = field(default_factory=dict)
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One arm's callers with a known value, and their mean (None without any)."""

    callers: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric in both arms.

    Attributes:
        primary: decides the verdict; the others only say where to look next.
        alpha: chance that this interval ever misses.
        low: of challenger's mean minus champion's, always valid.
        high: upper end.
        verdict: `undecided` where the interval holds zero.
    """

    metric: Metric
    primary: bool
    champion: Side
    challenger: Side
    alpha: float
    low: float
    high: float
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """Challenger's mean minus champion's; None where an arm has none."""
        if self.champion.mean is None or self.challenger.mean is None:
            return None
        return self.challenger.mean - self.champion.mean


@dataclass(frozen=True, slots=True)
class Look:
    """The primary metric as it stood at a moment.

    Attributes:
        at: start of the last call that is in it.
        callers: of both arms with a known value.
    """

    at: datetime
    callers: int
    difference: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Whether callers came to the arms as planned.

    Attributes:
        what: whose arms were counted.
        e_value: the largest so far.
        limit: an e-value from here on is an alarm.
        alarm_at: when it was reached first; None where it was not.
        shares: time and the challenger's share of callers so far, thinned.
    """

    what: str
    champion: int
    challenger: int
    planned: float
    e_value: float
    limit: float
    alarm_at: datetime | None
    shares: tuple[tuple[datetime, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ArmsReport:
    """A comparison.

    Attributes:
        now: time of the judgement.
        verdict: on the primary metric; `refused` after a sample-ratio alarm.
        alpha: chance that the primary interval ever misses; the exploratory ones share another `alpha`.
        metrics: the primary one first.
        ratios: of all callers, and of those that could be judged.
        looks: the primary metric over time.
    """

    stretch: Stretch
    now: datetime
    verdict: Verdict
    alpha: float
    metrics: tuple[Compared, ...]
    ratios: tuple[Ratio, ...]
    looks: tuple[Look, ...]
    apart: Mapping[str, int]
    adapters: Mapping[str, tuple[str, ...]]

    @property
    def primary(self) -> Compared:
        """The metric that decides."""
        return self.metrics[0]


def compare_arms(
    observed: Observed,
    stretch: Stretch,
    *,
    now: datetime,
    primary: str = PrimaryMetric.RESOLVED_CONTAINMENT,
    alpha: float = 0.05,
) -> ArmsReport:
    """Compare the arms of a stretch.

    The primary metric's interval misses with chance `alpha` at most over all looks. The exploratory ones
    share one more `alpha` (Bonferroni), so they hold together. A sample-ratio alarm takes the verdict away,
    for what sent callers to the wrong arm may also be what makes the difference.

    Args:
        observed: of this stretch, in order of time.
        stretch: with the planned share.
        now: time of the judgement, for the reader.
        primary: key of the metric that decides; to be named before the first call.
        alpha: between 0 and 1.

    Raises:
        InvalidInputError: no such metric, an alpha that is none, or a caller observed twice.
    """
    keys = [metric.key for metric in METRICS]
    if primary not in keys:
        raise InvalidInputError(
            f"There is no metric {primary[:40]!r}.", advice=f"Choose of {', '.join(keys)}."
        )
    if not 0 < alpha < 1:
        raise InvalidInputError(f"An error rate is between 0 and 1; {alpha} was given.")
    chosen, seen = metric_of(primary), observed.observations
    if len({item.caller for item in seen}) != len(seen):
        raise InvalidInputError("A caller is observed twice.", advice="Give each caller's first call only.")
    ratios = (
        sample_ratio("all callers", observed.draws, stretch.share),
        sample_ratio(
            "callers judged", [Draw(item.started_at, item.challenger) for item in seen], stretch.share
        ),
    )
    ranked = sorted(METRICS, key=lambda metric: metric.key != primary)
    others = alpha / (len(METRICS) - 1)
    found = tuple(
        _compared(
            metric, seen, primary=metric.key == primary, alpha=alpha if metric.key == primary else others
        )
        for metric in ranked
    )
    if any(ratio.alarm_at is not None for ratio in ratios):
        found = tuple(replace(item, verdict=Verdict.REFUSED) for item in found)
    return ArmsReport(
        stretch=stretch,
        now=now,
        verdict=found[0].verdict,
        alpha=alpha,
        metrics=found,
        ratios=ratios,
        looks=_looks(chosen, seen, alpha),
        apart=observed.apart,
        adapters=observed.adapters,
    )


def sample_ratio(what: str, draws: Sequence[Draw], share: float) -> Ratio:
    """The sample-ratio check after each caller, in order of time; alarm once the limit is reached.

    Args:
        what: whose arms these are, in words.
        draws: one for each caller.
        share: planned share of the challenger.
    """
    limit = 2 / RATIO_ALPHA
    ours = theirs = 0
    largest, alarm_at = 1.0, None
    shares: list[tuple[datetime, float]] = []
    every = max(1, len(draws) // 200)
    for place, draw in enumerate(draws, 1):
        ours, theirs = ours + (not draw.challenger), theirs + draw.challenger
        largest = max(largest, sample_ratio_e_value(ours, theirs, share))
        if alarm_at is None and largest >= limit:
            alarm_at = draw.at
        if place % every == 0 or place == len(draws):
            shares.append((draw.at, theirs / place))
    return Ratio(what, ours, theirs, share, largest, limit, alarm_at, tuple(shares))


def _compared(metric: Metric, seen: Sequence[Observation], *, primary: bool, alpha: float) -> Compared:
    champion, challenger = _values(metric, seen)
    low, high = mean_difference_sequence(champion, challenger, metric.bounds, alpha)
    verdict = Verdict.UNDECIDED
    if low > 0 or high < 0:
        verdict = Verdict.BETTER if (low > 0) is metric.more_is_better else Verdict.WORSE
    return Compared(metric, primary, _side(champion), _side(challenger), alpha, low, high, verdict)


def _looks(metric: Metric, seen: Sequence[Observation], alpha: float) -> tuple[Look, ...]:
    known = [item for item in seen if metric.key in item.values]
    sizes = sorted({max(1, round(len(known) * (step + 1) / LOOKS)) for step in range(LOOKS)}) if known else []
    found = []
    for size in sizes:
        at = _compared(metric, known[:size], primary=True, alpha=alpha)
        found.append(Look(known[size - 1].started_at, size, at.difference, at.low, at.high))
    return tuple(found)


def _values(metric: Metric, seen: Sequence[Observation]) -> tuple[list[float], list[float]]:
    known = [item for item in seen if metric.key in item.values]
    champion = [item.values[metric.key] for item in known if not item.challenger]
    return champion, [item.values[metric.key] for item in known if item.challenger]


def _side(values: Sequence[float]) -> Side:
    return Side(len(values), fmean(values) if values else None)
