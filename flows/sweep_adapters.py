"""Flow sweep-adapters: one data set, many recipes → child runs in MLflow, a page that compares them.

python -m flows.sweep_adapters

Nothing is registered and no test text is scored: `voicebot train --set …` trains the chosen recipe.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.settings import Settings
from training.sweep import Trial

PAGE = "sweep.html"


class SweepRequest(BaseModel):
    """What to vary; every field has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = ""
    """Folder of YAML intents, CSV or JSONL file, or hub name; empty for the project's own intents."""
    preset: Literal["project", "banking77"] = "project"
    """Recipe that is varied (`training/config.py`)."""
    changes: dict[str, Any] = {}
    """What is changed in it for all trials alike, such as the share of texts held out."""
    space: dict[str, list[Any]] = {"rank": [8, 16], "learning_rate": [5e-4, 1e-3]}
    """Values by setting."""
    trials: int = Field(default=0, ge=0)
    """How many combinations to draw; 0 takes all."""
    seed: int = Field(default=0, ge=0)
    """Of the draw."""
    jobs: int = Field(default=0, ge=0, le=256)
    """Trials at once; 0 for as many as there are cores, which is also the most."""


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What the flow leaves.

    Attributes:
        run_id: parent run in MLflow; the page is its artifact.
        best: changes of the recipe with the highest validation accuracy.
        accuracy: its validation accuracy, which flatters the best of many.
        failed: trials without a score.
    """

    run_id: str
    trials: int
    failed: int
    best: dict[str, Any]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    source: str


@task(cache_policy=NO_CACHE)
def run_trials(request: SweepRequest) -> tuple[str, tuple[Trial, ...]]:
    """Train and score every recipe; the data's name and the trials."""
    from serving.language.encoder import default_encoder_dir
    from training.config import preset
    from training.sources import load_splits
    from training.sweep import points, run_sweep

    settings = Settings.load()
    base = preset(request.preset).with_(**request.changes)
    changes = points(request.space, request.trials, request.seed)
    splits = load_splits(request.dataset or settings.data / "intents", config=base)
    done = 0

    def tell(trial: Trial) -> None:
        nonlocal done
        done += 1
        shown = f"{trial.accuracy.estimate:.2%}" if trial.accuracy else trial.failure
        report("trials", done, len(changes), f"{trial.name}: {shown}")

    report("trials", 0, len(changes))
    folder = settings.encoder or default_encoder_dir()
    trials = run_sweep(
        folder,
        splits,
        base,
        changes,
        jobs=at_once(request.jobs, len(os.sched_getaffinity(0)), len(changes)),
        on_trial=tell,
    )
    return splits.source, trials


@task(cache_policy=NO_CACHE)
def log_trials(request: SweepRequest, source: str, trials: tuple[Trial, ...]) -> str:
    """Log a parent run with the page, and a child run per trial; returns the parent's id."""
    from training.sweep_page import page

    settings = Settings.load()
    tags = {"dataset.source": source, "kind": "sweep"}
    with tracked_run(settings, Experiment.ADAPTERS, "sweep", tags) as parent:
        parent.log_params({"preset": request.preset, "trials": len(trials), "seed": request.seed})
        parent.log_params(request.changes)
        parent.log_params({f"space.{name}": values for name, values in request.space.items()})
        for trial in trials:
            own = tags | {"kind": "trial", "mlflow.parentRunId": parent.run_id, "failure": trial.failure}
            with tracked_run(settings, Experiment.ADAPTERS, trial.name[:250], own) as run:
                run.log_params(trial.changes)
                if trial.accuracy is not None:
                    run.log_metrics(_metrics(trial))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PAGE
            path.write_text(page(trials, source), encoding="utf-8")
            parent.log_file(path)
        return parent.run_id


@flow(name="sweep-adapters")
def sweep_adapters(request: SweepRequest = SweepRequest()) -> SweepOutcome:  # noqa: B008  # frozen
    """Compare recipes on validation texts."""
    from training.sweep import best_trial
    from training.sweep_page import markdown

    source, trials = run_trials(request)
    run_id = log_trials(request, source, trials)
    create_markdown_artifact(markdown(trials, source), key="sweep")
    best = best_trial(trials)
    assert best.accuracy is not None
    return SweepOutcome(
        run_id=run_id,
        trials=len(trials),
        failed=sum(bool(trial.failure) for trial in trials),
        best=best.changes,
        accuracy=best.accuracy.estimate,
        accuracy_low=best.accuracy.low,
        accuracy_high=best.accuracy.high,
        source=source,
    )


def at_once(jobs: int, cores: int, trials: int) -> int:
    """How many trials run at a time: what was asked for (0: all), but no more than cores and trials."""
    return min(jobs or cores, cores, trials)


def _metrics(trial: Trial) -> dict[str, float | None]:
    assert trial.accuracy is not None
    return {
        "validation.accuracy": trial.accuracy.estimate,
        "validation.accuracy_low": trial.accuracy.low,
        "validation.accuracy_high": trial.accuracy.high,
        "validation.macro_f1": trial.macro_f1,
        "validation.calibration_error": trial.calibration_error,
        "trained_parameters": trial.parameters,
        "seconds": trial.seconds,
        "epochs": trial.epochs,
    }


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("sweep")
