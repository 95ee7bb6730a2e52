"""Browser calls over a real server: a socket may be cut, stuck, rude or foreign; its call hears it once."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving.errors import UnavailableError
from serving.services import call_socket, live_server
from serving.services.call_socket import Times
from serving.transports.inbound import MAX_BAD
from tests.serving.transports.loopback import GREETING_S, Browser, Served, served, until

FRAME = b"\x10\x00" * 320


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(most=5) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_slots_come_back(server: Served) -> Iterator[None]:
    yield
    until(lambda: len(server.live) == 0)


def test_a_whole_call_goes_both_ways(server: Served) -> None:
    with server.call("+1 555 0100") as (browser, call):
        assert browser.event()["phase"] == "speaking"
        assert browser.event() == {"event": "mark", "name": "1:greeting"}
        assert len(browser.sound) == 2 * GREETING_S * 16_000
        browser.send({"event": "mark", "name": "1:greeting"})
        browser.line.send(FRAME)
        assert browser.line.recv(timeout=5) == FRAME
        browser.send({"event": "dtmf", "digit": "7"})
        browser.send({"event": "text", "text": "bye"})
        assert browser.event("say")["text"] == "bye"
        assert browser.event("ended")["transfer"] is False
        with pytest.raises(ConnectionClosed) as closed:
            browser.line.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    until(lambda: call.told("gone") == [""])
    assert call.caller == "+1 555 0100"
    heard = [event for event, _ in call.events]
    assert heard == ["start", "marked", "sound", "digit", "typed", "gone"]
    assert len(call.threads) == 1


def test_who_hangs_up_still_hears_how_the_call_ended(server: Served) -> None:
    with server.call() as (browser, call):
        browser.send({"event": "stop"})
        assert browser.event("ended")["ending"] == "caller_left"
    until(lambda: call.told("gone") == [""])


def test_an_interruption_throws_away_what_was_not_sent(server: Served) -> None:
    with server.call() as (browser, _call):
        browser.send({"event": "text", "text": "interrupt"})
        assert browser.event("clear") == {"event": "clear"}


@pytest.mark.parametrize("state", ["connected", "started", "speaking", "listening", "ending"])
def test_a_socket_that_is_cut_in_any_state_ends_the_call_once(server: Served, state: str) -> None:
    before = len(server.calls)
    line = server.connect()
    browser = Browser(line)
    if state != "connected":
        browser.send({"event": "start"})
        browser.event("call")
    if state in {"listening", "ending"}:
        browser.event("mark")
        line.send(FRAME)
    if state == "ending":
        browser.send({"event": "text", "text": "bye"})
    cut(line.socket)
    until(lambda: len(server.live) == 0)
    assert len(server.calls) == before + (state != "connected")
    for call in server.calls[before:]:
        until(lambda call=call: len(call.told("gone")) == 1)
        assert call.told("gone") in (["the line broke"], [""])
        assert call.ended


def test_a_page_that_is_left_is_a_plain_hang_up(server: Served) -> None:
    with server.call() as (browser, call):
        browser.line.close(1001)
    until(lambda: call.told("gone") == [""])


def cut(connection: socket.socket) -> None:
    """A reset, as when a machine loses its network."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def code_and_reason(browser: Browser) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            browser.line.recv(timeout=5)
    return browser.line.close_code or 0, browser.line.close_reason or ""


# Bad input


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "x" * 1_000_000,
        "[" * 60_000,
        '{"event": "dance"}',
        b"\x00",
        b"\x00" * 1_000_000,
        b"\x00" * 66_000,
    ],
    ids=range(8),
)
def test_what_cannot_be_used_is_refused_and_the_call_goes_on(server: Served, message: str | bytes) -> None:
    with server.call() as (browser, call):
        browser.line.send(message)
        refused = browser.event("error")
        assert refused["error"].startswith("Not used")
        assert set(refused) == {"event", "error", "advice"}
        browser.send({"event": "text", "text": "hello"})
        assert browser.event("say")["text"] == "hello"
        assert not call.told("gone")


def test_a_message_of_several_megabytes_closes_the_line(server: Served) -> None:
    with server.call() as (browser, call):
        # Only how long it will be: a line that is closed on unread bytes may lose the reason on its way.
        header = struct.pack("!BBQ4s", 0x81, 0x80 | 127, 3_000_000, b"mask")
        browser.line.socket.sendall(header)
        assert code_and_reason(browser)[0] == 1009
    until(lambda: call.told("gone"))


def test_one_who_never_learns_is_told_why_the_line_is_closed(server: Served) -> None:
    with server.call() as (browser, call):
        for _ in range(MAX_BAD + 1):
            browser.line.send("{")
        code, reason = code_and_reason(browser)
        assert (code, reason) == (1008, "too many messages that cannot be used")
    until(lambda: call.told("gone") == [reason])


def test_a_flood_of_texts_is_refused_before_it_reaches_the_call(server: Served) -> None:
    with server.call() as (browser, call):
        for _ in range(20):
            browser.send({"event": "text", "text": "again"})
        assert "too fast" in browser.event("error")["error"]
        assert len(call.told("typed")) < 10


def test_a_bug_in_a_call_closes_its_line_and_no_other(server: Served) -> None:
    with server.call() as (well, _), server.call() as (browser, call):
        browser.send({"event": "text", "text": "break"})
        told = browser.event("error")
        assert "4111" not in json.dumps(told)
        assert code_and_reason(browser)[0] == 1011
        well.send({"event": "text", "text": "hello"})
        assert well.event("say")["text"] == "hello"
    until(lambda: call.told("gone") == ["the call failed"])


