"""Flow train-adapter: data → frozen baseline and LoRA → MLflow runs → challenger, judged by the gate.

    python -m flows.train_adapter

A run that was killed goes on from its checkpoint when the same request runs again.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from flows.judging import judge_version
from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.adapters.audit import operator_name
from serving.settings import Settings


class TrainRequest(BaseModel):
    """What to train; every field has a default, so a schedule needs none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = ""
    """Folder of YAML intents, CSV file or hub name; empty for the project's own intents."""
    preset: Literal["project", "banking77"] = "project"
    """Recipe (`training/config.py`)."""
    seed: int = Field(default=0, ge=0)
    name: str = "banking-lora"
    """Registered model."""
    changes: dict[str, Any] = {}
    """Values of the recipe to change, such as {"epochs": 2}."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data of a run.

    Attributes:
        key: names the work folder: the same data and recipe give the same key, so a rerun resumes.
    """

    source: str
    sha256: str
    labels: int
    train: int
    validation: int
    test: int
    key: str


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What the flow leaves.

    Attributes:
        run_id: MLflow run of the adapter.
        baseline_run_id: MLflow run of the frozen baseline.
        accuracy: on the test split.
        baseline: the frozen baseline's, on the same texts.
        gate: `passed`, `failed` or `waived`.
    """

    name: str
    version: int
    run_id: str
    baseline_run_id: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    baseline: float
    gate: str
    trained_parameters: int
    seconds: float
    texts: int
    labels: int


@task(cache_policy=NO_CACHE)
def prepare_data(request: TrainRequest) -> DataFacts:
    """Read and check the data; only its facts are passed on."""
    splits = _splits(request)
    recipe = json.dumps(request.model_dump(), sort_keys=True)
    key = hashlib.sha256(f"{splits.sha256}\n{recipe}".encode()).hexdigest()[:16]
    test = len(splits.test) if splits.test else 0
    report("data", 1, 1, f"{len(splits.train):,} texts, {len(splits.labels)} intents")
    return DataFacts(
        splits.source, splits.sha256, len(splits.labels), len(splits.train), len(splits.validation), test, key
    )


@task(cache_policy=NO_CACHE)
def train_bundle(request: TrainRequest, facts: DataFacts) -> Path:
    """Fit the baseline, train the adapter and seal the bundle; returns its folder."""
    from serving.language.encoder import load_encoder
    from training.bundle import ADAPTER_NAME
    from training.code_version import code_version
    from training.config import preset
    from training.outcome import Progress
    from training.pipeline import train_adapter as train

    settings = Settings.load()
    folder = settings.home / "training" / facts.key / "bundle"
    if folder.exists():  # trained before, but not registered: the process ended in between
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)

    def show(progress: Progress) -> None:
        note = f"epoch {progress.epoch}, loss {progress.loss:.3f}"
        if progress.validation_accuracy is not None:
            note += f", validation {progress.validation_accuracy:.1%}"
        report(f"LoRA {progress.stage}", progress.step, progress.steps, note)

    config = preset(request.preset).with_(seed=request.seed, **request.changes)
    encoder = load_encoder(settings.encoder)
    report("frozen baseline", 0, 1)
    train(
        encoder,
        _splits(request),
        config,
        folder,
        on_progress=show,
        name=request.name or ADAPTER_NAME,
        code=code_version(),
    )
    return folder


@task(cache_policy=NO_CACHE)
def log_runs(request: TrainRequest, facts: DataFacts, bundle: Path) -> tuple[str, str]:
    """Log the frozen baseline and the adapter as runs of their own; returns their ids, adapter first."""
    settings = Settings.load()
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    tags = {
        "dataset.source": facts.source,
        "dataset.sha256": facts.sha256,
        "dataset.labels": str(facts.labels),
        "seed": str(request.seed),
    }
    with tracked_run(settings, Experiment.ADAPTERS, "frozen-baseline", {**tags, "kind": "baseline"}) as run:
        baseline = metrics["baseline"]
        run.log_params({"head": "logistic regression", "C": metrics["config"]["logreg_c"]})
        run.log_metrics(
            {"trained_parameters": baseline["trained_parameters"], "seconds": baseline["seconds"]}
        )
        run.log_metrics(_scores(metrics, "baseline"))
        baseline_run = run.run_id
    with tracked_run(settings, Experiment.ADAPTERS, request.name, {**tags, "kind": "adapter"}) as run:
        training = metrics["training"]
        run.log_params(metrics["config"])
        run.log_metrics(
            {name: training[name] for name in ("epochs", "steps", "trained_parameters", "seconds")}
        )
        for epoch in training["log"]:
            if epoch["stage"] == "train":
                values = {
                    name: epoch[name] for name in ("train_loss", "validation_loss", "validation_accuracy")
                }
                run.log_metrics(values, step=epoch["epoch"])
        run.log_metrics(_scores(metrics, "adapter"))
        run.log_files(bundle, "bundle")
        return run.run_id, baseline_run


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def register_challenger(request: TrainRequest, bundle: Path, run_id: str) -> int:
    """Register the bundle as challenger; the same bundle twice gives the same version."""
    from serving.adapters.registry import AdapterRegistry

    settings = Settings.load()
    registry = AdapterRegistry.from_settings(settings)
    version = registry.register(
        request.name,
        bundle,
        by=operator_name(settings.operator),
        run_id=run_id,
        tags={"preset": request.preset},
    )
    report("registry", 1, 1, version.label)
    return version.version


@task(cache_policy=NO_CACHE)
def judge_challenger(name: str, version: int) -> str:
    """Put the challenger through the gate; returns the verdict's status."""
    settings = Settings.load()
    verdict = judge_version(settings, name, version, by=operator_name(settings.operator))
    report("gate", 1, 1, verdict.decision.status)
    return verdict.decision.status


