"""Telephone calls over a real server: signatures, TwiML, captures replayed, and what follows a stream."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving.services import twilio_voice
from serving.transports.twilio_http import is_signed, signature
from tests.serving.transports.far_end import CAPTURES, FarEnd
from tests.serving.transports.loopback import GREETING_S, Served, served, until

TOKEN = "12345"
PUBLIC = "https://voice.bank.example"
PERSON = "+15550100999"
CALL = "CA6f5e4d3c2b1a09f8e7d6c5b4a3928170"
"""Call of the captures."""
FORM = {"CallSid": CALL, "From": "+15550100123", "To": "+15550100000", "CallStatus": "ringing"}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(public_url=PUBLIC, twilio_auth_token=SecretStr(TOKEN), twilio_transfer_to=PERSON) as running:
        yield running


@pytest.fixture(scope="module")
def bare() -> Iterator[Served]:
    """A server without a token, that takes unsigned calls from this machine."""
    with served(twilio_unsigned=True) as running:
        yield running


def ask(server: Served, path: str, form: dict[str, str] = FORM, **headers: str) -> httpx.Response:
    signed = signature(TOKEN, PUBLIC + path, {name: [value] for name, value in form.items()})
    return httpx.post(server.http + path, data=form, headers={"X-Twilio-Signature": signed} | headers)


def stream_headers() -> dict[str, str]:
    return {"X-Twilio-Signature": signature(TOKEN, "wss://voice.bank.example/twilio/stream", {})}


def replay(server: Served, capture: str, **options: Any) -> FarEnd:
    far = FarEnd()
    address = f"ws://127.0.0.1:{server.port}/twilio/stream"
    asyncio.run(far.call(address, capture, stream_headers(), **options))
    until(lambda: len(server.live) == 0)
    return far


# Signatures

VECTORS: dict[str, tuple[dict[str, list[str]], str]] = {
    "one value each": (
        {
            "CallSid": ["CA1234567890ABCDE"],
            "Caller": ["+14158675309"],
            "Digits": ["1234"],
            "From": ["+14158675309"],
            "To": ["+18005551212"],
        },
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
    "Twilio's page": (
        {
            "To": ["+18005551212"],
            "From": ["+12349013030"],
            "Digits": ["1234"],
            "Caller": ["+12349013030"],
            "CallSid": ["CA1234567890ABCDE"],
        },
        "0/KCTR6DLpKmkAf8muzZqo1nDgQ=",
    ),
    "a value twice": (
        {"Sid": ["CA123"], "SidAccount": ["AC123"], "Digits": ["5678", "1234", "1234"]},
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
    ),
}
ADDRESS = "https://mycompany.com/myapp.php?foo=1&bar=2"


@pytest.mark.parametrize(("form", "right"), VECTORS.values(), ids=VECTORS)
def test_published_examples_have_the_published_signatures(form: dict[str, list[str]], right: str) -> None:
    assert signature(TOKEN, ADDRESS, form) == right
    assert is_signed(TOKEN, right, ADDRESS, form)


@pytest.mark.parametrize(
    ("token", "given", "address"),
    [
        ("12346", VECTORS["one value each"][1], ADDRESS),
        (TOKEN, "", ADDRESS),
        (TOKEN, "RSOYDt4T1cUTdK1PDd93/VVr8B8", ADDRESS),
        (TOKEN, "ünsigned \ud800", ADDRESS),
        (TOKEN, VECTORS["one value each"][1], ADDRESS + "&x=1"),
        (TOKEN, VECTORS["one value each"][1], "http://["),
        (TOKEN, VECTORS["one value each"][1], "https://mycompany.com:99999/"),
    ],
    ids=range(7),
)
def test_anything_else_is_not_signed(token: str, given: str, address: str) -> None:
    assert not is_signed(token, given, address, VECTORS["one value each"][0])


def test_a_schemes_own_port_may_be_written_or_left_out() -> None:
    signed = signature(TOKEN, "wss://a.example:443/x", {})
    assert is_signed(TOKEN, signed, "wss://a.example/x", {})
    assert is_signed(TOKEN, signature(TOKEN, "wss://a.example/x", {}), "wss://a.example:443/x", {})
    assert not is_signed(TOKEN, signed, "wss://a.example:444/x", {})


# TwiML


def test_a_new_call_is_connected_with_our_stream_and_the_callers_number_goes_along(server: Served) -> None:
    answer = ask(server, "/twilio/voice")
    assert answer.headers["content-type"].startswith("text/xml")
    response = ET.fromstring(answer.text)
    connect, stream = response[0], response[0][0]
    assert [response.tag, connect.tag, stream.tag] == ["Response", "Connect", "Stream"]
    assert connect.get("action") == f"{PUBLIC}/twilio/after"
    assert stream.get("url") == "wss://voice.bank.example/twilio/stream"
    assert {item.get("name"): item.get("value") for item in stream} == {"caller": "+15550100123"}
    assert len(server.live) == 0


@pytest.mark.parametrize("number", ["", "<Say/>", '"><Hangup/>', "x" * 1_000, "\x00", "+1 555"], ids=range(6))
def test_a_number_that_is_none_is_not_passed_on(server: Served, number: str) -> None:
    response = ET.fromstring(ask(server, "/twilio/voice", FORM | {"From": number}).text)
    assert [item.tag for item in response.iter()] == ["Response", "Connect", "Stream"]


@pytest.mark.parametrize(
    "number",
    ["anonymous", "Anonymous", "+266696687", "sip:anonymous@anonymous.invalid", "+7378742833"],
)
def test_callers_who_hide_their_numbers_are_not_one_caller(server: Served, number: str) -> None:
    response = ET.fromstring(ask(server, "/twilio/voice", FORM | {"From": number}).text)
    assert [item.tag for item in response.iter()] == ["Response", "Connect", "Stream"]


def test_a_request_that_twilio_did_not_sign_gets_no_call(server: Served) -> None:
    signed = signature(TOKEN, f"{PUBLIC}/twilio/voice", {name: [value] for name, value in FORM.items()})
    other = FORM | {"From": "+15550100666"}
    for form, header in ((FORM, ""), (FORM, "AAAA"), (other, signed)):
        for path in ("/twilio/voice", "/twilio/after"):
            answer = httpx.post(server.http + path, data=form, headers={"X-Twilio-Signature": header})
            assert answer.status_code == 403
            assert "<" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x=" + b"1" * 70_000, 413), (b"&".join([b"a=1"] * 300), 403), (b"\xff\xfe", 403), (b"a=%ff", 403)],
    ids=range(4),
)
def test_a_body_that_is_no_form_of_twilio_is_refused(server: Served, body: bytes, status: int) -> None:
    assert httpx.post(f"{server.http}/twilio/voice", content=body).status_code == status


def test_a_query_is_part_of_what_was_signed(server: Served) -> None:
    assert ask(server, "/twilio/voice?line=2").status_code == 200


def test_without_a_token_no_telephone_call_is_taken() -> None:
    with served() as server:
        assert ask(server, "/twilio/voice").status_code == 503
        assert ask(server, "/twilio/after").status_code == 503
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/twilio/stream", additional_headers=stream_headers())
        assert refused.value.response.status_code == 403


def test_unsigned_calls_are_for_this_machine_and_not_for_what_comes_through_a_proxy(bare: Served) -> None:
    assert httpx.post(f"{bare.http}/twilio/voice", data=FORM).status_code == 200
    for header in ("X-Forwarded-For", "Forwarded"):
        answer = httpx.post(f"{bare.http}/twilio/voice", data=FORM, headers={header: "203.0.113.9"})
        assert answer.status_code == 503


def test_unsigned_calls_are_never_taken_on_an_address_of_the_world() -> None:
    with served(twilio_unsigned=True, host="0.0.0.0") as server:
        assert httpx.post(f"{server.http}/twilio/voice", data=FORM).status_code == 503


def test_when_all_lines_are_busy_twilio_says_so_and_hangs_up() -> None:
    with served(most=1, twilio_auth_token=SecretStr(TOKEN), public_url=PUBLIC) as server, server.call():
        response = ET.fromstring(ask(server, "/twilio/voice").text)
        assert [item.tag for item in response] == ["Say", "Hangup"]
        assert response[0].text == twilio_voice.BUSY
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/twilio/stream", additional_headers=stream_headers())
        assert refused.value.response.status_code == 503


# Streams


def test_a_stream_that_twilio_did_not_sign_is_not_opened(server: Served) -> None:
    for given in ({}, {"X-Twilio-Signature": "AAAA"}, {"X-Twilio-Signature": signature("1", PUBLIC, {})}):
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/twilio/stream", additional_headers=given)
        assert refused.value.response.status_code == 403


def test_a_captured_call_is_heard_answered_interrupted_and_ended(server: Served) -> None:
    far = replay(server, "interrupted")
    call = server.calls[-1]
    assert call.caller == "+15550100123"
    assert {len(frame) for frame in far.frames} == {160}
    assert len(far.frames) >= GREETING_S / 0.02
    assert sum(call.told("sound")) == 140 * 160
    assert far.marks == ["1:greeting"]
    assert call.told("marked") == ["1:greeting"]
    assert len(far.cleared) == 1
    assert call.told("digit") == ["0"]
    assert call.told("gone") == [""]
    assert far.code == 1000


def test_lost_frames_are_silence_and_the_time_is_right_again(server: Served) -> None:
    replay(server, "lost_frames")
    call = server.calls[-1]
    assert sum(call.told("sound")) == 18 * 160
    assert sorted(set(call.told("sound"))) == [160, 320, 480]


def test_a_stream_is_closed_when_its_call_is_over_and_the_caller_is_put_through(
    server: Served,
) -> None:
    far = replay(server, "lost_frames")  # its # asks for a person
    assert far.code == 1000
    far_call = json.loads(capture("lost_frames")[1])["start"]["callSid"]
    response = ET.fromstring(ask(server, "/twilio/after", FORM | {"CallSid": far_call}).text)
    assert [(item.tag, item.text) for item in response] == [("Dial", PERSON)]


def capture(name: str) -> list[str]:
    return (CAPTURES / f"{name}.jsonl").read_text().splitlines()


def follow_up(server: Served, far_call: str, after: list[str], *, hang_up: bool) -> list[str]:
    """TwiML after a stream that sent connected, start and `after`; then it is dropped, unless it hangs up."""
    start = capture("interrupted")[1].replace(CALL, far_call)
    with server.connect("/twilio/stream", additional_headers=stream_headers()) as line:
        for message in [capture("interrupted")[0], start, *after]:
            line.send(message)
        if hang_up:
            with pytest.raises(ConnectionClosed):
                drain(line)
        else:
            line.recv(timeout=5)
            line.socket.close()
    until(lambda: server.live.ending(far_call))
    response = ET.fromstring(ask(server, "/twilio/after", FORM | {"CallSid": far_call}).text)
    return [item.tag for item in response]


def drain(line: Any) -> None:
    while True:
        line.recv(timeout=5)


KEY = '{"event":"dtmf","streamSid":"MZ18ad3ab5a668481ce02b83e7395059f0","dtmf":{"digit":"%s"}}'
STOP = '{"event":"stop","streamSid":"MZ18ad3ab5a668481ce02b83e7395059f0"}'


def test_what_follows_a_stream_depends_on_how_its_call_ended(server: Served) -> None:
    assert follow_up(server, "CA1", [KEY % "*"], hang_up=True) == ["Hangup"]
    assert follow_up(server, "CA2", [KEY % "#"], hang_up=True) == ["Dial"]
    assert follow_up(server, "CA3", [STOP], hang_up=True) == ["Hangup"]
    assert follow_up(server, "CA4", [], hang_up=False) == ["Dial"], "who lost us is put through to a person"
    unknown = ET.fromstring(ask(server, "/twilio/after", FORM | {"CallSid": "CA9"}).text)
    assert [item.tag for item in unknown] == ["Say", "Hangup"]


def test_without_a_person_to_put_through_the_caller_is_told_so(bare: Served) -> None:
    with bare.connect("/twilio/stream") as line:
        for message in [*capture("lost_frames")[:2], KEY % "#"]:
            line.send(message)
        with pytest.raises(ConnectionClosed):
            drain(line)
    far_call = json.loads(capture("lost_frames")[1])["start"]["callSid"]
    until(lambda: bare.live.ending(far_call))
    form = FORM | {"CallSid": far_call}
    response = ET.fromstring(httpx.post(f"{bare.http}/twilio/after", data=form).text)
    assert [item.tag for item in response] == ["Say", "Hangup"]
    assert response[0].text == twilio_voice.NO_PERSON


def test_a_binary_message_closes_the_stream_with_a_reason(server: Served) -> None:
    with server.connect("/twilio/stream", additional_headers=stream_headers()) as line:
        line.send(capture("interrupted")[0])
        line.send(capture("interrupted")[1])
        line.send(b"\xff" * 160)
        with pytest.raises(ConnectionClosed):
            drain(line)
        assert (line.close_code, line.close_reason) == (1008, "a binary message")
    until(lambda: server.calls[-1].told("gone") == ["a binary message"])


def test_rubbish_between_the_messages_of_a_call_changes_nothing(server: Served) -> None:
    with server.connect("/twilio/stream", additional_headers=stream_headers()) as line:
        for message in capture("interrupted")[:12]:
            line.send(message)
            for rubbish in ("", "{", "[]", "x" * 900_000):
                line.send(rubbish)
        line.send(STOP)
        with pytest.raises(ConnectionClosed):
            drain(line)
    call = server.calls[-1]
    until(lambda: call.told("gone") == [""])
    assert sum(call.told("sound")) == 10 * 160


def test_a_form_is_read_as_twilio_writes_it() -> None:
    body = urlencode({"From": "+1 (555)", "Digits": "", "Ümlaut": "ß"}).encode()
    assert twilio_voice._form(body) == {"From": ["+1 (555)"], "Digits": [""], "Ümlaut": ["ß"]}


def test_the_captures_are_json_in_the_documented_order() -> None:
    for path in CAPTURES.glob("*.jsonl"):
        events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
        assert events[:3] == ["connected", "start", "media"]
        assert {"media", "dtmf"} <= set(events)
