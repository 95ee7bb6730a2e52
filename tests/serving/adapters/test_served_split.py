"""A real server with a real registry: a hundred callers at once over sockets, in both arms of a split."""

import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import uvicorn
from loguru import logger

from serving.adapters.audit import Action
from serving.adapters.live_arms import Standing
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splitting import Terms, carry_out, read_split, start_plan
from serving.arms.assignment import arm_of
from serving.arms.guardrail import Guard
from serving.arms.split import Split
from serving.call import arm_guard
from serving.call import runtime as module
from serving.call.record import CallRecord
from serving.call.runtime import Runtime
from serving.errors import UnavailableError
from serving.language.encoder import SentenceEncoder
from serving.services.open_calls import OpenCalls
from serving.services.orchestrator import create_app
from serving.settings import Settings
from tests.serving.sessions.records import call as a_call
from tests.serving.transports.loopback import until

NAME = "banking-lora"
CALLS = 100
LINES = ("i lost my card", "my pin is blocked", "tell me a joke")


@pytest.fixture
def installed(settings: Settings, mlruns: Path) -> Settings:
    return settings.model_copy(update={"mlruns": mlruns, "registry_poll_s": 0.05, "max_failures": 10})


@pytest.fixture
def open_runtime(
    challenged: AdapterRegistry,
    installed: Settings,
    tiny_encoder: SentenceEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Runtime]]:
    """A typed server of this installation by its name, with the tests' small encoder; started."""
    monkeypatch.setattr(module, "load_encoder", lambda _folder: tiny_encoder)
    made: list[Runtime] = []

    def make(name: str = "here") -> Runtime:
        runtime = Runtime(installed.model_copy(update={"server_name": name}), voice=False)
        made.append(runtime)
        return runtime.start()

    yield make
    for runtime in made:
        runtime.close()


