"""prefect.yaml on a real Prefect server: everything is deployed, and the circle really runs.

A worker is killed while it trains; the run is run again and goes on, a promotion follows, and its event has
the cache built.
"""

import ast
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import torch

from flows.training_inputs import TrainRequest, training_inputs
from serving.adapters.registry import AdapterRegistry
from serving.cache.store import CacheStore
from serving.settings import Settings
from tests.circle.deployed import ROOT, Deployed, Worker, wait_for
from tests.circle.small_bank import small_bank

NAME = "banking-lora"
REQUEST = TrainRequest(
    changes={"epochs": 2, "patience": 0, "batch_size": 8, "checkpoint_steps": 1, "threads": 1}
)
STEPS = 26
"""Two epochs of 100 texts in batches of 8."""
WAIVED = {
    "baseline": "The frozen head answers a bank of five intents as well.",
    "latency": "Other tests work on this machine now.",
}


@dataclass(frozen=True)
class Story:
    """What happened.

    Attributes:
        settings: the installation.
        saved: steps in the checkpoint that the killed run left.
        killed, trained, promoted, built: flow runs as the server knows them; `killed` and `trained` are one
            run, before and after.
        undisturbed: loss of each step of the same training in one piece.
    """

    settings: Settings
    saved: int
    killed: dict[str, Any]
    trained: dict[str, Any]
    promoted: dict[str, Any]
    built: dict[str, Any]
    undisturbed: tuple[float, ...]


@pytest.fixture(scope="module")
def deployments(deployed: Deployed) -> dict[str, dict[str, Any]]:
    """What the server knows, by flow/deployment."""
    return deployed.deployments()


