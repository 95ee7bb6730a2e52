"""One adapter from data to sealed bundle: baseline, training, measurement, bundle.

The steps are ordinary functions of their own modules; this is their order, for flows and experiments.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from serving.errors import InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import Logits
from training.baseline import Baseline, fit_baseline, scope_threshold
from training.bundle import ADAPTER_NAME, Bundle, Finished, write_bundle
from training.checkpoint import DamagedCheckpointError, ForeignCheckpointError, set_aside
from training.code_version import CodeVersion
from training.config import TrainConfig
from training.data import Splits
from training.measure import Comparison, adapter_logits, compare, frozen_logits
from training.model import Head
from training.outcome import ProgressListener, Trained
from training.processes import Alone, Processes
from training.trainer import train


@dataclass(frozen=True)
class AdapterRun:
    """A finished run.

    Attributes:
        bundle: the sealed bundle.
        trained: outcome of the training loop.
        baseline: the frozen baseline beside it.
        validation: both on validation, by a model that never saw it.
        test: both on test; None where there is no test split.
        test_logits: the adapter's, shape (texts, labels); None where `test` is.
        set_aside: the checkpoint that was there and could not be used, under its new name.
    """

    bundle: Bundle
    trained: Trained
    baseline: Baseline
    validation: Comparison
    test: Comparison | None
    test_logits: Logits | None
    set_aside: Path | None = None


def run_key(encoder: SentenceEncoder, splits: Splits, config: TrainConfig, name: str = ADAPTER_NAME) -> str:
    """Twelve hexadecimal digits that stand for base, data, recipe and the model's name.

    A folder named with it lets a killed run be found and resumed, and never mixes two runs.
    """
    test = splits.test.sha256 if splits.test else None
    parts = [name, encoder.base_sha256, splits.sha256, test, config.to_dict()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def train_adapter(
    encoder: SentenceEncoder,
    splits: Splits,
    config: TrainConfig,
    folder: Path,
    *,
    baseline: Baseline | None = None,
    on_progress: ProgressListener | None = None,
    name: str = ADAPTER_NAME,
    code: CodeVersion | None = None,
) -> AdapterRun:
    """Train, measure and bundle an intent adapter.

    While it trains, the run is saved to `<folder>.ckpt`; the same call again goes on from there. A checkpoint
    that is damaged or of another run is set aside, and training begins anew.

    Args:
        encoder: the base; not changed.
        splits: the data; a test split is scored once, and every look at it counts.
        config: the recipe.
        folder: where the bundle shall appear; must not exist.
        baseline: the frozen baseline of the same data and configuration; fitted here where not given.
        on_progress: called after every step and epoch.
        name: registered model's name.
        code: version of the code, for the manifest.

    Raises:
        InvalidInputError: the folder exists, or the baseline belongs to other data or another base.
        DivergedError: training met a number that is not finite.
        IntegrityError: the saved adapter differs from the trained one.
        UnavailableError: a checkpoint could not be written.
    """
    require_new(folder)
    checkpoint = checkpoint_of(folder)
    frozen = baseline or fit_baseline(encoder, splits, config)
    _check_baseline(frozen, encoder, splits)
    trained, aside = learn(encoder, splits, frozen.start, config, checkpoint, on_progress=on_progress)
    run = conclude(encoder, splits, frozen, trained, folder, name=name, code=code)
    checkpoint.unlink(missing_ok=True)
    return replace(run, set_aside=aside)


def conclude(
    encoder: SentenceEncoder,
    splits: Splits,
    frozen: Baseline,
    trained: Trained,
    folder: Path,
    *,
    name: str = ADAPTER_NAME,
    code: CodeVersion | None = None,
) -> AdapterRun:
    """Measure a trained adapter beside its frozen baseline and seal its bundle.

    Args:
        encoder: the base.
        splits: the data; a test split is scored once.
        frozen: the baseline.
        trained: outcome of `learn`.
        folder: where the bundle shall appear; must not exist.
        name: registered model's name.
        code: version of the code, for the manifest.

    Raises:
        InvalidInputError: the folder exists.
        IntegrityError: the saved adapter differs from the trained one.
    """
    threshold = scope_threshold(trained.validation_logits, splits.validation, trained.labels)
    thresholds = (threshold, frozen.threshold)
    held = splits.validation
    logits_held = trained.validation_logits
    validation = compare(held, trained.labels, logits_held, frozen.validation_logits, thresholds)
    test, logits = None, None
    if splits.test is not None:
        logits = adapter_logits(trained, encoder, splits.test.texts)
        frozen_test = frozen_logits(frozen, encoder, splits.test.texts, trained.config.max_length)
        test = compare(splits.test, trained.labels, logits, frozen_test, thresholds)
    comparisons = tuple(found for found in (validation, test) if found)
    finished = Finished(encoder, splits, frozen, trained, threshold, comparisons)
    bundle = write_bundle(folder, finished, name=name, code=code)
    return AdapterRun(bundle, trained, frozen, validation, test, logits)


def require_new(folder: Path) -> None:
    """Refuse a bundle's folder that is there already.

    Raises:
        InvalidInputError: it is.
    """
    if folder.exists():
        raise InvalidInputError(
            f"{folder} exists already.", advice="Name a new folder; bundles are never overwritten."
        )


def checkpoint_of(folder: Path) -> Path:
    """Where a run is saved while it trains, beside the bundle that it will leave."""
    return folder.with_name(folder.name + ".ckpt")


def learn(
    encoder: SentenceEncoder,
    splits: Splits,
    head: Head,
    config: TrainConfig,
    checkpoint: Path,
    *,
    on_progress: ProgressListener | None = None,
    processes: Processes | None = None,
) -> tuple[Trained, Path | None]:
    """Train (`trainer.train`, with its arguments and errors); a checkpoint that is of no use is set aside.

    Returns:
        The outcome, and the checkpoint's new name where it was set aside.
    """
    group = processes or Alone()
    run = partial(
        train,
        encoder,
        splits,
        head,
        config,
        checkpoint=checkpoint,
        on_progress=on_progress,
        processes=group,
    )
    try:
        return run(), None
    except (DamagedCheckpointError, ForeignCheckpointError):
        aside = group.from_main(lambda: set_aside(checkpoint))
        return run(), aside


def _check_baseline(baseline: Baseline, encoder: SentenceEncoder, splits: Splits) -> None:
    if (baseline.data_sha256, baseline.base_sha256) != (splits.sha256, encoder.base_sha256):
        raise InvalidInputError(
            "The baseline was fitted on other data or another encoder than this run uses.",
            advice="Fit it again on the same data.",
        )
