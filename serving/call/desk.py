"""One turn at the bank's desk: runs a customer's tools and collects what the reply will consist of.

Tools run here and nowhere else get the verified customer; what they tell goes into the call's placeholders,
so that replies, records and engines see placeholders only. What to ask and to do is decided elsewhere
(`verification`, `banking`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, PendingTask
from serving.call.machine import Next
from serving.call.record import Decision, ToolRecord
from serving.call.toolbox import Banking, Toolbox
from serving.call.understanding import Understood
from serving.language.protocols import ToolCall
from serving.telemetry.redaction import Placeholders
from serving.tools.hiding import Hidden, placeholder_for
from serving.tools.protocols import Effect, ToolContext, ToolResult

CUSTOMER = "<customer>"
"""Placeholder of the customer's id in the result of verifying; it is nothing that anybody says."""
_CALL_ID = "customer0"


@dataclass(frozen=True, slots=True)
class Move:
    """What rules, without any engine, reply to a turn.

    Attributes:
        state: the dialogue, with what tools told.
        understood: false where the caller is asked the same again.
        holds: the answer must be heard to its end.
    """

    answer: str
    decision: Decision
    state: DialogueState
    pending: PendingTask | None = None
    next: Next = Next.LISTEN
    understood: bool = True
    tools: tuple[ToolRecord, ...] = ()
    holds: bool = False
    error: str = ""


class Desk:
    """Works on one turn.

    Args:
        box: what all calls share.
        bank: the customer's tools.
        turn: what was understood.
        laps: stage times of the turn.
    """

    def __init__(self, box: Toolbox, bank: Banking, turn: Understood, laps: Laps) -> None:
        self.box = box
        self.bank = bank
        self.turn = turn
        self.state = turn.state
        self._laps = laps
        self._tools: list[ToolRecord] = []
        self._error = ""
        self._opening = ""

    def run(self, name: str, *, confirmed: bool = False, **arguments: Any) -> ToolResult:
        """Run a tool of the customer.

        Args:
            name: of the tool.
            confirmed: the caller has agreed to it in this turn.
            arguments: personal values as placeholders.
        """
        context = ToolContext(
            call_id=self.turn.call_id,
            turn=self.turn.index,
            confirming_turn=self.turn.index if confirmed else None,
            placeholders=self.state.placeholders,
            customer=self.state.customer,
        )
        result = self.bank.executor.execute(ToolCall(_CALL_ID, name, arguments), context)
        self._laps.mark("tool")
        self._tools.append(
            ToolRecord(
                *(name, arguments, result.ok, dict(result.value), result.error, result.seconds),
                begun=result.begun,
            )
        )
        if not result.ok:
            self._error = f"{name}: {result.error}"
        told = {name: text for name, text in result.hidden.items() if name != CUSTOMER}
        known = Placeholders({**self.state.placeholders, **told})
        done = self.state.done
        if result.effect is Effect.WRITE:
            done += (name + _came_to(result),)
        self.state = replace(self.state, placeholders=known, done=done)
        return result

    def hide(self, kind: str, text: str) -> str:
        """A placeholder for a personal text that was put together from several."""
        name = placeholder_for(Hidden(kind, text), self.state.placeholders)
        known = Placeholders({**self.state.placeholders, name: text})
        self.state = replace(self.state, placeholders=known)
        return name

    def open_with(self, phrase: str) -> None:
        """Begin the answer with a phrase."""
        self._opening = self.phrase(phrase)

    def phrase(self, name: str, **fields: str) -> str:
        """One of the bot's phrases, filled."""
        return self.box.phrase(name, **fields)

    def say(self, answer: str, decision: Decision = Decision.TOOL, **options: Any) -> Move:
        """The reply that this turn comes to."""
        text = f"{self._opening} {answer}".strip()
        return Move(text, decision, self.state, tools=tuple(self._tools), error=self._error, **options)

    def ask(self, question: str, pending: PendingTask, *, understood: bool = True) -> Move:
        """A question; what it is about waits for the caller's answer."""
        text = f"{self._opening} {question}".strip()
        pending = replace(pending, question=text, heard=True)
        return self.say(question, Decision.CLARIFY, pending=pending, understood=understood)


def _came_to(result: ToolResult) -> str:
    """What a person who takes over must know of a write besides its name."""
    if result.ok:
        return "" if result.value["possible"] else " (refused)"
    return " (unclear)" if result.begun else " (not done)"


def arguments_with(pending: PendingTask, **more: Any) -> Mapping[str, Any]:
    """What is known for a task, with more."""
    return {**pending.arguments, **more}
