"""The sweep with a tiny encoder: the flow on a Prefect server, real processes, a real MLflow database."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.statistics import wilson
from flows.sweep_adapters import PAGE, SweepRequest, at_once, sweep_adapters
from serving.adapters.lora import TARGET_MODULES
from tests.circle.fixtures import installed_at
from tests.training.conftest import WORDS, make_encoder, make_split
from training.data import Splits

NO_LAYER = "no.such.layer"
SCORES = {
    *(f"validation.{name}" for name in ("accuracy", "accuracy_low", "accuracy_high")),
    *("validation.macro_f1", "validation.calibration_error"),
    *("trained_parameters", "seconds", "epochs"),
}
"""All that a trial may leave: nothing of these is of test texts."""


class WatchedPool(ProcessPoolExecutor):
    """Remembers how many processes each pool had, and which data its trials were sent."""

    sizes: list[int]
    sent: list[Splits]

    def __init__(self, max_workers: int, **rest: Any) -> None:
        super().__init__(max_workers, **rest)
        self.sizes.append(max_workers)

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        self.sent += [arg for arg in args if isinstance(arg, Splits)]
        return super().submit(work, *args, **named)


@pytest.mark.parametrize(
    ("jobs", "cores", "trials", "expected"),
    [(0, 4, 9, 4), (0, 4, 2, 2), (2, 4, 9, 2), (8, 2, 9, 2), (3, 4, 1, 1)],
)
def test_no_more_trials_run_at_once_than_asked_for_or_than_there_are_cores_and_trials(
    jobs: int, cores: int, trials: int, expected: int
) -> None:
    assert at_once(jobs, cores, trials) == expected


def test_a_sweep_leaves_a_run_per_recipe_and_a_page_and_scores_no_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    from mlflow import MlflowClient
    from prefect.artifacts import Artifact

    monkeypatch.setattr(WatchedPool, "sizes", [], raising=False)
    monkeypatch.setattr(WatchedPool, "sent", [], raising=False)
    monkeypatch.setattr("training.sweep.ProcessPoolExecutor", WatchedPool)

    words = [word for group in WORDS.values() for word in group]
    monkeypatch.setenv("VOICEBOT_ENCODER", str(make_encoder(tmp_path / "encoder", words)))
    parts = {
        "train": make_split("train", 8, 1),
        "validate": make_split("v", 4, 2),
        "test": make_split("t", 9, 3),
    }
    intents = {
        label: {
            key: [text for text, own in zip(data.texts, data.labels, strict=True) if own == label]
            for key, data in parts.items()
        }
        for label in WORDS
    }
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents" / "all.yaml").write_text(yaml.safe_dump(intents), encoding="utf-8")
    request = SweepRequest(
        dataset=str(tmp_path / "intents"),
        changes={"max_length": 32},
        space={"target_modules": [TARGET_MODULES, NO_LAYER], "rank": [2], "epochs": [1]},
        jobs=2,
    )
    with installed_at(tmp_path) as settings:
        found = sweep_adapters(request)
    assert WatchedPool.sizes == [min(2, len(os.sched_getaffinity(0)))]
    assert [splits.test for splits in WatchedPool.sent] == [None, None]
    assert (found.trials, found.failed) == (2, 1)
    assert found.best["target_modules"] == TARGET_MODULES
    client, parent = MlflowClient(tracking_uri=settings.mlflow_uri), found.run_id
    assert client.get_run(parent).data.params["max_length"] == "32"
    runs = client.search_runs([client.get_run(parent).info.experiment_id])
    children = {
        run.data.params["target_modules"]: run.data
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent
    }
    assert children.keys() == {TARGET_MODULES, NO_LAYER}
    assert children[TARGET_MODULES].metrics.keys() == SCORES
    assert children[TARGET_MODULES].metrics["validation.accuracy"] == found.accuracy
    items = len(parts["validate"])
    expected = wilson(round(found.accuracy * items), items)  # of the validation texts, and of all of them
    assert (found.accuracy_low, found.accuracy_high) == pytest.approx((expected.low, expected.high))
    assert f"LoRA cannot adapt {NO_LAYER!r}" in children[NO_LAYER].tags["failure"]
    assert not children[NO_LAYER].metrics
    assert not client.get_run(parent).data.metrics
    page = Path(client.download_artifacts(parent, PAGE, str(tmp_path))).read_text(encoding="utf-8")
    assert page.count("<tr>") >= 3
    artifact = Artifact.get("sweep")
    assert artifact is not None
    table = str(artifact.data)
    assert f"{found.accuracy:.2%} | {found.accuracy_low:.2%} to {found.accuracy_high:.2%}" in table
    assert f"failed: LoRA cannot adapt {NO_LAYER!r}" in table
