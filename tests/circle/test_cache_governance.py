"""The cache's governance on a trained adapter: warm-up, commands that load it, the eviction flow."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cache.protocol import Signal
from serving.cache.store import FILE, CacheStore
from serving.call.cache_upkeep import live_scopes
from serving.call.record import CallRecord, Decision
from serving.call.runtime import Runtime
from serving.call.store import CallStore
from serving.cli.cache import app
from serving.settings import Settings
from tests.circle.fixtures import Circle, installed_at
from tests.serving.call.phone import LinesCaller, typed

QUESTION = "What is the minimum age for an account?"
NEW = "please tell me the minimum age for opening an account"
"""What callers say, and no approved question does."""


@pytest.fixture(scope="module")
def built(finished_circle: Circle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home beside the circle's registry, its cache built by the command."""
    home = tmp_path_factory.mktemp("governed")
    with installed_at(finished_circle.settings.home.parent), pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEBOT_HOME", str(home))
        assert command("build", "--json")["recalled"] == 1.0
    return home


@pytest.fixture
def home(circle: Circle, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of it: cache and calls are only this test's."""
    shutil.copytree(built, tmp_path / "home", ignore=shutil.ignore_patterns("prefect", "logs"))
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "kim")
    return Settings.load()


def command(*arguments: str, code: int = 0) -> Any:
    """What `cache-manager` prints as JSON, in a process of its own: some of its work is a flow."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.cli.cache", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else done.stderr


def asked(*arguments: str, code: int = 0) -> Any:
    """The same in this process, for what is no flow."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if done.stdout.strip() else done.stderr


def talk(settings: Settings, *calls: Sequence[str]) -> list[CallRecord]:
    """Typed calls, all of their hits checked with the engine."""
    with Runtime(settings.model_copy(update={"shadow_share": 1.0}), voice=False) as runtime:
        return [runtime.open_call("text", typed=True).run(LinesCaller(typed(*said))) for said in calls]


@pytest.fixture
def store(home: Settings) -> CacheStore:
    return CacheStore(home.home / "cache" / FILE)


def test_a_question_is_explained_with_guards_and_neighbours(home: Settings) -> None:
    found = asked("explain", QUESTION, "--json")
    assert found["decision"]["outcome"] == "hit"
    assert all(guard["passed"] for guard in found["guards"])
    assert (found["neighbours"][0]["question"], found["neighbours"][0]["apart"]) == (QUESTION, "")
    assert found["neighbours"][0]["similarity"] == pytest.approx(1.0, abs=1e-5)
    assert any("intent" in it["apart"] or "≠" in it["apart"] for it in found["neighbours"][1:])
    personal = asked("explain", "my card is 4111 1111 1111 1111", "--json")
    assert "4111" not in json.dumps(personal)
    assert personal["neighbours"] == []


def test_an_entry_says_why_it_would_or_would_not_answer(home: Settings, store: CacheStore) -> None:
    entry = next(it for it in store.entries() if it.question == QUESTION)
    verdict = asked("inspect", entry.id[:9], "--question", QUESTION.upper(), "--json")["verdict"]
    assert verdict["hits"] is True
    assert verdict["decision"]["entry"]["id"] == entry.id
    asked("feedback", entry.id, "wrong", "--json")
    verdict = asked("inspect", entry.id, "--question", QUESTION, "--json")["verdict"]
    assert verdict["hits"] is False
    assert [it["name"] for it in verdict["guards"] if not it["passed"]] == ["servable"]
    assert verdict["decision"]["reason"] == "quarantined"
    other = asked("inspect", entry.id, "--question", "how do I freeze my card", "--json")["verdict"]
    assert {it["name"] for it in other["guards"] if not it["passed"]} >= {"intent", "servable"}


