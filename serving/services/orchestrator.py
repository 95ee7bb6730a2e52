"""Typed calls over HTTP, health and metrics: the server that `make serve` starts.

Calls run beside each other, and every answer belongs to the adapter that its call began with. Sound over
sockets is not served here.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from loguru import logger
from pydantic import BaseModel, Field

from serving.call.faults import fault
from serving.call.runtime import Runtime
from serving.errors import Category, VoicebotError
from serving.plain import plain
from serving.services.open_calls import OpenCalls
from serving.telemetry.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from serving.settings import Settings

_MAX_TEXT = 20_000
"""Characters of a request; the call's own, lower limit answers politely."""
_HOUSEKEEPING_S = 30.0
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
        body = {"error": error.message, "advice": error.advice, "category": error.category.value}
        return JSONResponse(body, status_code=_STATUS[error.category])

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


def serve(settings: "Settings") -> None:
    """Run the server until it is stopped; calls in progress are then ended and recorded."""
    import uvicorn

    with Runtime(settings, voice=False) as runtime:
        calls = OpenCalls(counted=runtime.metrics.active_calls.set)
        app = create_app(runtime, calls)
        with stopped_by_sigterm(), _housekeeping(runtime, calls):
            uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit`, so that everything that is open is closed.

    After its own shutdown uvicorn raises the signal again; by default that ends the process on the spot.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _housekeeping(runtime: Runtime, calls: OpenCalls) -> Iterator[None]:
    """End calls that were left and save records that were set aside, now and then; end all calls at last."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(_HOUSEKEEPING_S):
            try:
                calls.end_idle()
                runtime.save_set_aside()
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
