"""Drift: whether the last week's calls still look like what the adapter was trained for.

Pure functions from turns and a reference to a verdict; nothing here reads a database or runs a model. Turns
of one call are not independent, so every interval draws whole calls. The thresholds and their origin stand
in `DriftPolicy`, the arithmetic in `evaluation/stability.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from evaluation.stability import decile_edges, grouped, index_bootstrap, mean_shift
from evaluation.statistics import Floats, Interval
from serving.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Tagged:
    """What the tagger said of one text.

    Attributes:
        intent: the best label.
        probability: its probability, 0 to 1.
        in_scope: whether the tagger took the text for something it knows.
        group: texts of one group (a call) are drawn together; empty for a text that stands alone.
        energy: logsumexp of its logits, low for what training had nothing like; None where it is not known.
    """

    intent: str
    probability: float
    in_scope: bool
    group: str = ""
    energy: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:  # NaN is no probability either
            raise InvalidInputError(f"A probability is between 0 and 1; {self.probability} was given.")
        if self.energy is not None and not math.isfinite(self.energy):
            raise InvalidInputError(f"An energy is a finite number; {self.energy} was given.")


@dataclass(frozen=True, slots=True)
class Reference:
    """What the adapter was trained for, in its own words.

    Attributes:
        intents: texts by the intent that the adapter gives them, over the training split.
        held_out: its opinion on texts that it did not learn from. On those it learned it is surer than on
            any caller, so every week would look less sure than they do.
    """

    intents: Mapping[str, int]
    held_out: tuple[Tagged, ...]

    def __post_init__(self) -> None:
        if not self.intents or min(self.intents.values()) < 0 or sum(self.intents.values()) < 1:
            raise InvalidInputError("A reference needs training texts by intent; none was given.")
        if not self.held_out:
            raise InvalidInputError("A reference needs held-out texts; none was given.")

    @property
    def has_energies(self) -> bool:
        """Whether the energy of every held-out text is known."""
        return all(item.energy is not None for item in self.held_out)


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """When a week counts as drifted.

    Attributes:
        slight_psi: a population stability index below this is no change worth a look. 0.10 is the banks' rule
            of thumb for scorecards (Siddiqi, Credit Risk Scorecards, 2006; Lewis 1994 before him).
        large_psi: an index from this is a large change: 0.25, of the same source. An index has drifted when
            it is at least this and its interval lies above `slight_psi`. The rule of thumb was made for ten
            bins and thousands of accounts and knows no chance, hence the interval (Yurdakul, Statistical
            Properties of Population Stability Index, 2018: chance alone gives (1/N + 1/M)(bins - 1)).
        mean_shift: shift of the mean confidence, or of the share out of scope, that counts; it has drifted
            when it is at least this and its interval leaves 0 out. Ours: 0.05 is one caller in twenty.
        energy_shift: shift of the mean energy that counts, in standard deviations of the held-out texts'
            energies; it has drifted when it is at least this and its interval leaves 0 out. Two normal
            distributions d standard deviations apart have the index d², so 0.5 is the large change of 0.25.
        min_turns: fewer turns are not judged. Ours: from 400 the simulated weeks of the tests hold the
            false-alarm rate and the power that docs/evaluation.md states.
        min_calls: fewer calls are not judged, because calls are what is drawn. Ours.
        level: confidence that none of the five intervals misses; each has 1 - (1 - level) / 5 (Bonferroni).
        resamples: of the bootstrap.
        seed: of its draws.
    """

    slight_psi: float = 0.10
    large_psi: float = 0.25
    mean_shift: float = 0.05
    energy_shift: float = 0.5
    min_turns: int = 400
    min_calls: int = 100
    level: float = 0.95
    resamples: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        fine = 0 <= self.slight_psi <= self.large_psi and 0 < self.level < 1
        fine = fine and self.mean_shift >= 0 and self.energy_shift >= 0
        if not fine or min(self.min_turns, self.min_calls) < 1 or self.resamples < 1:
            raise InvalidInputError(
                "The policy of drift needs slight_psi <= large_psi, limits from 0, a level between 0 and 1, "
                "and at least one turn, call and resample."
            )

    @property
    def level_of_each(self) -> float:
        """Confidence of one of the five intervals."""
        return 1 - (1 - self.level) / len(MEASURES)


class DriftVerdict(StrEnum):
    """What a week amounts to."""

    NOT_ENOUGH = "not enough"
    """Too few turns or calls to say anything."""
    STABLE = "stable"
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class Measure:
    """One way in which a week can differ.

    Attributes:
        name: what was measured.
        interval: bias-corrected estimate with its interval; None where there was not enough to judge.
        limit: size from which it counts.
        drifted: whether it does.
        missing: why this one alone has no interval, where the others have; otherwise empty.
    """

    name: str
    interval: Interval | None
    limit: float
    drifted: bool
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """One bin beside its reference, shares 0 to 1."""

    name: str
    reference: float
    calls: float

    @property
    def change(self) -> float:
        """Share in the calls minus share in the reference."""
        return self.calls - self.reference


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A week beside its reference.

    Attributes:
        verdict: what it amounts to.
        turns: turns that were compared.
        calls: calls that they are from.
        measures: as in `MEASURES`; empty of numbers where there was not enough.
        intents: every intent of either side, the largest change first.
        confidence: the deciles of the held-out texts' confidence, from unsure to sure.
        energy: the deciles of their energies, low to high, over the turns that record one; empty where
            either side has none.
        policy: what was held against.
    """

    verdict: DriftVerdict
    turns: int
    calls: int
    measures: tuple[Measure, ...]
    intents: tuple[Share, ...]
    confidence: tuple[Share, ...]
    energy: tuple[Share, ...]
    policy: DriftPolicy

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the measures that drifted."""
        return tuple(measure.name for measure in self.measures if measure.drifted)


INTENTS, CONFIDENCE = "intents (PSI)", "confidence deciles (PSI)"
MEAN_CONFIDENCE, OUT_OF_SCOPE, ENERGY = "mean confidence", "share out of scope", "mean energy (SD)"
MEASURES = (INTENTS, CONFIDENCE, MEAN_CONFIDENCE, OUT_OF_SCOPE, ENERGY)
"""In the order of a report."""


def watch(reference: Reference, turns: Sequence[Tagged], policy: DriftPolicy | None = None) -> DriftReport:
    """Compare a week's turns with the reference.

    Args:
        reference: what the adapter was trained for.
        turns: the week's turns, tagged by the same adapter; `group` is their call.
        policy: limits; the defaults where none are given.
    """
    limits = policy or DriftPolicy()
    labels = sorted(reference.intents.keys() | {turn.intent for turn in turns})
    edges = decile_edges([item.probability for item in reference.held_out])
    there = np.array([reference.intents.get(label, 0) for label in labels], dtype=np.float64)
    held = _rows(reference.held_out, edges)
    intents, rows = _one_hot([turn.intent for turn in turns], labels), _rows(turns, edges)
    bins = len(edges) + 1
    shares = (
        _shares(labels, there, intents.sum(axis=0)),
        _shares(_decile_names(edges), held[:, :bins].sum(axis=0), rows[:, :bins].sum(axis=0)),
    )
    calls = [turn.group or f"turn {number}" for number, turn in enumerate(turns)]
    count = len(set(calls))
    measures = _unmeasured(limits)
    enough = len(turns) >= limits.min_turns and count >= limits.min_calls
    if enough:
        measures = _measured(there, grouped(intents, calls), held, grouped(rows, calls), limits)
        measures += (_energy_shift(reference, turns, calls, limits),)
    verdict = DriftVerdict.STABLE if enough else DriftVerdict.NOT_ENOUGH
    if any(measure.drifted for measure in measures):
        verdict = DriftVerdict.DRIFTED
    by_change = tuple(sorted(shares[0], key=lambda share: (-abs(share.change), share.name)))
    energy = _energy_shares(reference, turns)
    return DriftReport(verdict, len(turns), count, measures, by_change, shares[1], energy, limits)


def _measured(
    texts: Floats, intents: Floats, held: Floats, rows: Floats, policy: DriftPolicy
) -> tuple[Measure, ...]:
    """All but the energy; rows of `held` are texts, rows of `intents` and `rows` are calls."""
    level, resamples, seed = policy.level_of_each, policy.resamples, policy.seed
    deciles = held[:, :-3].sum(axis=0)
    found = []
    for name, there, here in ((INTENTS, texts, intents), (CONFIDENCE, deciles, rows[:, :-3])):
        index = index_bootstrap(there, here, level=level, resamples=resamples, seed=seed)
        moved = index.estimate >= policy.large_psi and index.low > policy.slight_psi
        found.append(Measure(name, index, policy.large_psi, moved))
    for name, column in ((MEAN_CONFIDENCE, -3), (OUT_OF_SCOPE, -2)):
        pair = [column, -1]
        shift = mean_shift(held[:, pair], rows[:, pair], level=level, resamples=resamples, seed=seed)
        moved = abs(shift.estimate) >= policy.mean_shift and not shift.low <= 0 <= shift.high
        found.append(Measure(name, shift, policy.mean_shift, moved))
    return tuple(found)


def _energy_shift(
    reference: Reference, turns: Sequence[Tagged], calls: Sequence[str], policy: DriftPolicy
) -> Measure:
    """The shift of the mean energy, in standard deviations of the held-out texts' energies."""
    then = np.array([item.energy for item in reference.held_out if item.energy is not None])
    known = [(turn.energy, call) for turn, call in zip(turns, calls, strict=True) if turn.energy is not None]
    of = [call for _, call in known]
    if not reference.has_energies or not (spread := float(then.std())):
        told = "the held-out texts of the reference have no energies that differ"
    elif len(known) < policy.min_turns or len(set(of)) < policy.min_calls:
        told = (
            f"{len(known):,} turns of {len(set(of)):,} calls record it, and a verdict needs "
            f"{policy.min_turns:,} of {policy.min_calls:,}"
        )
    else:
        here = np.array([energy for energy, _ in known])
        units = [np.column_stack([side / spread, np.ones(len(side))]) for side in (then, here)]
        level, resamples, seed = policy.level_of_each, policy.resamples, policy.seed
        shift = mean_shift(units[0], grouped(units[1], of), level=level, resamples=resamples, seed=seed)
        moved = abs(shift.estimate) >= policy.energy_shift and not shift.low <= 0 <= shift.high
        return Measure(ENERGY, shift, policy.energy_shift, moved)
    return Measure(ENERGY, None, policy.energy_shift, drifted=False, missing=told)


