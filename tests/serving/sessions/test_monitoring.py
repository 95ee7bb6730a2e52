"""Calls over HTTP for people who watch, on a real server: lists, streams of changes, figures, health."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st

from serving.call.live_memory import MemoryLiveState
from serving.call.live_state import LiveState
from serving.call.machine import Ending
from serving.call.store import CallStore
from serving.errors import UnavailableError
from serving.plain import plain
from serving.services import monitoring as monitoring_module
from serving.services.call_stats import day_began, quantile, stats_of
from serving.services.monitoring import monitoring
from serving.services.reachability import Reachability
from serving.services.redis_state import RedisLiveState
from tests.serving.sessions.records import BEGAN, begun, call, turn
from tests.serving.sessions.served import serving_app, with_errors
from tests.serving.sessions.states import eventually, state

MANY = 100
NOW = BEGAN + timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CallStore]:
    """Empty records."""
    made = CallStore(f"sqlite:///{tmp_path / 'calls.db'}")
    yield made
    made.close()


@pytest.fixture
def live() -> Iterator[MemoryLiveState]:
    """No call in progress."""
    made = MemoryLiveState()
    yield made
    made.close()


@pytest.fixture
def browser(live: LiveState, store: CallStore) -> Iterator[httpx.Client]:
    """A client of a running server."""
    app = with_errors(FastAPI())
    app.include_router(monitoring(live, store, now=lambda: NOW))
    with serving_app(app, before_stop=live.close) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield client


def events(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Events of a stream, as a browser reads them: fields by name, an empty line between."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(":")
        if name:
            event[name] = value.strip()
        elif not line and "event" in event:
            yield event
            event = {}


def test_calls_in_progress_are_listed(browser: httpx.Client, live: LiveState) -> None:
    assert browser.get("/v1/calls").json() == {"calls": []}
    live.admit("a", MANY)
    live.publish(state("a"))
    assert browser.get("/v1/calls").json() == {"calls": [plain(state("a"))]}
    assert browser.get("/v1/calls/a/live").json() == {"state": plain(state("a"))}


def test_a_call_that_is_over_is_on_record_and_not_in_progress(
    browser: httpx.Client, store: CallStore
) -> None:
    store.save(call("a"))
    for path in ("live", "events"):
        answer = browser.get(f"/v1/calls/a/{path}")
        assert (answer.status_code, answer.json()["category"]) == (404, "missing")
    assert browser.get("/v1/calls/a/record").json() == {"call": plain(call("a"))}
    assert browser.get("/v1/calls/b/record").status_code == 404


@pytest.mark.parametrize("path", ["live", "record", "events"])
def test_what_is_no_id_is_refused(browser: httpx.Client, path: str) -> None:
    for call_id in ("a" * 65, "a%0A", "a%00", "%7Ba%7D", "a%20b", "%F0%9F%8F%A6", "*", "a:b"):
        assert browser.get(f"/v1/calls/{call_id}/{path}").status_code == 422, call_id


def test_a_stream_brings_each_state_and_the_end(browser: httpx.Client, live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "greeting"))
    with browser.stream("GET", "/v1/calls/a/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        stream = events(response)
        assert json.loads(next(stream)["data"]) == plain(state("a", "greeting"))
        for number in range(1, 4):
            live.publish(state("a", "heard", turn=number))
        live.release("a")
        rest = list(stream)
    assert [event["event"] for event in rest] == ["state", "state", "state", "ended"]
    assert [json.loads(event["data"])["turn"] for event in rest[:3]] == [1, 2, 3]


def test_a_browser_that_lost_its_stream_goes_on_where_it_was(browser: httpx.Client, live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "one"))
    with browser.stream("GET", "/v1/calls/a/events") as response:
        place = next(events(response))["id"]
    live.publish(state("a", "two"))
    live.publish(state("a", "three"))
    live.release("a")
    with browser.stream("GET", "/v1/calls/a/events", headers={"last-event-id": place}) as response:
        found = list(events(response))
    assert [json.loads(event["data"]).get("happened") for event in found] == ["two", "three", None]


def test_a_quiet_stream_says_that_it_lives(
    browser: httpx.Client, live: LiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring_module, "PULSE_S", 0.02)
    live.admit("a", MANY)
    live.publish(state("a"))
    with browser.stream("GET", "/v1/calls/a/events") as response:
        lines = response.iter_lines()
        assert sum(next(lines).startswith(":") for _ in range(20)) >= 3


def test_watchers_are_limited_and_one_that_leaves_makes_room(
    browser: httpx.Client, live: LiveState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring_module, "MAX_WATCHERS", 1)
    monkeypatch.setattr(monitoring_module, "PULSE_S", 0.02)
    live.admit("a", MANY)
    live.publish(state("a"))
    with browser.stream("GET", "/v1/calls/a/events") as response:
        stream = events(response)  # kept: httpx leaves the line when nobody reads it any more
        next(stream)
        with browser.stream("GET", "/v1/calls/a/events") as refused:
            assert refused.status_code == 503
            refused.read()
            assert refused.json()["category"] == "unavailable"

    def room() -> bool:
        with browser.stream("GET", "/v1/calls/a/events") as response:
            return response.status_code == 200

    eventually(room)


def test_streams_end_when_the_server_stops(live: LiveState, store: CallStore) -> None:
    stopping = threading.Event()
    app = with_errors(FastAPI())
    app.include_router(monitoring(live, store, closing=stopping.is_set))
    live.admit("a", MANY)
    live.publish(state("a"))
    with (
        serving_app(app) as url,
        httpx.stream("GET", f"{url}/v1/calls/a/events", trust_env=False) as response,
    ):
        stream = events(response)
        next(stream)
        stopping.set()
        assert list(stream) == []


def test_a_guard_keeps_strangers_out(live: LiveState, store: CallStore) -> None:
    def guard() -> None:
        raise HTTPException(401)

    app = FastAPI()
    app.include_router(monitoring(live, store, dependencies=[Depends(guard)]))
    with serving_app(app) as url:
        for path in ("calls", "stats", "calls/a/live", "calls/a/record", "calls/a/events"):
            assert httpx.get(f"{url}/v1/{path}", trust_env=False).status_code == 401


def test_calls_of_two_servers_are_seen_through_either(
    redis_server: object, namespace: str, store: CallStore
) -> None:
    url = redis_server.url  # type: ignore[attr-defined]
    here, there = (RedisLiveState(url, namespace=namespace, timeout_s=5.0) for _ in range(2))
    app = with_errors(FastAPI())
    app.include_router(monitoring(here, store))
    there.admit("a", MANY)
    there.publish(state("a", server="there"))
    with serving_app(app) as address, httpx.Client(base_url=address, timeout=10) as client:
        assert client.get("/v1/calls").json()["calls"][0]["server"] == "there"
        with client.stream("GET", "/v1/calls/a/events") as response:
            stream = events(response)
            next(stream)
            there.publish(state("a", "heard"))
            there.release("a")
            assert [event["event"] for event in stream] == ["state", "ended"]
    here.close()
    there.close()


def test_a_state_out_of_reach_is_said_and_not_guessed(doomed_redis: object, store: CallStore) -> None:
    live = RedisLiveState(doomed_redis.url)  # type: ignore[attr-defined]
    app = with_errors(FastAPI())
    app.include_router(monitoring(live, store))
    doomed_redis.kill()  # type: ignore[attr-defined]
    with serving_app(app) as url:
        for path in ("calls", "stats", "calls/a/live", "calls/a/events"):
            answer = httpx.get(f"{url}/v1/{path}", trust_env=False, timeout=10)
            assert (answer.status_code, answer.json()["category"]) == (503, "unavailable")
    live.close()


# Figures


def test_figures_are_of_calls_in_progress_and_of_the_day(
    browser: httpx.Client, live: LiveState, store: CallStore
) -> None:
    for call_id, phase, server in (
        ("a", "speaking", "one"),
        ("b", "hearing", "one"),
        ("c", "hearing", "two"),
    ):
        live.admit(call_id, MANY)
        live.publish(replace(state(call_id, server=server), phase=phase))
    store.begin(begun(call("a")))
    store.save(call("d", 2))
    store.save(replace(call("e", 0), ending=Ending.COMPLETED, turns=(turn("e", 3),)))
    store.save(call("yesterday", began=BEGAN - timedelta(days=1)))
    figures = browser.get("/v1/stats").json()
    assert figures == {
        "draining": False,
        "at": "2026-11-20T13:00:00+00:00",
        "since": "2026-11-20T00:00:00+00:00",
        "in_progress": 3,
        "phases": {"hearing": 2, "speaking": 1},
        "servers": {"one": 2, "two": 1},
        "longest_s": 3600.0,
        "ended": 2,
        "endings": {"completed": 1, "transferred": 1},
        "spoken_turns": 3,
        "voice_to_voice_median_s": pytest.approx(0.9),
        "voice_to_voice_p95_s": pytest.approx(0.99),
    }
    live.drain()
    assert browser.get("/v1/stats").json()["draining"] is True


def test_a_day_without_calls_has_no_times(browser: httpx.Client) -> None:
    figures = browser.get("/v1/stats").json()
    assert (figures["in_progress"], figures["ended"], figures["endings"]) == (0, 0, {})
    assert figures["longest_s"] is figures["voice_to_voice_p95_s"] is None


def test_the_day_begins_at_the_bank() -> None:
    late = datetime(2026, 11, 21, 3, tzinfo=UTC)
    assert day_began(late, "America/New_York") == datetime(2026, 11, 20, 5, tzinfo=UTC)
    assert day_began(late, "UTC") == datetime(2026, 11, 21, tzinfo=UTC)


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_numpys(values: list[float], level: float) -> None:
    import numpy as np

    assert quantile(sorted(values), level) == pytest.approx(float(np.quantile(values, level)), abs=1e-9)


def test_times_that_are_none_are_left_out() -> None:
    waits = [float("nan"), float("inf"), -1.0, 0.5]
    figures = stats_of([], {}, waits, at=NOW, since=BEGAN)
    assert (figures.spoken_turns, figures.voice_to_voice_median_s) == (1, 0.5)


# What a server depends on


def test_a_dependency_that_goes_and_comes_back_is_seen() -> None:
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise UnavailableError("gone")

    with Reachability({"redis": check, "database": lambda: None}, every_s=0.01) as reach:
        assert reach.now() == {"redis": True, "database": True}
        gone.set()
        eventually(lambda: reach.now() == {"redis": False, "database": True})
        gone.clear()
        eventually(lambda: reach.now()["redis"])


def test_a_dependency_that_hangs_counts_as_gone_and_makes_nobody_wait() -> None:
    clock = [0.0]
    hang = threading.Event()
    looked = threading.Event()

    def check() -> None:
        looked.set()
        hang.wait(10)

    now: Callable[[], float] = lambda: clock[0]  # noqa: E731
    with Reachability({"redis": check}, every_s=5.0, now=now) as reach:
        looked.wait(10)
        clock[0] = 14.9
        assert reach.now() == {"redis": True}
        clock[0] = 15.1
        assert reach.now() == {"redis": False}
        hang.set()
