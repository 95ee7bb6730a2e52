"""Decisions of the call that no engine makes: control intents, pending questions, grounded numbers.

Pure functions over tags and dialogue state; the responder applies them before and after the engine.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.call.dialogue import DialogueState, Doubt, PendingTask
from serving.call.machine import Next
from serving.call.record import Decision
from serving.language.embedded import TASKS
from serving.language.protocols import IntentTag
from serving.language.slots import is_amount
from serving.spoken import parse
from serving.spoken.values import Kind, TypedValue
from serving.tools.grounding import Grounds, grounds

TRANSFER = "speak_to_agent"
OPT_OUT = "recording_opt_out"
REPEAT = "repeat_that"
GOODBYE = "goodbye"
AFFIRM = "affirm"
DENY = "deny"
CONTROL = frozenset({TRANSFER, OPT_OUT, REPEAT, GOODBYE, AFFIRM, DENY, "greeting", "thanks"})
"""Intents about the call itself; they are never looked up or sent to an engine."""
_BREAKS_OFF = frozenset({TRANSFER, OPT_OUT, REPEAT, GOODBYE})
"""Control intents that win over a pending question."""
DECISIVE = frozenset({Kind.MONEY, Kind.RATE, Kind.TERM})
"""Kinds of values that decide an answer; unsure ones are read back first (design D13)."""
COMPUTING_TOOLS = frozenset({"calculate_payment", "generate_plan"})
"""Tools whose result is the answer; looking up a rate alone is not."""
_FILLS_A_SLOT = DECISIVE | {Kind.COUNT}
_OFFER = re.compile(r"\b(?:shall i|can i|i can(?: also)?|or) put you through\b", re.IGNORECASE)
_PROMISE = re.compile(
    r"(?:let me|i will|i'll|i am|i'm) put(?:ting)? you through[^?.!]*[.!]?\s*$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ControlReply:
    """What to do with a control intent.

    Attributes:
        prompt: name of the phrase to say.
    """

    prompt: str
    decision: Decision = Decision.CONTROL
    next: Next = Next.LISTEN


_CONTROL_REPLIES: dict[str, ControlReply] = {
    TRANSFER: ControlReply("transfer", Decision.TRANSFER, Next.TRANSFER),
    GOODBYE: ControlReply("goodbye", next=Next.END),
    "greeting": ControlReply("greeting_again"),
    "thanks": ControlReply("thanks"),
    AFFIRM: ControlReply("affirm_without_question"),
    DENY: ControlReply("deny_without_question"),
}


def control_reply(tag: IntentTag, state: DialogueState) -> ControlReply | None:
    """The reply to a control intent; None for other intents, and for opting out, which needs a wording."""
    if not tag.in_scope or tag.label not in CONTROL or tag.label == OPT_OUT:
        return None
    if tag.label == REPEAT:
        return ControlReply("repeat" if state.last_answer else "repeat_nothing")
    if tag.label == AFFIRM and state.pending is not None and state.pending.intent == TRANSFER:
        return _CONTROL_REPLIES[TRANSFER]
    return _CONTROL_REPLIES[tag.label]


def task_of(tag: IntentTag, values: Iterable[TypedValue], pending: PendingTask | None) -> str:
    """The tool intent that a turn belongs to: its own, or the one that the bot is asking about."""
    if tag.in_scope and tag.label in TASKS:
        return tag.label
    if pending is None or pending.intent not in TASKS or (tag.in_scope and tag.label in _BREAKS_OFF):
        return ""
    answers = any(value.kind in _FILLS_A_SLOT for value in values)
    return pending.intent if answers or says(tag, AFFIRM, DENY) else ""


def says(tag: IntentTag, *labels: str) -> bool:
    """Whether a turn surely says one of these intents."""
    return tag.in_scope and tag.label in labels


def pending_after(answer: str, task: str, *, computed: bool) -> PendingTask | None:
    """What the bot is waiting for once it has said `answer`: a yes to an offer, or a value it asked for."""
    if _OFFER.search(answer):
        return PendingTask(TRANSFER)
    return PendingTask(task) if task and not computed else None


def next_after(answer: str) -> Next:
    """What follows an answer: one that promises a colleague is kept."""
    return Next.TRANSFER if _PROMISE.search(answer) else Next.LISTEN


def doubts_after(
    pending: PendingTask | None, tag: IntentTag, said: Sequence[Doubt], *, sure: bool
) -> tuple[Doubt, ...]:
    """Values left unconfirmed: earlier ones neither confirmed nor said anew, and new ones that are unsure.

    Args:
        pending: what the bot had asked.
        tag: the turn's intent.
        said: decisive values of the turn.
        sure: whether recognition was.
    """
    anew = {_slot(doubt.value) for doubt in said}
    unanswered = () if pending is None or says(tag, AFFIRM, DENY) else pending.doubts
    kept = tuple(doubt for doubt in unanswered if _slot(doubt.value) not in anew)
    return kept if sure else (*kept, *said)


def _slot(value: TypedValue) -> Kind:
    return Kind.MONEY if is_amount(value) else value.kind


def decisive(values: Iterable[TypedValue], text: str) -> tuple[Doubt, ...]:
    """Values that decide an answer, with their words; a bare number is one where it may be an amount."""
    return tuple(
        Doubt(value, text[value.start : value.end])
        for value in values
        if value.kind in DECISIVE or is_amount(value)
    )


def expected_kind(state: DialogueState) -> Kind | None:
    """What a bare number in the next turn most likely is, from the question just asked."""
    if state.pending is None or state.pending.intent not in TASKS:
        return None
    question = state.pending.question.lower()
    if "how much" in question or "amount" in question:
        return Kind.MONEY
    return Kind.TERM if "months" in question or "years" in question else None


def known_numbers(state: DialogueState) -> Grounds:
    """Numbers that a tool call may use: said by the caller, or given by a tool of this call."""
    return grounds(state.values, state.results)


def ungrounded_numbers(
    answer: str, approved: Iterable[str], values: Iterable[TypedValue], results: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Amounts, rates and terms of an answer that come from nowhere; they must not be spoken.

    Args:
        answer: what an engine wants to say.
        approved: texts that it was given.
        values: what the caller said.
        results: what the tools gave.
    """
    stated = [value for value in parse(answer) if value.kind in DECISIVE]
    allowed = {value.canonical() for text in approved for value in parse(text)}
    known = grounds(values, results)
    return tuple(
        value.canonical()
        for value in stated
        if value.canonical() not in allowed and not grounds([value], []) <= known
    )
