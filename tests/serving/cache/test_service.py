"""The cache service at its edges: who may ask, how much may be sent, and what an answer tells."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.cache.belief import ShadowTally
from serving.cache.counting import read_counts
from serving.cache.protocol import Belief, CacheStats, Feedback, Insertion, Offer, Signal
from serving.cache.store import FILE
from serving.cache.types import CacheDecision, CacheQuery, CacheScope, Outcome, Reason
from serving.cache.wire import MOST_BYTES, encode
from serving.errors import EngineError, UnavailableError
from serving.services.cache_service import MOST_WAITING, THREADS, ServedCache, create_cache_app, serve_cache
from serving.services.live_options import options_of
from serving.settings import Settings
from tests.serving.cache.conformance import SetClock
from tests.serving.cache.replicas import OFFER
from tests.serving.cache.worlds import TOKEN, local, served
from tests.serving.cache_world import NOON, SCOPE, ask
from tests.serving.sessions.states import eventually

AUTHORISED = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
LOOKUP = encode({"query": ask("How much is a wire transfer?"), "scope": SCOPE})
INSERT = encode({"offer": OFFER, "scope": SCOPE, "actor": "test"})


class StandIn:
    """A cache that does what a test wants; by default nothing is found."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self.error: Exception | None = None

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        self.asked += 1
        assert self.gate.wait(20)
        return CacheDecision(Outcome.MISS, Reason.NO_ENTRY)

    def insert(self, offer: Offer, scope: CacheScope, *, actor: str) -> Insertion:
        if self.error:
            raise self.error
        return Insertion()

    def feedback(self, feedback: Feedback) -> Belief:
        return Belief(feedback.entry_id, 1.0, quarantined=False)

    def stats(self) -> CacheStats:
        return CacheStats(3, 0, 0)

    def generation(self) -> int:
        return 3


@pytest.fixture
def cache() -> StandIn:
    return StandIn()


@pytest.fixture
def client(cache: StandIn) -> Iterator[httpx.Client]:
    with served(cache) as url, httpx.Client(base_url=url, timeout=20, headers=AUTHORISED) as client:
        yield client


def changed(body: bytes, **changes: object) -> bytes:
    """A lookup with other fields in its query."""
    sent = json.loads(body)
    sent["query"] |= changes
    return json.dumps(sent).encode()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer no"}, {"authorization": TOKEN}])
@pytest.mark.parametrize("path", ["/v1/lookup", "/v1/insert", "/v1/feedback", "/v1/stats", "/v1/nothing"])
def test_without_the_token_nothing_is_answered(cache: StandIn, path: str, headers: dict[str, str]) -> None:
    with served(cache) as url:
        answer = httpx.request(
            "GET" if path == "/v1/stats" else "POST", url + path, headers=headers, content=LOOKUP
        )
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["category"] == "refused"
    assert cache.asked == 0


def test_health_and_metrics_need_no_token_and_tell_nothing_of_any_question(
    tmp_path: Path,
) -> None:
    with local(tmp_path, SetClock()) as real, served(real) as url:
        real.create_scope(SCOPE, actor="test")
        httpx.post(f"{url}/v1/insert", content=INSERT, headers=AUTHORISED).raise_for_status()
        httpx.post(f"{url}/v1/lookup", content=LOOKUP, headers=AUTHORISED).raise_for_status()
        health = httpx.get(f"{url}/healthz").json()
        assert (health["status"], health["ready"]) == ("ok", True)
        assert httpx.get(f"{url}/readyz").status_code == 200
        told = httpx.get(f"{url}/metrics").text
    assert 'voicebot_cache_service_lookups_total{outcome="hit",reason="exact"} 1.0' in told
    assert 'voicebot_cache_service_inserts_total{became="entry"} 1.0' in told
    assert "wire" not in told
    assert SCOPE.tenant not in told


def test_a_service_tells_what_alerts_ask_of_the_cache_that_it_owns(tmp_path: Path) -> None:
    """Servers that ask a service have no store to count, so the alerts would hear of nothing."""
    with local(tmp_path, SetClock()) as real:
        real.create_scope(SCOPE, actor="test")
        entry = real.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        real.insert(replace(OFFER, tools=("get_rate",)), SCOPE, actor="test")
        for call, signal in enumerate([Signal.SHADOW_AGREES, Signal.SHADOW_DISAGREES]):
            real.feedback(Feedback(entry.id, signal, datetime.now(UTC), f"call:{call}:1", "shadow"))
        real.writer.store.quarantine(entry.id, actor="kim", why="test")

        def told() -> str:
            return httpx.get(f"{url}/metrics").text

        with served(real, counts=lambda: read_counts(real.folder, real.refusals())) as url:
            before = told()
            real.writer.store.remove([entry.id], actor="kim", why="evicted: accuracy")
            after = told()
            (tmp_path / FILE).write_bytes(b"no database")
            assert "voicebot_cache_entries" not in told()
    for line in ("entries 1.0", "quarantined 1.0", 'refusals_total{refusal="tool_result"} 1.0'):
        assert f"\nvoicebot_cache_{line}\n" in before
    assert "\nvoicebot_cache_shadow_checks 2.0\n" in before
    assert f"\nvoicebot_cache_false_hits_upper_bound {ShadowTally(2, 1).upper_bound()!r}\n" in before
    assert "\nvoicebot_cache_entries 0.0\n" in after
    assert '\nvoicebot_cache_evictions_total{cause="accuracy"} 1.0\n' in after


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"query": {}, "scope": {}}',
        b"\xff\xfe",
        b"[" * 50_000,
        changed(LOOKUP, cacheability="sometimes"),
        changed(LOOKUP, text=5),
        changed(LOOKUP, text="x" * 60_000),
        changed(LOOKUP, intent="x" * 300),
        changed(LOOKUP, more="x"),
        changed(LOOKUP, signature={"facets": [["only one"]]}),
        changed(LOOKUP, signature={"facets": [["a", "b"]] * 6_000}),
    ],
    ids=range(14),
)
def test_a_body_that_is_no_lookup_is_refused_with_a_reason_and_is_not_repeated(
    client: httpx.Client, cache: StandIn, body: bytes
) -> None:
    answer = client.post("/v1/lookup", content=body)
    assert answer.status_code in {400, 422}
    assert set(answer.json()) == {"error", "advice", "category"}
    assert "xxx" not in answer.text
    assert cache.asked == 0


