"""A recipe over several seeds: what is reported, and that interrupted work is not repeated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.errors import IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder
from training.config import TrainConfig
from training.data import Splits
from training.experiment import RecipeReport, run_recipe

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def report(out: Path, encoder: SentenceEncoder, splits: Splits, config: TrainConfig) -> RecipeReport:
    return run_recipe(config, splits, out, SEEDS, encoder=encoder)


def test_the_mean_over_seeds_stands_beside_the_baseline_with_intervals(report: RecipeReport) -> None:
    assert [row.seed for row in report.seeds] == list(SEEDS)
    assert report.mean.estimate == pytest.approx(np.mean([row.accuracy for row in report.seeds]))
    assert report.mean.low <= report.mean.estimate <= report.mean.high
    assert report.difference.estimate == pytest.approx(report.mean.estimate - report.baseline.estimate)
    assert report.over_seeds is not None
    assert report.parameters > report.baseline_parameters


def test_the_report_on_disk_is_the_report(report: RecipeReport, out: Path) -> None:
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report.summary()
    assert (out / "seed-2" / "bundle" / "manifest.json").is_file()


def test_finished_seeds_are_not_trained_again(
    report: RecipeReport, out: Path, encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    heard: list[int] = []
    again = run_recipe(
        config, splits, out, (*SEEDS, 3), encoder=encoder, on_progress=lambda seed, _: heard.append(seed)
    )
    assert set(heard) == {3}
    assert again.seeds[:3] == report.seeds


def test_results_of_another_recipe_are_not_mixed_in(
    report: RecipeReport, out: Path, encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    with pytest.raises(InvalidInputError, match="another recipe"):
        run_recipe(config.with_(epochs=1), splits, out, SEEDS, encoder=encoder)


def test_results_on_another_encoder_are_not_mixed_in(
    report: RecipeReport, out: Path, encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    with pytest.raises(InvalidInputError, match="another encoder"):
        run_recipe(config, splits, out, SEEDS, encoder=encoder.with_max_length(16))


def test_a_damaged_result_is_reported(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"result\.json"):
        run_recipe(config, splits, tmp_path, [0], encoder=encoder)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_given_and_differ(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInputError, match="Seeds"):
        run_recipe(config, splits, tmp_path, seeds, encoder=encoder)


def test_without_a_test_split_there_is_nothing_to_report(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="--test"):
        run_recipe(config, replace(splits, test=None), tmp_path, SEEDS, encoder=encoder)
