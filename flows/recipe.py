"""A recipe over several seeds beside the frozen baseline: `voicebot train --test FILE --seeds N`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.progress import report
from serving.cli.console import print_json, print_table
from serving.language.encoder import load_encoder
from serving.settings import Settings
from training.code_version import code_version
from training.config import preset
from training.experiment import RecipeReport, run_recipe
from training.outcome import Progress
from training.pipeline import run_key
from training.sources import load_splits


def report_recipe(
    settings: Settings,
    dataset: str,
    test: Path | None,
    preset_name: str,
    seeds: int,
    out: Path | None,
    *,
    changes: Mapping[str, Any] | None = None,
    as_json: bool,
) -> None:
    """Train the recipe once per seed, score the test file once per seed, and print the table.

    Args:
        settings: for the encoder and the project's data.
        dataset: what to train on; empty for the project's own intents.
        test: CSV file to report on; None for the test split that the data brings.
        preset_name: the recipe.
        seeds: number of seeds, counted from 0.
        out: folder of bundles and results; an interrupted report goes on there. Default: a folder of this
            recipe and these data in `home/recipes`.
        changes: values of the recipe to change.
        as_json: print one JSON document instead.

    Raises:
        InvalidInputError: there is no such preset, or no test split.
        MissingError, UnavailableError: the data are not there, or the hub does not answer.
    """

    def show(seed: int, progress: Progress) -> None:
        note = f"epoch {progress.epoch}, loss {progress.loss:.3f}"
        if progress.validation_accuracy is not None:
            note += f", validation {progress.validation_accuracy:.1%}"
        report(f"seed {seed}, {progress.stage}", progress.step, progress.steps, note)

    config = preset(preset_name).with_(**(changes or {}))
    splits = load_splits(dataset or settings.data / "intents", config=config, test=test)
    encoder = load_encoder(settings.encoder)
    folder = out or settings.home / "recipes" / f"{preset_name}-{run_key(encoder, splits, config)}"
    found = run_recipe(
        config,
        splits,
        folder,
        range(seeds),
        encoder=encoder,
        on_progress=show,
        code=code_version(),
    )
    if as_json:
        print_json(found.summary())
    else:
        _show(found)


def _show(found: RecipeReport) -> None:
    rows = [
        (
            f"seed {row.seed}",
            f"{row.accuracy:.2%}",
            f"{row.epochs} epochs, {row.parameters:,} parameters, {row.seconds:.0f} s",
        )
        for row in found.seeds
    ]
    rows.append(
        (
            "mean",
            f"{found.mean.estimate:.2%}",
            f"95 % {found.mean.low:.2%} to {found.mean.high:.2%} over test texts",
        )
    )
    if found.over_seeds:
        rows.append(("", "", f"95 % {found.over_seeds.low:.2%} to {found.over_seeds.high:.2%} over seeds"))
    rows += [
        ("frozen baseline", f"{found.baseline.estimate:.2%}", f"{found.baseline_parameters:,} parameters"),
        (
            "difference",
            f"{found.difference.estimate:+.2%}",
            f"95 % {found.difference.low:+.2%} to {found.difference.high:+.2%}, paired by text",
        ),
        ("test texts", f"{found.items:,}", f"{found.shared_with_test} of them also stand in train"),
    ]
    print_table(f"{found.source}, {found.code[:12]}", ["", "accuracy", "evidence"], rows, right=["accuracy"])