def _energy_shares(reference: Reference, turns: Sequence[Tagged]) -> tuple[Share, ...]:
    then, here = (
        np.array([item.energy for item in side if item.energy is not None], dtype=np.float64)
        for side in (reference.held_out, turns)
    )
    if not then.size or not here.size:
        return ()
    edges = decile_edges(then)
    counts = (
        np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1)
        for side in (then, here)
    )
    names = [f"{low} to {high}" for low, high in pairwise(["…", *(f"{edge:.2f}" for edge in edges), "…"])]
    return _shares(names, *(side.astype(np.float64) for side in counts))


def _unmeasured(policy: DriftPolicy) -> tuple[Measure, ...]:
    limits = {
        INTENTS: policy.large_psi,
        CONFIDENCE: policy.large_psi,
        MEAN_CONFIDENCE: policy.mean_shift,
        OUT_OF_SCOPE: policy.mean_shift,
        ENERGY: policy.energy_shift,
    }
    return tuple(Measure(name, None, limits[name], drifted=False) for name in MEASURES)


def _rows(items: Sequence[Tagged], edges: Floats) -> Floats:
    """A row for each text: its decile as one-hot, its probability, whether it is out of scope, and 1."""
    probabilities = np.array([item.probability for item in items], dtype=np.float64)
    outside = np.array([not item.in_scope for item in items], dtype=np.float64)
    deciles = np.searchsorted(edges, probabilities, side="right")
    one_hot = np.eye(len(edges) + 1)[deciles]
    return np.column_stack([one_hot, probabilities, outside, np.ones(len(items))])


def _one_hot(names: Sequence[str], labels: Sequence[str]) -> Floats:
    place = {label: number for number, label in enumerate(labels)}
    return np.asarray(np.eye(len(labels))[[place[name] for name in names]].reshape(-1, len(labels)))


def _shares(names: Sequence[str], reference: Floats, calls: Floats) -> tuple[Share, ...]:
    there, here = max(1.0, reference.sum()), max(1.0, calls.sum())
    return tuple(
        Share(name, float(a / there), float(b / here))
        for name, a, b in zip(names, reference, calls, strict=True)
    )


def _decile_names(edges: Floats) -> list[str]:
    bounds = ["0", *(f"{edge:.3f}" for edge in edges), "1"]
    return [f"{low} to {high}" for low, high in pairwise(bounds)]