def test_an_export_comes_back_through_admission_and_another_scopes_does_not(
    home: Settings, store: CacheStore, tmp_path: Path
) -> None:
    file = tmp_path / "cache.jsonl"
    exported = asked("export", str(file), "--json")["entries"]
    (scope,) = store.scopes()
    store.remove_scopes([scope], actor="test")
    assert asked("import", str(file), "--dry-run", "--json", code=1)["taken"] == 0  # nothing is made
    assert asked("import", str(file), "--json")["taken"] == exported
    assert len(store.entries()) == exported
    lines = file.read_text().splitlines()[:20]
    file.write_text("\n".join(lines))
    assert asked("import", str(file), "--json")["taken"] == len(lines) - 1  # again: nothing is new
    assert len(store.entries()) == exported
    bad = json.loads(lines[1]) | {"question": "what is the limit for card 4111 1111 1111 1111", "source": "x"}
    file.write_text("\n".join([lines[0], json.dumps(bad), *lines[2:]]))
    found = asked("import", str(file), "--json", code=1)
    assert [(it["line"], it["refusal"]) for it in found["refusals"]] == [(2, "personal_question")]
    foreign = json.loads(lines[0])
    foreign["scope"]["knowledge"] = "edited"
    file.write_text("\n".join([json.dumps(foreign), *lines[1:]]))
    assert "another scope: knowledge" in asked("import", str(file), code=1)
    assert asked("verify", "--json")["problems"] == []


def test_what_callers_do_is_heard_and_what_is_wrong_goes_at_night(
    home: Settings, store: CacheStore, prefect_server: None
) -> None:
    from mlflow import MlflowClient

    from flows.evict_cache import evict_cache

    records = talk(home, [QUESTION, "thanks"], [QUESTION, QUESTION, "agent please"])
    assert records[0].turns[0].decision is Decision.CACHE_HIT
    entry = next(it for it in store.entries() if it.question == QUESTION)
    bad = next(it for it in store.entries() if it.question != QUESTION)
    store.set_accuracy({bad.id: 0.3}, actor="test")
    dry = evict_cache(dry_run=True)
    assert (dry.planned, dry.removed, dry.feedback) == ({"accuracy": 1}, {}, {})
    found = evict_cache()
    assert (found.planned, found.removed, found.scopes_known) == ({"accuracy": 1}, {"accuracy": 1}, True)
    assert found.feedback == {"escalated": 2, "settled": 1}
    assert store.get(bad.id) is None
    signals = {it.signal for it in store.feedback(entry.id)}
    assert {Signal.SETTLED, Signal.ESCALATED, Signal.SHADOW_AGREES} <= signals
    assert evict_cache().feedback == {}
    client = MlflowClient(tracking_uri=home.mlflow_uri)
    experiment = client.get_experiment_by_name("voicebot/cache")
    runs = [
        run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == "evict-cache"
    ]
    assert max(run.data.metrics.get("evicted accuracy", 0) for run in runs) == 1
    assert all(
        [item.path for item in client.list_artifacts(run.info.run_id)] == ["evictions.json"] for run in runs
    )


def test_a_new_scope_answers_what_callers_asked_before_anybody_is_in_it(
    home: Settings, store: CacheStore
) -> None:
    from flows.warm_cache import warm_scope

    talk(home, *([[NEW]] * 3))
    first = warm_scope(home, "banking-lora", "champion", actor="flow")
    assert (first.questions, first.known + first.entered) == (1, 1), first
    again = warm_scope(home, "banking-lora", "champion", actor="flow")
    assert (again.known, again.entered) == (1, 0)
    (record,) = talk(home, [NEW])
    assert record.turns[0].decision is Decision.CACHE_HIT
    assert record.turns[0].cache is not None
    assert record.turns[0].cache.reason == "exact"


def test_the_scopes_in_use_are_those_of_champion_challenger_and_previous(
    home: Settings, store: CacheStore
) -> None:
    live = live_scopes(home)
    assert live is not None
    (scope,) = store.scopes()
    assert scope in live
    assert len(live) == 2  # the one version, and its frozen head


def test_records_that_cannot_be_read_stop_no_eviction_by_hand(home: Settings) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    assert CallStore(home.records_url).calls(since=old) == []
    result = CliRunner().invoke(app, ["--evict", "--threshold=0.6", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["removed"] == {}
