"""A recipe on a data set over several seeds, beside the frozen baseline on the same test texts.

Answers one question with an interval: does LoRA earn its place? The test split is scored once per seed
and never chosen by; a run that was interrupted goes on with the seeds that are missing.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intents import Mask
from evaluation.statistics import Interval, bootstrap_mean, mean_interval, paired_bootstrap
from serving.errors import IntegrityError, InvalidInputError
from serving.files import write_atomically
from serving.language.encoder import SentenceEncoder
from serving.plain import plain
from training.baseline import Baseline, fit_baseline
from training.code_version import CodeVersion
from training.config import TrainConfig
from training.data import Dataset, Splits
from training.measure import frozen_logits, right
from training.outcome import Progress, ProgressListener
from training.pipeline import train_adapter

REPORT_FILE = "report.json"
_RESULT_FILE = "result.json"
_BUNDLE = "bundle"
SeedListener = Callable[[int, Progress], None]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed.

    Attributes:
        seed: the seed.
        accuracy: on test.
        validation_accuracy: of the model that did not see validation, on validation.
        epochs: epochs of the final model.
        parameters: trained parameters.
        seconds: wall time of the training loop.
        right: which test texts were answered right, in the order of the test split.
    """

    seed: int
    accuracy: float
    validation_accuracy: float
    epochs: int
    parameters: int
    seconds: float
    right: tuple[bool, ...]


@dataclass(frozen=True)
class RecipeReport:
    """A recipe's result.

    Attributes:
        source: the data.
        items: test texts.
        test_sha256: the test split.
        shared_with_test: test texts that also stand in train, apart from case and punctuation.
        seeds: a row per seed.
        mean: mean accuracy over the seeds; the interval resamples test texts, and describes what
            another test set of this size would show.
        over_seeds: the same mean with Student's t interval over the seeds, and describes what other
            seeds would show; None for a single seed.
        baseline: accuracy of the frozen baseline, interval over test texts.
        difference: mean accuracy minus the baseline's, paired by text.
        parameters: trained parameters of an adapter.
        baseline_parameters: trained parameters of the baseline.
        config: the recipe.
        code: commit of the code.
    """

    source: str
    items: int
    test_sha256: str
    shared_with_test: int
    seeds: tuple[SeedResult, ...]
    mean: Interval
    over_seeds: Interval | None
    baseline: Interval
    difference: Interval
    parameters: int
    baseline_parameters: int
    config: dict[str, Any]
    code: str

    def summary(self) -> dict[str, Any]:
        """Everything but the single answers, as JSON types."""
        facts: dict[str, Any] = plain(self)
        for row in facts["seeds"]:
            del row["right"]
        return facts


def run_recipe(
    config: TrainConfig,
    data: Splits,
    out: Path,
    seeds: Sequence[int],
    *,
    encoder: SentenceEncoder,
    on_progress: SeedListener | None = None,
    code: CodeVersion | None = None,
) -> RecipeReport:
    """Train the recipe once per seed and report it beside the frozen baseline.

    Args:
        config: the recipe; its own seed is replaced.
        data: train, validation and test.
        out: folder of the bundles, the results per seed and `report.json`.
        seeds: different seeds.
        encoder: the base.
        on_progress: called with the seed after every step and epoch.
        code: version of the code, for the manifests.

    Raises:
        InvalidInputError: no test split, no or repeated seeds, or `out` holds results of another recipe.
        DivergedError: training met a number that is not finite.
    """
    if data.test is None:
        raise InvalidInputError(f"{data.source} has no test split.", advice="Give one with --test.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InvalidInputError("Seeds must be given, all different.")
    test = data.test
    baseline = fit_baseline(encoder, data, config)
    logits = frozen_logits(baseline, encoder, test.texts, config.max_length)
    frozen = right(test.labels, logits, baseline.labels)
    results = []
    for seed in seeds:
        recipe, folder = config.with_(seed=seed), out / f"seed-{seed}"
        found = _earlier_result(folder, recipe, data, encoder)
        if found is None:
            listen = None if on_progress is None else partial(on_progress, seed)
            found = _one_seed(recipe, data, folder, baseline, encoder, listen, code)
        results.append(found)
    report = _report(config, data, test, tuple(results), frozen, baseline, code or CodeVersion())
    write_atomically(out / REPORT_FILE, json.dumps(report.summary(), indent=2, ensure_ascii=False) + "\n")
    return report


def _one_seed(
    recipe: TrainConfig,
    data: Splits,
    folder: Path,
    baseline: Baseline,
    encoder: SentenceEncoder,
    listen: ProgressListener | None,
    code: CodeVersion | None,
) -> SeedResult:
    """Train, bundle and score one seed, and keep its answers beside the bundle."""
    shutil.rmtree(folder / _BUNDLE, ignore_errors=True)  # of a run that died before its result was kept
    run = train_adapter(
        encoder,
        data,
        recipe,
        folder / _BUNDLE,
        baseline=baseline,
        on_progress=listen,
        code=code,
    )
    assert run.test is not None
    assert run.test_logits is not None
    assert data.test is not None
    result = SeedResult(
        seed=recipe.seed,
        accuracy=run.test.adapter.accuracy.estimate,
        validation_accuracy=run.validation.adapter.accuracy.estimate,
        epochs=run.trained.epochs,
        parameters=run.trained.parameters,
        seconds=run.trained.seconds,
        right=tuple(right(data.test.labels, run.test_logits, run.trained.labels).tolist()),
    )
    document = {"identity": _identity(recipe, data, encoder), "result": asdict(result)}
    write_atomically(folder / _RESULT_FILE, json.dumps(document, ensure_ascii=False) + "\n")
    return result


def _earlier_result(
    folder: Path, recipe: TrainConfig, data: Splits, encoder: SentenceEncoder
) -> SeedResult | None:
    """The result of a seed that an interrupted experiment has finished already."""
    path = folder / _RESULT_FILE
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        identity, fields = document["identity"], document["result"]
        result = SeedResult(**(fields | {"right": tuple(fields["right"])}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}", advice="Remove it to train again.") from error
    if identity != _identity(recipe, data, encoder):
        raise InvalidInputError(
            f"{folder} holds the result of another recipe, other data or another encoder.",
            advice="Name a new folder.",
        )
    return result


def _identity(recipe: TrainConfig, data: Splits, encoder: SentenceEncoder) -> dict[str, Any]:
    """What makes a result comparable: recipe, encoder, data and the test rows."""
    assert data.test is not None
    return {
        "config": recipe.to_dict(),
        "encoder": encoder.fingerprint,
        "data": data.sha256,
        "test": data.test.sha256,
    }


def _report(
    config: TrainConfig,
    data: Splits,
    test: Dataset,
    results: tuple[SeedResult, ...],
    frozen: Mask,
    baseline: Baseline,
    code: CodeVersion,
) -> RecipeReport:
    per_text = np.mean([result.right for result in results], axis=0)
    return RecipeReport(
        source=data.source,
        items=len(test),
        test_sha256=test.sha256,
        shared_with_test=data.shared_with_test(),
        seeds=results,
        mean=bootstrap_mean(per_text),
        over_seeds=mean_interval([result.accuracy for result in results]) if len(results) > 1 else None,
        baseline=bootstrap_mean(frozen),
        difference=paired_bootstrap(per_text, frozen).interval,
        parameters=max(result.parameters for result in results),
        baseline_parameters=baseline.parameters,
        config=config.to_dict(),
        code=code.sha + (" (changed)" if code.dirty else ""),
    )
