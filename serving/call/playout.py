"""What the caller hears and when: texts with the times at which their sound plays.

The ledger is the only witness of what was heard. Times are seconds on the call's clock.
"""

from dataclasses import dataclass, replace

from serving.audio import AudioClip


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
        """Text whose sound had been played by `moment`; a span counts by the words it got through."""
        parts = []
        for span in self.spans:
            if span.end <= moment:
                parts.append(span.text)
            elif span.start < moment:
                words = span.text.split()
                share = (moment - span.start) / (span.end - span.start)
                parts.append(" ".join(words[: int(len(words) * share)]))
        return " ".join(part for part in parts if part)
