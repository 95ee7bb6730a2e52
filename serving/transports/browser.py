"""A browser's line: PCM of 16 kHz as binary messages both ways, JSON events beside it.

docs/calls.md describes the protocol, so that another client can be written. Nothing here knows a socket.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.audio import SPEECH_RATE, Samples
from serving.call.line import KEYS, MOST_TYPED
from serving.plain import plain
from serving.transports.inbound import (
    DIGIT_EVERY_S,
    DIGITS_AT_ONCE,
    MAX_BAD,
    MAX_CALLER,
    MAX_MARK,
    MAX_MESSAGE,
    MESSAGE_EVERY_S,
    MESSAGES_AT_ONCE,
    SOUND_AHEAD_S,
    TEXT_EVERY_S,
    TEXTS_AT_ONCE,
    Allowance,
    Closed,
    Digit,
    Inbound,
    Marked,
    Opened,
    ProtocolError,
    Refused,
    Sound,
    Typed,
    UnusableError,
    parse_object,
    words,
)
from serving.transports.outbox import Outbox

PIECE = SPEECH_RATE // 10
"""Samples of one binary message at most: what is in flight when the caller interrupts is short."""


class BrowserReader:
    """Reads what a browser sends (`serving.transports.inbound.Reader`)."""

    rate = SPEECH_RATE

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._bad = 0
        self._open = self._closed = False
        self._messages = Allowance(MESSAGES_AT_ONCE, MESSAGE_EVERY_S)
        self._texts = Allowance(TEXTS_AT_ONCE, TEXT_EVERY_S)
        self._digits = Allowance(DIGITS_AT_ONCE, DIGIT_EVERY_S)
        self._sound = Allowance(SOUND_AHEAD_S, 1.0)
        self._events = {
            "start": self._start,
            "text": self._text,
            "dtmf": self._digit,
            "mark": self._mark,
            "stop": self._stop,
        }

    def read(self, message: str | bytes, now: float) -> tuple[Inbound, ...]:
        """See `Reader.read`; what cannot be used comes back as `Refused`, up to `MAX_BAD` times."""
        if self._closed:
            return ()
        try:
            if not self._messages.take(1, now):
                raise UnusableError("messages come too fast")
            if len(message) > MAX_MESSAGE:
                raise UnusableError(f"a message may have {MAX_MESSAGE} bytes")
            if isinstance(message, bytes):
                return self._samples(message, now)
            event = parse_object(message)
            name = event.get("event")
            known = self._events.get(name) if isinstance(name, str) else None
            if known is None:
                raise UnusableError("unknown event")
            if not self._open and name not in {"start", "stop"}:
                raise UnusableError("the first event is start")
            return known(event, now)
        except UnusableError as unusable:
            self.counts[str(unusable)] += 1
            self._bad += 1
            if self._bad > MAX_BAD:
                raise ProtocolError("too many messages that cannot be used") from unusable
            return (Refused(str(unusable)),)

    def _samples(self, message: bytes, now: float) -> tuple[Inbound, ...]:
        if not self._open or not message:
            return ()  # a microphone that was switched on early
        if len(message) % 2:
            raise UnusableError("sound has two bytes a sample")
        if not self._sound.take(len(message) / 2 / SPEECH_RATE, now):
            self.counts["sound that came faster than it can have been said"] += 1
            return ()
        return (Sound(np.frombuffer(message, "<i2").astype(np.int16, copy=False)),)

    def _start(self, event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        if self._open:
            raise UnusableError("the call has started already")
        caller = words(event.get("caller_id", ""), MAX_CALLER)
        self._open = True
        return (Opened(caller),)

    def _text(self, event: Mapping[str, Any], now: float) -> tuple[Inbound, ...]:
        text = words(event.get("text"), MOST_TYPED)
        if not self._texts.take(1, now):
            raise UnusableError("texts come too fast")
        return (Typed(text),)

    def _digit(self, event: Mapping[str, Any], now: float) -> tuple[Inbound, ...]:
        digit = event.get("digit")
        if not isinstance(digit, str) or digit not in KEYS:
            raise UnusableError("a digit is one of 0123456789*#")
        if not self._digits.take(1, now):
            raise UnusableError("digits come too fast")
        return (Digit(digit),)

    def _mark(self, event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        return (Marked(words(event.get("name"), MAX_MARK)),)

    def _stop(self, _event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        self._closed = True
        return (Closed(),)


class BrowserLine:
    """A call's line to a browser (`serving.call.line.Line`).

    Args:
        outbox: what waits to be sent.
    """

    transport = "browser"
    rate = SPEECH_RATE

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.transferred = False

    def play(self, samples: Samples) -> None:
        """See `Line.play`."""
        data = samples.astype("<i2", copy=False).tobytes()
        for start in range(0, len(data), 2 * PIECE):
            self._outbox.put(data[start : start + 2 * PIECE], sound=True)

    def mark(self, name: str) -> None:
        """See `Line.mark`."""
        self._outbox.put(json.dumps({"event": "mark", "name": name}), sound=True)

    def clear(self) -> None:
        """See `Line.clear`."""
        self._outbox.clear()
        self._outbox.put('{"event": "clear"}')

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """See `Line.tell`; the fields stand beside the event's name."""
        self._outbox.put(_json({**plain(data), "event": event}))

    def end(self, *, transfer: bool) -> None:
        """See `Line.end`."""
        self.transferred = self.transferred or transfer
        self._outbox.end()


def _json(value: Mapping[str, Any]) -> str:
    """JSON that a browser can parse: what Python writes for infinity and NaN becomes null."""
    try:
        return json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        clean = json.loads(json.dumps(value, default=str), parse_constant=lambda _name: None)
        return json.dumps(clean)
