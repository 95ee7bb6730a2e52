"""What a browser sends, read one message at a time; whatever it is, the reader only ever refuses it."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import SPEECH_RATE
from serving.transports.browser import BrowserReader
from serving.transports.inbound import (
    DIGITS_AT_ONCE,
    MAX_BAD,
    MAX_MESSAGE,
    SOUND_AHEAD_S,
    TEXT_EVERY_S,
    TEXTS_AT_ONCE,
    Closed,
    Digit,
    Inbound,
    Marked,
    Opened,
    ProtocolError,
    Refused,
    Sound,
    Typed,
)


class Client:
    """Feeds a reader."""

    def __init__(self, *, started: bool = True) -> None:
        self.reader = BrowserReader()
        self.now = 5.0
        if started:
            assert self.send({"event": "start"}) == (Opened(),)

    def send(self, message: Any) -> tuple[Inbound, ...]:
        raw = message if isinstance(message, str | bytes) else json.dumps(message)
        return self.reader.read(raw, self.now)


def test_the_documented_events_become_one_call() -> None:
    client = Client(started=False)
    assert client.send({"event": "start", "caller_id": "+1 555 0100"}) == (Opened("+1 555 0100"),)
    (sound,) = client.send(np.array([1, -2, 32_767], "<i2").tobytes())
    assert isinstance(sound, Sound)
    assert sound.samples.tolist() == [1, -2, 32_767]
    assert client.send({"event": "text", "text": "hello"}) == (Typed("hello"),)
    assert client.send({"event": "dtmf", "digit": "*"}) == (Digit("*"),)
    assert client.send({"event": "mark", "name": "4:1"}) == (Marked("4:1"),)
    assert client.send({"event": "stop"}) == (Closed(),)
    assert client.send({"event": "text", "text": "too late"}) == ()


@pytest.mark.parametrize(
    "message",
    [
        b"\x00",
        b"\x00" * 641,
        b"\x00" * (MAX_MESSAGE + 2),
        "x" * 1_000_000,
        "",
        "{",
        "[" * 60_000,
        "3",
        '{"event": Infinity}',
        {"event": "dance"},
        {"event": ["text"]},
        {"event": {"a": 1}},
        {"event": "start"},
        {"event": "text"},
        {"event": "text", "text": None},
        {"event": "text", "text": ["4111 1111 1111 1111"]},
        {"event": "text", "text": "x" * 20_001},
        '{"event": "text", "text": "\\ud800"}',
        {"event": "dtmf", "digit": "A"},
        {"event": "dtmf", "digit": 5},
        {"event": "dtmf", "digit": "55"},
        {"event": "mark"},
        {"event": "mark", "name": "x" * 300},
    ],
    ids=range(23),
)
def test_what_cannot_be_used_is_refused_with_a_reason_that_repeats_nothing(message: Any) -> None:
    client = Client()
    (refused,) = client.send(message)
    assert isinstance(refused, Refused)
    assert refused.why
    assert "4111" not in refused.why
    assert client.send({"event": "text", "text": "hello"}) == (Typed("hello"),)


@pytest.mark.parametrize("message", [{"event": "text", "text": "x"}, {"event": "mark", "name": "1"}], ids=str)
def test_the_first_event_is_start(message: dict[str, Any]) -> None:
    (refused,) = Client(started=False).send(message)
    assert refused == Refused("the first event is start")


def test_a_microphone_that_is_early_is_not_heard_and_not_held_against_it() -> None:
    client = Client(started=False)
    assert all(client.send(b"\x00\x00" * 320) == () for _ in range(200))
    assert client.send({"event": "start"}) == (Opened(),)


def test_who_hangs_up_before_the_start_is_gone() -> None:
    assert Client(started=False).send({"event": "stop"}) == (Closed(),)


@pytest.mark.parametrize("caller", [5, None, "x" * 65, ["a"]], ids=repr)
def test_a_caller_id_that_is_none_opens_no_call(caller: object) -> None:
    client = Client(started=False)
    (refused,) = client.send({"event": "start", "caller_id": caller})
    assert isinstance(refused, Refused)
    assert client.send({"event": "start"}) == (Opened(),)


def test_texts_come_a_few_at_once_and_then_one_a_second() -> None:
    client = Client()
    said = [client.send({"event": "text", "text": "x"})[0] for _ in range(TEXTS_AT_ONCE + 1)]
    assert [type(event) for event in said] == [Typed] * TEXTS_AT_ONCE + [Refused]
    client.now += TEXT_EVERY_S
    assert client.send({"event": "text", "text": "x"}) == (Typed("x"),)
    assert isinstance(client.send({"event": "text", "text": "x"})[0], Refused)


def test_keys_cannot_be_pressed_faster_than_by_a_machine() -> None:
    client = Client()
    said = [client.send({"event": "dtmf", "digit": "1"})[0] for _ in range(DIGITS_AT_ONCE + 1)]
    assert isinstance(said[-1], Refused)


def test_sound_that_comes_faster_than_time_is_dropped_without_a_word() -> None:
    client = Client()
    frame = b"\x01\x00" * 320
    heard = [client.send(frame) for _ in range(1_000)]
    assert sum(map(len, heard)) == pytest.approx(SOUND_AHEAD_S / 0.02, abs=1)
    client.now += 0.02
    assert len(client.send(frame)) == 1


@pytest.mark.parametrize("samples", [40, 43, 128, 320, 1_600])
def test_sound_in_the_pieces_of_any_real_microphone_is_all_heard_also_after_a_stall(samples: int) -> None:
    client, heard = Client(), 0
    piece = np.zeros(samples, "<i2").tobytes()
    stalled = int(4.9 * SPEECH_RATE / samples)
    for number in range(8 * SPEECH_RATE // samples):
        client.now = 5.0 + (max(number, stalled) + 1) * samples / SPEECH_RATE
        heard += sum(len(event.samples) for event in client.send(piece) if isinstance(event, Sound))
    assert heard == 8 * SPEECH_RATE // samples * samples
    assert not client.reader.counts


def test_sound_in_crumbs_closes_the_line() -> None:
    client = Client()

    def flood() -> None:
        for number in range(SPEECH_RATE):
            client.now = 5.0 + number / SPEECH_RATE
            client.send(b"\0\0")

    with pytest.raises(ProtocolError):
        flood()
    assert client.reader.counts["messages come too fast"] > MAX_BAD


def test_a_clock_that_jumps_back_gives_no_sound_for_free() -> None:
    client = Client()
    client.send(b"\x01\x00" * 320)
    client.now -= 1_000
    client.send(b"\x01\x00" * 320)
    client.now += 1
    heard = [client.send(b"\x01\x00" * 320) for _ in range(1_000)]
    assert sum(map(len, heard)) <= SOUND_AHEAD_S / 0.02 + 1


def test_a_client_that_never_learns_is_hung_up_on() -> None:
    client = Client()
    for _ in range(MAX_BAD):
        client.send("{")
    with pytest.raises(ProtocolError):
        client.send("{")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
events = st.fixed_dictionaries(
    {"event": st.sampled_from(["start", "text", "dtmf", "mark", "stop", "x"]) | json_values},
    optional=dict.fromkeys(("caller_id", "text", "digit", "name"), json_values),
)


@given(
    st.lists(st.binary(max_size=700) | st.text() | json_values.map(json.dumps) | events.map(json.dumps)),
    st.booleans(),
)
def test_no_order_of_messages_raises_anything_or_is_heard_before_the_start(
    sent: list[str | bytes], started: bool
) -> None:
    client = Client(started=started)
    opened = int(started)
    for message in sent[:MAX_BAD]:
        for event in client.send(message):
            opened += isinstance(event, Opened)
            assert opened <= 1
            assert opened or isinstance(event, Refused | Closed)
            if isinstance(event, Typed):
                event.text.encode()
