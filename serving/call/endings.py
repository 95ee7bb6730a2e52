"""How a reply is followed and how a call ends."""

from enum import StrEnum


class Next(StrEnum):
    """What follows when the bot has finished speaking."""

    LISTEN = "listen"
    TRANSFER = "transfer"
    END = "end"


class Ending(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"
    TRANSFERRED = "transferred"
    CALLER_LEFT = "caller_left"
    BROKEN = "broken"
    """The line or our side broke, or the server stopped; the caller may still have been there."""
    LOST = "lost"
    """Its process was killed in the middle. Never the machine's own: `CallStore.end_lost` writes it later."""
