"""Typed calls over HTTP: what a request may hold, one turn at a time, and how well the server is."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.call.session import CallSession
from serving.call.store import CallStore
from serving.errors import RefusedError
from serving.language.protocols import LlmEvent, LlmRequest, TextDelta
from serving.services import orchestrator
from serving.services.live_calls import LiveCalls
from serving.services.open_calls import OpenCalls
from serving.settings import Settings
from serving.speech.protocols import EngineInfo
from serving.telemetry.metrics import TurnMetrics
from tests.serving.call.phone import Bank, TellingLlm, toolbox

ASKED = "when may I pay the thing back early"
"""Answered by the language model."""


@dataclass
class FakeRuntime:
    """As much of a runtime as HTTP needs, without an adapter."""

    bank: Bank
    options: dict[str, Any] = field(default_factory=dict)
    metrics: TurnMetrics = field(default_factory=TurnMetrics)
    choices: tuple[Any, ...] = ()
    adapter: Any = field(
        default_factory=lambda: SimpleNamespace(
            current=SimpleNamespace(version="k/1", source="x"), problem=""
        )
    )
    dialogue: Any = field(
        default_factory=lambda: SimpleNamespace(current=SimpleNamespace(version="talk/2"), problem="")
    )
    cache: Any = field(default_factory=lambda: SimpleNamespace(generation=lambda: 1))
    encoder: Any = None
    kept: Any = None
    hung_tools: int = 0

    def expect(self, calls: int) -> None:
        pass

    @property
    def settings(self) -> Settings:
        return self.bank.settings

    @property
    def records(self) -> CallStore:
        return self.bank.store

    @property
    def box(self) -> Any:
        return toolbox(self.bank.cache_folder)

    def open_call(self, transport: str, *, caller_id: str, typed: bool) -> CallSession:
        assert typed
        return self.bank.session(**self.options)


@pytest.fixture
def calls() -> OpenCalls:
    return OpenCalls(counted=lambda _number: None)


@pytest.fixture
def client(bank: Bank, calls: OpenCalls) -> Iterator[TestClient]:
    app = orchestrator.create_app(FakeRuntime(bank), calls)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def opened(client: TestClient) -> str:
    return str(client.post("/v1/calls", json={}).json()["call_id"])


def test_a_call_over_http_is_recorded_as_any_other(client: TestClient, bank: Bank) -> None:
    name = opened(client)
    said = client.post(f"/v1/calls/{name}/turns", json={"text": "bye"}).json()
    assert said["ended"]
    assert [turn.text for turn in bank.store.call(name).turns] == ["bye"]
    assert client.post(f"/v1/calls/{name}/turns", json={"text": "bye"}).status_code == 404


SECRET = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"text": "\\ud800 4111 1111 1111 1111"}', "body.text"),
        (b'{"text": ["4111 1111 1111 1111"]}', "body.text"),
        (b'{"text": {"\\udfff": "4111 1111 1111 1111"}}', "body.text"),
        (b'{"\\ud800 4111 1111 1111 1111": 1}', "body.text"),
        (b'"4111 1111 1111 1111"', "body"),
        (b'{"text": "4111 1111 1111 1111', "body"),
        (b"", "body"),
        (b"\xff\xfe 4111 1111 1111 1111", "body"),
        (b'{"text": "' + b"4111 1111 1111 1111 " * 1_001 + b'"}', "body.text"),
    ],
    ids=["surrogate", "list", "mapping", "key", "no object", "half", "nothing", "no text", "long"],
)
def test_a_request_that_cannot_be_used_is_explained_and_never_repeated(
    client: TestClient, body: bytes, place: str
) -> None:
    name = opened(client)
    answer = client.post(
        f"/v1/calls/{name}/turns", content=body, headers={"content-type": "application/json"}
    )
    said = answer.json()
    if answer.status_code == 400:  # bytes that are no text at all never reach us
        assert "4111" not in answer.text
        return
    assert answer.status_code == 422
    assert set(said) == {"error", "advice", "category"}
    assert said["category"] == "invalid_input"
    assert said["error"].startswith(place)
    assert "4111" not in answer.text
    assert len(answer.text) < 400
    assert client.post(f"/v1/calls/{name}/turns", json={"text": "hello"}).status_code == 200


def test_a_lone_surrogate_in_the_callers_id_is_bad_input_too(client: TestClient) -> None:
    answer = client.post(
        "/v1/calls", content=b'{"caller_id": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert (answer.status_code, json.loads(answer.content)["category"]) == (422, "invalid_input")


# One turn at a time


class SlowLlm:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.info = EngineInfo("slow", "a script")
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        self.asked.set()
        self.may_answer.wait(10)
        yield TextDelta("At any time.")


@pytest.fixture
def slow(bank: Bank, calls: OpenCalls) -> Iterator[tuple[SlowLlm, CallSession, threading.Thread]]:
    """A call whose turn is being answered."""
    llm = SlowLlm()
    session = bank.session(llm=llm)
    calls.admit(session)
    thread = threading.Thread(target=lambda: calls.turn(session.call.call_id, ASKED))
    thread.start()
    assert llm.asked.wait(10)
    yield llm, session, thread
    llm.may_answer.set()
    thread.join(10)


def test_a_turn_does_not_wait_for_the_one_before(
    calls: OpenCalls, slow: tuple[SlowLlm, CallSession, threading.Thread]
) -> None:
    llm, session, thread = slow
    for _ in range(40):
        with pytest.raises(RefusedError, match="still being answered"):
            calls.turn(session.call.call_id, "hello")
    llm.may_answer.set()
    thread.join(10)
    calls.turn(session.call.call_id, "hello")
    assert [turn.text for turn in session.turns] == [ASKED, "hello"]


def test_over_http_that_is_a_conflict_and_other_calls_are_answered(
    client: TestClient, slow: tuple[SlowLlm, CallSession, threading.Thread]
) -> None:
    _, session, _ = slow
    answer = client.post(f"/v1/calls/{session.call.call_id}/turns", json={"text": "hello"})
    assert (answer.status_code, answer.json()["category"]) == (409, "refused")
    assert client.post(f"/v1/calls/{opened(client)}/turns", json={"text": "hello"}).status_code == 200


def test_one_hang_up_waits_for_the_turn_in_progress_and_a_second_is_refused(
    calls: OpenCalls, slow: tuple[SlowLlm, CallSession, threading.Thread]
) -> None:
    llm, session, _ = slow
    waiting, ended = threading.Event(), []

    def hang_up() -> None:
        waiting.set()
        ended.append(calls.hang_up(session.call.call_id))

    first = threading.Thread(target=hang_up)
    first.start()
    assert waiting.wait(10)
    while not calls._calls[session.call.call_id].leaving:
        pass
    with pytest.raises(RefusedError, match="being ended already"):
        calls.hang_up(session.call.call_id)
    llm.may_answer.set()
    first.join(10)
    assert len(ended[0].turns) == 1
    assert len(calls) == 0


def test_an_engine_that_breaks_leaves_the_call_open_for_the_next_turn(bank: Bank, calls: OpenCalls) -> None:
    session = bank.session(llm=TellingLlm(RuntimeError("x")))
    calls.admit(session)
    assert calls.turn(session.call.call_id, ASKED)[0].llm_engine == "embedded"
    assert not calls.turn(session.call.call_id, "hello")[1]


def test_a_server_that_drains_opens_no_typed_calls_and_finishes_those_it_has(
    client: TestClient, calls: OpenCalls
) -> None:
    name = opened(client)
    calls.refuse_more()
    refused = client.post("/v1/calls", json={})
    assert (refused.status_code, refused.json()["category"]) == (503, "unavailable")
    assert client.post(f"/v1/calls/{name}/turns", json={"text": "hello"}).status_code == 200


def test_without_live_calls_no_line_and_no_page_is_served(client: TestClient) -> None:
    assert client.get("/static/").status_code == 404
    assert client.post("/twilio/voice").status_code == 404
    assert client.get("/healthz").json()["draining"] is False


# How the server is


@dataclass
class Threads:
    """Threads of live calls, as far as they are asked."""

    hung: int = 0
    stuck: tuple[str, ...] = ()


@dataclass
class Watched:
    """A server whose surroundings a test changes."""

    client: TestClient
    live: LiveCalls
    answers: dict[str, bool]
    threads: Threads
    runtime: FakeRuntime

    def told(self) -> tuple[str, int, str]:
        """Status, the status code of readiness, and why it is not ready."""
        report, ready = self.client.get("/healthz"), self.client.get("/readyz")
        assert report.status_code == 200
        assert report.json()["ready"] is ready.json()["ready"] is (ready.status_code == 200)
        assert report.json()["not_ready_because"] == ready.json()["not_ready_because"]
        return report.json()["status"], ready.status_code, ready.json()["not_ready_because"]


@pytest.fixture
def watched(bank: Bank, calls: OpenCalls) -> Iterator[Watched]:
    answers, threads, runtime = {"database": True, "redis": True}, Threads(), FakeRuntime(bank)

    def never(*_arguments: object, **_options: object) -> Any:
        raise AssertionError("no call is opened here")

    with contextlib.closing(BackgroundState(MemoryLiveState())) as state:
        live = LiveCalls(never, state, most=1)
        app = orchestrator.create_app(
            runtime,  # type: ignore[arg-type]
            calls,
            live,
            reachable=lambda: dict(answers),
            threads=threads,
        )
        with TestClient(app) as opened:
            yield Watched(opened, live, answers, threads, runtime)


def test_a_server_that_lacks_nothing_is_ok_and_ready(watched: Watched) -> None:
    assert watched.told() == ("ok", 200, "")
    told = watched.client.get("/healthz").json()
    assert (told["hung_work"], told["adapter"], told["dialogue_adapter"]) == (0, "k/1", "talk/2")


def test_without_its_database_it_is_degraded_and_takes_calls(watched: Watched) -> None:
    watched.answers["database"] = False
    assert watched.told() == ("degraded", 200, "")


def test_without_redis_it_is_degraded_and_takes_none(watched: Watched) -> None:
    watched.answers["redis"] = False
    status, code, why = watched.told()
    assert (status, code) == ("degraded", 503)
    assert "Redis" in why


def test_work_that_hangs_degrades_it_and_a_kind_that_is_stuck_takes_no_calls(watched: Watched) -> None:
    watched.threads.hung = 3
    assert watched.told() == ("degraded", 200, "")
    assert watched.client.get("/healthz").json()["hung_work"] == 3
    watched.threads.stuck = ("voices",)
    assert watched.told() == ("degraded", 503, "Too much work hangs: voices.")


def test_tools_that_hang_degrade_it_and_are_counted_with_the_rest(watched: Watched) -> None:
    watched.threads.hung, watched.runtime.hung_tools = 1, 24
    assert watched.told() == ("degraded", 200, "")
    assert watched.client.get("/healthz").json()["hung_work"] == 25
    assert "voicebot_hung_work 25.0" in watched.client.get("/metrics").text


def test_a_server_whose_lines_are_busy_is_well_but_not_ready(watched: Watched) -> None:
    call_id = asyncio.run(watched.live.admit())
    assert watched.told() == ("ok", 503, "All lines are busy.")
    watched.live.leave(call_id)
    assert watched.told() == ("ok", 200, "")


def test_a_server_that_drains_says_so_whatever_else_is_wrong(watched: Watched) -> None:
    watched.answers["redis"] = False
    watched.live.drain()
    assert watched.told() == ("draining", 503, "The server is draining.")


def test_a_free_port_is_given_to_the_server_with_its_socket(
    settings: Settings, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []
    told: list[str] = []

    class Server:
        def __init__(
            self,
            config: uvicorn.Config,
            live: LiveCalls,
            drain_s: float,
            *,
            on_drain: Callable[[], None],
            on_start: Callable[[], None],
        ) -> None:
            self.on_start = on_start
            assert config.app is not None
            assert not config.ws_per_message_deflate

        def run(self, sockets: list[socket.socket]) -> None:
            given.append(sockets[0].getsockname())
            assert told == [], "nobody listens yet"
            self.on_start()
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def runtime(*_arguments: object, **_options: object) -> Iterator[FakeRuntime]:
        yield FakeRuntime(bank)

    monkeypatch.setattr(orchestrator, "DrainingServer", Server)
    monkeypatch.setattr(orchestrator, "Runtime", runtime)
    orchestrator.serve(settings.model_copy(update={"port": 0}), listening=told.append)
    assert told == [f"http://127.0.0.1:{given[0][1]}/"]
    assert given[0][0] == "127.0.0.1"
    assert given[0][1] > 0
