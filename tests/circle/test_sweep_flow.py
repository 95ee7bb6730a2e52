"""The sweep's tasks with a tiny encoder: real processes, a real MLflow database."""

from pathlib import Path

import pytest
import yaml

from flows.sweep_adapters import PAGE, SweepRequest, log_trials, run_trials
from serving.adapters.lora import TARGET_MODULES
from tests.circle.fixtures import installed_at
from tests.training.conftest import WORDS, make_encoder, make_split
from training.sweep import best_trial

NO_LAYER = "no.such.layer"


def test_a_sweep_leaves_a_run_per_recipe_and_a_page_and_scores_no_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

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
        jobs=1,
    )
    with installed_at(tmp_path) as settings:
        source, trials = run_trials.fn(request)
        parent = log_trials.fn(request, source, trials)
    first, second = trials
    assert best_trial(trials) is first
    assert first.accuracy is not None
    assert first.accuracy.items == len(parts["validate"])
    assert f"LoRA cannot adapt {NO_LAYER!r}" in second.failure
    client = MlflowClient(tracking_uri=settings.mlflow_uri)
    assert client.get_run(parent).data.params["max_length"] == "32"
    runs = client.search_runs([client.get_run(parent).info.experiment_id])
    children = {
        run.data.params["target_modules"]: run.data
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent
    }
    assert children.keys() == {TARGET_MODULES, NO_LAYER}
    assert children[TARGET_MODULES].metrics["validation.accuracy"] == first.accuracy.estimate
    assert not children[NO_LAYER].metrics
    assert not [name for run in runs for name in run.data.metrics if name.startswith("test.")]
    page = Path(client.download_artifacts(parent, PAGE, str(tmp_path))).read_text(encoding="utf-8")
    assert page.count("<tr>") >= 3
