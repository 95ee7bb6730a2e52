"""A chat completion server on a real socket that answers as a test tells it to.

It speaks the wire format of Mistral's streaming API (server-sent events in chunked transfer), and it can
misbehave: refuse, hang, dribble, break off.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """How one request is answered.

    Attributes:
        events: `data:` payloads; mappings are written as JSON.
        status: HTTP status; other than 200 sends `body`.
        done: whether `[DONE]` ends the stream; without it the connection just breaks.
        hang: stay silent after the last event, until the client goes or the server closes.
        hang_first: stay silent before the headers.
    """

    events: tuple[Mapping[str, Any] | str, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "text/event-stream"
    done: bool = True
    hang: bool = False
    hang_first: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as the server got it."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Respond = Callable[[Mapping[str, Any]], Reply]


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a streamed completion."""
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}],
        **more,
    }


def text_reply(*words: str, finish: str = "stop", **more: Any) -> Reply:
    """A stream of text pieces with the usage in the last chunk."""
    usage = {"prompt_tokens": 11, "completion_tokens": len(words), "total_tokens": 11 + len(words)}
    pieces = [chunk({"role": "assistant", "content": ""})] + [chunk({"content": word}) for word in words]
    return Reply((*pieces, chunk({"content": ""}, finish, usage=usage)), **more)


def call_reply(*calls: tuple[str, str, str]) -> Reply:
    """Tool calls (id, name, arguments as text), whole, in one chunk, as Mistral's API sends them."""
    listed = [
        {"id": identifier, "index": index, "function": {"name": name, "arguments": arguments}}
        for index, (identifier, name, arguments) in enumerate(calls)
    ]
    return Reply((chunk({"content": "", "tool_calls": listed}, "tool_calls"),))


class ChatServer:
    """Context manager; `url` is its address, `seen` what it was asked, `active` its open requests."""

    def __init__(self, respond: Respond | Iterable[Reply]) -> None:
        if callable(respond):
            self._respond: Respond = respond
        else:
            script = iter(respond)
            self._respond = lambda _body: next(script)
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"chat": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        return self._respond(seen.body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = json.loads(self.rfile.read(length) or b"{}")
        reply = self.chat.answer(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if reply.hang_first:
            self.chat.closing.wait(30)
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client went away, as some tests want
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 200:
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in reply.events:
            data = event if isinstance(event, str) else json.dumps(event)
            self._write_chunk(f"data: {data}\n\n".encode())
        if reply.hang:
            self.chat.closing.wait(30)
        elif reply.done:
            self._write_chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""
