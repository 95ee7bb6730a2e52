"""What comes in on a line, whatever its format, and the limits on it.

A reader turns each message of a socket into these values; it never touches the socket and never raises
anything but `ProtocolError`, which closes the line with a reason.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serving.audio import Samples

MAX_MESSAGE = 65_536
"""Bytes or characters of one message; a larger one is refused unread."""
MAX_BAD = 50
"""Messages that could not be used, after which the far end is no client of ours."""
MESSAGES_AT_ONCE = 2_000
MESSAGE_EVERY_S = 0.0025
"""Messages of any kind where nobody signs them: so many at once, then one in so many seconds. Sound in
pieces of a sample each would keep the loop from all other calls, and take a hundred times its memory."""
SOUND_AHEAD_S = 5.0
"""How much more sound than time may come in; the rest is dropped, seconds."""
TEXTS_AT_ONCE = 5
TEXT_EVERY_S = 1.0
"""Typed turns: so many at once, then one in so many seconds."""
DIGITS_AT_ONCE = 32
DIGIT_EVERY_S = 0.1
MAX_MARK = 256
MAX_CALLER = 64


class ProtocolError(Exception):
    """The far end does not speak the protocol; the line is closed with this reason (no personal data)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The far end is ready.

    Attributes:
        caller: the caller's number or customer id; empty where unknown.
        stream: the far end's name of the stream, to answer it.
        far_call: the far end's name of the call, by which a carrier asks what follows it.
    """

    caller: str = ""
    stream: str = ""
    far_call: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """The caller's next sound, at the line's rate."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class Typed:
    """A turn as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Digit:
    """A key."""

    digit: str


@dataclass(frozen=True, slots=True)
class Marked:
    """Everything before this mark was played."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A message was not used; a client that can show it is told why."""

    why: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The far end hung up."""


Inbound = Opened | Sound | Typed | Digit | Marked | Refused | Closed


class Reader(Protocol):
    """Reads one line's messages, in order.

    Attributes:
        counts: how often something was ignored or repaired, by its kind.
        rate: Hz of the sound.
    """

    counts: Counter[str]
    rate: int

    def read(self, message: str | bytes, now: float) -> tuple[Inbound, ...]:
        """What a message means; nothing, where it is to be ignored.

        Args:
            message: as the socket gave it.
            now: monotonic seconds.

        Raises:
            ProtocolError: the line is to be closed.
        """
        ...


class UnusableError(Exception):
    """This message cannot be used; the next one may."""


def parse_object(text: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        UnusableError: it is none, or too deep, or holds what JSON does not have.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnusableError("no JSON") from error
    if not isinstance(value, dict):
        raise UnusableError("no JSON object")
    return value


def words(value: object, most: int) -> str:
    """A text of limited length that can be stored and sent.

    Raises:
        UnusableError: it is none.
    """
    if not isinstance(value, str):
        raise UnusableError("a text was expected")
    if len(value) > most:
        raise UnusableError("a text is too long")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise UnusableError("a text is no Unicode")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


@dataclass(slots=True)
class Allowance:
    """So much at once, and then as much as time passes (a token bucket).

    Attributes:
        most: what may come at once.
        every_s: seconds for each further one.
    """

    most: float
    every_s: float
    _left: float = field(init=False)
    _last: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._left = self.most

    def take(self, amount: float, now: float) -> bool:
        """Whether so much may come now; if not, nothing is taken."""
        last = now if self._last is None else self._last
        self._left = min(self.most, self._left + max(0.0, now - last) / self.every_s)
        self._last = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
