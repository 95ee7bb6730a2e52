"""What a call remembers between turns, and what one turn's reply consists of.

Both are immutable: a turn gets a state and its reply carries the next one, so a failed turn leaves
nothing half-changed. What the caller did not hear counts as not said (`heard_only`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from serving.call.caller import Feedback
from serving.call.machine import Next
from serving.call.record import CacheRecord, Decision, ToolRecord
from serving.language.protocols import IntentTag, Message, UserTurn
from serving.language.roles import Role
from serving.spoken import verbalise
from serving.spoken.unfinished import Unfinished
from serving.spoken.values import PERSONAL, TypedValue
from serving.telemetry.redaction import Placeholders
from serving.tools.hiding import Hidden, placeholder_for

PERSON = "speak_to_agent"
"""Intent of who wants a person; pending, that a person was offered."""
SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
_TOKEN = re.compile(r"[\w<>']+")
_NUMBERED = re.compile(r"_[0-9]+$")


class Step(StrEnum):
    """What exactly the bot has asked for, in the dialogues that have steps."""

    OFFER = "offer"
    """Whether it shall begin with something."""
    CUSTOMER_NUMBER = "customer_number"
    BIRTH_DATE = "birth_date"
    CARD = "card"
    """Which of several cards."""
    AMOUNT = "amount"
    """What the caller can pay each month."""
    TIME = "time"
    """When to call back."""
    CONFIRM = "confirm"
    """Yes or no to what was read back; a yes makes it happen."""
    SETTLED = "settled"
    """Whether the caller's matter is settled, at the end of the call."""
    RATING = "rating"
    """One to five, at the end of the call."""


