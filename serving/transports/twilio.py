"""A telephone's line: Twilio Media Streams, JSON texts with mu-law of 8 kHz inside, both ways.

Written from Twilio's description of the messages; a client that claims to be Twilio may send anything, so a
message that does not fit is ignored and counted, and a line that goes on like that is closed. Nothing here
knows a socket.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.audio import Samples
from serving.call.line import KEYS
from serving.transports.inbound import (
    MAX_BAD,
    MAX_CALLER,
    MAX_MARK,
    MAX_MESSAGE,
    SOUND_AHEAD_S,
    Allowance,
    Closed,
    Digit,
    Inbound,
    Marked,
    Opened,
    ProtocolError,
    Sound,
    UnusableError,
    parse_object,
    words,
)
from serving.transports.mulaw import MULAW_RATE, MULAW_SILENCE, decode_mulaw, encode_mulaw
from serving.transports.outbox import Outbox

FRAME_BYTES = MULAW_RATE // 50
"""20 ms, which is what Twilio itself sends."""
FRAME_MS = 20
MAX_PAYLOAD = MULAW_RATE
"""Bytes of sound in one message: a second."""
MAX_GAP_MS = 1_000
"""A longer gap in the caller's sound is filled with so much silence only."""
GAP_TOLERANCE_MS = 15
"""Twilio's time stamps are rounded and wander by a millisecond or two; a lost frame is 20 ms."""
CALLER = "caller"
"""Name of the stream parameter that carries the caller's number."""
_MAX_SID = 64
_LAST_STAMP_MS = 7 * 24 * 3_600_000


