"""A real HTTP server around the monitoring routes, on a free port of this machine."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serving.errors import Category, VoicebotError

_STATUS = {Category.MISSING: 404, Category.UNAVAILABLE: 503, Category.INVALID_INPUT: 422}


def with_errors(app: FastAPI) -> FastAPI:
    """Errors as the orchestrator answers them."""

    @app.exception_handler(VoicebotError)
    async def explain(_request: Request, error: VoicebotError) -> JSONResponse:
        body = {"error": error.message, "advice": error.advice, "category": error.category.value}
        return JSONResponse(body, status_code=_STATUS.get(error.category, 500))

    return app


@contextmanager
def serving_app(app: FastAPI, *, before_stop: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serve an application; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=3)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            # The kernel takes connections from here on, and uvicorn answers them when it is up.
            listener.listen()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            before_stop()
            server.should_exit = True
            thread.join(10)
