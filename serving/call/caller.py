"""The other side of a call, as the session sees it: lines of sound or text, one after another."""

from dataclasses import dataclass
from typing import Protocol

from serving.audio import AudioClip


@dataclass(frozen=True, slots=True)
class CallerLine:
    """What a caller says next.

    Attributes:
        audio: the sound; None for a typed line.
        text: the typed words; for sound, the words that were really said where they are known.
    """

    audio: AudioClip | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a caller says of the call at its end.

    Attributes:
        confirmed: whether the matter is settled; None when the caller was not asked.
        survey: 1 to 5; None when not answered.
    """

    confirmed: bool | None = None
    survey: int | None = None


class Caller(Protocol):
    """A caller who speaks when the bot has finished (files, scripts, a console)."""

    transport: str
    """`wav`, `text` or `script`; part of the call record."""

    @property
    def feedback(self) -> Feedback:
        """The caller's opinion, asked for when the call ends."""
        ...

    def next_line(self) -> CallerLine | None:
        """The next line, or None when the caller hangs up."""
        ...
