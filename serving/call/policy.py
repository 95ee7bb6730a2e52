"""Decisions of the call that no engine makes: control intents, pending questions, grounded numbers.

Pure functions over tags and dialogue state; the responder applies them before and after the engine.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from serving.call.agreement import agrees_to
from serving.call.dialogue import PERSON, SENTENCE_END, DialogueState, Doubt, PendingTask, Step
from serving.call.machine import Next
from serving.call.record import Decision
from serving.language.embedded import TASKS
from serving.language.protocols import IntentTag, UserTurn
from serving.language.roles import LoanValue, Role, loan_values
from serving.spoken import NO_YEAR, parse
from serving.spoken.values import Kind, TypedValue
from serving.spoken.written import months
from serving.tools.grounding import GIVEN, GIVEN_TERM, Grounds, ground_of, grounds

TRANSFER = PERSON
OPT_OUT = "recording_opt_out"
REPEAT = "repeat_that"
GOODBYE = "goodbye"
AFFIRM = "affirm"
DENY = "deny"
ASIDES = frozenset({"greeting", "thanks"})
"""Control intents that leave open what was asked."""
CONTROL = frozenset({TRANSFER, OPT_OUT, REPEAT, GOODBYE, AFFIRM, DENY, "greeting", "thanks"})
"""Intents about the call itself; they are never looked up or sent to an engine."""
_BREAKS_OFF = frozenset({TRANSFER, OPT_OUT, REPEAT, GOODBYE})
"""Control intents that win over a pending question."""
DECISIVE = frozenset({Kind.MONEY, Kind.RATE, Kind.TERM})
"""Kinds of values that decide an answer; unsure ones are read back first (design D13)."""
COMPUTING_TOOLS = frozenset({"calculate_payment", "generate_plan"})
"""Tools whose result is the answer; looking up a rate alone is not."""
_ARGUMENTS = {
    "principal": Role.PRINCIPAL,
    "extra": Role.EXTRA,
    "annual_rate": Role.RATE,
    "rates": Role.RATE,
    "months": Role.TERM,
    "terms": Role.TERM,
}
"""Argument of a tool → the role of the values that it takes."""
_SOURCES: Mapping[str, tuple[str, ...]] = {
    Kind.MONEY: (GIVEN, Kind.COUNT),
    Kind.TERM: (GIVEN_TERM, Kind.COUNT),
}
"""What else may stand behind an amount or a term of an answer."""
_PAID = re.compile(
    r"\b(?:you(?:'ll| will| would)? pay|payments? (?:is|are|of|would be|will be)|costs?) $", re.IGNORECASE
)
_NO_RECORDING = re.compile(
    r"\b(?:do\s?n[o'\u2019 ]*t|do not|never|stop|quit|end|cease|without|not want|rather not|turn off"
    r"|switch off|opt out of)(?: (?:be|being|been|have|having|want|wish|like|agree|consent|to|for|you|me|us"
    r"|my|our|the|this|that|your|call|voice|conversation|any|please|it|all)){0,6} record(?:ing|ed|ings)?\b"
    r"(?! (?:my|the|a|an|your|his|her|any|of) (?!call|voice|conversation|phone|line))",
    re.IGNORECASE,
)
"""Asking for no recording, but not "you do not have a record of it" or "you don't record my transfers"."""
_FILLS_A_SLOT = DECISIVE | {Kind.COUNT}
NO_DAY = "incomplete"
"""Value of a date of birth without a year."""
_EXPECTED: Mapping[Step, Kind] = {
    Step.CUSTOMER_NUMBER: Kind.ACCOUNT,
    Step.BIRTH_DATE: Kind.BIRTH_DATE,
    Step.CARD: Kind.CODE,
    Step.AMOUNT: Kind.MONEY,
}
"""What a bare number most likely is when the bot has asked for this."""
_YES = re.compile(
    r"(?:yes|yeah|yep|yup|sure|correct|right|exactly|okay|ok|please do|go ahead|do (?:it|that)"
    r"|that'?s right)\b"
)
_NO = re.compile(r"(?:no|nope|nah|do ?n[o']t|do not|never|stop|wait|hold on)\b")
_NOT_AT_ALL = re.compile(
    r"\b(?:no|not|nope|nah|never|stop|wait|hold on|hang on|leave|forget|cancel|wrong|other|another|different"
    r"|do ?n'?t|\w+n't|cannot|but|before|first|if|unless|except|instead|rather|later"
    r"|what|which|how|why|when|who|where)\b|nevermind"
)
"""With one of these a yes to an offer is none: it denies, changes something, sets a condition, or asks."""
_SHORT_YES = 6
"""A yes that the tagger did not take for one has no more words than this."""
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
    offered = state.pending is not None and state.pending.heard and state.pending.intent == TRANSFER
    if tag.label == AFFIRM and offered:
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
    pending: PendingTask | None,
    user: UserTurn,
    said: Sequence[Doubt],
    true: Mapping[str, str],
    *,
    sure: bool,
) -> tuple[Doubt, ...]:
    """Values left unconfirmed: earlier ones neither confirmed nor said anew, and new ones that are unsure.

    Args:
        pending: what the bot had asked.
        user: the turn, redacted.
        said: decisive values of the turn.
        true: placeholder → true value.
        sure: whether recognition was; a value whose role is not clear is unsure all the same.
    """
    anew = {doubt.role for doubt in said}
    answered = (
        pending is not None and pending.heard and (says(user.tag, DENY) or agrees_to(user, pending, true))
    )
    unanswered = () if pending is None or answered else pending.doubts
    kept = tuple(doubt for doubt in unanswered if doubt.role not in anew)
    return (*kept, *(doubt for doubt in said if not (sure and doubt.clear)))


def decisive(turn: UserTurn, currency: str) -> tuple[Doubt, ...]:
    """Values that decide the answer to a loan question, with their words and roles."""
    found = loan_values(turn, currency)
    return tuple(Doubt(item.value, _words_of(turn, item), item.role, item.clear) for item in found)


def _words_of(turn: UserTurn, item: LoanValue) -> str:
    """A value as it was said; a bare number that answered the question for a term with its unit."""
    said = turn.text[item.value.start : item.value.end]
    bare = item.role is Role.TERM and all(value.kind is Kind.COUNT for value in parse(said))
    return months(int(str(item.value.value))) if bare else said


def repeats(pending: PendingTask | None, task: str, question: str) -> bool:
    """Whether the bot asks what it has just asked, so that the caller's turn brought it no further."""
    return pending is not None and (pending.intent, pending.question) == (task, question)


