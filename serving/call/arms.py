"""What an arm means for a call: its label in telemetry, and what the ended call tells the guardrail."""

import math
from dataclasses import dataclass
from typing import Protocol

from serving.arms.guardrail import CallOutcome, Guard, Harm
from serving.arms.split import Arm
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord

_NOT_THOUGHT = frozenset({"end_of_turn", "waited", "stt", "tts", "reply", "playout"})
"""Stages of a turn in which nobody thinks about the answer: waiting, hearing, speaking."""
_NO_HELP = frozenset({Decision.APOLOGY, Decision.REPROMPT, Decision.OUT_OF_SCOPE})


class ArmObserver(Protocol):
    """Watches calls of either arm: metrics, spans."""

    def turn_committed(self, turn: TurnRecord, *, arm: str) -> None:
        """A turn was finalised."""
        ...

    def call_ended(self, call: CallRecord, *, arm: str) -> None:
        """The call is over and recorded."""
        ...


@dataclass(frozen=True, slots=True)
class InArm:
    """An observer of one call that tells another one the call's arm.

    Attributes:
        watcher: watches calls of either arm.
        arm: the call's.
    """

    watcher: ArmObserver
    arm: str

    def turn_committed(self, turn: TurnRecord) -> None:
        """A turn was finalised."""
        self.watcher.turn_committed(turn, arm=self.arm)

    def call_ended(self, call: CallRecord) -> None:
        """The call is over and recorded."""
        self.watcher.call_ended(call, arm=self.arm)


def outcome_of(call: CallRecord, guard: Guard) -> CallOutcome | None:
    """What an ended call means for the guardrail.

    None for a call in which the caller said nothing, or that ended because a server was killed.
    """
    if not call.turns or call.ending in {None, Ending.LOST}:
        return None
    failed = any(_failed(turn) for turn in call.turns)
    transferred = call.ending is Ending.TRANSFERRED or any(
        turn.decision is Decision.TRANSFER for turn in call.turns
    )
    found = {
        Harm.FAILED: failed,
        Harm.TRANSFERRED: transferred and failed,
        Harm.SLOW: any(thought_s(turn) > guard.slow_s for turn in call.turns),
    }
    harms = frozenset(harm for harm, happened in found.items() if happened)
    return CallOutcome(call.arm == Arm.CHALLENGER, harms)


def thought_s(turn: TurnRecord) -> float:
    """How long a turn's answer was thought about, seconds: all stages but waiting, hearing and speaking."""
    times = (seconds for stage, seconds in turn.stages.items() if stage not in _NOT_THOUGHT)
    return sum(seconds for seconds in times if math.isfinite(seconds))


def _failed(turn: TurnRecord) -> bool:
    """Whether something failed in a turn, it was not understood, or nothing of the bank's fitted it."""
    not_understood = turn.decision is Decision.TRANSFER and not turn.intent
    return bool(turn.error) or turn.decision in _NO_HELP or not_understood or not turn.in_scope
