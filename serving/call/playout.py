"""What the caller hears and when: the playout ledger, and the stereo recording of a call.

The ledger is the only witness of what was heard: texts with the times at which their sound plays.
Times are seconds on the call's clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from serving.audio import AudioClip, Samples, write_wav

RECORDING_RATE = 16_000
"""Hz; enough for speech and for hearing a call again."""
_DISORDER_S = 5.0
"""How far the two sides' sounds may be out of order, seconds; one side runs at most half a second ahead, and
whole sentences of a half-duplex call are kept at once."""
_JOIN_S = 0.001
"""Sounds that are no further apart follow each other, seconds."""


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


class Recording:
    """Both sides of a call on one time line: caller left, bot right.

    After `erase`, nothing is kept and nothing more is taken in.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._sounds: list[tuple[int, float, AudioClip]] = []

    def caller(self, start: float, clip: AudioClip) -> None:
        """Keep a sound of the caller."""
        self._keep(0, start, clip)

    def bot(self, start: float, clip: AudioClip) -> None:
        """Keep a sound of the bot."""
        self._keep(1, start, clip)

    def cut_bot(self, moment: float) -> None:
        """The bot fell silent at a moment: what was to play after it never sounded."""
        for index, begin, clip in self._latest(1, moment):
            samples = clip.samples[: max(0, round((moment - begin) * clip.rate))]
            self._sounds[index] = (1, begin, AudioClip(samples, clip.rate))

    def mute_caller(self, start: float, end: float) -> None:
        """Silence the caller between two moments: a card number was spoken."""
        for index, begin, clip in self._latest(0, start):
            first = max(0, round((start - begin) * clip.rate))
            last = min(len(clip.samples), round((end - begin) * clip.rate))
            if first < last:
                samples = clip.samples.copy()
                samples[first:last] = 0
                self._sounds[index] = (0, begin, AudioClip(samples, clip.rate))

    def _latest(self, side: int, moment: float) -> Iterator[tuple[int, float, AudioClip]]:
        """Sounds of a side that reach beyond a moment, newest first.

        They come nearly in order, so a long call's earlier ones are not looked at.
        """
        for index in range(len(self._sounds) - 1, -1, -1):
            found, begin, clip = self._sounds[index]
            if begin + clip.seconds < moment - _DISORDER_S:
                return
            if found == side and begin + clip.seconds > moment:
                yield index, begin, clip

    def erase(self) -> None:
        """Stop, and forget what was kept: the caller opted out."""
        self._wanted = False
        self._sounds.clear()

    def write(self, path: Path) -> Path | None:
        """Write the stereo WAV; None where there is nothing to write."""
        if not self._wanted or not self._sounds:
            return None
        sounds = [(side, start, clip.resampled(RECORDING_RATE)) for side, start, clip in self._joined()]
        length = max(round(start * RECORDING_RATE) + len(clip.samples) for _, start, clip in sounds)
        sides = [np.zeros(length, np.int32), np.zeros(length, np.int32)]
        for side, start, clip in sounds:
            begin = round(start * RECORDING_RATE)
            sides[side][begin : begin + len(clip.samples)] += clip.samples
        channels = [AudioClip(np.clip(s, -32_768, 32_767).astype(np.int16), RECORDING_RATE) for s in sides]
        write_wav(path, channels)
        return path

    def _joined(self) -> list[tuple[int, float, AudioClip]]:
        """The sounds, those that follow each other in one piece: resampling frame by frame would click."""
        joined: list[tuple[int, float, AudioClip]] = []
        for side in (0, 1):
            run: list[Samples] = []
            begin = end = 0.0
            rate = 0
            for _, start, clip in (sound for sound in self._sounds if sound[0] == side):
                if run and (abs(start - end) > _JOIN_S or clip.rate != rate):
                    joined.append((side, begin, AudioClip(np.concatenate(run), rate)))
                    run = []
                if not run:
                    begin = end = start
                    rate = clip.rate
                run.append(clip.samples)
                end += clip.seconds
            if run:
                joined.append((side, begin, AudioClip(np.concatenate(run), rate)))
        return joined

    def _keep(self, side: int, start: float, clip: AudioClip) -> None:
        if self._wanted and len(clip.samples):
            self._sounds.append((side, start, clip))


def spoken_pieces(side: AudioClip, *, min_seconds: float = 1.0, gap_seconds: float = 0.3) -> list[AudioClip]:
    """Cut one side of a recording at its silences.

    Args:
        side: the bot's channel; between two sounds it is exactly zero.
        min_seconds: shorter pieces are left out.
        gap_seconds: zeros that separate two pieces.
    """
    sounding = np.flatnonzero(side.samples)
    if not len(sounding):
        return []
    breaks = np.flatnonzero(np.diff(sounding) > gap_seconds * side.rate)
    starts = sounding[np.concatenate([[0], breaks + 1])]
    ends = sounding[np.concatenate([breaks, [len(sounding) - 1]])] + 1
    pieces = [AudioClip(side.samples[start:end], side.rate) for start, end in zip(starts, ends, strict=True)]
    return [piece for piece in pieces if piece.seconds >= min_seconds]