def asked_again(phrase: str, pending: PendingTask) -> str:
    """A phrase of an aside, with the question that is still open in place of its own."""
    own = SENTENCE_END.split(phrase)
    kept = own[:-1] if own[-1].endswith("?") else own
    whole = pending.reads_back or (pending.yes_or_no and not pending.heard)
    question = pending.question if whole else _last_sentence(pending.question)
    return " ".join([*kept, question])


def blamed(errors: Iterable[str]) -> frozenset[Role]:
    """Roles of the arguments that errors of tools name."""
    names = {name for error in errors for name in re.findall(r"[a-z_]+", error)}
    return frozenset(role for name, role in _ARGUMENTS.items() if name in names)


def without_roles(turn: UserTurn, roles: frozenset[Role], currency: str) -> UserTurn:
    """A turn without its values of some roles."""
    dropped = [item.value for item in loan_values(turn, currency) if item.role in roles]
    return replace(turn, values=tuple(value for value in turn.values if value not in dropped))


def opts_out(text: str) -> bool:
    """Whether the words ask for no recording, whatever else a turn is about."""
    return _NO_RECORDING.search(text) is not None


def agrees(user: UserTurn) -> bool:
    """Whether a turn says yes to an offer, in a word or behind one, and nothing against it.

    Nothing is changed on it: what was read back needs more (`agrees_to`).
    """
    text = user.text.lower().strip()
    worded = _YES.match(text) is not None and len(text.split()) <= _SHORT_YES
    return (worded or says(user.tag, AFFIRM)) and not _NOT_AT_ALL.search(text)


