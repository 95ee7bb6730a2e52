"""A server on a real socket that speaks vLLM's API: chat, models, health, LoRA adapters that come and go.

It keeps what vLLM keeps: an adapter is read from its folder when it is loaded, answers under its name until
it is unloaded or the server restarts, and a name that is loaded is not loaded again. It can misbehave too.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from serving.language.vllm import VllmServer
from tests.serving.chat_server import Reply, chunk, text_reply

BASE = "ministral-8b"
MAX_RANK = 16
Respond = Callable[[Mapping[str, Any], str], Reply]
"""Answers a chat request, given what the adapter's folder says (`mark`; empty for the base model)."""


@dataclass(frozen=True)
class Lora:
    """A loaded adapter: its folder, and what was in it then."""

    folder: str
    mark: str


def write_adapter(folder: Path, mark: str, rank: int = 8) -> Path:
    """A folder in vLLM's layout; answers of the adapter are told by `mark`."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "mark": mark}))
    (folder / "adapter_model.safetensors").write_bytes(mark.encode())
    return folder


def fragments(identifier: str, name: str, arguments: str) -> Reply:
    """A tool call as vLLM streams it: its name, its arguments in pieces, then the usage without choices."""
    half = len(arguments) // 2
    pieces = [
        {"index": 0, "id": identifier, "type": "function", "function": {"name": name, "arguments": ""}},
        {"index": 0, "function": {"arguments": arguments[:half]}},
        {"index": 0, "function": {"arguments": arguments[half:]}},
    ]
    usage = {**chunk({}), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
    return Reply((*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls"), usage))


def marked(_body: Mapping[str, Any], mark: str) -> Reply:
    """Twelve pieces, each of which tells which adapter made it."""
    return text_reply(*[f"{mark or 'base'} "] * 12)


class _Server(uvicorn.Server):
    """Stops when it is told to, not at the next tick."""

    async def main_loop(self) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        await self._left.wait()
        self.force_exit = True

    def leave(self) -> None:
        self._loop.call_soon_threadsafe(self._left.set)


class VllmLike:
    """Context manager; `url` is its address.

    Attributes:
        loras: what is loaded.
        asked: paths of requests, with the model's name of a chat.
        bodies: bodies of chat requests.
        faults: how the next chat requests are answered instead; then as usual.
        load_fault, unload_fault: how each load or unload is answered instead.
        pause_s: between two pieces of an answer.
        gate: loads wait until it is set.
        denied: how many chat requests named a model that was not there.
        given_up: set when a client left a stream before its end.
    """

    def __init__(self, respond: Respond = marked, *, key: str = "", runtime_lora: bool = True) -> None:
        self._respond, self._key, self._runtime_lora = respond, key, runtime_lora
        self.loras: dict[str, Lora] = {}
        self.asked: list[str] = []
        self.bodies: list[Mapping[str, Any]] = []
        self.faults: list[Reply] = []
        self.load_fault: Response | None = None
        self.unload_fault: Response | None = None
        self.pause_s = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.given_up = threading.Event()
        self.healthy = True
        self.flat_errors = False
        self.denied = 0
        config = uvicorn.Config(self._app(), port=0, log_level="critical", lifespan="off", ws="none")
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._up = threading.Event()
        self._clients: list[VllmServer] = []
        self.url = ""

    def restart(self) -> None:
        """Forget every adapter, as a server that starts again has."""
        self.loras = {}

    def client(self, key: str = "") -> VllmServer:
        """A client of this server, closed with it."""
        self._clients.append(VllmServer(self.url, key))
        return self._clients[-1]

    def chats(self, model: str) -> int:
        """How many chat requests a model got."""
        return sum(asked == f"/v1/chat/completions {model}" for asked in self.asked)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        for client in self._clients:
            client.close()
        self._server.leave()
        self._thread.join(10)

    def _run(self) -> None:
        async def serve() -> None:
            running = asyncio.create_task(self._server.serve())
            while not self._server.started:
                await asyncio.sleep(0.001)
            port = self._server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            self._up.set()
            await running

        asyncio.run(serve())

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def keyed(request: Request, go_on: Callable[[Request], Any]) -> Response:
            right = not self._key or request.headers.get("authorization") == f"Bearer {self._key}"
            if request.url.path.startswith("/v1") and not right:
                return JSONResponse({"error": "Unauthorized"}, 401)
            found: Response = await go_on(request)
            return found

        @app.get("/health")
        async def health() -> Response:
            return Response(status_code=200 if self.healthy else 503)

        @app.get("/v1/models")
        async def models() -> dict[str, Any]:
            self.asked.append("/v1/models")
            cards = [{"id": BASE, "object": "model", "root": "/models/ministral", "parent": None}]
            cards += [
                {"id": name, "object": "model", "root": lora.folder, "parent": BASE}
                for name, lora in self.loras.items()
            ]
            return {"object": "list", "data": cards}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            return self._chat(await request.json())

        if self._runtime_lora:
            app.post("/v1/load_lora_adapter")(self._load)
            app.post("/v1/unload_lora_adapter")(self._unload)
        return app

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, folder = body["lora_name"], Path(body["lora_path"])
        self.asked.append(f"/v1/load_lora_adapter {name}")
        await asyncio.to_thread(self.gate.wait, 20)
        if self.load_fault is not None:
            return self.load_fault
        if name in self.loras:
            return self._error(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file():
            return self._error(
                404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {folder}"
            )
        config = json.loads((folder / "adapter_config.json").read_text())
        if config["r"] > MAX_RANK:
            text = f"LoRA rank {config['r']} is greater than max_lora_rank {MAX_RANK}."
            return self._error(500, "InternalServerError", text)
        mark = (folder / "adapter_model.safetensors").read_bytes()[:40].decode("latin-1")
        self.loras[name] = Lora(str(folder), config.get("mark", mark))
        return Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        self.asked.append(f"/v1/unload_lora_adapter {name}")
        if self.unload_fault is not None:
            return self.unload_fault
        if self.loras.pop(name, None) is None:
            return self._error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        return Response(f"Success: LoRA adapter '{name}' removed successfully.")

    def _chat(self, body: Mapping[str, Any]) -> Response:
        model = body["model"]
        self.asked.append(f"/v1/chat/completions {model}")
        self.bodies.append(body)
        if model != BASE and model not in self.loras:
            self.denied += 1
            return self._error(404, "NotFoundError", f"The model `{model}` does not exist.")
        mark = self.loras[model].mark if model in self.loras else ""
        reply = self.faults.pop(0) if self.faults else self._respond(body, mark)
        if reply.status != 200:
            return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)
        whole = asyncio.Event()

        async def left() -> None:  # also where the client went before the first event
            if not whole.is_set():
                self.given_up.set()

        stream = self._stream(reply, whole)
        return StreamingResponse(stream, media_type=reply.content_type, background=BackgroundTask(left))

    async def _stream(self, reply: Reply, whole: asyncio.Event) -> AsyncIterator[str]:
        if reply.hang_first:
            await asyncio.Event().wait()
        for event in reply.events:
            yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
            await asyncio.sleep(self.pause_s)  # others get their turn, so that answers overlap
        if reply.hang:
            await asyncio.Event().wait()
        if not reply.done:
            raise ConnectionAbortedError
        whole.set()
        yield "data: [DONE]\n\n"

    def _error(self, status: int, kind: str, message: str) -> JSONResponse:
        body: dict[str, Any] = {"message": message, "type": kind, "param": None, "code": status}
        return JSONResponse({"object": "error", **body} if self.flat_errors else {"error": body}, status)
