"""The live call itself over real sockets: a captured phone call, a browser's, and lines that are cut."""

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from serving.call.machine import Ending
from serving.call.record import CallRecord
from serving.call.store import CallStore
from serving.settings import Settings
from tests.properties import examples
from tests.serving.transports.far_end import FarEnd
from tests.serving.transports.loopback import Browser, Served, served, until
from tests.serving.transports.real_calls import ANSWER, real_calls

AHEAD_S = 0.4
"""Most sound that a far end holds unplayed (design D9)."""
VOICE_BEGINS_S = 0.8
"""Of the caller in the capture `interrupted`."""
SLACK_S = 0.3
"""For a loaded test machine."""


@pytest.fixture
def bank(settings: Settings) -> Iterator[tuple[Served, CallStore]]:
    with (
        real_calls(settings, ("when does the branch open",)) as (open_call, store),
        served(open_call, twilio_unsigned=True) as server,
    ):
        yield server, store


def recorded(server: Served, store: CallStore) -> CallRecord:
    """The only call, once it is on record."""
    until(lambda: not server.live.busy)
    (call,) = store.calls()
    return store.call(call.call_id)


def test_a_captured_phone_call_is_greeted_interrupts_and_is_answered(bank: tuple[Served, CallStore]) -> None:
    far = FarEnd()
    address = f"ws://127.0.0.1:{bank[0].port}/twilio/stream"
    asyncio.run(far.call(address, "interrupted", {}, patience_s=3))
    call = recorded(*bank)
    assert {len(frame) for frame in far.frames} == {160}
    assert far.most_ahead_s <= AHEAD_S + 0.05
    cleared = far.cleared[0]
    assert VOICE_BEGINS_S < cleared < VOICE_BEGINS_S + 0.7 + SLACK_S
    media = [at for at, message in far.received if message["event"] == "media"]
    assert not [at for at in media if VOICE_BEGINS_S + SLACK_S < at < cleared], "held at the first voice"
    assert [at for at in media if at > cleared], "the answer"
    assert call.ending is Ending.CALLER_LEFT
    assert [turn.text for turn in call.turns] == ["when does the branch open"]
    assert call.turns[0].answer == ANSWER


def test_the_marks_of_a_phone_call_come_back_and_are_named_by_the_speech_they_belong_to(
    bank: tuple[Served, CallStore],
) -> None:
    far = FarEnd()
    address = f"ws://127.0.0.1:{bank[0].port}/twilio/stream"
    asyncio.run(far.call(address, "interrupted", {}, patience_s=3))
    sent = [message["mark"]["name"] for _, message in far.received if message["event"] == "mark"]
    assert far.marks == sent
    assert len(set(sent)) == len(sent)


def typed_call(server: Served, *texts: str) -> tuple[Browser, list[str]]:
    """A call whose lines are typed as soon as the bot has said something; returns the events' names."""
    names = []
    lines = list(texts)
    with server.connect() as line:
        browser = Browser(line)
        browser.send({"event": "start"})
        while "ended" not in names:
            event = browser.event()
            names.append(event["event"])
            if event["event"] == "mark":
                browser.send(event)
            if event["event"] in {"say", "turn"} and lines:
                browser.send({"event": "text", "text": lines.pop(0)})
    return browser, names


def test_a_browser_types_hears_the_answer_and_sees_its_turn(bank: tuple[Served, CallStore]) -> None:
    browser, names = typed_call(bank[0], "when", "bye")
    assert names[0] == "call"
    assert {"state", "say", "mark", "turn", "ended"} <= set(names)
    assert browser.sound
    call = recorded(*bank)
    assert call.ending is Ending.COMPLETED
    assert [turn.text for turn in call.turns] == ["when", "bye"]


def test_a_caller_who_wants_a_person_is_handed_over_when_the_last_word_was_played(
    bank: tuple[Served, CallStore],
) -> None:
    _, names = typed_call(bank[0], "person")
    assert names[-1] == "ended"
    assert recorded(*bank).ending is Ending.TRANSFERRED


@pytest.mark.parametrize("after", ["call", "say", "mark"])
def test_a_line_that_is_cut_leaves_a_call_that_is_on_record(
    bank: tuple[Served, CallStore], after: str
) -> None:
    line = bank[0].connect()
    browser = Browser(line)
    browser.send({"event": "start"})
    browser.event(after)
    line.socket.close()
    assert recorded(*bank).ending is Ending.BROKEN


rude = st.one_of(
    st.binary(max_size=2_000),
    st.text(max_size=50),
    st.sampled_from(["x" * 100_000, "[" * 5_000, b"\x00" * 80_000]),
    st.fixed_dictionaries(
        {"event": st.sampled_from(["start", "text", "dtmf", "mark", "stop"])},
        optional={
            "text": st.sampled_from(["when", "bye", "", " ", "x" * 5_000]) | st.text(max_size=20),
            "digit": st.sampled_from([*"0123456789*#", "x"]),
            "name": st.text(max_size=10) | st.sampled_from(["1:0", "1:1", "0:0"]),
        },
    ).map(json.dumps),
)


@examples(30, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(rude, max_size=25))
def test_whatever_comes_in_every_call_that_began_is_on_record_once(
    bank: tuple[Served, CallStore], sent: list[str | bytes]
) -> None:
    server, store = bank
    before = len(store.calls())
    with server.connect() as line, contextlib.suppress(ConnectionClosed):
        line.send('{"event": "start"}')
        for message in sent:
            line.send(message)
    until(lambda: not server.live.busy)
    (*_, newest) = sorted(store.calls(), key=lambda call: call.started_at)
    assert len(store.calls()) == before + 1
    assert newest.ending is not None
    indexes = [turn.index for turn in store.call(newest.call_id).turns]
    assert indexes == sorted(set(indexes))
