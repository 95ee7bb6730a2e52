"""The turn machine: `(state, event) → (state, actions)`, pure, time arrives inside events.

It decides when to recognise, answer, ask again, transfer and end; it never does any of it. Work in
flight carries the epoch in which it was started; a result of an older epoch is ignored. Every turn
that was opened is committed exactly once, whatever order events come in (property-tested).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """Where a call stands."""

    IDLE = "idle"
    SPEAKING = "speaking"
    LISTENING = "listening"
    HEARING = "hearing"
    """The caller is talking."""
    RECOGNISING = "recognising"
    ANSWERING = "answering"
    ENDED = "ended"


class Next(StrEnum):
    """What follows when the bot has finished speaking."""

    LISTEN = "listen"
    TRANSFER = "transfer"
    END = "end"


class Prompt(StrEnum):
    """Fixed phrases that the machine asks for; the knowledge holds their wording."""

    GREETING = "greeting"
    LOW_CONFIDENCE = "low_confidence"
    """Recognition was unsure or heard nothing."""
    TOO_LONG = "too_long"
    APOLOGY = "apology"
    """An engine failed."""
    TRANSFER = "transfer"


class Ending(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"
    TRANSFERRED = "transferred"
    CALLER_LEFT = "caller_left"
    LOST = "lost"
    """Its process was killed in the middle. Never the machine's own: `CallStore.end_lost` writes it later."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """Limits of a call (see `Settings` for their meaning)."""

    confidence_floor: float
    max_failures: int
    max_chars: int


@dataclass(frozen=True, slots=True)
class TurnState:
    """All that the machine remembers.

    Attributes:
        epoch: number of the work in flight; results of other epochs are stale.
        turn: index of the newest caller turn, from 1; 0 before the first.
        open_turn: whether that turn still has to be committed.
        failures: consecutive turns that were not understood or failed.
        after: what follows the speech that is playing.
        silent: consecutive times that the bot's voice broke.
    """

    phase: Phase = Phase.IDLE
    epoch: int = 0
    turn: int = 0
    open_turn: bool = False
    failures: int = 0
    after: Next = Next.LISTEN
    silent: int = 0


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The line is open."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to talk (backdated to the first voiced sound)."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The caller's turn is over; `at` is when that was decided, after the hang-over."""

    at: float


@dataclass(frozen=True, slots=True)
class TextTyped:
    """A whole turn arrived as text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Recognition finished."""

    at: float
    epoch: int
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class HearingFailed:
    """Recognition broke."""

    at: float
    epoch: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply is known; `understood` is false for out-of-scope and unclear turns."""

    at: float
    epoch: int
    next: Next
    understood: bool


@dataclass(frozen=True, slots=True)
class AnsweringFailed:
    """No reply could be made."""

    at: float
    epoch: int


@dataclass(frozen=True, slots=True)
class PlayoutEnded:
    """The last sound of the bot's speech was played."""

    at: float
    epoch: int


@dataclass(frozen=True, slots=True)
class SpeakingFailed:
    """The voice broke before the end of the bot's speech; the caller heard only a part, or nothing."""

    at: float
    epoch: int


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller is gone, or the file has ended."""

    at: float


Event = (
    CallStarted | SpeechStarted | SpeechEnded | TextTyped | Heard | HearingFailed | Answered
    | AnsweringFailed | PlayoutEnded | SpeakingFailed | HungUp
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """Start the record of a turn."""

    turn: int


@dataclass(frozen=True, slots=True)
class Recognise:
    """Finish recognition of the utterance that just ended."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Find the reply to a text."""

    epoch: int
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class SayReply:
    """Speak the reply that was found."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SayPrompt:
    """Speak a fixed phrase instead; `attempt` counts failures so that wording can vary."""

    epoch: int
    prompt: Prompt
    attempt: int


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """Finalise the record of a turn; `interrupted` when its reply was not heard to the end."""

    turn: int
    interrupted: bool


@dataclass(frozen=True, slots=True)
class EndCall:
    """Close the call."""

    ending: Ending


Action = OpenTurn | Recognise | Answer | SayReply | SayPrompt | CommitTurn | EndCall
Step = tuple[TurnState, tuple[Action, ...]]


def step(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    """Advance the call by one event; an event that makes no sense now changes nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    if isinstance(event, HungUp):
        return _end(state, Ending.CALLER_LEFT, interrupted=True)
    stale = getattr(event, "epoch", state.epoch) != state.epoch
    handler = _HANDLERS.get((state.phase, type(event)))
    if stale or handler is None:
        return state, ()
    return handler(state, event, policy)