@flow(name="train-adapter")
def train_adapter(request: TrainRequest = TrainRequest()) -> TrainOutcome:  # noqa: B008  # frozen
    """Train an adapter beside its frozen baseline and register it as judged challenger."""
    facts = prepare_data(request)
    bundle = train_bundle(request, facts)
    run_id, baseline_run_id = log_runs(request, facts, bundle)
    version = register_challenger(request, bundle, run_id)
    # The gate judges on the project's own test split; an adapter for other labels is not ours to promote.
    gate = judge_challenger(request.name, version) if not request.dataset else "not judged"
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    shutil.rmtree(bundle.parent, ignore_errors=True)
    scores = metrics["results"].get("test", metrics["results"]["validation"])
    accuracy = scores["adapter"]["accuracy"]
    return TrainOutcome(
        name=request.name,
        version=version,
        run_id=run_id,
        baseline_run_id=baseline_run_id,
        accuracy=accuracy["estimate"],
        accuracy_low=accuracy["low"],
        accuracy_high=accuracy["high"],
        baseline=scores["baseline"]["accuracy"]["estimate"],
        gate=gate,
        trained_parameters=metrics["training"]["trained_parameters"],
        seconds=metrics["training"]["seconds"],
        texts=facts.train,
        labels=facts.labels,
    )


def _splits(request: TrainRequest) -> Any:
    from training.sources import load_splits

    return load_splits(request.dataset or Settings.load().data / "intents")


def _scores(metrics: dict[str, Any], who: str) -> dict[str, float | None]:
    """Accuracy with interval, macro-F1 and out-of-scope recall of each split, as flat metric names."""
    found: dict[str, float | None] = {}
    for split, result in metrics["results"].items():
        scores = result[who]
        found[f"{split}.accuracy"] = scores["accuracy"]["estimate"]
        found[f"{split}.accuracy_low"] = scores["accuracy"]["low"]
        found[f"{split}.accuracy_high"] = scores["accuracy"]["high"]
        found[f"{split}.macro_f1"] = scores["macro_f1"]
    return found


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("train")