def test_a_call_that_cannot_be_opened_gives_its_slot_back(server: Served) -> None:
    with server.connect() as line:
        browser = Browser(line)
        browser.send({"event": "start", "caller_id": "nobody"})
        told = browser.event("error")
        assert told["error"] == "The call is over: the call failed."
        assert code_and_reason(browser)[0] == 1011


def test_a_far_end_that_does_not_read_is_closed_and_the_call_is_told(server: Served) -> None:
    with server.call() as (browser, call):
        browser.send({"event": "text", "text": "flood"})
        until(lambda: call.told("gone"))
        assert call.told("gone") == ["the far end does not take what is sent"]


def test_a_far_end_that_is_stuck_runs_into_the_time_limit_of_a_send(monkeypatch: pytest.MonkeyPatch) -> None:
    real = live_server.add_live_routes

    def impatient(*arguments: Any, **_options: Any) -> None:
        real(*arguments, browser_times=Times(send_s=0.2, close_s=0.2))

    monkeypatch.setattr("serving.services.orchestrator.add_live_routes", impatient)
    with served() as server, server.call(max_queue=1) as (browser, call):
        browser.line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set() and not call.told("gone"):
                server.on_loop(lambda: call.line.tell("say", {"text": "x" * 60_000}))
                time.sleep(0.01)

        talker = threading.Thread(target=talk)
        talker.start()
        until(lambda: call.told("gone"))
        stop.set()
        talker.join()
        assert call.told("gone") == ["the far end does not take what is sent"]
        until(lambda: len(server.live) == 0)


@pytest.mark.parametrize("start", [True, False])
def test_a_silent_far_end_runs_into_a_time_limit(monkeypatch: pytest.MonkeyPatch, start: bool) -> None:
    real = live_server.add_live_routes

    def impatient(*arguments: Any, **_options: Any) -> None:
        real(*arguments, browser_times=Times(start_s=0.1, idle_s=0.1))

    monkeypatch.setattr("serving.services.orchestrator.add_live_routes", impatient)
    with served() as server, server.connect() as line:
        browser = Browser(line)
        if start:
            browser.send({"event": "start"})
        reason = "nothing came in any more" if start else "no start came in"
        assert code_and_reason(browser) == (1008, reason)
        assert [call.told("gone") for call in server.calls] == [[reason]] * start


def test_the_call_past_the_last_slot_is_refused_before_it_is_accepted() -> None:
    with served(most=1) as server, server.call():
        with pytest.raises(InvalidStatus) as refused:
            server.connect()
        response = refused.value.response
        assert response.status_code == 503
        assert response.headers["retry-after"] == "30"
        assert "busy" in response.body.decode()
        assert 'voicebot_calls_refused_total{reason="full"} 1.0' in httpx.get(f"{server.http}/metrics").text


def test_a_page_is_told_so_over_the_socket_because_it_cannot_see_the_answer() -> None:
    with served(most=1) as server, server.call():
        with server.connect(additional_headers={"Origin": server.http}) as line:
            browser = Browser(line)
            assert "busy" in browser.event("error")["error"]
            assert code_and_reason(browser)[0] == call_socket.LATER
        assert len(server.calls) == 1


class Socket:
    """A socket on which something hangs, or that is gone."""

    def __init__(self, where: str, how: type[Exception] | None) -> None:
        self._where, self._how = where, how

    async def accept(self) -> None:
        await self._do("accept")

    async def send_text(self, _text: str) -> None:
        await self._do("send")

    async def close(self, _code: int, _why: str) -> None:
        await self._do("close")

    async def send_denial_response(self, _answer: object) -> None:
        await self._do("deny")

    async def _do(self, what: str) -> None:
        if what != self._where:
            return
        if self._how is not None:
            raise self._how
        await asyncio.Event().wait()


@pytest.mark.parametrize("how", [None, RuntimeError, OSError, WebSocketDisconnect])
@pytest.mark.parametrize("where", ["accept", "send", "close", "deny"])
def test_who_is_turned_away_and_does_not_listen_holds_nothing_up(
    where: str, how: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_server, "_TURN_AWAY_S", 0.02)
    far: Any = Socket(where, how)

    async def turned_away() -> None:
        if where == "deny":
            await live_server._deny(far, 503, "busy", "")
        else:
            await live_server._tell_and_close(far, UnavailableError("busy"))

    asyncio.run(asyncio.wait_for(turned_away(), 5))


def test_a_slot_is_free_again_after_each_call() -> None:
    with served(most=1) as server:
        for _ in range(5):
            with server.call() as (browser, _call):
                browser.send({"event": "stop"})
                browser.event("ended")
            until(lambda: len(server.live) == 0)


def test_many_calls_at_once_stay_apart(server: Served) -> None:
    def talk(number: int) -> None:
        with server.connect() as line:
            browser = Browser(line)
            browser.send({"event": "start", "caller_id": str(number)})
            for _ in range(10):
                line.send(struct.pack("<h", number) * 320)
            browser.event("mark")
            browser.sound = b""
            while len(browser.sound) < 6_400:
                browser.sound += line.recv(timeout=5)  # type: ignore[operator]
            heard.append(set(browser.sound))
            browser.send({"event": "stop"})

    heard: list[set[int]] = []
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(sorted, heard)) == [[0, number] for number in range(1, 6)]


# The rest of the server


def test_health_counts_live_calls(server: Served) -> None:
    with server.call():
        health = httpx.get(f"{server.http}/healthz").json()
    assert (health["active_calls"], health["draining"], health["status"]) == (1, False, "ok")
