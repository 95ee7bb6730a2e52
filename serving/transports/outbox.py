"""What waits to be sent on a line: bounded, in order, and emptied of sound by a barge-in.

The call puts messages in without waiting; a socket's writer takes them out. Nothing here knows a socket: a
far end that does not read shows as an outbox that is full.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from serving.call.line import Line

MAX_MESSAGES = 2_000
MAX_BYTES = 1 << 20
"""Waiting for a far end that does not read. A call is at most 0.4 s of sound ahead, some 20 kB."""


class CarriedLine(Line, Protocol):
    """A line that remembers whether its call ended with a transfer."""

    transferred: bool


class _Waiting(NamedTuple):
    message: str | bytes
    belongs_to_sound: bool


class Outbox:
    """Messages of one line.

    Args:
        wake: called when there is something new to look at.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._wake = wake
        self.ended = False
        """Nothing more will be put in; what waits is still to be sent."""
        self.full = False
        """The far end does not read; what waits was thrown away."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: str | bytes, *, sound: bool = False) -> None:
        """Queue a message; after the end it is dropped.

        Args:
            message: a text or a binary one.
            sound: whether `clear` throws it away: sound, and marks of sound.
        """
        if self.ended:
            return
        self._waiting.append(_Waiting(message, sound))
        self._bytes += len(message)
        if len(self._waiting) > MAX_MESSAGES or self._bytes > MAX_BYTES:
            self.full = True
            self.close()
        self._wake()

    def clear(self) -> None:
        """Throw away the sound that waits."""
        self._waiting = deque(item for item in self._waiting if not item.belongs_to_sound)
        self._bytes = sum(len(item.message) for item in self._waiting)

    def end(self) -> None:
        """Take no more."""
        self.ended = True
        self._wake()

    def close(self) -> None:
        """Take no more and send nothing more: the line is gone."""
        self._waiting.clear()
        self._bytes = 0
        self.end()

    def take(self) -> str | bytes | None:
        """The next message; None where none waits."""
        if not self._waiting:
            return None
        message = self._waiting.popleft().message
        self._bytes -= len(message)
        return message