def _greet(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    new = replace(state, phase=Phase.SPEAKING, epoch=state.epoch + 1, after=Next.LISTEN)
    return new, (SayPrompt(new.epoch, Prompt.GREETING, 0),)


def _open(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    new = replace(state, phase=Phase.HEARING, epoch=state.epoch + 1, turn=state.turn + 1, open_turn=True)
    return new, (OpenTurn(new.turn),)


def _recognise(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    return replace(state, phase=Phase.RECOGNISING), (Recognise(state.epoch),)


def _typed(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, TextTyped)
    opened, actions = _open(state, event, policy)
    new, more = _judge(opened, event.text, 1.0, policy)
    return new, (*actions, *more)


def _heard(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, Heard)
    return _judge(state, event.text, event.confidence, policy)


def _judge(state: TurnState, text: str, confidence: float, policy: TurnPolicy) -> Step:
    if len(text) > policy.max_chars:
        return _fail(state, Prompt.TOO_LONG, policy)
    if not text.strip() or not confidence >= policy.confidence_floor:  # NaN is not sure either
        return _fail(state, Prompt.LOW_CONFIDENCE, policy)
    return replace(state, phase=Phase.ANSWERING), (Answer(state.epoch, text, confidence),)


def _fail(state: TurnState, prompt: Prompt, policy: TurnPolicy) -> Step:
    """Ask again; from the last allowed failure on, hand over to a person."""
    failures = state.failures + 1
    give_up = failures >= policy.max_failures
    new = replace(
        state, phase=Phase.SPEAKING, failures=failures, after=Next.TRANSFER if give_up else Next.LISTEN
    )
    return new, (SayPrompt(state.epoch, Prompt.TRANSFER if give_up else prompt, failures),)


def _hearing_failed(state: TurnState, _event: Event, policy: TurnPolicy) -> Step:
    return _fail(state, Prompt.APOLOGY, policy)


def _answered(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, Answered)
    failures = 0 if event.understood else state.failures + 1
    if failures >= policy.max_failures:
        return _fail(state, Prompt.TRANSFER, policy)
    new = replace(state, phase=Phase.SPEAKING, failures=failures, after=event.next)
    return new, (SayReply(state.epoch),)


def _played(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    if state.after is Next.LISTEN:
        new, actions = _commit(state, interrupted=False)
        return replace(new, phase=Phase.LISTENING, silent=0), actions
    return _end(state, _planned(state), interrupted=False)


def _unspoken(state: TurnState, _event: Event, policy: TurnPolicy) -> Step:
    """Go on as planned; a bot that stays without a voice hands over to a person."""
    if state.after is not Next.LISTEN:
        return _end(state, _planned(state), interrupted=True)
    if state.silent + 1 >= policy.max_failures:
        return _end(state, Ending.TRANSFERRED, interrupted=True)
    new, actions = _commit(state, interrupted=True)
    return replace(new, phase=Phase.LISTENING, silent=state.silent + 1), actions


def _planned(state: TurnState) -> Ending:
    return Ending.TRANSFERRED if state.after is Next.TRANSFER else Ending.COMPLETED


def _commit(state: TurnState, *, interrupted: bool) -> Step:
    if not state.open_turn:
        return state, ()
    return replace(state, open_turn=False), (CommitTurn(state.turn, interrupted),)


def _end(state: TurnState, ending: Ending, *, interrupted: bool) -> Step:
    new, actions = _commit(state, interrupted=interrupted)
    return replace(new, phase=Phase.ENDED, epoch=state.epoch + 1), (*actions, EndCall(ending))


_HANDLERS: dict[tuple[Phase, type[Event]], Callable[[TurnState, Event, TurnPolicy], Step]] = {
    (Phase.IDLE, CallStarted): _greet,
    (Phase.LISTENING, SpeechStarted): _open,
    (Phase.LISTENING, TextTyped): _typed,
    (Phase.HEARING, SpeechEnded): _recognise,
    (Phase.RECOGNISING, Heard): _heard,
    (Phase.RECOGNISING, HearingFailed): _hearing_failed,
    (Phase.ANSWERING, Answered): _answered,
    (Phase.ANSWERING, AnsweringFailed): _hearing_failed,
    (Phase.SPEAKING, PlayoutEnded): _played,
    (Phase.SPEAKING, SpeakingFailed): _unspoken,
}
