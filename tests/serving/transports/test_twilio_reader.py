"""What Twilio sends, read one message at a time: the documented order, and everything else."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.transports.inbound import (
    MAX_BAD,
    SOUND_AHEAD_S,
    Closed,
    Digit,
    Inbound,
    Marked,
    Opened,
    ProtocolError,
    Sound,
)
from serving.transports.twilio import MAX_GAP_MS, TwilioReader

STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC00000000000000000000000000000000",
        "streamSid": STREAM,
        "callSid": "CA00000000000000000000000000000000",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"caller": "+15550100123"},
    },
    "streamSid": STREAM,
}
VOICE = base64.b64encode(b"\x90\x10" * 80).decode()


def media(number: int, stamp: object, payload: str = VOICE, **changed: Any) -> dict[str, Any]:
    inner = {"track": "inbound", "chunk": str(number), "timestamp": stamp, "payload": payload}
    return {
        "event": "media",
        "sequenceNumber": str(number + 1),
        "media": inner | changed,
        "streamSid": STREAM,
    }


class Caller:
    """Feeds a reader; time is twenty milliseconds a message unless said otherwise."""

    def __init__(self, *, started: bool = True, pace_s: float = 0.02) -> None:
        self.reader = TwilioReader()
        self.now = 100.0
        self.pace_s = pace_s
        if started:
            self.send(CONNECTED)
            (self.opened,) = self.send(START)

    def send(self, message: Any) -> tuple[Inbound, ...]:
        self.now += self.pace_s
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        return self.reader.read(raw, self.now)

    def seconds(self, message: Any) -> float:
        return sum(len(event.samples) for event in self.send(message) if isinstance(event, Sound)) / 8000


def test_the_documented_order_becomes_one_call() -> None:
    caller = Caller()
    assert caller.opened == Opened("+15550100123", STREAM, "CA00000000000000000000000000000000")
    (sound,) = caller.send(media(1, "20"))
    assert isinstance(sound, Sound)
    assert sound.samples.dtype == np.int16
    assert sorted(set(sound.samples.tolist())) == [-15_996, 15_996]
    assert caller.send(
        {
            "event": "dtmf",
            "streamSid": STREAM,
            "sequenceNumber": "5",
            "dtmf": {"track": "inbound_track", "digit": "#"},
        }
    ) == (Digit("#"),)
    assert caller.send(
        {"event": "mark", "sequenceNumber": "6", "streamSid": STREAM, "mark": {"name": "3:2"}}
    ) == (Marked("3:2"),)
    stop = {"event": "stop", "sequenceNumber": "7", "stop": {"accountSid": "AC0", "callSid": "CA0"}}
    assert caller.send(stop | {"streamSid": STREAM}) == (Closed(),)
    assert not caller.reader.counts


def test_after_stop_nothing_is_heard() -> None:
    caller = Caller()
    caller.send({"event": "stop", "streamSid": STREAM})
    assert caller.send(media(1, "20")) == ()
    assert caller.send(b"\x00") == ()


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        '"media"',
        '{"event": NaN}',
        "[" * 60_000,
        '{"a":' * 10_000,
        "1" * 10_000,
        '{"event": ["media"]}',
        '{"event": null}',
        "x" * 1_000_000,
        json.dumps(media(1, "20") | {"streamSid": "MZother"}),
        json.dumps(media(1, "20", payload="****")),
        json.dumps(media(1, "20", payload="/" * 20_000)),
        json.dumps(media(1, "20", payload=None)),
        json.dumps({"event": "media", "streamSid": STREAM, "media": []}),
        json.dumps(CONNECTED),
        json.dumps(START),
        json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "12"}}),
        json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": ["1"]}}),
        json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": ""}}),
        json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": 7}}),
        json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": "x" * 10_000}}),
        json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": "\ud800"}}),
    ],
    ids=range(25),
)
def test_one_message_that_cannot_be_used_is_ignored_and_counted_and_the_call_goes_on(message: str) -> None:
    caller = Caller()
    assert caller.send(message) == ()
    assert caller.reader.counts.total() == 1
    assert caller.seconds(media(1, "20")) == 0.02


def test_too_many_such_messages_close_the_line() -> None:
    caller = Caller()
    for _ in range(MAX_BAD):
        caller.send("{")
    with pytest.raises(ProtocolError, match="too many"):
        caller.send("{")


def test_an_event_that_twilio_adds_one_day_is_ignored_however_often() -> None:
    caller = Caller()
    for _ in range(MAX_BAD * 3):
        assert caller.send({"event": "weather", "streamSid": STREAM}) == ()
    assert caller.reader.counts["unknown event"] == MAX_BAD * 3


def test_a_binary_message_is_not_twilio() -> None:
    with pytest.raises(ProtocolError, match="binary"):
        Caller().send(b"\x7f" * 160)


@pytest.mark.parametrize("message", [media(1, "20"), START, {"event": "stop", "streamSid": STREAM}], ids=str)
def test_nothing_is_heard_before_connected_and_start(message: dict[str, Any]) -> None:
    caller = Caller(started=False)
    assert caller.send(message) == ()
    assert caller.reader.counts.total() == 1


@pytest.mark.parametrize(
    "layout",
    [
        {"encoding": "audio/l16", "sampleRate": 8000, "channels": 1},
        {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1},
        {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2},
        {"encoding": ["audio/x-mulaw"], "sampleRate": {}, "channels": []},
        {},
    ],
    ids=str,
)
def test_sound_of_another_kind_is_no_call(layout: dict[str, Any]) -> None:
    caller = Caller(started=False)
    caller.send(CONNECTED)
    with pytest.raises(ProtocolError, match="mu-law"):
        caller.send(START | {"start": {**START["start"], "mediaFormat": layout}})  # type: ignore[dict-item]


# Gaps


def test_a_lost_frame_is_silence_of_its_length() -> None:
    caller = Caller()
    assert caller.seconds(media(1, "20")) == 0.02
    (sound,) = caller.send(media(3, "60"))
    assert isinstance(sound, Sound)
    assert len(sound.samples) == 320
    assert not sound.samples[:160].any()
    assert sound.samples[160:].all()
    assert caller.reader.counts["gap"] == 1


def test_stamps_that_wander_by_a_few_milliseconds_are_no_gap() -> None:
    caller = Caller()
    for number, stamp in enumerate((5, 26, 44, 66, 84, 105), start=1):
        assert caller.seconds(media(number, str(stamp))) == 0.02
    assert not caller.reader.counts


def test_a_long_gap_is_a_second_of_silence_and_then_goes_on() -> None:
    caller = Caller()
    caller.send(media(1, "20"))
    assert caller.seconds(media(2, "3600000")) == MAX_GAP_MS / 1000 + 0.02
    assert caller.seconds(media(3, "3600020")) == 0.02


@pytest.mark.parametrize("stamp", [None, "", "-5", "1e3", "x", 1.5, True, [], "9" * 400, "٣"], ids=repr)
def test_a_stamp_that_is_none_fills_nothing(stamp: object) -> None:
    caller = Caller()
    caller.send(media(1, "20"))
    assert caller.seconds(media(2, stamp)) == 0.02
    assert caller.seconds(media(3, "9000")) == 0.02


def test_a_message_that_was_overtaken_or_comes_twice_is_dropped() -> None:
    caller = Caller()
    assert caller.seconds(media(2, "40")) == 0.02
    assert caller.send(media(1, "20")) == ()
    assert caller.send(media(2, "40")) == ()
    assert caller.reader.counts["late"] == 2
    assert caller.seconds(media(3, "60")) == 0.02


def test_our_own_sound_is_not_the_callers() -> None:
    assert Caller().send(media(1, "20", track="outbound")) == ()
    assert Caller().send(media(1, "20", track=["inbound"])) == ()


def test_sound_that_comes_faster_than_time_is_dropped_after_a_few_seconds() -> None:
    caller = Caller(pace_s=0.0)
    heard = sum(caller.seconds(media(number, str(20 * number))) for number in range(1, 1_000))
    assert heard <= SOUND_AHEAD_S
    assert heard > SOUND_AHEAD_S - 0.1
    caller.now += 1.0
    assert caller.seconds(media(2_000, "40000")) > 0


# Anything

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
parts = st.dictionaries(
    st.sampled_from(
        ["track", "chunk", "timestamp", "payload", "digit", "name", "streamSid", "mediaFormat", "callSid"]
    ),
    json_values | st.just(VOICE) | st.integers(0, 10**9).map(str),
)
events = st.dictionaries(
    st.sampled_from(["streamSid", "sequenceNumber", "media", "dtmf", "mark", "start", "stop"]),
    json_values | parts | st.just(STREAM),
).flatmap(
    lambda rest: st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "x"]).map(
        lambda name: rest | {"event": name}
    )
)
messages = st.one_of(
    st.text(),
    json_values.map(json.dumps),
    events.map(json.dumps),
    st.sampled_from([json.dumps(item) for item in (CONNECTED, START, media(1, "20"), media(9, "500"))]),
)


@given(st.lists(messages, max_size=20), st.booleans())
def test_no_order_of_messages_raises_anything_or_is_heard_before_the_start(
    sent: list[str], started: bool
) -> None:
    caller = Caller(started=started)
    opened = int(started)
    heard = 0.0
    for message in sent:
        for event in caller.send(message):
            opened += isinstance(event, Opened)
            assert opened == 1
            if isinstance(event, Sound):
                heard += len(event.samples) / 8000
            if isinstance(event, Marked):
                event.name.encode()
    assert heard <= SOUND_AHEAD_S + 0.02 * len(sent)


@given(st.binary(max_size=4_000))
def test_every_payload_of_any_size_is_as_many_samples_as_bytes(data: bytes) -> None:
    caller = Caller()
    assert caller.seconds(media(1, "20", payload=base64.b64encode(data).decode())) == len(data) / 8000
