"""The semantic cache as a service of its own: lookup, insert, feedback, statistics over HTTP.

Every answer is what the cache in this process decides (`serving.cache.protocol.Cache`); the service adds a
token, limits, health and counts. Whoever asks brings the signature and the scope; embedding and SQLite are
worked on in threads, so that health checks answer meanwhile. `serving.cache.remote` is the client.
"""

import contextlib
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio.to_thread
import uvicorn
from anyio import CapacityLimiter
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from loguru import logger

from serving.cache.protocol import Cache
from serving.cache.wire import MOST_BYTES, LookupAnswer, encode
from serving.errors import InvalidInputError, UnavailableError, VoicebotError
from serving.services.cache_bodies import Insert, Lookup, Observation
from serving.services.cache_metrics import CacheMetrics
from serving.services.draining import uvicorn_config
from serving.services.explained import add_error_answers
from serving.services.guards import BearerGuard, BodyLimit
from serving.services.headers import SecurityHeaders
from serving.services.known_hosts import KnownHosts
from serving.services.listening import bound, place_of, written
from serving.services.live_options import LiveOptions, is_loopback, options_of
from serving.services.reachability import Reachability
from serving.services.stopping import stopped_by_sigterm
from serving.telemetry.cache_metrics import CacheCounts
from serving.telemetry.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from serving.settings import Settings

THREADS = 8
"""Requests that are worked on at a time."""
MOST_WAITING = 64
"""Requests that wait for a thread; whoever comes then would have given up before its turn."""
T = TypeVar("T")


class ServedCache(Cache, Protocol):
    """A cache that also says which generation it answers from, at once."""

    def generation(self) -> int:
        """Number of the live generation; 0 before the first."""
        ...


def create_cache_app(
    cache: ServedCache,
    options: LiveOptions,
    *,
    token: str = "",
    reachable: Callable[[], Mapping[str, bool]] = dict,
    closing: Callable[[], bool] = lambda: False,
    counts: Callable[[], CacheCounts | None] = lambda: None,
) -> FastAPI:
    """The application around a cache that somebody else opens and closes.

    Args:
        cache: answers.
        options: address of the server, and the names that it is known by.
        token: what requests under /v1 must carry; empty for none.
        reachable: whether what the cache depends on answers, by its name.
        closing: whether the server stops.
        counts: what the cache holds, for metrics; raises nothing.
    """
    app = FastAPI(title="voicebot cache", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit, most=MOST_BYTES)
    app.add_middleware(BearerGuard, token=token, under="/v1/")
    app.add_middleware(KnownHosts, options=options)
    app.add_middleware(SecurityHeaders)
    add_error_answers(app)
    metrics = CacheMetrics(counts)
    _add_cache_routes(app, cache, metrics)

    def refusal() -> str:
        if closing():
            return "The server stops."
        return "" if reachable().get("store", True) else "The cache's store does not answer."

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        answers, why = reachable(), refusal()
        status = "draining" if closing() else "ok" if all(answers.values()) else "degraded"
        known = {"status": status, "ready": not why, "not_ready_because": why}
        return {**known, "cache_generation": cache.generation(), **answers}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        why = refusal()
        return JSONResponse({"ready": not why, "not_ready_because": why}, status_code=503 if why else 200)

    @app.get("/metrics")
    def exposition() -> Response:  # in a thread: the store is read
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return app


def _add_cache_routes(app: FastAPI, cache: ServedCache, metrics: CacheMetrics) -> None:
    work = _Work(metrics)

    @app.post("/v1/lookup")
    async def lookup(body: Lookup) -> Response:
        def decide() -> LookupAnswer:
            return LookupAnswer(cache.lookup(body.query.made(), body.scope.made()), cache.generation())

        answer = await work.run("lookup", decide)
        metrics.looked_up(answer.decision)
        return _json(answer)

    @app.post("/v1/insert")
    async def insert(body: Insert) -> Response:
        offered = partial(cache.insert, body.offer.made(), body.scope.made(), actor=body.actor)
        insertion = await work.run("insert", offered)
        metrics.inserted(insertion)
        return _json(insertion)

    @app.post("/v1/feedback")
    async def feedback(body: Observation) -> Response:
        belief = await work.run("feedback", partial(cache.feedback, body.made()))
        metrics.told(body.signal.value, belief)
        return _json(belief)

    @app.get("/v1/stats")
    async def stats() -> Response:
        return _json(await work.run("stats", cache.stats))


class _Work:
    """Threads for what blocks, and a queue that does not grow beyond what its end still helps."""

    def __init__(self, metrics: CacheMetrics) -> None:
        self._metrics = metrics
        self._waiting = 0
        self._threads: CapacityLimiter | None = None

    async def run(self, route: str, job: Callable[[], T]) -> T:
        """What a job returns.

        Raises:
            UnavailableError: too many wait already.
        """
        self._threads = self._threads or CapacityLimiter(THREADS)  # needs a running loop
        try:
            if self._waiting >= MOST_WAITING + THREADS:
                raise UnavailableError("The cache service is busy.", advice="Start another one beside it.")
            self._waiting += 1
            try:
                return await anyio.to_thread.run_sync(self._timed, route, job, limiter=self._threads)
            finally:
                self._waiting -= 1
        except VoicebotError as error:
            self._metrics.failed(route, error.category.value)
            raise

    def _timed(self, route: str, job: Callable[[], T]) -> T:
        with self._metrics.seconds.labels(route).time():
            return job()


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")


def token_of(settings: "Settings") -> str:
    """What requests must carry; empty where only this machine can ask.

    Raises:
        InvalidInputError: others than this machine could ask, and no token would stop them.
    """
    token = settings.cache_token.get_secret_value() if settings.cache_token else ""
    if not token and not is_loopback(settings.host):
        raise InvalidInputError(
            f"A cache that listens on {settings.host} is open to others than this machine.",
            advice="Set VOICEBOT_CACHE_TOKEN here and where it is asked from, or listen on 127.0.0.1.",
        )
    return token


def serve_cache(
    settings: "Settings",
    cache: ServedCache,
    *,
    checks: Mapping[str, Callable[[], None]],
    counts: Callable[[], CacheCounts | None] = lambda: None,
    listening: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve a cache until the process is told to stop; requests in progress are answered first.

    Args:
        settings: where to listen, and the token that requests must carry.
        cache: answers.
        checks: by name, what the cache depends on and how it is asked whether it answers; `store` is needed.
        counts: what the cache holds, for metrics; raises nothing.
        listening: told the address, as this machine reaches it, when requests are taken.

    Raises:
        InvalidInputError: others than this machine could ask, and no token would stop them.
        UnavailableError: the address is in use, or none of this machine's.
    """
    token = token_of(settings)
    with bound(settings.host, settings.port) as listener, Reachability(checks) as reach:

        def started() -> None:
            logger.info("the cache listens on {}", written(*listener.getsockname()[:2]))
            listening(f"http://{place_of(listener)}")

        app = create_cache_app(
            cache,
            options_of(settings),
            token=token,
            reachable=reach.now,
            closing=lambda: server.should_exit,
            counts=counts,
        )
        server = _Announced(uvicorn_config(app), started)
        # uvicorn raises KeyboardInterrupt again when it has stopped
        with stopped_by_sigterm(), contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


class _Announced(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._when_started()
