"""What a call remembers between turns, and what one turn's reply consists of.

Both are immutable: a turn gets a state and its reply carries the next one, so a failed turn leaves
nothing half-changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.call.machine import Next
from serving.call.record import CacheRecord, Decision, ToolRecord
from serving.language.protocols import IntentTag, Message, UserTurn
from serving.language.roles import Role
from serving.spoken.values import TypedValue
from serving.telemetry.redaction import Placeholders


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """A caller's turn on its way to a reply.

    Attributes:
        call_id: the call.
        index: position in the call, from 1.
        text: the true text, not redacted; it goes no further than the responder.
        confidence: of the recognition, 0 to 1; 1 for typed text.
    """

    call_id: str
    index: int
    text: str
    confidence: float


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
        intent: the tool intent that needs the answer.
        question: what the bot asked.
        doubts: values that were read back; the caller must say yes or no.
    """

    intent: str
    question: str = ""
    doubts: tuple[Doubt, ...] = ()


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
    """

    messages: tuple[Message, ...] = ()
    turns: tuple[UserTurn, ...] = ()
    values: tuple[TypedValue, ...] = ()
    results: tuple[Mapping[str, Any], ...] = ()
    placeholders: Placeholders = field(default_factory=Placeholders)
    pending: PendingTask | None = None
    last_answer: str = ""
    out_of_scope: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bot does with a turn.

    Attributes:
        text: the turn, redacted.
        answer: what to say; personal values as placeholders.
        understood: false where the caller must be asked again; three in a row end in a transfer.
        stop_recording: the caller opted out; what was kept must be erased.
        state: the dialogue after this turn.
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