@pytest.fixture(scope="module")
def story(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Train with a kill in the middle, retry, promote, and let the event build the cache."""
    folder = tmp_path_factory.mktemp("installation")
    values = {
        "VOICEBOT_HOME": str(folder / "var"),
        "VOICEBOT_MLRUNS": str(folder / "mlruns"),
        "VOICEBOT_DATA_DIR": str(small_bank(folder / "data")),
        "VOICEBOT_OPERATOR": "nightly-worker",
    }
    if deployed.postgres is not None:
        values["VOICEBOT_TRACKING_URI"] = deployed.postgres.new_database()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        settings = Settings.load()
        with deployed.without_schedules():
            told = circle(deployed, settings, values)
        yield told


def circle(deployed: Deployed, settings: Settings, values: dict[str, str]) -> Story:
    """The whole way, with workers that get the installation's values."""
    ids = {name: item["id"] for name, item in deployed.deployments().items()}
    worker = Worker(deployed, values)
    try:
        run = deployed.run_now(ids["train-adapter/nightly"], {"request": REQUEST.model_dump(mode="json")})
        process = deployed.process_of(run)
        checkpoint = Checkpoint(settings)
        wait_for(checkpoint.is_there, every_s=0.01)
        worker.kill(run=process)
        saved, killed = checkpoint.steps(), deployed.read(f"flow_runs/{run}")
        crashed = {"type": "CRASHED", "message": "The machine went down."}
        deployed.ask(f"flow_runs/{run}/set_state", {"state": crashed, "force": True})
        worker = Worker(deployed, values)
        deployed.command("flow-run", "retry", run)
        undisturbed = whole_training()
        trained = deployed.finished(run)
        promotion = deployed.run_now(ids["promote-adapter/manual"], {"reason": "the first", "waive": WAIVED})
        promoted = deployed.finished(promotion)
        build = deployed.triggered(ids["build-cache-index/daily"])
        built = deployed.finished(build)
    finally:
        worker.kill()
    return Story(settings, saved, killed, trained, promoted, built, undisturbed)


def whole_training() -> tuple[float, ...]:
    from training.baseline import fit_baseline
    from training.trainer import train

    encoder, splits, config = training_inputs(REQUEST)
    return train(encoder, splits, fit_baseline(encoder, splits, config).start, config).losses


class Checkpoint:
    """Where the flow saves its training."""

    def __init__(self, settings: Settings) -> None:
        self._place = settings.home / "training"

    def is_there(self) -> bool:
        return any(self._place.glob("*/bundle.ckpt"))

    def steps(self) -> int:
        (path,) = self._place.glob("*/bundle.ckpt")
        position = torch.load(path, weights_only=True)["state"]["position"]
        return len(json.loads(position)["losses"])


def flow_names() -> set[str]:
    """Names of all flows that are defined at the top of a module of `flows`."""
    names = set()
    for path in (ROOT / "flows").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "flow":
                        names.add(next(k.value.value for k in decorator.keywords if k.arg == "name"))  # type: ignore[attr-defined]
    return names


def test_every_flow_is_a_deployment_on_the_process_work_pool(deployments: dict[str, dict[str, Any]]) -> None:
    assert {name.partition("/")[0] for name in deployments} == flow_names()
    assert {item["work_pool_name"] for item in deployments.values()} == {"voicebot"}


def test_the_schedules_of_prefect_yaml_are_active(deployments: dict[str, dict[str, Any]]) -> None:
    crons = {
        name: item["schedules"][0]["schedule"]["cron"]
        for name, item in deployments.items()
        if item["schedules"]
    }
    assert crons == {
        "train-adapter/nightly": "0 2 * * *",
        "build-cache-index/daily": "0 4 * * *",
        "evict-cache/daily": "30 4 * * *",
        "calibrate-cache/monthly": "30 5 1 * *",
        "evaluate-speech/weekly": "0 5 * * 0",
        "report-kpis/daily": "30 6 * * *",
        "report-arms/daily": "45 6 * * *",
        "watch-drift/weekly": "0 7 * * 1",
    }
    assert all(schedule["active"] for item in deployments.values() for schedule in item["schedules"])


def test_a_promotion_triggers_the_cache_build(
    deployed: Deployed, deployments: dict[str, dict[str, Any]]
) -> None:
    found = deployed.ask("automations/filter")
    (automation,) = [item for item in found if "adapter.promoted" in item["trigger"]["expect"]]
    assert automation["enabled"]
    assert automation["actions"][0]["deployment_id"] == deployments["build-cache-index/daily"]["id"]


def test_drift_triggers_training(deployed: Deployed, deployments: dict[str, dict[str, Any]]) -> None:
    found = deployed.ask("automations/filter")
    (automation,) = [item for item in found if "intents.drifted" in item["trigger"]["expect"]]
    assert automation["enabled"]
    assert automation["trigger"]["match"] == {"prefect.resource.id": "adapter.banking-lora"}
    assert automation["actions"][0]["deployment_id"] == deployments["train-adapter/nightly"]["id"]


ANNOUNCED = """
from pathlib import Path
from flows.watch_drift import DriftOutcome, announce_drift
measured = (("intents (PSI)",), {}, {}, 480, 120, {})
week = DriftOutcome("banking-lora/1", "drifted", *measured, Path("drift.md"), False)
assert announce_drift.fn("banking-lora", week)
"""


def test_drift_that_the_watch_announces_makes_a_training_run(
    deployed: Deployed, deployments: dict[str, dict[str, Any]]
) -> None:
    nightly, made = deployments["train-adapter/nightly"]["id"], list[dict[str, Any]]()

    def by_event() -> bool:
        runs = deployed.runs_of(nightly)
        made[:] = [run for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION"]
        return bool(made)

    assert not by_event()
    subprocess.run(
        [sys.executable, "-c", ANNOUNCED], env=deployed.environment, cwd=ROOT, check=True, timeout=120
    )
    wait_for(by_event)
    for run in made:  # no worker is here: it was only to be made
        deployed.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    (run,) = made
    assert (run["state_type"], run["auto_scheduled"]) == ("SCHEDULED", False)


def test_parameters_of_a_deployment_are_described_for_whoever_starts_it(
    deployments: dict[str, dict[str, Any]],
) -> None:
    schema = deployments["promote-adapter/manual"]["parameter_openapi_schema"]
    assert {"name", "version", "reason", "waive", "dry_run"} <= set(schema["properties"])


def logged(settings: Settings, experiment: str) -> list[Any]:
    """MLflow's runs of an experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=settings.mlflow_uri)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def test_a_run_whose_worker_was_killed_goes_on_from_its_checkpoint(story: Story) -> None:
    """The whole process group of worker and run got SIGKILL in the middle of the training."""
    from mlflow import MlflowClient

    assert story.killed["state_type"] == "RUNNING"  # nobody was left to say that it died
    assert 0 < story.saved < STEPS
    assert (story.trained["id"], story.trained["run_count"]) == (story.killed["id"], 2)
    client = MlflowClient(tracking_uri=story.settings.mlflow_uri)
    version = AdapterRegistry.from_settings(story.settings).get(NAME, 1)
    run = client.get_run(str(version.run_id))
    assert story.saved <= run.data.metrics["resumed_at"] < STEPS
    losses = [point.value for point in client.get_metric_history(run.info.run_id, "loss")]
    assert losses == pytest.approx(story.undisturbed, abs=1e-5)
    assert len(losses) == STEPS


def test_a_killed_run_leaves_nothing_behind_once_it_was_run_again(story: Story) -> None:
    assert list((story.settings.home / "training").iterdir()) == []
    assert [version.version for version in AdapterRegistry.from_settings(story.settings).versions(NAME)] == [
        1
    ]


def test_the_deployed_promotion_moves_the_champion_and_is_audited(story: Story) -> None:
    registry = AdapterRegistry.from_settings(story.settings)
    assert registry.champion_version(NAME) == 1
    promotion = next(entry for entry in registry.history(NAME) if entry.act.action == "promote")
    assert (promotion.act.by, promotion.act.reason) == ("nightly-worker", "the first")


def test_the_event_of_the_promotion_has_the_cache_built_for_the_new_champion(story: Story) -> None:
    assert story.built["created_by"]["type"] == "AUTOMATION"
    assert story.built["parameters"] == {"name": NAME}
    assert story.built["start_time"] > story.promoted["start_time"]
    (run,) = logged(story.settings, "voicebot/cache")
    assert run.data.tags["scope"] in CacheStore(story.settings.home / "cache" / "cache.sqlite").scopes()
    assert run.data.metrics["entries"] >= 8
    assert run.data.metrics["recalled"] == 1.0


def test_the_schedule_makes_runs_of_its_own(
    deployed: Deployed, deployments: dict[str, dict[str, Any]]
) -> None:
    for name, hour in (("train-adapter/nightly", 2), ("build-cache-index/daily", 4)):
        deployment = deployments[name]["id"]
        wait_for(partial(deployed.scheduled, deployment))
        runs = deployed.scheduled(deployment)
        times = sorted(datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in runs)
        assert len(times) >= 2
        assert all((time.hour, time.minute) == (hour, 0) for time in times)
        assert {b - a for a, b in itertools.pairwise(times)} == {timedelta(days=1)}


def test_prefect_and_mlflow_keep_everything_in_postgresql(deployed: Deployed, story: Story) -> None:
    import psycopg

    if deployed.postgres is None:
        pytest.skip("no PostgreSQL server on this machine; the circle above ran on SQLite")
    prefects = deployed.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    counted: list[int] = []
    for address, query in (
        (prefects, "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'"),
        (story.settings.mlflow_uri, "SELECT count(*) FROM metrics WHERE key = 'loss'"),
    ):
        plain = address.replace("+asyncpg", "").replace("+psycopg", "")
        with psycopg.connect(plain) as database:
            counted += database.execute(query).fetchone() or ()
    assert counted[0] == 3  # training, promotion, cache
    assert counted[1] == STEPS
    assert not list(deployed.home.glob("*.db"))
    assert not list(story.settings.mlruns.glob("*.db"))
