"""Calls in progress over HTTP, for people who watch: list, newest state, a stream of changes, figures.

Everything here is redacted and nothing here changes a call. It is meant for operators: a server that is
reached from outside gives it a guard (`dependencies`).
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from json import dumps
from typing import Annotated, Any

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Header, Path
from fastapi.params import Depends
from fastapi.responses import StreamingResponse
from loguru import logger

from serving.call.live_state import CALL_ID, LiveState, Sighting
from serving.call.store import CallStore
from serving.errors import MissingError, UnavailableError
from serving.plain import plain
from serving.services.call_stats import stats_now

MAX_WATCHERS = 32
"""Streams of changes at a time; each keeps a thread."""
PULSE_S = 1.0
"""A stream says at least this often that it lives, seconds."""
_RETRY_MS = 1_000
"""How soon a browser that lost its stream comes back."""
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

CallId = Annotated[str, Path(pattern=CALL_ID)]


def monitoring(
    state: LiveState,
    records: CallStore,
    *,
    timezone: str = "UTC",
    closing: Callable[[], bool] = lambda: False,
    dependencies: Sequence[Depends] = (),
    now: Callable[[], datetime] | None = None,
) -> APIRouter:
    """Routes to look at calls; errors are left to the application.

    Args:
        state: the calls in progress, of all servers that share it.
        records: calls that began, and those that ended.
        timezone: where the bank's day begins (IANA name).
        closing: whether the server stops; streams then end, so that it can.
        dependencies: who may look, as FastAPI has it.
        now: the moment of the figures, with a zone; default: the real one.
    """
    router = APIRouter(prefix="/v1", dependencies=list(dependencies), tags=["monitoring"])
    watchers = _Watchers()

    @router.get("/calls")
    def calls() -> dict[str, Any]:
        return {"calls": plain(state.calls())}

    @router.get("/calls/{call_id}/live")
    def live(call_id: CallId) -> dict[str, Any]:
        newest = state.get(call_id)
        if newest is None:
            raise _not_in_progress(call_id)
        return {"state": plain(newest)}

    @router.get("/calls/{call_id}/record")
    def record(call_id: CallId) -> dict[str, Any]:
        return {"call": plain(records.call(call_id))}

    @router.get("/calls/{call_id}/events")
    async def events(call_id: CallId, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
        if watchers.number >= MAX_WATCHERS:
            raise UnavailableError("Too many monitors watch calls.", advice="Close one, then try again.")
        if not last_event_id and await anyio.to_thread.run_sync(state.get, call_id) is None:
            raise _not_in_progress(call_id)
        sightings = state.watch(call_id, after=last_event_id, pulse_s=PULSE_S)
        stream = watchers.stream(sightings, closing)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)

    @router.get("/stats")
    def stats() -> dict[str, Any]:
        figures = stats_now(state, records, timezone=timezone, now=now() if now else None)
        return {"draining": state.draining, **plain(figures)}

    return router


class _Watchers:
    """Streams in progress, each waiting in a thread that no other request needs."""

    def __init__(self) -> None:
        self.number = 0
        self._threads = CapacityLimiter(MAX_WATCHERS)

    async def stream(
        self, sightings: Iterator[Sighting | None], closing: Callable[[], bool]
    ) -> AsyncIterator[str]:
        """Server-Sent Events of a call; the last one is `ended`, unless the server stops before."""
        self.number += 1
        try:
            yield f"retry: {_RETRY_MS}\n\n"
            while not closing():
                # A watcher that left costs its thread until the next pulse, and nobody waits for that.
                found = await anyio.to_thread.run_sync(
                    _next, sightings, limiter=self._threads, abandon_on_cancel=True
                )
                if isinstance(found, str):
                    yield found
                    return
                yield ": \n\n" if found is None else _event("state", plain(found.state), found.position)
        finally:
            self.number -= 1


def _next(sightings: Iterator[Sighting | None]) -> Sighting | str | None:
    """The next sighting, or the last event."""
    try:
        return next(sightings)
    except StopIteration:
        return _event("ended", {})
    except UnavailableError as error:
        logger.warning("a monitor's stream is broken off: {}", error.message)
        return _event("broken", {"error": error.message, "advice": error.advice})


def _event(name: str, data: Any, position: str = "") -> str:
    place = f"id: {position}\n" if position else ""
    return f"{place}event: {name}\ndata: {dumps(data)}\n\n"


def _not_in_progress(call_id: str) -> MissingError:
    return MissingError(f"There is no call {call_id} in progress.", advice="Its record may tell of it.")