class TwilioReader:
    """Reads what Twilio sends (`serving.transports.inbound.Reader`)."""

    rate = MULAW_RATE

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._bad = 0
        self._connected = self._closed = False
        self._stream = ""
        self._sound = Allowance(SOUND_AHEAD_S, 1.0)
        self._number: int | None = None
        self._due_ms: int | None = None
        self._events = {
            "connected": self._connect,
            "start": self._start,
            "media": self._media,
            "dtmf": self._digit,
            "mark": self._mark,
            "stop": self._stop,
        }

    def read(self, message: str | bytes, now: float) -> tuple[Inbound, ...]:
        """See `Reader.read`; what Twilio may add one day (an unknown event) is ignored however often."""
        if self._closed:
            return ()
        if isinstance(message, bytes):
            raise ProtocolError("a binary message")
        try:
            if len(message) > MAX_MESSAGE:
                raise UnusableError("a message too large")
            event = parse_object(message)
            name = words(event.get("event"), MAX_MARK)
            if name not in self._events:
                self.counts["unknown event"] += 1
                return ()
            self._check_order(name, event)
            return self._events[name](event, now)
        except UnusableError as unusable:
            self.counts[str(unusable)] += 1
            self._bad += 1
            if self._bad > MAX_BAD:
                raise ProtocolError("too many messages that cannot be used") from unusable
            return ()

    def _check_order(self, name: str, event: Mapping[str, Any]) -> None:
        if name == "connected":
            return
        if name == "start":
            if not self._connected:
                raise UnusableError("start before connected")
            return
        if not self._stream:
            raise UnusableError("a message before start")
        if event.get("streamSid", self._stream) != self._stream:
            raise UnusableError("a message of another stream")

    def _connect(self, _event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        if self._connected:
            raise UnusableError("connected twice")
        self._connected = True
        return ()

    def _start(self, event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        if self._stream:
            raise UnusableError("start twice")
        start = _part(event, "start")
        layout = _part(start, "mediaFormat")
        rate, channels = layout.get("sampleRate"), layout.get("channels")
        if (layout.get("encoding"), rate, channels) != ("audio/x-mulaw", MULAW_RATE, 1):
            raise ProtocolError("the sound is not mono mu-law of 8 kHz")
        stream = words(start.get("streamSid", event.get("streamSid")), _MAX_SID)
        if not stream:
            raise UnusableError("start without a stream")
        given = start.get("customParameters")
        parameters = given if isinstance(given, dict) else {}
        caller = words(parameters.get(CALLER, ""), MAX_CALLER)
        far_call = words(start.get("callSid", ""), _MAX_SID)
        self._stream = stream
        return (Opened(caller, stream, far_call),)

    def _media(self, event: Mapping[str, Any], now: float) -> tuple[Inbound, ...]:
        media = _part(event, "media")
        if media.get("track", "inbound") not in ("inbound", "inbound_track"):  # a list compares, a set hashes
            self.counts["our own sound"] += 1
            return ()
        data = _payload(media.get("payload"))
        if not data or self._comes_late(event):
            return ()
        gap_ms = self._gap_ms(media.get("timestamp"), len(data))
        if not self._sound.take(len(data) / MULAW_RATE, now):
            self.counts["sound that came faster than it can have been said"] += 1
            return ()
        samples = decode_mulaw(data)
        if gap_ms and self._sound.take(gap_ms / 1000, now):
            self.counts["gap"] += 1
            samples = np.concatenate([np.zeros(gap_ms * MULAW_RATE // 1000, np.int16), samples])
        return (Sound(samples),)

    def _comes_late(self, event: Mapping[str, Any]) -> bool:
        """Whether a message was overtaken, or comes twice."""
        number = _whole(event.get("sequenceNumber"))
        if number is None:
            return False
        if self._number is not None and number <= self._number:
            self.counts["late"] += 1
            return True
        self._number = number
        return False

    def _gap_ms(self, stamp: object, length: int) -> int:
        """Silence before a payload, in whole frames; a stamp that makes no sense means none."""
        at = _whole(stamp)
        if at is None:
            self._due_ms = None
            return 0
        gap = 0 if self._due_ms is None else at - self._due_ms
        self._due_ms = at + length * 1000 // MULAW_RATE
        if gap < GAP_TOLERANCE_MS:
            return 0
        return min(MAX_GAP_MS, round(gap / FRAME_MS) * FRAME_MS)

    def _digit(self, event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        digit = _part(event, "dtmf").get("digit")
        if not isinstance(digit, str) or digit not in KEYS:
            raise UnusableError("an unknown key")
        return (Digit(digit),)

    def _mark(self, event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        return (Marked(words(_part(event, "mark").get("name"), MAX_MARK)),)

    def _stop(self, _event: Mapping[str, Any], _now: float) -> tuple[Inbound, ...]:
        self._closed = True
        return (Closed(),)


class TwilioLine:
    """A call's line to a telephone (`serving.call.line.Line`).

    Sound leaves in frames of 20 ms; the end of a piece that fills no frame waits for the next piece, or is
    filled up with silence by the next mark, because Twilio need not play a shorter one.

    Args:
        stream: Twilio's name of the stream.
        outbox: what waits to be sent.
    """

    transport = "twilio"
    rate = MULAW_RATE

    def __init__(self, stream: str, outbox: Outbox) -> None:
        self._stream = stream
        self._outbox = outbox
        self._rest = b""
        self.transferred = False

    def play(self, samples: Samples) -> None:
        """See `Line.play`."""
        data = self._rest + encode_mulaw(samples)
        whole = len(data) - len(data) % FRAME_BYTES
        for start in range(0, whole, FRAME_BYTES):
            self._send_frame(data[start : start + FRAME_BYTES])
        self._rest = data[whole:]

    def mark(self, name: str) -> None:
        """See `Line.mark`."""
        self._fill_up()
        self._send("mark", {"mark": {"name": name}}, sound=True)

    def clear(self) -> None:
        """See `Line.clear`."""
        self._rest = b""
        self._outbox.clear()
        self._send("clear", {})

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """A telephone shows nothing; Twilio takes no other messages than ours (its error 31924)."""

    def end(self, *, transfer: bool) -> None:
        """See `Line.end`; closing the socket is what makes Twilio go on, so nothing is sent for it."""
        self.transferred = self.transferred or transfer
        self._fill_up()
        self._outbox.end()

    def _fill_up(self) -> None:
        if self._rest:
            self._send_frame(self._rest.ljust(FRAME_BYTES, bytes([MULAW_SILENCE])))
            self._rest = b""

    def _send_frame(self, data: bytes) -> None:
        self._send("media", {"media": {"payload": base64.b64encode(data).decode("ascii")}}, sound=True)

    def _send(self, event: str, fields: Mapping[str, Any], *, sound: bool = False) -> None:
        self._outbox.put(json.dumps({"event": event, "streamSid": self._stream, **fields}), sound=sound)


def _part(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    if not isinstance(value, dict):
        raise UnusableError(f"no {name} object")
    return value


def _payload(value: object) -> bytes:
    if not isinstance(value, str):
        raise UnusableError("no payload")
    if len(value) > MAX_PAYLOAD * 2:
        raise UnusableError("a payload too long")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableError("a payload that is no base64") from error
    if len(data) > MAX_PAYLOAD:
        raise UnusableError("a payload too long")
    return data


def _whole(value: object) -> int | None:
    """A whole number as Twilio writes it, in a text; None for what is no such number."""
    if isinstance(value, str) and len(value) <= 12 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LAST_STAMP_MS:
        return None
    return value
