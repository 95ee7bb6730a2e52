"""The words of the turn machine: what it remembers, what happens to it, what it asks for.

`serving.call.turns.step` is the machine itself: `(state, event) → (state, actions)`, pure, time arrives
inside events. Work in flight carries the epoch in which it was started, recognition the number of its
utterance; a result of an older one is ignored.
"""

from dataclasses import dataclass
from enum import StrEnum

from serving.call.endings import Ending, Next
from serving.call.events import (
    Answered,
    AnsweringFailed,
    CallStarted,
    Event,
    FirstSentence,
    Heard,
    HearingFailed,
    HearingLost,
    HungUp,
    KeyPressed,
    PlayoutEnded,
    SpeakingFailed,
    SpeechEnded,
    SpeechGoesOn,
    SpeechStarted,
    TextTyped,
    Tick,
)

__all__ = [
    "Action",
    "Answer",
    "Answered",
    "AnsweringFailed",
    "CallStarted",
    "CallerVoice",
    "CommitTurn",
    "DropFiller",
    "EndCall",
    "Ending",
    "Event",
    "ExtendTurn",
    "FirstSentence",
    "Heard",
    "HearingFailed",
    "HearingLost",
    "HeldReply",
    "HoldSpeech",
    "HungUp",
    "KeyPressed",
    "Next",
    "OpenTurn",
    "Phase",
    "PlayoutEnded",
    "Prompt",
    "Recognise",
    "ResumeSpeech",
    "SayFiller",
    "SayPrompt",
    "SayReply",
    "SpeakingFailed",
    "SpeechEnded",
    "SpeechGoesOn",
    "SpeechStarted",
    "Step",
    "StopSpeech",
    "TextTyped",
    "Tick",
    "TurnPolicy",
    "TurnState",
    "Words",
]


class Phase(StrEnum):
    """Where a call stands: who has the floor, and what the bot is at."""

    IDLE = "idle"
    SPEAKING = "speaking"
    LISTENING = "listening"
    HEARING = "hearing"
    """The caller is talking."""
    RECOGNISING = "recognising"
    ANSWERING = "answering"
    ENDED = "ended"


class CallerVoice(StrEnum):
    """What the caller does meanwhile, whoever has the floor."""

    SILENT = "silent"
    TALKING = "talking"
    RECOGNISING = "recognising"
    """The latest utterance is over and not recognised yet."""


class Prompt(StrEnum):
    """Fixed phrases that the machine asks for; the knowledge holds their wording."""

    GREETING = "greeting"
    LOW_CONFIDENCE = "low_confidence"
    """Recognition was unsure or heard nothing."""
    TOO_LONG = "too_long"
    APOLOGY = "apology"
    """An engine failed."""
    TRANSFER = "transfer"
    STILL_THERE = "still_there"
    """The caller has been silent for long."""
    SILENT_GOODBYE = "silent_goodbye"
    """The caller stayed silent."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """Limits of a call (see `Settings` for their meaning); times in seconds.

    The times beside the first three are for live calls. None switches a timer off: callers who wait for
    the bot (files, scripts, text) neither interrupt nor fall silent.

    Attributes:
        confirm_s: voice over the bot's speech that is an interruption whatever it says.
        backchannel_s: the same, while all that was heard so far only signals attention.
        unconfirmed_s: how long the bot holds its speech for a voice that does not become one.
        idle_s: silence after which the caller is asked whether anybody is there.
        max_idle: how often, before the call is ended.
        filler_s: wait for an answer after which the bot says that it is at work.
        held_s: how long an answer waits for a caller who keeps talking.
        backchannels: words that signal attention and take no turn ("mm-hm", "okay").
        greeting_holds: the greeting begins with wordings that must be heard.
    """

    confidence_floor: float
    max_failures: int
    max_chars: int
    confirm_s: float = 0.6
    backchannel_s: float = 1.5
    unconfirmed_s: float = 2.0
    idle_s: float | None = None
    max_idle: int = 2
    filler_s: float | None = None
    held_s: float = 8.0
    backchannels: frozenset[str] = frozenset()
    greeting_holds: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """What a caller said while the bot had the floor, to be answered as soon as it has not."""

    text: str
    confidence: float
    utterance: int


@dataclass(frozen=True, slots=True)
class HeldReply:
    """A reply that waits until the caller has stopped talking."""

    next: Next
    understood: bool
    holds: bool
    since: float


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
        since: when the phase began, call clock.
        utterance: number of the caller's newest utterance.
        turn_utterance: the utterance that the open turn consists of.
        voice: what the caller does.
        voice_since: when the utterance over the bot's speech began.
        paused: the bot's speech is held: somebody may be interrupting.
        holds: the bot's speech may not be interrupted.
        growing: the reply that is being spoken is not complete yet.
        waiting: words to be answered next.
        reply: the answer that waits for the caller to stop.
        ignored: an utterance that an answer waited for long enough; it does not interrupt it any more.
        mute: the voice broke while the reply was growing; what follows is known when it is complete.
        idle: how often a silent caller was asked.
        filled: the wait for this answer was filled already.
    """

    phase: Phase = Phase.IDLE
    epoch: int = 0
    turn: int = 0
    open_turn: bool = False
    failures: int = 0
    after: Next = Next.LISTEN
    silent: int = 0
    since: float = 0.0
    utterance: int = 0
    turn_utterance: int = 0
    voice: CallerVoice = CallerVoice.SILENT
    voice_since: float = 0.0
    paused: bool = False
    holds: bool = False
    growing: bool = False
    waiting: Words | None = None
    reply: HeldReply | None = None
    idle: int = 0
    filled: bool = False
    ignored: int = 0
    mute: bool = False


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """Start the record of a turn.

    Attributes:
        utterance: what it consists of; 0 for typed turns.
        text: its words, where they are known already.
        early: they were said before the bot had finished, so they answer nothing that it asked.
    """

    turn: int
    utterance: int = 0
    text: str = ""
    confidence: float = 1.0
    early: bool = False


@dataclass(frozen=True, slots=True)
class ExtendTurn:
    """The caller went on before the open turn was understood: it consists of a further utterance."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Recognise:
    """Finish recognition of the utterance that just ended."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Find the reply to a text."""

    epoch: int
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class SayReply:
    """Speak the reply, as far as it is there, and what is still to come of it."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SayPrompt:
    """Speak a fixed phrase instead; `attempt` counts failures so that wording can vary."""

    epoch: int
    prompt: Prompt
    attempt: int


@dataclass(frozen=True, slots=True)
class SayFiller:
    """Tell the caller that the answer is being worked on."""

    epoch: int


@dataclass(frozen=True, slots=True)
class HoldSpeech:
    """Feed no more of the bot's sound: somebody may be interrupting."""


@dataclass(frozen=True, slots=True)
class ResumeSpeech:
    """Go on where the sound was held: nobody interrupted."""


@dataclass(frozen=True, slots=True)
class DropFiller:
    """The caller talks while the bot says that it is at work."""


@dataclass(frozen=True, slots=True)
class StopSpeech:
    """The caller interrupts: note what was heard, then throw away what was not."""


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """Finalise the record of a turn; `interrupted` when its reply was not heard to the end."""

    turn: int
    interrupted: bool


@dataclass(frozen=True, slots=True)
class EndCall:
    """Close the call."""

    ending: Ending


Action = (
    OpenTurn | ExtendTurn | Recognise | Answer | SayReply | SayPrompt | SayFiller | HoldSpeech
    | ResumeSpeech | DropFiller | StopSpeech | CommitTurn | EndCall
)  # fmt: skip
Step = tuple[TurnState, tuple[Action, ...]]
