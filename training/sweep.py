"""Many recipes on the same data, compared on validation only: the test split is taken away first.

A trial trains without a refit, because a refit leaves no text to compare on. Trials are processes of their
own, one thread each.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intents import Confusion, IntentScore, best_labels, probabilities, score
from evaluation.statistics import Interval
from serving.errors import EngineError, InvalidInputError, VoicebotError
from serving.language.encoder import load_encoder
from serving.language.intent import Logits
from training.baseline import fit_baseline
from training.config import TrainConfig
from training.data import Splits
from training.frozen import Vectors, embed_splits
from training.trainer import train

MOST_TRIALS = 1_000
_BINS = 10
_SHOWN = 10

Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of similar confidence: their number, mean confidence, and share of right ones."""

    items: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe, scored on validation.

    Attributes:
        number: place in the sweep, from 1.
        changes: what differs from the base recipe.
        accuracy: with interval over validation texts; None where training failed.
        macro_f1: mean F1 over intents.
        calibration_error: expected calibration error.
        epochs: the best one.
        parameters: trained.
        seconds: wall time of training.
        worst: intents with the lowest F1.
        confusions: the most frequent.
        reliability: bins of confidence, low to high, empty ones left out.
        failure: why there is no score; empty where there is.
    """

    number: int
    changes: Changes
    accuracy: Interval | None = None
    macro_f1: float = 0.0
    calibration_error: float = 0.0
    epochs: int = 0
    parameters: int = 0
    seconds: float = 0.0
    worst: tuple[IntentScore, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    reliability: tuple[Bin, ...] = ()
    failure: str = ""

    @property
    def name(self) -> str:
        """What differs, for people."""
        return ", ".join(f"{key}={value}" for key, value in self.changes.items()) or "base"


def points(space: Mapping[str, Sequence[Any]], trials: int = 0, seed: int = 0) -> list[Changes]:
    """All combinations of the values of some settings, or so many of them drawn without repetition.

    Args:
        space: values by setting.
        trials: how many to draw; 0, or as many as there are, takes the whole grid in its order.
        seed: of the draw.

    Raises:
        InvalidInputError: nothing to vary, a setting without values, or more than a thousand trials.
    """
    empty = [name for name, values in space.items() if not values]
    if not space or empty:
        raise InvalidInputError(
            f"The setting {empty[0]!r} has no values." if empty else "There is no setting to vary.",
            advice="Give some, such as rank=8,16.",
        )
    size = math.prod(len(values) for values in space.values())
    wanted = min(trials, size) or size
    if wanted > MOST_TRIALS:
        raise InvalidInputError(
            f"{wanted:,} trials are asked for, {MOST_TRIALS:,} at most.", advice="Draw some with trials."
        )
    if wanted == size:
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    rng, drawn = np.random.default_rng(seed), dict[int, None]()
    while len(drawn) < wanted:
        drawn[int(rng.integers(size))] = None
    return [_point(space, place) for place in drawn]


def run_sweep(
    folder: Path,
    splits: Splits,
    base: TrainConfig,
    changes: Sequence[Changes],
    *,
    jobs: int,
    on_trial: Callable[[Trial], None] | None = None,
) -> tuple[Trial, ...]:
    """Train every recipe and score it on validation; a recipe that diverges is a failed trial.

    Args:
        folder: of the encoder.
        splits: the data; a test split is not looked at.
        base: the recipe that is varied; its refit and threads are put aside.
        changes: of each trial.
        jobs: processes at once.
        on_trial: called as each trial ends, in any order.

    Returns:
        The trials in their order.

    Raises:
        InvalidInputError: a recipe is out of its limits; nothing is trained then.
        EngineError: no trial came to a score.
    """
    recipes = [base.with_(**({"refit": False, "threads": 1} | each)) for each in changes]
    if any(recipe.refit for recipe in recipes):
        raise InvalidInputError("A sweep compares on validation, from which a refit would learn.")
    if any(recipe.shots for recipe in recipes):
        raise InvalidInputError("Trials of one sweep share their texts; shots cannot be varied in it.")
    encoder = load_encoder(folder, max_length=recipes[0].max_length)
    data = replace(splits, test=None)
    vectors = embed_splits(encoder, data, recipes[0])
    found: list[Trial] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = []
        for number, (each, recipe) in enumerate(zip(changes, recipes, strict=True), start=1):
            ready = vectors if recipe.max_length == recipes[0].max_length else None
            waiting.append(pool.submit(_trial, Trial(number, each), folder, data, recipe, ready))
        try:
            for done in as_completed(waiting):
                trial = done.result()
                found.append(trial)
                if on_trial:
                    on_trial(trial)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    best_trial(found)
    return tuple(sorted(found, key=lambda trial: trial.number))


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The highest validation accuracy; among equals the fewest parameters, then the fewest seconds.

    Raises:
        EngineError: none has a score.
    """
    scored = [(trial.accuracy.estimate, trial) for trial in trials if trial.accuracy is not None]
    if not scored:
        raise EngineError(f"No trial came to a score; the first says: {trials[0].failure}")
    return max(scored, key=lambda pair: (pair[0], -pair[1].parameters, -pair[1].seconds))[1]


def reliability(labels: Sequence[str], gold: Sequence[str], logits: Logits) -> tuple[Bin, ...]:
    """Answers by confidence, ten equal steps from 0 to 1."""
    confidence = probabilities(logits).max(axis=1)
    right = np.array([a == b for a, b in zip(best_labels(logits, labels), gold, strict=True)])
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(int(own.sum()), float(confidence[own].mean()), float(right[own].mean()))
        for own in (place == number for number in np.unique(place))
    )


def _trial(trial: Trial, folder: Path, splits: Splits, recipe: TrainConfig, vectors: Vectors | None) -> Trial:
    """Train and score one recipe; runs in a process of its own."""
    encoder = load_encoder(folder, max_length=recipe.max_length)
    try:
        start = fit_baseline(encoder, splits, recipe, vectors).start
        trained = train(encoder, splits, start, recipe)
    except VoicebotError as error:
        return replace(trial, failure=str(error))
    gold, logits = splits.validation.labels, trained.validation_logits
    report = score(gold, logits, trained.labels)
    return replace(
        trial,
        accuracy=report.accuracy,
        macro_f1=report.macro_f1,
        calibration_error=report.calibration_error,
        epochs=trained.epochs,
        parameters=trained.parameters,
        seconds=trained.seconds,
        worst=report.intents[:_SHOWN],
        confusions=report.confusions[:_SHOWN],
        reliability=reliability(trained.labels, gold, logits),
    )


def _point(space: Mapping[str, Sequence[Any]], place: int) -> Changes:
    """The combination at a place of the grid, counted as `itertools.product` counts."""
    found: Changes = {}
    for name in reversed(list(space)):
        place, index = divmod(place, len(space[name]))
        found[name] = space[name][index]
    return {name: found[name] for name in space}
