"""How the server stops: no new calls, those in progress may end, the rest is ended politely."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.services import draining, orchestrator
from serving.services.draining import DrainingServer, uvicorn_config
from serving.services.live_calls import LiveCalls
from serving.settings import Settings
from tests.serving.transports.loopback import Served, served, until


def told_to_stop(server: Served) -> None:
    server.on_loop(lambda: server.server.handle_exit(signal.SIGTERM, None))
    until(lambda: server.live.draining)


def test_a_call_in_progress_goes_on_and_a_new_one_is_refused() -> None:
    with served(drain_s=30) as server, server.call() as (browser, call):
        told_to_stop(server)
        health = httpx.get(f"{server.http}/healthz").json()
        assert (health["draining"], health["active_calls"]) == (True, 1)
        with pytest.raises(InvalidStatus) as refused:
            server.connect()
        assert refused.value.response.status_code == 503
        assert "closed" in refused.value.response.body.decode()
        metrics = httpx.get(f"{server.http}/metrics").text
        assert 'voicebot_calls_refused_total{reason="draining"} 1.0' in metrics
        browser.send({"event": "text", "text": "bye"})
        assert browser.event("say")["text"] == "bye"
        until(lambda: call.told("gone") == [""])


def test_the_server_stops_as_soon_as_the_last_call_has_ended() -> None:
    with served(drain_s=30) as server:
        with server.call() as (browser, _call):
            told_to_stop(server)
            browser.send({"event": "text", "text": "bye"})
            browser.event("ended")
        until(lambda: not answers(f"{server.http}/healthz"))


def test_the_server_says_when_callers_are_listened_to_and_not_before() -> None:
    reached: list[bool] = []
    with (
        closing(BackgroundState(MemoryLiveState())) as state,
        socket.socket() as listener,
    ):
        listener.bind(("127.0.0.1", 0))

        def started() -> None:
            with socket.create_connection(listener.getsockname(), timeout=5):
                reached.append(True)
            server.should_exit = True

        live = LiveCalls(never, state, most=1)
        server = DrainingServer(uvicorn_config(FastAPI()), live, 0.0, on_start=started)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname(), timeout=5)
        asyncio.run(server.serve(sockets=[listener]))
    assert reached == [True]


def never(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("no call is opened here")


def test_the_server_waits_until_the_last_call_is_on_record() -> None:
    with served(drain_s=30) as server:
        with server.call("slow to file") as (browser, call):
            told_to_stop(server)
            browser.send({"event": "stop"})
            browser.event("ended")
        until(lambda: len(server.live) == 0)
        assert server.live.busy
        assert answers(f"{server.http}/healthz")
        server.on_loop(call.closed)
        until(lambda: not answers(f"{server.http}/healthz"))


def test_a_call_whose_answer_is_still_made_is_filed_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_POLITE_S", 0.3)
    with served(drain_s=0.1) as server:
        with server.call("slow to file") as (browser, call):
            told_to_stop(server)
            browser.event("ended")
        until(lambda: not server.live.busy)
        assert call.told("abandon") == ["the server stops"]
        until(lambda: not answers(f"{server.http}/healthz"))


def answers(address: str) -> bool:
    try:
        httpx.get(address)
    except httpx.TransportError:
        return False
    return True


def test_a_call_that_takes_too_long_is_told_so_and_ended() -> None:
    with served(drain_s=0.2) as server, server.call() as (browser, call):
        told_to_stop(server)
        assert "the server stops" in browser.event("error")["error"]
        assert browser.event("ended")["ending"] == "caller_left"
        with pytest.raises(ConnectionClosed):
            browser.event()
        assert browser.line.close_code == 1012
        assert call.told("gone") == ["the server stops"]


def test_a_telephone_is_told_by_twilios_voice() -> None:
    with served(drain_s=30, twilio_unsigned=True) as server, server.call():
        told_to_stop(server)
        answer = httpx.post(f"{server.http}/twilio/voice", data={"CallSid": "CA1"})
        assert "<Say" in answer.text
        assert "<Stream" not in answer.text


def test_sigterm_reaches_a_process_of_its_own_and_it_ends_cleanly() -> None:
    program = (
        "import socket\n"
        "from contextlib import closing\n"
        "from fastapi import FastAPI\n"
        "from serving.call.live_background import BackgroundState\n"
        "from serving.call.live_memory import MemoryLiveState\n"
        "from serving.services.draining import DrainingServer, uvicorn_config\n"
        "from serving.services.live_calls import LiveCalls\n"
        "from serving.services.stopping import stopped_by_sigterm\n"
        "with stopped_by_sigterm(), closing(BackgroundState(MemoryLiveState())) as state:\n"
        "    live = LiveCalls(None, state, most=1)\n"
        "    listener = socket.create_server(('127.0.0.1', 0))\n"
        "    print(listener.getsockname()[1], flush=True)\n"
        "    DrainingServer(uvicorn_config(FastAPI()), live, 5).run(sockets=[listener])\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}/"
        until(lambda: answers(address), 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_housekeeping_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator, "_HOUSEKEEPING_S", 0.0)
    monkeypatch.setattr(orchestrator, "_LAST_ROUND_S", 0.05)
    hangs, let_go, ended = threading.Event(), threading.Event(), []

    def save_set_aside() -> None:
        hangs.set()
        assert let_go.wait(30)

    runtime: Any = SimpleNamespace(settings=Settings(), save_set_aside=save_set_aside)
    calls: Any = SimpleNamespace(end_idle=lambda: None, close=lambda: ended.append("typed calls"))
    with orchestrator._housekeeping(runtime, calls):
        assert hangs.wait(10)
    assert ended == ["typed calls"]
    let_go.set()
