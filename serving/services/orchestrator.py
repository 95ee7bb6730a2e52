"""The server that `make serve` starts: typed calls over HTTP, live calls over sockets, health and metrics.

Calls run beside each other, and every answer belongs to the adapter that its call began with. What live
calls need is in `serving.services.live_server`.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, Response
from loguru import logger
from pydantic import BaseModel, Field

from serving.adapters.live_arms import Standing
from serving.cache.remote import RemoteCache
from serving.call.faults import fault
from serving.call.line import MOST_TYPED, Line
from serving.call.live_background import BackgroundState
from serving.call.live_state import LiveSnapshot
from serving.call.pools import WorkPools
from serving.call.retention import try_to_expire
from serving.call.runtime import Runtime
from serving.call.scheduler import AsyncScheduler, favour_the_loop, freeze_what_is_loaded
from serving.call.warming import warm_voice
from serving.language.vllm_llm import VllmLlm
from serving.plain import plain
from serving.services.draining import DrainingServer, uvicorn_config
from serving.services.explained import add_error_answers
from serving.services.headers import SecurityHeaders
from serving.services.health import Health, Threads, add_health_routes
from serving.services.known_hosts import KnownHosts
from serving.services.listening import bound, place_of, written
from serving.services.live_calls import LiveCaller, LiveCalls, OpenLive
from serving.services.live_options import LiveOptions, options_of
from serving.services.live_server import add_live_routes
from serving.services.monitoring import monitoring
from serving.services.open_calls import OpenCalls
from serving.services.reachability import Reachability
from serving.services.sharing import open_idempotency_store, open_live_state, redis_url, sharing_its_cache
from serving.services.stopping import stopped_by_sigterm
from serving.telemetry.loop_lag import watch_loop
from serving.telemetry.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from serving.settings import Settings

_HOUSEKEEPING_S = 30.0
_LAST_ROUND_S = 5.0
"""For housekeeping that is at work when the server stops, seconds."""
_ROUNDS_TO_SWEEP = 120
"""Housekeeping's rounds from one search for lost calls to the next: an hour."""


class Opening(BaseModel):
    """Body of a request for a call."""

    caller_id: Annotated[str, Field(max_length=64, description="Stored as a keyed hash only.")] = ""


class TypedTurn(BaseModel):
    """Body of a turn."""

    text: Annotated[str, Field(max_length=MOST_TYPED)]


def create_app(
    runtime: Runtime,
    calls: OpenCalls,
    live: LiveCalls | None = None,
    options: LiveOptions | None = None,
    *,
    routers: Sequence[APIRouter] = (),
    reachable: Callable[[], Mapping[str, bool]] = dict,
    threads: Threads | None = None,
    standing: Callable[[], Standing] = Standing,
) -> FastAPI:
    """The application around a runtime that somebody else opens and closes.

    Args:
        runtime: what all calls share.
        calls: typed calls in progress.
        live: live calls in progress; without it no sockets and no page are served.
        options: what is set about live calls; default: what the runtime's settings say.
        routers: further routes, whose errors are explained as all others.
        reachable: whether what the server depends on answers, by its name; asked at each health check.
        threads: those that live calls work on.
        standing: how the server takes part in a split of callers.
    """

    @asynccontextmanager
    async def watched(_app: FastAPI) -> AsyncIterator[None]:
        lag = asyncio.create_task(watch_loop(runtime.metrics))
        yield
        lag.cancel()

    app = FastAPI(title="voicebot orchestrator", docs_url=None, redoc_url=None, lifespan=watched)
    options = options or options_of(runtime.settings)
    app.add_middleware(KnownHosts, options=options)
    app.add_middleware(SecurityHeaders)

    add_error_answers(app)

    health = Health(runtime, calls, live, reachable, threads, standing)
    runtime.metrics.hung_work.set_function(lambda: health.hung)
    add_health_routes(app, health)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(runtime.metrics.exposition(), media_type=CONTENT_TYPE)

    _add_typed_calls(app, runtime, calls)
    for router in routers:
        app.include_router(router)
    if live is not None:
        add_live_routes(app, live, options)
    return app


def _add_typed_calls(app: FastAPI, runtime: Runtime, calls: OpenCalls) -> None:
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