@contextmanager
def served(runtime: Runtime) -> Iterator[Callable[..., Any]]:
    """Ask a server of this runtime over a socket: method, path, body."""
    calls = OpenCalls(counted=lambda _number: None)
    app = create_app(runtime, calls, standing=lambda: runtime.arms.standing)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]

    def ask(method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    try:
        yield ask
    finally:
        server.should_exit = True
        thread.join()
        calls.close()


def start(registry: AdapterRegistry, percent: int, guard: Guard | None = None) -> Split:
    terms = Terms(guard=guard or Guard(), cold=True)
    plan = partial(start_plan, registry, NAME, 3, percent, by="ann", reason="why", terms=terms)
    split = carry_out(registry, NAME, plan, seen=None)
    assert split is not None
    return split


def in_effect(runtime: Runtime, split: Split) -> bool:
    standing: Standing = runtime.arms.standing
    return standing.split == split and not standing.trouble


def test_a_hundred_calls_at_once_are_each_wholly_of_their_arm_in_everything_they_leave(
    challenged: AdapterRegistry, open_runtime: Callable[..., Runtime]
) -> None:
    runtime = open_runtime()
    split = start(challenged, 40)
    until(lambda: in_effect(runtime, split))
    taggers = {NAME + "/2": runtime.adapter.current.tagger}
    assert runtime.arms.standing.challenger is not None
    taggers[NAME + "/3"] = runtime.arms.standing.challenger.tagger
    expected = {version: [tagger.tag(line).label for line in LINES] for version, tagger in taggers.items()}
    assert expected[NAME + "/2"] != expected[NAME + "/3"]
    with served(runtime) as ask:
        health = ask("GET", "/healthz")["split"]
        assert (health["in_effect"], health["percent"], health["id"]) == (True, 40, split.id)

        def call(number: int) -> tuple[str, list[str]]:
            opened = ask("POST", "/v1/calls", {"caller_id": f"+1 555 {number % 50:04d}"})
            path = f"/v1/calls/{opened['call_id']}"
            turns = [ask("POST", f"{path}/turns", {"text": line})["turn"] for line in LINES]
            ask("DELETE", path)
            return opened["call_id"], [turn["intent_version"] for turn in turns]

        with ThreadPoolExecutor(CALLS) as pool:
            outcomes = list(pool.map(call, range(CALLS)))
    records = [runtime.records.call(call_id) for call_id, _ in outcomes]
    for record, (_, versions) in zip(records, outcomes, strict=True):
        assert record.split == split.id
        assert record.arm == arm_of(split, record.caller_key)
        assert record.adapter == (split.challenger if record.arm == "challenger" else split.champion)
        assert set(versions) == {record.adapter}
        assert [turn.intent for turn in record.turns] == expected[record.adapter]
    _check_callers(records)
    _check_metrics(runtime, Counter(record.arm for record in records))
    scopes = {record.arm: record.cache_scope for record in records}
    assert len(scopes) == len(set(scopes.values())) == 2


def _check_callers(records: list[CallRecord]) -> None:
    """Each of the fifty callers called twice, got one arm, and is not to be recognised by the key."""
    by_caller: dict[str, set[tuple[str, str]]] = {}
    for record in records:
        by_caller.setdefault(record.caller, set()).add((record.caller_key, record.arm))
    assert len(by_caller) == 50
    assert all(len(seen) == 1 for seen in by_caller.values())
    assert not {record.caller for record in records} & {record.caller_key for record in records}


def _check_metrics(runtime: Runtime, arms: Counter[str]) -> None:
    counted: Counter[str] = Counter()
    for family in runtime.metrics.registry.collect():
        for sample in family.samples:
            if sample.name == "voicebot_calls_total":
                counted[sample.labels["arm"]] += int(sample.value)
    assert counted == arms


def test_a_call_keeps_its_arm_although_the_split_is_ended_under_it(
    challenged: AdapterRegistry, open_runtime: Callable[..., Runtime]
) -> None:
    runtime, split = open_runtime(), start(challenged, 100)
    until(lambda: in_effect(runtime, split))
    session = runtime.open_call("http", caller_id="1", typed=True)
    ended = split.ended(split.started_at, by="x", why="y")
    with challenged.writing():
        challenged.set_model_tag(NAME, "arms.split", ended.to_json())
    until(lambda: runtime.arms.standing.split is None)
    assert session.call.arm == "challenger"
    assert runtime.open_call("http", caller_id="1", typed=True).call.arm == "champion"


def test_a_broken_challenger_is_halted_by_one_of_two_servers_and_both_give_champions_then(
    challenged: AdapterRegistry, open_runtime: Callable[..., Runtime]
) -> None:
    one, other = open_runtime("one"), open_runtime("other")
    # Every turn of the challenger is slower than this, as none of the champion is.
    split = start(challenged, 50, Guard(slow_s=30.0))
    until(lambda: in_effect(one, split) and in_effect(other, split))
    told: list[str] = []
    sink = logger.add(told.append, level="ERROR", format="{message}")
    finished = 0
    try:
        while in_effect(one, split) and finished < 200:
            runtime = (one, other)[finished % 2]
            call = runtime.open_call("text", caller_id=f"caller {finished}", typed=True).call
            runtime.records.save(_ended(call, slow=call.arm == "challenger"))
            finished += 1
        until(lambda: one.arms.standing.split is None and other.arms.standing.split is None)
    finally:
        logger.remove(sink)
    assert finished < 200
    ended = read_split(challenged, NAME)
    assert ended is not None
    assert (ended.percent, ended.running) == (0, False)
    assert ended.ended_by in {"guardrail on one", "guardrail on other"}
    assert "a slow turn" in ended.ended_why
    halts = [row for row in challenged.history() if row.act.action == Action.HALT]
    assert len(halts) == 2  # begun and done, of one server
    assert len([line for line in told if "is halted" in line]) == 1
    assert {runtime.open_call("text", caller_id="x").call.arm for runtime in (one, other)} == {"champion"}


def _ended(call: CallRecord, *, slow: bool) -> CallRecord:
    """A call of one turn, ended."""
    ended = a_call(call.call_id, 1)
    turn = dataclasses.replace(ended.turns[0], stages={"llm": 60.0 if slow else 0.1}, error="")
    return dataclasses.replace(call, ended_at=call.started_at, ending=ended.ending, turns=(turn,))


def test_a_registry_that_cannot_be_told_of_harm_leaves_this_servers_calls_to_the_champion(
    challenged: AdapterRegistry, open_runtime: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object, **_options: object) -> None:
        raise UnavailableError("The registry is away.")

    runtime = open_runtime()
    split = start(challenged, 50, Guard(slow_s=30.0))
    until(lambda: in_effect(runtime, split))
    told: list[str] = []
    sink = logger.add(told.append, level="ERROR", format="{message}")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(arm_guard, "halt", refused)
            for number in range(60):
                call = runtime.open_call("text", caller_id=f"caller {number}", typed=True).call
                runtime.records.save(_ended(call, slow=call.arm == "challenger"))
            until(lambda: not in_effect(runtime, split))
            assert "the registry could not be told" in runtime.arms.standing.trouble
            assert runtime.open_call("text", caller_id="x", typed=True).call.arm == "champion"
            assert read_split(challenged, NAME) == split
            until(lambda: bool(told))
        until(lambda: runtime.arms.standing.split is None)  # it tries again, and now it can
    finally:
        logger.remove(sink)
    assert len([line for line in told if "the registry cannot be told" in line]) == 1
    assert read_split(challenged, NAME) != split