def test_a_body_over_the_limit_is_refused_by_its_header_before_it_is_sent(client: httpx.Client) -> None:
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port or 0), timeout=10) as line:
        head = f"POST /v1/lookup HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\n"
        line.sendall(f"{head}content-length: {MOST_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in line.recv(4096)


def test_a_body_that_grows_over_the_limit_is_cut_off(client: httpx.Client, cache: StandIn) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4_000):  # 256 MB
            sent += 65_536
            yield b" " * 65_536

    try:
        status = client.post("/v1/lookup", content=endless()).status_code
    except httpx.TransportError:  # the connection was closed under our hands
        status = 413
    assert status == 413
    assert sent < 64 * MOST_BYTES
    assert cache.asked == 0
    assert client.get("/v1/stats").status_code == 200


@pytest.mark.parametrize("length", ["-1", "many", "9" * 30, "1e3", "²"])
def test_a_length_that_is_none_is_refused(client: httpx.Client, length: str) -> None:
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port or 0), timeout=10) as line:
        head = f"POST /v1/lookup HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\n"
        line.sendall(f"{head}content-length: {length}\r\n\r\n".encode())
        assert line.recv(4096).split(b" ")[1] in {b"400", b"413"}


def test_health_answers_while_every_thread_is_busy_and_who_comes_too_late_is_told(
    client: httpx.Client, cache: StandIn
) -> None:
    cache.gate.clear()
    with ThreadPoolExecutor(THREADS + MOST_WAITING + 20) as pool:
        asked = [
            pool.submit(client.post, "/v1/lookup", content=LOOKUP) for _ in range(THREADS + MOST_WAITING + 20)
        ]
        first = next(
            future for future in iter(lambda: next((f for f in asked if f.done()), None), 0) if future
        )
        assert first.result().status_code == 503
        assert "busy" in first.result().json()["error"]
        with httpx.Client(base_url=client.base_url) as other:
            assert other.get("/healthz").json()["status"] == "ok"
        cache.gate.set()
        statuses = [future.result().status_code for future in asked]
    assert statuses.count(200) == THREADS + MOST_WAITING


@pytest.mark.parametrize(
    ("error", "status"),
    [(UnavailableError("The disk is full."), 503), (EngineError("The encoder broke."), 502)],
)
def test_errors_are_json_with_their_reason(
    client: httpx.Client, cache: StandIn, error: Exception, status: int
) -> None:
    cache.error = error
    answer = client.post("/v1/insert", content=INSERT)
    assert answer.status_code == status
    assert answer.json()["error"] == str(error)
    assert 'failures_total{category="' in client.get("/metrics").text


def test_a_service_that_stops_is_not_ready_and_one_whose_store_is_gone_neither() -> None:
    stopping = served(StandIn(), closing=lambda: True)
    without = served(StandIn(), reachable=lambda: {"store": False})
    alone = served(StandIn(), reachable=lambda: {"store": True, "redis": False})
    for world, status, ready in (
        (stopping, "draining", 503),
        (without, "degraded", 503),
        (alone, "degraded", 200),
    ):
        with world as url:
            assert httpx.get(f"{url}/healthz").json()["status"] == status
            assert httpx.get(f"{url}/readyz").status_code == ready


def test_a_page_of_a_stranger_reads_nothing(client: httpx.Client) -> None:
    answer = client.get("/v1/stats", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert client.get("/v1/stats").headers["x-content-type-options"] == "nosniff"


def test_who_listens_for_others_needs_a_token(cache: ServedCache) -> None:
    from serving.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match="VOICEBOT_CACHE_TOKEN"):
        serve_cache(Settings(host="0.0.0.0", port=0), cache, checks={})


def test_the_application_shows_no_page_of_documentation(cache: ServedCache) -> None:
    app = create_cache_app(cache, options_of(Settings()))
    paths = {getattr(route, "path", "") for route in app.routes}
    assert paths == {
        "/v1/lookup",
        "/v1/insert",
        "/v1/feedback",
        "/v1/stats",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_feedback_without_a_time_zone_is_refused(client: httpx.Client) -> None:
    told: dict[str, Any] = {
        "entry_id": "e",
        "signal": "wrong",
        "at": NOON.isoformat(),
        "origin": "o",
        "actor": "a",
    }
    assert client.post("/v1/feedback", json=told).status_code == 200
    assert client.post("/v1/feedback", json=told | {"at": "2026-11-20T12:00:00"}).status_code == 422
    assert client.post("/v1/feedback", json=told | {"signal": "maybe"}).status_code == 422
    assert client.post("/v1/feedback", json=told | {"origin": ""}).status_code == 422


def test_a_request_in_progress_is_answered_before_the_service_stops(cache: StandIn) -> None:
    cache.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        with served(cache) as url:
            asked = pool.submit(
                httpx.post, f"{url}/v1/lookup", content=LOOKUP, headers=AUTHORISED, timeout=20
            )
            eventually(lambda: cache.asked == 1)
            threading.Timer(0.3, cache.gate.set).start()
        assert asked.result().status_code == 200  # the service had stopped by then
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")
