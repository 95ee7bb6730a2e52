"""Flow train-adapter: data → frozen baseline and LoRA → MLflow runs → challenger, judged by the gate.

    python -m flows.train_adapter

A run that was killed goes on from its checkpoint when the same request runs again. The registered model of
the project's own intents takes no other data: its challenger is what a nightly promotion would judge next.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.judging import judge_version
from flows.progress import report
from flows.tracking import Experiment, tracked_run
from flows.training_inputs import OWN_MODEL, TrainRequest, repetitions, require_served, training_inputs
from flows.work_folder import trained_before, work_folder
from serving.adapters.audit import operator_name
from serving.errors import InvalidInputError
from serving.settings import Settings

NOISE_FILE = "label_noise.csv"
"""Labels that are probably wrong, an artifact of the adapter's MLflow run."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data of a run.

    Attributes:
        own: whether these are the project's own intents.
        key: names the work folder: same base, data, recipe and name, same key, so that a rerun resumes.
    """

    source: str
    sha256: str
    labels: int
    train: int
    validation: int
    test: int
    own: bool
    key: str


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What the flow leaves.

    Attributes:
        run_id: MLflow run of the adapter.
        baseline_run_id: MLflow run of the frozen baseline.
        split: what accuracy and baseline were measured on: `test`, or `validation` where the data bring no
            test split (epochs and thresholds were chosen on it, so it flatters).
        accuracy: of the adapter.
        baseline: the frozen baseline's, on the same texts.
        gate: `passed`, `failed`, or `not judged` for other data than the project's own intents.
    """

    name: str
    version: int
    run_id: str
    baseline_run_id: str
    split: Literal["test", "validation"]
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
    """Read and check the data; only its facts are passed on.

    Raises:
        InvalidInputError: other data than the project's own under the name of its model, or own intents
            that lack one which the approved answers are for.
    """
    own = request.is_own(Settings.load())
    if request.name == OWN_MODEL and not own:
        raise InvalidInputError(
            f"{OWN_MODEL} is the model of the project's own intents; {request.dataset} holds other data.",
            advice="Register it under a name of its own (--name); VOICEBOT_DATA_DIR changes the own intents.",
        )
    encoder, splits, config = training_inputs(request)
    test = len(splits.test) if splits.test else 0
    if own:
        require_served(splits.labels)
    note = f"{len(splits.train):,} texts, {len(splits.labels)} intents"
    report("data", 1, 1, "; ".join([note, *repetitions(splits)]))
    from training.pipeline import run_key

    return DataFacts(
        source=splits.source,
        sha256=splits.sha256,
        labels=len(splits.labels),
        train=len(splits.train),
        validation=len(splits.validation),
        test=test,
        own=own,
        key=run_key(encoder, splits, config, request.name),
    )


@task(cache_policy=NO_CACHE)
def train_bundle(request: TrainRequest, work: Path) -> Path:
    """Fit the baseline, train the adapter and seal the bundle in the work folder; returns its folder.

    Beside it lies the report on labels that are probably wrong.
    """
    from training.baseline import fit_baseline
    from training.code_version import code_version
    from training.frozen import embed_splits
    from training.label_noise import find_label_noise
    from training.outcome import Progress
    from training.pipeline import train_adapter as train

    folder = work / "bundle"
    encoder, splits, config = training_inputs(request)
    if trained_before(folder, base_sha256=encoder.base_sha256):
        return folder

    def show(progress: Progress) -> None:
        note = f"epoch {progress.epoch}, loss {progress.loss:.3f}"
        if progress.validation_accuracy is not None:
            note += f", validation {progress.validation_accuracy:.1%}"
        report(f"LoRA {progress.stage}", progress.step, progress.steps, note)

    report("frozen baseline", 0, 1)
    vectors = embed_splits(encoder, splits, config)
    baseline = fit_baseline(encoder, splits, config, vectors)
    parts = [(splits.train, vectors.train), (splits.validation, vectors.validation)]
    noise = find_label_noise(parts)
    noise.save(work / NOISE_FILE)
    report("labels", 1, 1, f"{len(noise.doubts)} of {noise.items:,} are doubtful ({NOISE_FILE})")
    run = train(
        encoder,
        splits,
        config,
        folder,
        baseline=baseline,
        on_progress=show,
        name=request.name,
        code=code_version(),
    )
    if run.set_aside:
        report("checkpoint", 1, 1, f"{run.set_aside.name} could not be used; trained from the start")
    if run.trained.resumed_at:
        report("checkpoint", 1, 1, f"went on after step {run.trained.resumed_at}")
    return folder


@task(cache_policy=NO_CACHE)
def log_runs(request: TrainRequest, facts: DataFacts, bundle: Path) -> tuple[str, str]:
    """Log the frozen baseline and the adapter as runs of their own; returns their ids, adapter first."""
    from training.lineage import lineage_of

    settings = Settings.load()
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    tags = {
        "dataset.source": facts.source,
        "dataset.sha256": facts.sha256,
        "dataset.labels": str(facts.labels),
        "seed": str(request.seed),
    }
    if lineage := lineage_of(request.dataset):
        tags |= lineage.tags()
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
        run.log_metrics({"resumed_at": training.get("resumed_at")})
        run.log_series("loss", training.get("losses", ()))
        for epoch in training["log"]:
            if epoch["stage"] == "train":
                values = {
                    name: epoch[name] for name in ("train_loss", "validation_loss", "validation_accuracy")
                }
                run.log_metrics(values, step=epoch["epoch"])
        run.log_metrics(_scores(metrics, "adapter"))
        run.log_files(bundle, "bundle")
        noise = bundle.with_name(NOISE_FILE)
        if noise.is_file():  # not beside a bundle that several processes trained
            run.log_file(noise)
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
    """Train an adapter beside its frozen baseline and register it as judged challenger.

    Raises:
        UnavailableError: another process trains the same adapter now.
    """
    facts = prepare_data(request)
    with work_folder(Settings.load().home / "training", facts.key) as work:
        bundle = train_bundle(request, work)
        run_id, baseline_run_id = log_runs(request, facts, bundle)
        version = register_challenger(request, bundle, run_id)
        # The gate judges on the project's own test split; an adapter for other labels is not ours to promote.
        gate = judge_challenger(request.name, version) if facts.own else "not judged"
        metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    split: Literal["test", "validation"] = "test" if "test" in metrics["results"] else "validation"
    scores = metrics["results"][split]
    accuracy = scores["adapter"]["accuracy"]
    return TrainOutcome(
        name=request.name,
        version=version,
        run_id=run_id,
        baseline_run_id=baseline_run_id,
        split=split,
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
