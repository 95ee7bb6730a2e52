"""Balanced and few-shot training, and a disk that is full: on the tiny encoder."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import InvalidInputError, UnavailableError
from serving.language.encoder import SentenceEncoder
from training.baseline import Baseline
from training.config import Balance, TrainConfig
from training.data import Splits
from training.outcome import Progress
from training.trainer import train

RARE = "lost_or_stolen_card"


class KilledError(Exception):
    """Stands for a worker that dies."""


@pytest.fixture
def uneven(splits: Splits) -> Splits:
    """One label has two texts, the others twelve."""
    own = [i for i, label in enumerate(splits.train.labels) if label == RARE]
    kept = [i for i in range(len(splits.train)) if i not in own[2:]]
    return replace(splits, train=splits.train.take(kept))


@pytest.mark.parametrize("balance", [Balance.SAMPLING, Balance.LOSS])
def test_balanced_training_believes_more_in_a_rare_label(
    encoder: SentenceEncoder, uneven: Splits, baseline: Baseline, config: TrainConfig, balance: Balance
) -> None:
    def belief(recipe: TrainConfig) -> float:
        trained = train(encoder, uneven, baseline.start, recipe)
        mine = [i for i, label in enumerate(uneven.validation.labels) if label == RARE]
        logits = torch.from_numpy(trained.validation_logits)[mine]
        return float(logits.softmax(dim=1)[:, trained.labels.index(RARE)].mean())

    recipe = config.with_(epochs=2, learning_rate=1e-2)
    assert belief(recipe.with_(balance=balance)) > belief(recipe) + 0.05


@pytest.mark.parametrize("balance", [Balance.SAMPLING, Balance.LOSS])
def test_a_balanced_run_that_is_killed_inside_an_epoch_ends_like_one_that_was_not(
    encoder: SentenceEncoder,
    uneven: Splits,
    baseline: Baseline,
    config: TrainConfig,
    tmp_path: Path,
    balance: Balance,
) -> None:
    recipe = config.with_(balance=balance, refit=True, epochs=1, checkpoint_steps=2)
    whole = train(encoder, uneven, baseline.start, recipe)
    heard: list[Progress] = []

    def die(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == 9:
            raise KilledError

    with pytest.raises(KilledError):
        train(encoder, uneven, baseline.start, recipe, checkpoint=tmp_path / "x", on_progress=die)
    resumed = train(encoder, uneven, baseline.start, recipe, checkpoint=tmp_path / "x")
    assert 0 < resumed.resumed_at < len(whole.losses)
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-5)


def test_splits_that_were_not_cut_to_the_shots_are_refused(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    recipe = config.with_(shots=3, epochs=1)
    with pytest.raises(InvalidInputError, match="more than the 3 texts per intent"):
        train(encoder, splits, baseline.start, recipe)
    trained = train(encoder, splits.few_shot(3), baseline.start, recipe)
    assert len(trained.losses) == 2  # 4 labels of 3 texts in batches of 8


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what the process sees is what it sees on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before_and_the_run_goes_on_from_it(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    file = tmp_path / "run.ckpt"
    recipe = config.with_(epochs=2, checkpoint_steps=2)
    whole = train(encoder, splits, baseline.start, recipe)

    def die(progress: Progress) -> None:
        if progress.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(encoder, splits, baseline.start, recipe, checkpoint=file, on_progress=die)
    before = file.read_bytes()
    with (
        file_limit(len(before) // 2),
        pytest.raises(UnavailableError, match=r"run\.ckpt could not be written"),
    ):
        train(encoder, splits, baseline.start, recipe, checkpoint=file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"], "no torn file is left beside it"
    resumed = train(encoder, splits, baseline.start, recipe, checkpoint=file)
    assert resumed.resumed_at == 4
    assert np.allclose(resumed.losses, whole.losses, atol=1e-5)
