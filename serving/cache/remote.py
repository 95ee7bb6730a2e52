"""A cache that another process serves over HTTP (`serving.services.cache_service`); see `protocol.Cache`.

A caller is on the line: a lookup has a quarter of a second, whatever goes wrong is a miss, and a service that
is gone costs nothing after a few failures. Nothing personal is sent: such questions are decided here.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from loguru import logger

from serving.cache.breaker import Breaker
from serving.cache.protocol import Belief, CacheStats, Feedback, Insertion, Offer, Refusal
from serving.cache.types import CacheDecision, CacheQuery, CacheScope, Outcome, Reason
from serving.cache.wire import MOST_BYTES, LookupAnswer, decode, encode
from serving.errors import IntegrityError, InvalidInputError, MissingError, UnavailableError, VoicebotError
from serving.language.knowledge import Cacheability
from serving.work_pool import WorkPool

if TYPE_CHECKING:
    import httpx

    from serving.settings import Settings

LOOKUP_S = 0.25
"""How long a caller's turn waits for the service, seconds: two fifths of it to connect."""
WRITE_S = 5.0
"""How long an insert, feedback or statistics may take, seconds."""
_TO_CONNECT = 0.4
_CONNECTIONS = 64
_THREADS = 32
T = TypeVar("T")


class RemoteCache:
    """The client of a cache service. Thread-safe; connections are kept for the next question.

    Args:
        url: of the service, such as `http://cache:8090`.
        token: what the service wants to see; empty for none.
        lookup_s: limit of a lookup, seconds.
        write_s: limit of everything else, seconds.
        now: monotonic seconds.

    Raises:
        InvalidInputError: the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        lookup_s: float = LOOKUP_S,
        write_s: float = WRITE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError("The address of the cache service must begin with http:// or https://.")
        self._url = url.rstrip("/")
        self._token = token
        self._lookup_s = lookup_s
        self._write_s = write_s
        self._now = now
        self._breaker = Breaker(now=now)
        self._generation = 0
        self._decided: Counter[str] = Counter()
        """What was decided here, without the service."""
        self._refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._opened: httpx.Client | None = None
        self._pool = WorkPool("cache service", _THREADS)

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        """See `Cache.lookup`."""
        try:
            decision = _decided_here(query)
            if decision is None:
                body = encode({"query": query, "scope": scope})
                if len(body) <= MOST_BYTES:
                    return self._looked_up(body, query, scope)
                decision = CacheDecision(Outcome.BYPASS, Reason.TOO_LONG, "more than can be sent")
        except UnavailableError as error:
            decision = CacheDecision(Outcome.MISS, Reason.ERROR, error.message)
        except Exception as error:  # whatever it is, the engine can answer
            logger.warning("the cache service was not asked: {}", type(error).__name__)
            decision = CacheDecision(Outcome.MISS, Reason.ERROR, type(error).__name__)
        self._count(self._decided, f"{decision.outcome}:{decision.reason}")
        return decision

    def insert(self, offer: Offer, scope: CacheScope, *, actor: str) -> Insertion:
        """See `Cache.insert`."""
        body = encode({"offer": offer, "scope": scope, "actor": actor})
        if len(body) > MOST_BYTES:
            self._count(self._refused, Refusal.TOO_LONG)
            return Insertion(refusal=Refusal.TOO_LONG, detail="more than can be sent")
        insertion = self._asked("POST", "/v1/insert", Insertion, self._write_s, body)
        entry = insertion.entry
        if (entry is None) is (insertion.refusal is None) or (
            entry is not None and (entry.scope, entry.intent) != (scope.key, offer.intent)
        ):
            raise _not_understood()
        return insertion

    def feedback(self, feedback: Feedback) -> Belief:
        """See `Cache.feedback`."""
        return self._asked("POST", "/v1/feedback", Belief, self._write_s, encode(feedback))

    def stats(self) -> CacheStats:
        """See `Cache.stats`; what this client decided by itself is counted with it.

        Raises:
            UnavailableError: the service does not answer.
        """
        stats = self._asked("GET", "/v1/stats", CacheStats, self._write_s)
        self._generation = stats.generation
        with self._lock:
            lookups = Counter(stats.lookups) + self._decided
            refusals = Counter(stats.refusals) + self._refused
        return replace(stats, lookups=dict(lookups), refusals=dict(refusals))

    def check(self) -> None:
        """Raise `UnavailableError` where the service does not answer, or says that it is not ready."""
        status, _ = self._sent("GET", "/readyz", self._write_s, b"")
        if status != 200:
            raise UnavailableError(f"The cache service at {self._url} is not ready ({status}).")

    def warm(self, scope: CacheScope) -> int:
        """Connect ahead of the first question; how many entries the scope has, 0 where nobody says."""
        try:
            return self.stats().scopes.get(scope.key, 0)
        except VoicebotError as error:
            logger.warning("the cache service does not say what it holds: {}", error.message)
            return 0

    def generation(self) -> int:
        """Of the service's index, as last heard of; asks nobody."""
        return self._generation

    def close(self) -> None:
        """Let the connections go; nothing can be asked any more."""
        self._pool.close()
        with self._lock:
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    def _count(self, counts: "Counter[str]", what: str) -> None:
        with self._lock:
            counts[what] += 1

    def _looked_up(self, body: bytes, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        answer = self._asked("POST", "/v1/lookup", LookupAnswer, self._lookup_s, body)
        entry, decision = answer.decision.entry, answer.decision
        if (decision.outcome is Outcome.HIT) != (entry is not None):
            raise _not_understood()
        if entry is not None and (
            entry.scope != scope.key
            or entry.intent != query.intent
            or entry.signature != query.signature
            or entry.cacheability is Cacheability.NEVER
        ):
            raise _not_understood()
        self._generation = answer.generation
        return decision

    def _asked(self, method: str, path: str, kind: type[T], limit_s: float, body: bytes = b"") -> T:
        """One request.

        Raises:
            MissingError: the service says that there is none.
            UnavailableError: no answer in time, none that can be used, or it is left alone just now.
        """
        if not self._breaker.may_ask():
            raise UnavailableError("The cache service does not answer and is left alone for a moment.")
        try:
            status, content = self._sent(method, path, limit_s, body)
            if status not in {200, 404}:
                raise UnavailableError(
                    f"The cache service at {self._url} answers {status}.",
                    advice="See its log, and whether VOICEBOT_CACHE_TOKEN is the same on both sides.",
                )
            found = decode(kind, content) if status == 200 else None
        except (UnavailableError, IntegrityError) as error:
            if self._breaker.failed():
                logger.warning("the cache service is left alone for a moment: {}", error.message)
            if isinstance(error, IntegrityError):
                raise _not_understood() from error
            raise
        if self._breaker.succeeded():
            logger.info("the cache service at {} answers again", self._url)
        if found is None:
            raise MissingError("The cache service has no such entry.")
        return found

    def _sent(self, method: str, path: str, limit_s: float, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer, within the limit whatever the service does.

        The library's own limits are for each read, and hold while a header drips; so nobody waits for the
        exchange itself.
        """
        answer: Future[tuple[int, bytes]] = Future()

        def exchange() -> None:
            try:
                answer.set_result(self._exchanged(method, path, limit_s, body))
            except Exception as error:  # it is raised where the answer is waited for
                answer.set_exception(error)

        try:
            give_up = self._pool.submit(exchange)
        except RuntimeError as error:
            raise UnavailableError("The client of the cache service is closed.") from error
        try:
            return answer.result(limit_s)
        except TimeoutError as error:
            give_up()
            raise self._endless() from error

    def _exchanged(self, method: str, path: str, limit_s: float, body: bytes) -> tuple[int, bytes]:
        """One request and its answer; a body that drips or does not end is given up."""
        import httpx

        end = self._now() + limit_s
        wait = httpx.Timeout((1 - _TO_CONNECT) * limit_s, connect=_TO_CONNECT * limit_s)
        content = bytearray()
        try:
            with self._client().stream(method, path, content=body, timeout=wait) as answer:
                for chunk in answer.iter_raw():
                    content += chunk
                    if len(content) > MOST_BYTES or self._now() > end:
                        raise self._endless()
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise UnavailableError(
                f"The cache service at {self._url} does not answer ({type(error).__name__}).",
                advice="Check that it is running and that VOICEBOT_CACHE_URL is right.",
            ) from error
        return answer.status_code, bytes(content)

    def _endless(self) -> UnavailableError:
        return UnavailableError(f"The cache service at {self._url} does not come to an end.")

    def _client(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._opened is None:
                headers = {"content-type": "application/json", "accept-encoding": "identity"}
                if self._token:
                    headers["authorization"] = f"Bearer {self._token}"
                limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
                self._opened = httpx.Client(
                    base_url=self._url, headers=headers, limits=limits, trust_env=False, verify=self._trust()
                )
            return self._opened

    def _trust(self) -> Any:
        """Whose certificates count: those that this machine trusts."""
        import ssl

        return ssl.create_default_context() if self._url.startswith("https") else False


def remote_cache(settings: "Settings") -> RemoteCache | None:
    """The service that `cache_url` names; None where there is none. Nothing is asked of it yet."""
    if not settings.cache_url:
        return None
    token = settings.cache_token.get_secret_value() if settings.cache_token else ""
    return RemoteCache(settings.cache_url, token=token)


def _decided_here(query: CacheQuery) -> CacheDecision | None:
    """Questions that no cache may answer do not leave this process."""
    if query.cacheability is Cacheability.NEVER:
        return CacheDecision(Outcome.BYPASS, Reason.NOT_CACHEABLE, f"intent {query.intent} is never cached")
    if query.personal:
        return CacheDecision(Outcome.BYPASS, Reason.PERSONAL, "the question holds personal data")
    return None


def _not_understood() -> UnavailableError:
    return UnavailableError(
        "The cache service answers what was not asked.", advice="Run the same version on both sides."
    )
