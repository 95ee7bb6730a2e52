"""A server on loopback that speaks the page's side of the protocol and does what a test tells it.

It serves the page's own files under the headers that the real server sends, and answers nothing by itself:
the test is the bank.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

import serving.services
from serving.audio import SPEECH_RATE, Samples
from serving.services.headers import HEADERS

PAGE = Path(serving.services.__file__).parent / "page"
TESTS = Path(__file__).parent
TAP = "tap.js"
PATIENCE_S = 10.0
MEDIA = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass
class Loopback:
    """One server for a module; each test begins with `forget`.

    Attributes:
        address: of the page.
        events: JSON that the page has sent, all calls together.
        sounds: binary messages that the page has sent.
        refusal: event with which the next calls are refused, then closed with 1013; None takes them.
        sockets: every call's socket, newest last.
    """

    address: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    sounds: list[bytes] = field(default_factory=list)
    refusal: Mapping[str, Any] | None = None
    sockets: list[WebSocket] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, met: Callable[[], Any], what: str) -> Any:
        """Return what `met` returns as soon as it is true; it is asked at each message of the page."""
        with self.changed:
            assert self.changed.wait_for(met, PATIENCE_S), f"the page did not send {what}"
            return met()

    def sent(self, event: str) -> list[dict[str, Any]]:
        """The page's events of one kind."""
        return [item for item in self.events if item["event"] == event]

    def take_call(self) -> None:
        """Wait for a call's start and take it."""
        self.wait(lambda: self.sent("start"), "start")
        self.tell(
            "call",
            call_id="c-7f3a",
            adapter="banking-lora v3",
            engines={"stt": "whisper turbo", "tts": "kokoro", "llm": "embedded responder"},
            rate=SPEECH_RATE,
        )
        self.phase("listening", 0)

    def tell(self, event: str, **data: Any) -> None:
        """Send an event to the newest call."""
        self._do(self.sockets[-1].send_text(json.dumps({"event": event, **data})))

    def phase(self, phase: str, turn: int) -> None:
        """Send a state."""
        self.tell("state", phase=phase, turn=turn)

    def raw(self, text: str) -> None:
        """Send a text message as it is."""
        self._do(self.sockets[-1].send_text(text))

    def play(self, samples: Samples) -> None:
        """Send sound in messages of 100 ms, as the real server does."""
        for start in range(0, len(samples), SPEECH_RATE // 10):
            piece = samples[start : start + SPEECH_RATE // 10]
            self._do(self.sockets[-1].send_bytes(piece.astype("<i2").tobytes()))

    def close(self, code: int) -> None:
        """Close the newest call's socket without a goodbye."""
        self._do(self.sockets[-1].close(code))

    def heard(self) -> Samples:
        """All sound that the page has sent."""
        return np.frombuffer(b"".join(self.sounds), "<i2").astype(np.int16)

    def _do(self, work: Any) -> None:
        assert self.loop is not None
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self.loop)
        done.result(PATIENCE_S)

    def forget(self) -> None:
        """Begin anew; what an earlier page may still send is not kept."""
        with self.changed:
            self.sockets.clear()
            self.events.clear()
            self.sounds.clear()
            self.refusal = None

    def note(self, socket: WebSocket, message: Mapping[str, Any]) -> None:
        """Keep a message of the page."""
        with self.changed:
            if socket not in self.sockets:
                return
            if message.get("bytes") is not None:
                self.sounds.append(message["bytes"])
            elif message.get("text") is not None:
                self.events.append(json.loads(message["text"]))
            self.changed.notify_all()


def application(server: Loopback) -> FastAPI:
    """The page's files and its socket."""
    app = FastAPI()

    @app.websocket("/ws")
    async def call(socket: WebSocket) -> None:
        await socket.accept()
        server.loop = asyncio.get_running_loop()
        server.sockets.append(socket)
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                server.note(socket, message)
                if server.refusal is not None:
                    await socket.send_text(json.dumps(server.refusal))
                    await socket.close(1013)
                    return
        except (WebSocketDisconnect, RuntimeError):
            return

    @app.get("/{name:path}")
    async def file(name: str) -> Response:
        folder = TESTS if name == TAP else PAGE
        path = folder / (name or "index.html")
        if path.parent != folder or not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, media_type=MEDIA[path.suffix], headers=HEADERS)

    return app


@contextmanager
def serving_page() -> Iterator[Loopback]:
    """Run the server on a free port of this machine."""
    server = Loopback()
    runner = uvicorn.Server(
        uvicorn.Config(application(server), port=0, log_level="error", ws="websockets-sansio", lifespan="off")
    )
    ready = threading.Event()
    started = runner.startup

    async def startup(sockets: Any = None) -> None:
        await started(sockets)
        ready.set()

    runner.startup = startup  # type: ignore[method-assign]  # the only sign of readiness that uvicorn gives
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    port = runner.servers[0].sockets[0].getsockname()[1]
    server.address = f"http://127.0.0.1:{port}/"
    try:
        yield server
    finally:
        runner.should_exit = runner.force_exit = True
        thread.join(PATIENCE_S)
