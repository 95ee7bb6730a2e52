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


class Caller(Protocol):
    """A caller who speaks when the bot has finished (files, scripts, a console)."""

    transport: str
    """`wav`, `text` or `script`; part of the call record."""

    def next_line(self) -> CallerLine | None:
        """The next line, or None when the caller hangs up."""
        ...
