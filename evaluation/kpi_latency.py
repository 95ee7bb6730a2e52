"""How long callers wait: percentiles from raw times, and where the time goes.

Voice-to-voice is the end of the caller's speech to the first sound played. Spoken and typed turns are
never mixed. Percentiles of stages do not add up to a percentile of the whole, means do; so the
breakdown is of means, over turns whose stages add up.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from evaluation.kpi_contacts import spoken
from evaluation.kpi_figures import Percentiles, percentiles, usable
from serving.call.record import TurnRecord

ALL = "all"
STAGE_TOLERANCE_S = 0.001
"""How far a turn's stages may miss its voice-to-voice time and still count as adding up, seconds."""


class Medium(StrEnum):
    """How a turn was given."""

    SPOKEN = "spoken"
    TYPED = "typed"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Voice-to-voice of the turns of one decision, or of all."""

    medium: Medium
    decision: str
    seconds: Percentiles


@dataclass(frozen=True, slots=True)
class StageTime:
    """Time in one stage, over the turns that went through it."""

    medium: Medium
    stage: str
    seconds: Percentiles


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the mean voice-to-voice time of a decision's turns goes.

    Attributes:
        turns: turns whose stages add up; only these are counted here.
        stages: stage and mean seconds in order (0 where a turn skipped it).
        total_s: mean voice-to-voice, seconds; the stages add up to it within `STAGE_TOLERANCE_S`.
    """

    medium: Medium
    decision: str
    turns: int
    stages: tuple[tuple[str, float], ...]
    total_s: float


@dataclass(frozen=True, slots=True)
class Latency:
    """All that is said about waiting.

    Attributes:
        waiting: a row per medium for all turns, then one per decision, most frequent first.
        stages: a row per medium and stage, in the order of the stages.
        breakdown: a row per medium for all turns, then one per decision.
        uneven: turns whose stages do not add up to their voice-to-voice time.
        unheard: turns of which nothing was played.
        invalid: turns whose voice-to-voice time is negative or no number.
    """

    waiting: tuple[Waiting, ...] = ()
    stages: tuple[StageTime, ...] = ()
    breakdown: tuple[Breakdown, ...] = ()
    uneven: int = 0
    unheard: int = 0
    invalid: int = 0

    def of(self, medium: Medium, decision: str = ALL) -> Percentiles:
        """Voice-to-voice of one row; empty percentiles where there is none."""
        rows = (row for row in self.waiting if row.medium is medium and row.decision == decision)
        return next((row.seconds for row in rows), Percentiles(0))


def latency(turns: Sequence[TurnRecord]) -> Latency:
    """Percentiles by medium and decision, by stage, and the breakdown of the means."""
    timed = [turn for turn in turns if usable(turn.voice_to_voice_s)]
    even = [turn for turn in timed if _adds_up(turn)]
    waiting: list[Waiting] = []
    breakdown: list[Breakdown] = []
    stages: list[StageTime] = []
    for medium in Medium:
        for decision, group in _by_decision(timed, medium):
            values = [turn.voice_to_voice_s or 0.0 for turn in group]
            waiting.append(Waiting(medium, decision, percentiles(values)))
        groups = _by_decision(even, medium)
        order = stage_order(groups[0][1]) if groups else ()
        breakdown += [_breakdown(medium, decision, group, order) for decision, group in groups]
        stages += _stages(medium, groups[0][1], order) if groups else []
    unheard = sum(turn.voice_to_voice_s is None for turn in turns)
    return Latency(
        waiting=tuple(waiting),
        stages=tuple(stages),
        breakdown=tuple(breakdown),
        uneven=len(timed) - len(even),
        unheard=unheard,
        invalid=len(turns) - unheard - len(timed),
    )


def waiting_times(turns: Sequence[TurnRecord], medium: Medium) -> Percentiles:
    """Voice-to-voice percentiles of the turns of one medium."""
    wanted = medium is Medium.SPOKEN
    times = [turn.voice_to_voice_s for turn in turns if spoken(turn) is wanted]
    return percentiles([seconds for seconds in times if seconds is not None])


def stage_order(turns: Sequence[TurnRecord]) -> tuple[str, ...]:
    """Stages of all turns in one order: a stage new to it goes behind the one it followed."""
    order: list[str] = []
    for stages in {tuple(turn.stages): None for turn in turns}:
        place = 0
        for stage in stages:
            if stage in order:
                place = order.index(stage) + 1
            else:
                order.insert(place, stage)
                place += 1
    return tuple(order)


def _adds_up(turn: TurnRecord) -> bool:
    times = turn.stages.values()
    gap = sum(times) - (turn.voice_to_voice_s or 0.0)
    return bool(times) and min(times) >= 0 and abs(gap) <= STAGE_TOLERANCE_S


def _by_decision(turns: Sequence[TurnRecord], medium: Medium) -> list[tuple[str, list[TurnRecord]]]:
    """All turns of a medium, then by decision, most frequent first; empty without any turn."""
    mine = [turn for turn in turns if spoken(turn) is (medium is Medium.SPOKEN)]
    groups: dict[str, list[TurnRecord]] = defaultdict(list)
    for turn in mine:
        groups[turn.decision.value].append(turn)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(ALL, mine), *ranked] if mine else []


def _breakdown(medium: Medium, decision: str, turns: Sequence[TurnRecord], order: Sequence[str]) -> Breakdown:
    count = len(turns)
    means = [(stage, sum(turn.stages.get(stage, 0.0) for turn in turns) / count) for stage in order]
    used = tuple(item for item in means if item[1] > 0)
    total = sum(turn.voice_to_voice_s or 0.0 for turn in turns) / count
    return Breakdown(medium, decision, count, used, total)


def _stages(medium: Medium, turns: Sequence[TurnRecord], order: Sequence[str]) -> list[StageTime]:
    values: dict[str, list[float]] = defaultdict(list)
    for turn in turns:
        for stage, seconds in turn.stages.items():
            values[stage].append(seconds)
    return [StageTime(medium, stage, percentiles(values[stage])) for stage in order]
