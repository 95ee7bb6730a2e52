"""Which turns of the call records the drift watch compares, and why the others are left out."""

from collections.abc import Iterable
from dataclasses import dataclass

from evaluation.drift import Tagged
from serving.call.record import CallRecord, Decision, TurnRecord

_ASKS = frozenset({Decision.CLARIFY})
"""After these the bot waits for an answer, such as "sixty months", which no training text looks like."""


@dataclass(frozen=True, slots=True)
class WeekOfTurns:
    """Turns of a window.

    Attributes:
        turns: those that are compared; their group is the call.
        untagged: turns without an intent, for instance because nothing was understood.
        other_adapter: turns that another version tagged; its confidence is not comparable.
        answers: turns that answer a question of the bot.
    """

    turns: tuple[Tagged, ...]
    untagged: int
    other_adapter: int
    answers: int


def turns_of(calls: Iterable[CallRecord], version: str) -> WeekOfTurns:
    """The turns that one adapter version tagged.

    Args:
        calls: of the window.
        version: the adapter as records name it, such as `banking-lora/3`.
    """
    kept: list[Tagged] = []
    untagged = other = answers = 0
    for call in calls:
        before: TurnRecord | None = None
        for turn in call.turns:
            if not turn.intent:
                untagged += 1
            elif turn.intent_version != version:
                other += 1
            elif before is not None and before.decision in _ASKS:
                answers += 1
            else:
                sure = min(1.0, turn.intent_probability)  # a softmax may round to a little more than 1
                kept.append(Tagged(turn.intent, sure, turn.in_scope, turn.call_id, turn.intent_energy))
            before = turn
    return WeekOfTurns(tuple(kept), untagged, other, answers)