IDENTIFYING = frozenset({Step.CUSTOMER_NUMBER, Step.BIRTH_DATE})
"""Steps whose answers say who is calling."""
_YES_OR_NO = frozenset({Step.OFFER, Step.CONFIRM, Step.SETTLED})


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """A caller's turn on its way to a reply.

    Attributes:
        call_id: the call.
        index: position in the call, from 1.
        text: the true text, not redacted; it goes no further than the responder.
        confidence: of the recognition, 0 to 1; 1 for typed text.
        say: takes each sentence of the answer that may be spoken before the rest is there; called in the
            answering thread. None where nobody speaks before the answer is complete.
    """

    call_id: str
    index: int
    text: str
    confidence: float
    say: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A value that recognition or its role was unsure of, until the caller confirms it (design D13).

    Attributes:
        words: the words it was heard as, to read back.
        role: what it would be used for.
        clear: the caller's words say what it is for; else that is read back as well.
    """

    value: TypedValue
    words: str
    role: Role
    clear: bool = True


@dataclass(frozen=True, slots=True)
class PendingTask:
    """Something the bot asked about, so that the next turn may belong to it.

    Attributes:
        intent: the intent that needs the answer.
        question: what the bot asked.
        doubts: values that were read back; the caller must say yes or no.
        step: what was asked for, in dialogues that have steps.
        arguments: what is known so far for the tool; personal values as placeholders.
        heard: the caller heard what a yes or a no would answer. Where not, neither means anything.
    """

    intent: str
    question: str = ""
    doubts: tuple[Doubt, ...] = ()
    step: Step | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    heard: bool = True

    @property
    def reads_back(self) -> bool:
        """Whether the whole question counts: it says what a yes would agree to."""
        return bool(self.doubts) or self.step is Step.CONFIRM

    @property
    def yes_or_no(self) -> bool:
        """Whether a yes or a no answers it: something read back, something offered, or settled or not."""
        offers = self.step in _YES_OR_NO or (self.step is None and self.intent == PERSON)
        return self.reads_back or offers


@dataclass(frozen=True, slots=True)
class DialogueState:
    """What is known of a call so far; personal values only in `placeholders`, which is never stored.

    Attributes:
        messages: dialogue as an engine sees it, redacted, without the system prompt.
        turns: the caller's turns, redacted.
        values: typed values the caller gave and did not deny, personal ones as placeholders.
        results: values of the tools that ran.
        placeholders: placeholder → true value.
        pending: what the bot is waiting for.
        last_answer: what to repeat.
        out_of_scope: consecutive turns that no intent fitted.
        customer: the bank's id of the caller, once verified; empty before.
        tries: how often the caller failed to be verified.
        done: what was carried out, or tried, for the caller; names of tools.
        feedback: what the caller said of the call at its end.
        unfinished: a value that the latest turn began and the next one may go on with.
    """

    messages: tuple[Message, ...] = ()
    turns: tuple[UserTurn, ...] = ()
    values: tuple[TypedValue, ...] = ()
    results: tuple[Mapping[str, Any], ...] = ()
    placeholders: Placeholders = field(default_factory=Placeholders)
    pending: PendingTask | None = None
    last_answer: str = ""
    out_of_scope: int = 0
    customer: str = field(default="", repr=False)
    tries: int = 0
    done: tuple[str, ...] = ()
    feedback: Feedback | None = None
    unfinished: Unfinished | None = field(default=None, repr=False)

    @property
    def verified(self) -> bool:
        """Whether the caller's identity was verified in this call."""
        return bool(self.customer)

    @property
    def identifying(self) -> bool:
        """Whether the bot waits for what says who is calling; no recording needs to hold the answer."""
        return self.pending is not None and self.pending.step in IDENTIFYING


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bot does with a turn.

    Attributes:
        text: the turn, redacted.
        answer: what to say; personal values as placeholders.
        understood: false where the caller must be asked again; three in a row end in a transfer.
        stop_recording: the caller opted out; what was kept must be erased.
        state: the dialogue after this turn.
        holds: the answer must be heard to its end: a legal wording, or the outcome of something done.
        feedback: what the caller has said of the call so far; None before its end.
        summary: on a transfer, what a person needs to know who takes the call over, redacted.
    """

    text: str
    answer: str
    decision: Decision
    state: DialogueState
    next: Next = Next.LISTEN
    understood: bool = True
    stop_recording: bool = False
    tag: IntentTag | None = None
    values: tuple[str, ...] = ()
    cache: CacheRecord | None = None
    llm_engine: str = ""
    tools: tuple[ToolRecord, ...] = ()
    disclosures: tuple[str, ...] = ()
    error: str = ""
    holds: bool = False
    feedback: Feedback | None = None
    summary: str = ""


def heard_only(state: DialogueState, heard: str) -> DialogueState:
    """The dialogue after an interruption: of the bot's last words, only those that were played were said.

    A yes or a no can then answer only a question whose words were all heard; the closing "Is that right?"
    may be missing.

    Args:
        state: the dialogue with the reply that was interrupted.
        heard: the part of it that was played, as it is written or as it is spoken.
    """
    if not state.messages or state.messages[-1].role != "assistant":
        return state
    said = verbalise(state.messages[-1].content)
    words = [match.group().lower() for match in _TOKEN.finditer(said)]
    count = _shared(words, [match.group().lower() for match in _TOKEN.finditer(verbalise(heard))])
    if count == len(words):
        return state
    ends = [match.end() for match in _TOKEN.finditer(said)]
    kept = said[: ends[count - 1]] if count else ""
    whole = state.last_answer == state.messages[-1].content
    pending = state.pending
    if pending is not None and _needed(pending.question, said) > count:
        pending = replace(pending, heard=False)
    return replace(
        state,
        messages=(*state.messages[:-1], replace(state.messages[-1], content=kept)),
        last_answer=kept if whole else state.last_answer,
        pending=pending,
    )


def no_longer_asked(state: DialogueState) -> DialogueState:
    """The dialogue after something else than the open question was the last thing spoken.

    An idle prompt, "I did not catch that", an aside: what was read back or offered before must be asked
    again before a yes or a no means anything. Questions for a value stay as they are.
    """
    pending = state.pending
    if pending is None or not pending.yes_or_no or not pending.heard:
        return state
    return replace(state, pending=replace(pending, heard=False))


def still_asked(pending: PendingTask, said: str) -> PendingTask:
    """What the bot waits for once it says something: asked again only if its words are repeated.

    Args:
        pending: what stays open.
        said: the bot's words. The whole question asks anew; its last sentence keeps one asked that was.
    """
    last = SENTENCE_END.split(pending.question)[-1]
    if pending.question in said or (last in said and not pending.yes_or_no):
        return replace(pending, heard=True)
    kept = not pending.yes_or_no or (last in said and not pending.reads_back)
    return pending if kept else replace(pending, heard=False)


def merged(newer: DialogueState, before: DialogueState) -> DialogueState:
    """A newer dialogue that also knows the placeholders which another one got meanwhile.

    What an answer leaves behind knows nothing of a turn that was closed without a reply while the answer was
    being made. Of two values under one placeholder, the one of `newer`, whose words use it, keeps it; the
    other gets a free one.
    """
    known = {**before.placeholders, **newer.placeholders}
    for name, value in before.placeholders.items():
        if known[name] == value:
            continue
        kind = _NUMBERED.sub("", name.strip("<>"))
        alike = {other for other in known if _NUMBERED.sub("", other.strip("<>")) == kind}
        if all(known[other] != value for other in alike):
            known[_free(kind, value, known)] = value
    return replace(newer, placeholders=Placeholders(known))


def _free(kind: str, value: str, known: Mapping[str, str]) -> str:
    """A placeholder of a kind that stands for nothing else."""
    if kind not in PERSONAL:
        return placeholder_for(Hidden(kind, value), known)
    number = 2
    while f"<{kind}_{number}>" in known:
        number += 1
    return f"<{kind}_{number}>"


def summary_of(state: DialogueState) -> str:
    """What the caller wanted, what was done, and whether the caller is verified; for who takes over.

    It is made of names of intents and tools, never of anybody's words.
    """
    own = dict.fromkeys(
        turn.tag.label for turn in state.turns if turn.tag.in_scope and turn.tag.label not in _NO_WISH
    )
    wanted = ", ".join(own) or "not understood"
    done = ", ".join(dict.fromkeys(state.done)) or "nothing"
    verified = "yes" if state.verified else f"no, {state.tries} failed tries" if state.tries else "no"
    return f"Wanted: {wanted}. Done: {done}. Verified: {verified}.".replace("_", " ")


_NO_WISH = frozenset({"affirm", "deny", "greeting", "thanks", "repeat_that", "goodbye", "speak_to_agent"})
"""Intents that say nothing of what a caller wants."""


def _shared(words: list[str], others: list[str]) -> int:
    """How many words both begin with."""
    count = 0
    for word, other in zip(words, others, strict=False):
        if word != other:
            break
        count += 1
    return count


def _needed(question: str, said: str) -> int:
    """How many words of what was said make up what a question asks about; 0 where they are not in it.

    Of several sentences the last only asks for the answer; of a single one, the last word may be missing.
    """
    sentences = SENTENCE_END.split(verbalise(question))
    subject = " ".join(sentences[:-1]) if len(sentences) > 1 else sentences[0].rpartition(" ")[0]
    at = said.rfind(subject)
    return len(_TOKEN.findall(said[: at + len(subject)])) if subject and at >= 0 else 0
