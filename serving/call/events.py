"""What happens to a call, as the turn machine is told; times are seconds on the call's clock."""

from dataclasses import dataclass

from serving.call.endings import Next


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The line is open."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to talk (backdated to the first voiced sound)."""

    at: float


@dataclass(frozen=True, slots=True)
class SpeechGoesOn:
    """The caller is still talking.

    Attributes:
        seconds: voice of this utterance so far.
        text: words recognised so far; empty where the recogniser tells none.
    """

    at: float
    seconds: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The caller's turn is over; `at` is when that was decided, after the hang-over."""

    at: float


@dataclass(frozen=True, slots=True)
class TextTyped:
    """A whole turn arrived as text, or as keys."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller pressed a key; what was keyed arrives as text when it is complete."""

    at: float


@dataclass(frozen=True, slots=True)
class Heard:
    """Recognition of an utterance finished."""

    at: float
    utterance: int
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class HearingFailed:
    """Recognition of an utterance broke."""

    at: float
    utterance: int


@dataclass(frozen=True, slots=True)
class HearingLost:
    """The caller cannot be heard any more: voice detection broke or hangs."""

    at: float


@dataclass(frozen=True, slots=True)
class FirstSentence:
    """The reply has a sentence to speak, and goes on."""

    at: float
    epoch: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply is complete.

    Attributes:
        understood: false for out-of-scope and unclear turns.
        holds: the reply must be heard: a legal wording, or the outcome of something done.
    """

    at: float
    epoch: int
    next: Next
    understood: bool
    holds: bool = False


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
class Tick:
    """Time has come for something that `serving.call.turns.deadline` asked to be woken for."""

    at: float


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller is gone, or the file has ended.

    Attributes:
        broken: not by the caller: the line broke, or the server stops.
    """

    at: float
    broken: bool = False


Event = (
    CallStarted | SpeechStarted | SpeechGoesOn | SpeechEnded | TextTyped | KeyPressed | Heard | HearingFailed
    | HearingLost | FirstSentence | Answered | AnsweringFailed | PlayoutEnded | SpeakingFailed | Tick | HungUp
)  # fmt: skip
