"""What the caller hears and when: texts with the times at which their sound plays.

The ledger of a half-duplex call and the playout of a live line (`live_playout`) are the only witnesses of it;
what a share of a sound tells of its words is said here for both. Times are seconds on the call's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from serving.audio import AudioClip

_ROUNDING = 1e-6
"""A word that ends where the played sound ends was heard, whatever the floating point says."""


@dataclass(frozen=True, slots=True)
class PlayedSpan:
    """A piece of text and the time its sound takes."""

    text: str
    start: float
    end: float


class PlayoutLedger:
    """Lines up sounds one after another and remembers their texts."""

    def __init__(self) -> None:
        self.spans: list[PlayedSpan] = []

    def add(self, text: str, clip: AudioClip, ready: float) -> float:
        """Queue the first sound of a text; it plays when it is ready and the one before has ended.

        Returns:
            When it begins to play.
        """
        start = max(ready, self.spans[-1].end) if self.spans else ready
        self.spans.append(PlayedSpan(text, start, start + clip.seconds))
        return start

    def more(self, clip: AudioClip, ready: float) -> float:
        """Queue a further sound of the latest text; returns when it begins to play."""
        span = self.spans.pop()
        start = max(ready, span.end)
        self.spans.append(replace(span, end=start + clip.seconds))
        return start

    @property
    def end(self) -> float | None:
        """When the last queued sound ends; None before the first."""
        return self.spans[-1].end if self.spans else None

    def heard(self, moment: float) -> str:
        """Text whose sound had been played by `moment`."""
        return heard_of(
            (span.text, 1.0 if span.end <= moment else (moment - span.start) / (span.end - span.start))
            for span in self.spans
        )


def heard_of(pieces: Iterable[tuple[str, float]]) -> str:
    """What was heard of a speech: of each piece the words that its sound got through.

    Args:
        pieces: in their order; the words of each, and the share of its sound that was played (above 1: all,
            below 0: nothing).
    """
    parts = []
    for text, share in pieces:
        words = text.split()
        played = int(len(words) * min(1.0, max(0.0, share)) + _ROUNDING)
        parts.append(" ".join(words[:played]))
    return " ".join(part for part in parts if part)