def serve(settings: "Settings", listening: Callable[[str], None] = lambda _url: None) -> None:
    """Run the server until it is stopped: live calls may come to their end, typed ones are ended.

    Args:
        settings: of this installation.
        listening: told the address of the page, as this machine reaches it, when calls are taken.

    Raises:
        UnavailableError: its address is in use, or none of this machine's.
    """
    favour_the_loop()
    options = options_of(settings)
    with (
        bound(settings.host, settings.port) as listener,
        contextlib.closing(BackgroundState(open_live_state(settings))) as state,
        Runtime(settings, voice=True, writes=open_idempotency_store(settings)) as runtime,
        sharing_its_cache(settings, runtime.encoder),
        Reachability(_dependencies(settings, runtime, state)) as reach,
        contextlib.closing(WorkPools(options.max_calls)) as pools,
    ):
        gauge = runtime.metrics.active_calls
        runtime.expect(options.max_calls)

        def count(_number: int) -> None:
            gauge.set(len(calls) + len(live))

        calls = OpenCalls(counted=count)
        live = LiveCalls(
            _opener(runtime, state, pools),
            state,
            most=options.max_calls,
            counted=count,
            refused=runtime.metrics.call_refused,
        )
        watching = monitoring(
            state, runtime.records, timezone=settings.timezone, closing=lambda: server.should_exit
        )
        app = create_app(
            runtime,
            calls,
            live,
            options,
            routers=[watching],
            reachable=reach.now,
            threads=pools,
            standing=lambda: runtime.arms.standing,
        )

        def started() -> None:
            freeze_what_is_loaded()
            logger.info("listens on {}", written(*listener.getsockname()[:2]))
            listening(f"http://{place_of(listener)}/")

        server = DrainingServer(
            uvicorn_config(app), live, options.drain_s, on_drain=calls.refuse_more, on_start=started
        )
        threading.Thread(target=warm_voice, args=(runtime,), name="warm voice", daemon=True).start()
        # uvicorn raises KeyboardInterrupt again when it has stopped
        with stopped_by_sigterm(), _housekeeping(runtime, calls), contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _dependencies(
    settings: "Settings", runtime: Runtime, state: BackgroundState
) -> dict[str, Callable[[], None]]:
    """What the server does not work without, and how it is asked whether it answers."""
    checks = {"database": runtime.records.check}
    if redis_url(settings):
        checks["redis"] = state.check
    if isinstance(runtime.cache, RemoteCache):
        checks["cache_service"] = runtime.cache.check
    if isinstance(runtime.box.llm, VllmLlm):
        checks["vllm"] = runtime.box.llm.server.check
    return checks


def _opener(runtime: Runtime, state: BackgroundState, pools: WorkPools) -> OpenLive:
    """Live calls of a runtime, each with a clock of its own on the event loop that carries it."""
    here = runtime.settings.server_name or socket.gethostname()

    def publish(snapshot: LiveSnapshot) -> None:
        state.publish(replace(snapshot, server=here))

    def open_call(line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> LiveCaller:
        return runtime.open_live(
            line,
            AsyncScheduler(pools),
            call_id=call_id,
            caller_id=caller_id,
            changed=publish,
            closed=lambda _call: closed(),
        )

    return open_call


@contextmanager
def _housekeeping(runtime: Runtime, calls: OpenCalls) -> Iterator[None]:
    """End calls that were left and save records that were set aside, now and then; end all calls at last."""
    stop = threading.Event()
    settings = runtime.settings
    kept = timedelta(days=settings.recording_retention_days)

    def work() -> None:
        for done in count(1):
            if stop.wait(_HOUSEKEEPING_S):
                return
            try:
                calls.end_idle()
                runtime.save_set_aside()
                if done % _ROUNDS_TO_SWEEP == 0:
                    runtime.end_lost_calls()
                    try_to_expire(settings.home, runtime.records, older_than=kept, now=datetime.now(UTC))
            except Exception as error:
                logger.error("housekeeping failed and goes on: {}", fault("housekeeping", error))

    thread = threading.Thread(target=work, name="housekeeping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_LAST_ROUND_S)  # a database that hangs does not hold up the end
        calls.close()
