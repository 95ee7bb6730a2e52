"""The contract between a live call and the line that carries it, whatever the line is.

A transport parses what its socket brings and calls the call's `LineEvents`; the call answers through the
transport's `Line`. Both live on one event loop: nothing here blocks, and nothing raises for what a caller
did. A transport knows no turns; a call knows no sockets.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from serving.audio import Samples

KEYS = frozenset("0123456789*#")
"""Keys of a telephone."""
KEYED = "#"
"""Ends the text of a turn that was keyed; whoever reads it takes it off."""
MOST_TYPED = 20_000
"""Characters of a typed turn that are looked at, however it comes in; the call's own, lower limit answers
politely."""


class Line(Protocol):
    """What a call can do to its caller's line; a line that is gone takes everything and does nothing.

    Attributes:
        transport: name for the call record: `browser`, `twilio`, `replay`.
        rate: Hz of the sound that the line carries, both ways.
    """

    transport: str
    rate: int

    def play(self, samples: Samples) -> None:
        """Queue sound behind what is queued already. The call itself never runs more than 0.4 s ahead."""
        ...

    def mark(self, name: str) -> None:
        """Ask for `LineEvents.marked(name)` once all that was queued until now has been played.

        On a telephone line this completes the last 20 ms with silence. A far end may also tell of marks
        whose sound a `clear` threw away; their names carry the epoch, by which the call knows them.
        """
        ...

    def clear(self) -> None:
        """Throw away all sound that was queued and has not been played."""
        ...

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Show the caller's client what happens (docs/calls.md lists the events); a telephone shows nothing.

        All texts in `data` are redacted.
        """
        ...

    def end(self, *, transfer: bool) -> None:
        """The call is over: what was queued has been played, the line may close.

        Args:
            transfer: the caller is to be connected to a person.
        """
        ...


class LineEvents(Protocol):
    """What a transport tells the call; called on the event loop, in the order in which things happened."""

    def sound(self, samples: Samples) -> None:
        """The caller's next sound: mono int16 at `Line.rate`, of any length; gaps are silence."""
        ...

    def typed(self, text: str) -> None:
        """The caller typed a whole turn instead of saying it."""
        ...

    def digit(self, digit: str) -> None:
        """A key was pressed: one of `0123456789*#`."""
        ...

    def marked(self, name: str) -> None:
        """A mark came back."""
        ...

    def gone(self, why: str = "") -> None:
        """The caller hung up, or the line broke; harmless twice.

        Args:
            why: what broke, without personal data; empty for a plain hang-up.
        """
        ...
