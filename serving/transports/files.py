"""Callers that wait for the bot to finish: audio files, and typed lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.audio import read_wav
from serving.call.caller import CallerLine, Feedback


class WavCaller:
    """One audio file after another; a file may hold several turns.

    Args:
        paths: WAV, FLAC or OGG files; all are checked before the call begins.
        max_seconds: longest file, seconds.

    Raises:
        InvalidInputError: a file cannot be used; the message says which and why.
    """

    transport = "wav"
    feedback = Feedback()

    def __init__(self, paths: Iterable[Path], *, max_seconds: float) -> None:
        self._clips = iter([read_wav(path, max_seconds=max_seconds) for path in paths])

    def next_line(self) -> CallerLine | None:
        """The next file's sound."""
        clip = next(self._clips, None)
        return None if clip is None else CallerLine(clip)


class TextCaller:
    """Typed lines; blank ones are skipped, as a person who only presses return has said nothing.

    Args:
        lines: any iterable; a console reads as the call goes on.
    """

    transport = "text"
    feedback = Feedback()

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines: Iterator[str] = iter(lines)

    def next_line(self) -> CallerLine | None:
        """The next typed line."""
        for line in self._lines:
            if line.strip():
                return CallerLine(None, line.strip())
        return None
