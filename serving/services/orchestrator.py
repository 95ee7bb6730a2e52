"""Typed calls over HTTP, health and metrics: the server that `make serve` starts.

Calls run beside each other, and every answer belongs to the adapter that its call began with. Sound over
sockets is not served here.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from pydantic import BaseModel, Field

from serving.call.faults import fault
from serving.call.runtime import Runtime
from serving.errors import Category, InvalidInputError, UnavailableError, VoicebotError
from serving.plain import plain
from serving.services.open_calls import OpenCalls
from serving.services.stopping import stopped_by_sigterm
from serving.telemetry.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from serving.settings import Settings

_MAX_TEXT = 20_000
"""Characters of a request; the call's own, lower limit answers politely."""
_HOUSEKEEPING_S = 30.0
_ROUNDS_TO_SWEEP = 120
"""Housekeeping's rounds from one search for lost calls to the next: an hour."""
_STATUS = {
    Category.INVALID_INPUT: 422,
    Category.REFUSED: 409,
    Category.MISSING: 404,
    Category.UNAVAILABLE: 503,
    Category.INTEGRITY: 500,
    Category.ENGINE: 502,
}


class Opening(BaseModel):
    """Body of a request for a call."""

    caller_id: Annotated[str, Field(max_length=64, description="Stored as a keyed hash only.")] = ""


class TypedTurn(BaseModel):
    """Body of a turn."""

    text: Annotated[str, Field(max_length=_MAX_TEXT)]


def create_app(runtime: Runtime, calls: OpenCalls) -> FastAPI:
    """The application around a runtime that somebody else opens and closes."""
    app = FastAPI(title="voicebot orchestrator", docs_url=None, redoc_url=None)

    @app.exception_handler(VoicebotError)
    async def explain(_request: Request, error: VoicebotError) -> JSONResponse:
        return _explained(error)

    @app.exception_handler(RequestValidationError)
    async def explain_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not repeated: it may be personal, and it may be what no answer can hold.
        said = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}." for item in error.errors()]
        return _explained(InvalidInputError(" ".join(said), advice="docs/operations.md shows what is sent."))

    # These two do nothing slow, and must answer while every worker thread waits for a turn.
    @app.get("/healthz")
    async def health() -> dict[str, Any]:
        served = runtime.adapter.current
        return {
            "status": "ok",
            "adapter": served.version,
            "adapter_source": served.source,
            "cache_generation": runtime.cache.generation(),
            "engines": plain(runtime.choices),
            "active_calls": len(calls),
        }

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(runtime.metrics.exposition(), media_type=CONTENT_TYPE)

    @app.post("/v1/calls", status_code=201)
    def open_call(opening: Opening) -> dict[str, Any]:
        session = runtime.open_call("http", caller_id=opening.caller_id, typed=True)
        calls.admit(session)
        call = session.call
        return {"call_id": call.call_id, "adapter": call.adapter, "say": runtime.box.greeting}

    @app.post("/v1/calls/{call_id}/turns")
    def take_turn(call_id: str, turn: TypedTurn) -> dict[str, Any]:
        record, ended = calls.turn(call_id, turn.text)
        return {"turn": plain(record), "ended": ended}

    @app.delete("/v1/calls/{call_id}")
    def hang_up(call_id: str) -> dict[str, Any]:
        return {"call": plain(calls.hang_up(call_id))}

    return app


def _explained(error: VoicebotError) -> JSONResponse:
    body = {"error": error.message, "advice": error.advice, "category": error.category.value}
    return JSONResponse(body, status_code=_STATUS[error.category])


def serve(settings: "Settings") -> None:
    """Run the server until it is stopped; calls in progress are then ended and recorded.

    Raises:
        UnavailableError: its address is in use.
    """
    import uvicorn

    with _bound(settings) as listener, Runtime(settings, voice=False) as runtime:
        calls = OpenCalls(counted=runtime.metrics.active_calls.set)
        app = create_app(runtime, calls)
        with stopped_by_sigterm(), _housekeeping(runtime, calls):
            logger.info("listens on {}:{}", *listener.getsockname()[:2])
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
                uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


@contextmanager
def _bound(settings: "Settings") -> Iterator[socket.socket]:
    """The server's socket, taken before anything is loaded; it listens when uvicorn takes it over.

    Raises:
        UnavailableError: the address is in use, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no host name"
            raise UnavailableError(
                f"The server cannot have {settings.host}:{settings.port}: {why}.",
                advice="Stop what uses that port, or set VOICEBOT_PORT to another (and VOICEBOT_HOST).",
            ) from error
        yield listener


@contextmanager
def _housekeeping(runtime: Runtime, calls: OpenCalls) -> Iterator[None]:
    """End calls that were left and save records that were set aside, now and then; end all calls at last."""
    stop = threading.Event()

    def work() -> None:
        for done in count(1):
            if stop.wait(_HOUSEKEEPING_S):
                return
            try:
                calls.end_idle()
                runtime.save_set_aside()
                if done % _ROUNDS_TO_SWEEP == 0:
                    runtime.end_lost_calls()
            except Exception as error:
                logger.error("housekeeping failed and goes on: {}", fault("housekeeping", error))

    thread = threading.Thread(target=work, name="housekeeping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        calls.close()
