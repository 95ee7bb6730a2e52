"""A real server on loopback whose calls only echo, so that tests see what a line does and nothing else."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from websockets.sync.client import ClientConnection, connect

from serving.audio import Samples
from serving.call.line import Line
from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.services.draining import DrainingServer, uvicorn_config
from serving.services.live_calls import LiveCalls, OpenLive
from serving.services.live_options import options_of
from serving.services.open_calls import OpenCalls
from serving.services.orchestrator import create_app
from serving.settings import Settings
from serving.telemetry.metrics import TurnMetrics

GREETING_S = 0.2


def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class EchoCall:
    """Greets, says back what it hears, and remembers everything it was told."""

    def __init__(self, line: Line, call_id: str, caller_id: str, closed: Callable[[], None]) -> None:
        self.line = line
        self.call_id = call_id
        self.caller = caller_id
        self.closed = closed
        self.events: list[tuple[str, Any]] = []
        self.ended = False
        self.threads: set[int] = set()

    def start(self) -> None:
        self.events.append(("start", None))
        self.line.tell("call", {"call_id": self.call_id, "adapter": "echo/1"})
        self.line.tell("state", {"phase": "speaking"})
        self.line.play(np.full(round(GREETING_S * self.line.rate), 2_000, np.int16))
        self.line.mark("1:greeting")

    def sound(self, samples: Samples) -> None:
        self._note("sound", len(samples))
        self.line.play(samples)

    def typed(self, text: str) -> None:
        self._note("typed", text)
        if text == "break":
            raise KeyError("4111 1111 1111 1111")
        if text == "flood":
            for _ in range(3_000):
                self.line.tell("say", {"text": "x" * 1_000})
            return
        if text == "interrupt":
            self.line.clear()
        self.line.tell("say", {"text": text, "turn": 1})
        if text in {"bye", "person"}:
            self._end(transfer=text == "person")

    def digit(self, digit: str) -> None:
        self._note("digit", digit)
        if digit in "*#":
            self._end(transfer=digit == "#")
        if digit == "0":
            self.line.clear()

    def marked(self, name: str) -> None:
        self._note("marked", name)

    def gone(self, why: str = "") -> None:
        self._note("gone", why)
        if not self.ended:
            self.ended = True
            self.line.tell("ended", {"ending": "caller_left", "transfer": False})
            self.line.end(transfer=False)
        if self.caller != "slow to file":
            self.closed()

    def abandon(self, why: str) -> None:
        """The process ends."""
        self._note("abandon", why)
        self.closed()

    def told(self, kind: str) -> list[Any]:
        return [what for event, what in list(self.events) if event == kind]

    def _end(self, *, transfer: bool) -> None:
        self.line.tell("ended", {"ending": "completed", "transfer": transfer})
        self.line.end(transfer=transfer)
        self.ended = True

    def _note(self, event: str, what: object) -> None:
        self.threads.add(threading.get_ident())
        self.events.append((event, what))


@dataclass
class Served:
    """A server and its calls."""

    port: int
    live: LiveCalls
    server: DrainingServer
    metrics: TurnMetrics
    calls: list[EchoCall] = field(default_factory=list)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on_loop(self, action: Callable[[], None]) -> None:
        self.server.loop.call_soon_threadsafe(action)  # type: ignore[attr-defined]

    def connect(self, path: str = "/ws", **options: Any) -> ClientConnection:
        address = f"ws://127.0.0.1:{self.port}{path}"
        return connect(address, compression=None, close_timeout=0.2, **options)

    @contextmanager
    def call(self, caller: str = "", **options: Any) -> Iterator[tuple["Browser", EchoCall]]:
        """A browser's call that has started."""
        with self.connect(**options) as line:
            browser = Browser(line)
            browser.send({"event": "start", "caller_id": caller})
            assert browser.event()["event"] == "call"
            yield browser, self.calls[-1]


class Browser:
    """A client of the browser protocol."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line
        self.sound = b""

    def send(self, event: Mapping[str, Any]) -> None:
        self.line.send(json.dumps(event))

    def event(self, name: str = "") -> dict[str, Any]:
        """The next event, or the next of this name; sound that comes before it is kept."""
        while True:
            message = self.line.recv(timeout=5)
            if isinstance(message, bytes):
                self.sound += message
                continue
            event = cast("dict[str, Any]", json.loads(message))
            if not name or event["event"] == name:
                return event


@contextmanager
def served(
    open_call: OpenLive | None = None,
    *,
    most: int = 5,
    drain_s: float = 5.0,
    shared: BackgroundState | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Run a server in a thread of its own.

    Args:
        open_call: makes the calls; default: those that echo.
        most: live calls at a time.
        drain_s: see `Settings`.
        shared: the calls' state, closed at the end; default: this process's memory.
        options: of `LiveOptions`, as `Settings` has them.
    """
    metrics = TurnMetrics()
    made: list[EchoCall] = []

    def echo(line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> EchoCall:
        if caller_id == "nobody":
            raise RuntimeError("4111 1111 1111 1111")
        made.append(EchoCall(line, call_id, caller_id, closed))
        return made[-1]

    runtime = SimpleNamespace(
        metrics=metrics,
        choices=(),
        adapter=SimpleNamespace(current=SimpleNamespace(version="k/1", source="x"), problem=""),
        cache=SimpleNamespace(generation=lambda: 1),
        hung_tools=0,
        dialogue=SimpleNamespace(current=SimpleNamespace(version=""), problem=""),
    )
    with (
        closing(shared or BackgroundState(MemoryLiveState())) as state,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        live = LiveCalls(open_call or echo, state, most=most, refused=metrics.call_refused)
        calls = OpenCalls(counted=lambda _number: None)
        app = create_app(runtime, calls, live, options_of(Settings(drain_s=drain_s, **options)))  # type: ignore[arg-type]
        server = DrainingServer(uvicorn_config(app), live, drain_s)
        thread = threading.Thread(target=asyncio.run, args=(_serve(server, listener),))
        thread.start()
        until(lambda: server.started)
        try:
            yield Served(listener.getsockname()[1], live, server, metrics, made)
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


async def _serve(server: DrainingServer, listener: socket.socket) -> None:
    server.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
    await server.serve(sockets=[listener])
