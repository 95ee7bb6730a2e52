"""The stereo recording of a call: caller left, bot right, on one time line.

It is kept in memory until the call ends, at most 32 KB a second for each side that sounds: what must not be
heard again is silenced only once its words are known, and must never have been on a disk. It is written in
blocks, so that the end of a long call takes no more memory than that of a short one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.audio import AudioClip, Samples, write_wav_blocks
from serving.call.record import Unrecorded

RECORDING_RATE = 16_000
"""Hz; enough for speech and for hearing a call again."""
_DISORDER_S = 5.0
"""How far the two sides' sounds may be out of order, seconds; one side runs at most half a second ahead, and
whole sentences of a half-duplex call are kept at once."""
_JOIN_S = 0.001
"""Sounds that are no further apart follow each other, seconds."""
_BLOCK = 30 * RECORDING_RATE
"""Samples of a side that are written at once."""
_PIECE_S = 5.0
"""Sound that is resampled at once, seconds."""
_AHEAD = 3 * round(_PIECE_S * RECORDING_RATE)
"""Room for a piece that reaches into the next block; a piece is less than two of `_PIECE_S`."""


class Recording:
    """Both sides of a call on one time line: caller left, bot right.

    After `erase`, nothing is kept and nothing more is taken in.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.erased: Unrecorded | None = None
        """Why nothing is kept any more."""
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

    def erase(self, why: Unrecorded = Unrecorded.OPTED_OUT) -> None:
        """Stop, and forget what was kept; the first reason counts.

        Args:
            why: the caller opted out, or may have.
        """
        self.erased = self.erased or why
        self._wanted = False
        self._sounds.clear()

    def write(self, path: Path) -> Path | None:
        """Write the stereo WAV; None where there is nothing to write.

        Raises:
            OSError: it cannot be written; nothing of it is left.
        """
        if not self._wanted or not self._sounds:
            return None
        write_wav_blocks(path, _blocks(self._runs()), channels=2, rate=RECORDING_RATE)
        return path

    def _runs(self) -> list["_Run"]:
        """The sounds, those that follow each other as one: resampling frame by frame would click."""
        runs: list[_Run] = []
        latest: dict[int, _Run] = {}
        for side, start, clip in self._sounds:
            run = latest.get(side)
            if run is None or run.rate != clip.rate or abs(start - run.ends) > _JOIN_S:
                run = latest[side] = _Run(side, start, clip.rate, [])
                runs.append(run)
            run.parts.append(clip.samples)
            run.ends += clip.seconds
        return runs

    def _keep(self, side: int, start: float, clip: AudioClip) -> None:
        if self._wanted and len(clip.samples):
            self._sounds.append((side, start, clip))


class _Run:
    """Sounds of one side that follow each other without a gap."""

    def __init__(self, side: int, start: float, rate: int, parts: list[Samples]) -> None:
        self.side = side
        self.rate = rate
        self.parts = parts
        self.first = round(start * RECORDING_RATE)
        """Its first sample in the recording."""
        self.ends = start
        """Seconds on the call's clock."""

    @property
    def last(self) -> int:
        """The recording's sample behind its last one."""
        seconds = sum(len(part) for part in self.parts) / self.rate
        return self.first + round(seconds * RECORDING_RATE)

    def resampled(self) -> Iterator[tuple[int, Samples]]:
        """Pieces of it at the recording's rate, each with its first sample in the recording."""
        import soxr

        at, last = self.first, self.last
        stream = soxr.ResampleStream(self.rate, RECORDING_RATE, 1, dtype="int16")
        for piece in self._pieces():
            samples = piece if self.rate == RECORDING_RATE else stream.resample_chunk(piece)
            yield at, samples
            at += len(samples)
        if self.rate != RECORDING_RATE:
            yield at, stream.resample_chunk(np.zeros(0, np.int16), last=True)[: last - at]

    def _pieces(self) -> Iterator[Samples]:
        """Its sound in pieces of a few seconds: frames joined, longer sounds cut."""
        size = round(_PIECE_S * self.rate)
        held: list[Samples] = []
        for part in self.parts:
            for begin in range(0, len(part), size):
                held.append(part[begin : begin + size])
                if sum(map(len, held)) >= size:
                    yield np.concatenate(held)
                    held = []
        if held:
            yield np.concatenate(held)


def _blocks(runs: list[_Run]) -> Iterator[npt.NDArray[np.int16]]:
    """Both sides in blocks of shape (samples, 2)."""
    length = max(run.last for run in runs)
    mixed = np.zeros((_BLOCK + _AHEAD, 2), np.int32)
    waiting = sorted(runs, key=lambda run: run.first, reverse=True)
    sounding: list[tuple[int, Iterator[tuple[int, Samples]]]] = []
    for at in range(0, length, _BLOCK):
        while waiting and waiting[-1].first < at + _BLOCK:
            sounding.append((waiting[-1].side, waiting.pop().resampled()))
        sounding = [(side, rest) for side, rest in sounding if _mix(rest, mixed[:, side], at)]
        yield np.clip(mixed[: min(_BLOCK, length - at)], -32_768, 32_767).astype(np.int16)
        mixed[:_AHEAD] = mixed[_BLOCK:]
        mixed[_AHEAD:] = 0


def _mix(rest: Iterator[tuple[int, Samples]], mixed: npt.NDArray[np.int32], at: int) -> bool:
    """Add a run's pieces to the block that begins at a sample; whether there may be more of them."""
    for first, samples in rest:
        mixed[first - at : first - at + len(samples)] += samples
        if first + len(samples) >= at + _BLOCK:
            return True
    return False


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