def declines(user: UserTurn) -> bool:
    """Whether a turn says no, in a word or behind one."""
    text = user.text.lower().strip()
    return _NO.match(text) is not None or (says(user.tag, DENY) and not _YES.match(text))


def unheard(user: UserTurn, pending: PendingTask | None) -> bool:
    """Whether a turn says yes or no to something that the caller has not heard."""
    if pending is None or pending.heard or (user.values and not pending.yes_or_no):
        return False
    if user.values and pending.reads_back:
        return False  # they may replace what was read back; else it is read back once more
    return says(user.tag, AFFIRM, DENY) or agrees(user) or declines(user)


def identifying(values: Sequence[TypedValue], text: str, state: DialogueState) -> tuple[TypedValue, ...]:
    """The values of a turn; where the bot has asked who is calling every bare number is personal.

    Half a customer number or a year by itself looks like any count to the parser.

    Args:
        values: what `parse` found.
        text: the true text.
        state: the dialogue before this turn.
    """
    return tuple(_personal(value, text, asked=state.identifying) for value in values)


def _personal(value: TypedValue, text: str, *, asked: bool) -> TypedValue:
    if asked and value.kind is Kind.COUNT:
        return replace(value, kind=Kind.ACCOUNT, value=str(value.value))
    if value.kind is not Kind.BIRTH_DATE and not (asked and value.kind is Kind.DATE):
        return value
    # "Sunday" is nobody's birthday, and a day without a year is none either, although the parser fills it in.
    bare = parse(text[value.start : value.end], expect=Kind.BIRTH_DATE)
    if not bare and value.kind is Kind.DATE:
        return value
    known = value.value if not any(_without_year(item) for item in bare) else NO_DAY
    return replace(value, kind=Kind.BIRTH_DATE, value=known)


def _without_year(value: TypedValue) -> bool:
    return isinstance(value.value, date) and value.value.year == NO_YEAR


def expected_kind(state: DialogueState) -> Kind | None:
    """What a bare number in the next turn most likely is, from the question just asked."""
    if state.pending is not None and state.pending.step is not None:
        return _EXPECTED.get(state.pending.step)
    if state.pending is None or state.pending.intent not in TASKS:
        return None
    question = _last_sentence(state.pending.question.lower())
    if "how much" in question or "amount" in question:
        return Kind.MONEY
    return Kind.TERM if "months" in question or "years" in question else None


def _last_sentence(text: str) -> str:
    return SENTENCE_END.split(text)[-1]


def known_numbers(state: DialogueState, currency: str) -> Grounds:
    """Numbers that a tool call may use: said by the caller, or given by a tool of this call."""
    return grounds(state.values, state.results, currency=currency)


def ungrounded_numbers(
    answer: str,
    approved: Iterable[str],
    values: Iterable[TypedValue],
    results: Iterable[Mapping[str, Any]],
    currency: str = "USD",
) -> tuple[str, ...]:
    """Amounts, rates and terms of an answer that come from nowhere; they must not be spoken.

    An amount that is said to be paid must have been worked out by a tool, or be an extra payment.

    Args:
        answer: what an engine wants to say.
        approved: texts that it was given.
        values: what the caller said.
        results: what the tools gave.
        currency: of the bank's loans.
    """
    allowed = {value.canonical() for text in approved for value in parse(text, currency=currency)}
    known = grounds(values, results, currency=currency)
    refused = []
    for value in parse(answer, currency=currency):
        ground = ground_of(value, currency)
        if value.kind not in DECISIVE or ground is None or value.canonical() in allowed:
            continue
        sources = {ground[0], *_SOURCES.get(ground[0], ())}
        if ground[0] == Kind.MONEY and _PAID.search(answer[: value.start]):
            sources = {GIVEN}
        if not any((source, ground[1]) in known for source in sources):
            refused.append(value.canonical())
    return tuple(refused)
