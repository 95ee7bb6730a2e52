"""The flow promote-adapter asks a person: on a real Prefect server, paused and resumed over its API.

The gate's decision stands already, the cache scope is not filled; registry, flow, pause and answer are real.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import yaml

from serving.adapters.decision import GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.errors import RefusedError
from tests.serving.adapters.fitting import small_data

NAME = "banking-lora"
WAIT_S = 60
DecisionMaker = Callable[..., GateDecision]


@pytest.fixture
def judged(
    challenged: AdapterRegistry,
    make_decision: DecisionMaker,
    mlruns: Path,
    tmp_path: Path,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> AdapterRegistry:
    """Version 3 passed the gate on the project's test split, and the flow finds this installation."""
    from training.sources import load_splits

    intents = {
        label: {
            "description": "One of two.",
            "kind": "informational",
            **{
                part: [f"{label} {part} {number}" for number in range(5)]
                for part in ("train", "validate", "test")
            },
        }
        for label in ("card_lost", "pin_blocked")
    }
    small_data(tmp_path / "data", answered=intents)
    (tmp_path / "data" / "intents" / "all.yaml").write_text(yaml.safe_dump(intents))
    test = load_splits(tmp_path / "data" / "intents").test
    assert test is not None
    attach_decision(challenged, NAME, 3, replace(make_decision(2), test_sha256=test.sha256), by="gate")
    for name, value in {
        "HOME": tmp_path / "home", "MLRUNS": mlruns, "DATA_DIR": tmp_path / "data", "OPERATOR": "worker"
    }.items():  # fmt: skip
        monkeypatch.setenv(f"VOICEBOT_{name}", str(value))
    monkeypatch.setattr(
        "flows.cache_scope.build_scope", lambda *_args, **_options: SimpleNamespace(entries=7)
    )
    monkeypatch.setattr("flows.approval.POLL_S", 0.1)
    return challenged


class Waiting:
    """A run of the flow in a thread of its own, found on the server by its state."""

    def __init__(self, **options: Any) -> None:
        from flows.promote_adapter import promote_adapter

        self._seen = set(self._paused())
        self._pool = ThreadPoolExecutor(1)
        options = {"name": NAME, "reason": "better on fraud", "approval": True, **options}
        self.outcome: Future[Any] = self._pool.submit(lambda: promote_adapter(**options))

    def run_id(self) -> UUID:
        deadline = time.monotonic() + WAIT_S
        pause = threading.Event()
        while time.monotonic() < deadline and not self.outcome.done():
            if new := set(self._paused()) - self._seen:
                return new.pop()
            pause.wait(0.05)
        raise AssertionError(f"the flow never paused: {self.outcome}")

    def question(self, run_id: UUID) -> str:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            keys = client.read_flow_run(run_id).state.state_details.run_input_keyset
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline:
                found = client._client.get(f"/flow_runs/{run_id}/input/{keys['description']}")
                if found.status_code == 200:
                    return str(found.json())
        raise AssertionError("the flow asked nothing")

    def _paused(self) -> list[UUID]:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter

        chosen = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})
        with get_client(sync_client=True) as client:
            return [run.id for run in client.read_flow_runs(flow_run_filter=chosen)]


def answer(run_id: UUID, **said: object) -> None:
    from prefect.flow_runs import resume_flow_run

    resume_flow_run(run_id, run_input=said or None)


def test_a_yes_promotes_and_the_audit_names_who_said_it(judged: AdapterRegistry) -> None:
    waiting = Waiting()
    run_id = waiting.run_id()
    assert judged.champion_version(NAME) == 2
    assert "non_inferior: passed" in waiting.question(run_id)
    answer(run_id, approve=True, by="the head of risk", reason="read the report")
    outcome = waiting.outcome.result(WAIT_S)
    assert (outcome.promoted, outcome.champion_before, outcome.cache_entries) == (True, 2, 7)
    assert judged.champion_version(NAME) == 3
    row = judged.history()[-1].act
    assert (row.by, row.reason) == ("worker", "better on fraud")
    assert row.evidence["approved.by"] == "the head of risk"
    assert row.evidence["approved.reason"] == "read the report"
    assert row.evidence["status"] == "passed"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"approve": False, "by": "risk", "reason": "not in December"},
            "risk did not approve .* not in December",
        ),
        ({"approve": True}, "not who says so"),
        ({}, "whoever resumed the run did not approve"),
    ],
)
def test_anything_but_a_signed_yes_promotes_nothing(
    judged: AdapterRegistry, said: dict[str, object], told: str
) -> None:
    waiting = Waiting()
    answer(waiting.run_id(), **said)
    with pytest.raises(RefusedError, match=told):
        waiting.outcome.result(WAIT_S)
    assert judged.champion_version(NAME) == 2


def test_silence_is_no(judged: AdapterRegistry) -> None:
    with pytest.raises(RefusedError, match=r"Nobody approved .* within 1 s"):
        Waiting(approval_timeout_s=1).outcome.result(WAIT_S)
    assert judged.champion_version(NAME) == 2


def test_a_champion_that_changed_while_somebody_thought_about_it_stays(judged: AdapterRegistry) -> None:
    from serving.adapters.promotion import rollback

    waiting = Waiting()
    run_id = waiting.run_id()
    rollback(judged, NAME, by="ann", reason="complaints")
    answer(run_id, approve=True, by="the head of risk")
    with pytest.raises(RefusedError, match="judged against champion 2, but now there is champion 1"):
        waiting.outcome.result(WAIT_S)
    assert judged.champion_version(NAME) == 1


def test_without_the_parameter_nobody_is_asked(judged: AdapterRegistry) -> None:
    assert Waiting(approval=False).outcome.result(WAIT_S).promoted
    assert "approved.by" not in judged.history()[-1].act.evidence
