"""Flow calibrate-cache: labelled pairs through the cache's rule → certified thresholds, report, MLflow run.

    python -m flows.calibrate_cache

Servers read `home/cache/calibration.json` when they start; without one the project's own counts.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.files import write_atomically
from serving.plain import plain
from serving.settings import Settings

if TYPE_CHECKING:
    from evaluation.cache_calibration import CalibrationReport


@dataclass(frozen=True, slots=True)
class CalibrationOutcome:
    """What the flow leaves.

    Attributes:
        certified: largest share of wrong answers that is certified; None where none is, and then other
            words are never answered from the cache.
        threshold: least score of a hit.
        bound: upper bound of wrong among served at it.
        served: pairs served at it, `wrong` of them wrong.
        coverage: share of the paraphrases that are served right, with its exact interval.
        reached: alpha → least bound that was reached at any threshold tested.
        intents: intents that the certificate covers.
        left_out: intents with too few pairs; they are answered for the same words only.
        file: where it was written; None for a dry run.
    """

    certified: float | None
    threshold: float | None
    bound: float | None
    served: int
    wrong: int
    coverage: str
    reached: dict[str, float]
    intents: int
    left_out: tuple[str, ...]
    file: Path | None


def project_calibration(settings: Settings, alpha: float) -> "CalibrationReport":
    """Calibrate with the project's pairs, knowledge and rule; nothing is written.

    Raises:
        VoicebotError: a file of the data cannot be used, or an alpha under the least that can be certified.
    """
    from evaluation.cache_calibration import calibrate
    from evaluation.cache_pairs import load_pairs
    from serving.cache.choice import project_scorer
    from serving.cache.signature import Signer
    from serving.language.encoder import load_encoder
    from serving.language.knowledge import load_knowledge
    from serving.language.lexicon import load_lexicon
    from serving.telemetry.redaction import keyed_hash

    data = settings.data
    lexicon = load_lexicon(data / "lexicons" / "signature.yaml")
    # Personal values only need to be equal or not, so that every home gets the same calibration.
    signer = Signer(
        lexicon, lambda kind, value: keyed_hash(kind, value, b"calibrate the cache"), settings.currency
    )
    path = data / "cache_pairs" / "pairs.jsonl"
    pairs = load_pairs(path)
    return calibrate(
        pairs,
        load_knowledge(data / "knowledge" / "answers.yaml"),
        signer,
        project_scorer(data, lexicon),
        load_encoder(settings.encoder),
        pairs_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        alpha=alpha,
    )


@task(cache_policy=NO_CACHE)
def calibrate_pairs(alpha: float) -> "CalibrationReport":
    """Replay and certify."""
    found = project_calibration(Settings.load(), alpha)
    report("calibration", 1, 1, f"alpha {found.calibration.alpha:g}")
    return found


@task(cache_policy=NO_CACHE)
def write_calibration(found: "CalibrationReport") -> Path:
    """Write the file that servers read, and the plots and the table beside the other reports."""
    from serving.cache.calibration import FILE, save_calibration

    settings = Settings.load()
    path = settings.home / "cache" / FILE
    save_calibration(found.calibration, path)
    write_report(found, settings.home / "reports" / "cache")
    return path


def write_report(found: "CalibrationReport", folder: Path) -> None:
    """The plots, and all figures as JSON.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    import json

    from evaluation.cache_plots import calibration_plots
    from serving.files import make_folder

    make_folder(folder)
    for name, plot in calibration_plots(found).items():
        write_atomically(folder / f"{name}.svg", plot.light)
    write_atomically(folder / "calibration.json", json.dumps(plain(found), indent=1, sort_keys=True))


@task(cache_policy=NO_CACHE)
def log_calibration(found: "CalibrationReport", outcome: CalibrationOutcome) -> None:
    """Log figures, plots and the calibration itself as an MLflow run."""
    settings = Settings.load()
    calibration = found.calibration
    tags = {"pairs": calibration.pairs, "rule": calibration.rule, "rules": calibration.rules}
    with tracked_run(
        settings, Experiment.CACHE, "calibrate-cache", tags, finished=f"{outcome.file} is written"
    ) as run:
        run.log_metrics(
            {
                "alpha": outcome.certified,
                "threshold": outcome.threshold,
                "bound": outcome.bound,
                "served": outcome.served,
                "wrong": outcome.wrong,
            }
        )
        run.log_files(settings.home / "reports" / "cache", "report")
        run.log_json("calibration.json", plain(calibration))


@flow(name="calibrate-cache")
def calibrate_cache(alpha: float | None = None, *, dry_run: bool = False) -> CalibrationOutcome:
    """Certify from which score on the cache may answer other words.

    Args:
        alpha: largest share of wrong answers among those served that is accepted; default: setting
            `cache_alpha`.
        dry_run: write and log nothing.
    """
    wanted = Settings.load().cache_alpha if alpha is None else alpha
    found = calibrate_pairs(wanted)
    path = None if dry_run else write_calibration(found)
    outcome = _outcome(found, path)
    if not dry_run:
        log_calibration(found, outcome)
    return outcome


def _outcome(found: "CalibrationReport", path: Path | None) -> CalibrationOutcome:
    pooled = found.calibration.pooled
    chosen = next(
        (rung for rung in found.rungs if pooled is not None and rung.alpha == found.calibration.alpha), None
    )
    return CalibrationOutcome(
        certified=chosen.alpha if chosen else None,
        threshold=pooled.threshold if pooled else None,
        bound=pooled.upper if pooled else None,
        served=pooled.served if pooled else 0,
        wrong=pooled.wrong if pooled else 0,
        coverage=str(chosen.coverage) if chosen else "-",
        reached={f"{rung.alpha:g}": rung.reached for rung in found.rungs},
        intents=len(found.calibration.covered),
        left_out=found.left_out,
        file=path,
    )


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("calibrate-cache")
