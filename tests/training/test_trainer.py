"""The training loop on a tiny encoder: it learns, repeats itself, resumes, and changes only what it may."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import IntegrityError, InvalidInputError, UnavailableError
from serving.language.encoder import SentenceEncoder
from training.baseline import Baseline, fit_baseline
from training.config import HeadInit, TrainConfig
from training.data import Splits
from training.model import Head, logits_of
from training.outcome import DivergedError, Progress, Trained
from training.trainer import train


class KilledError(Exception):
    """Stands for a worker that dies."""


def accuracy(trained: Trained, encoder: SentenceEncoder, splits: Splits) -> float:
    batcher = encoder.batcher(trained.config.max_length)
    answered = logits_of(trained.model, batcher, batcher.ids(splits.test.texts)).argmax(axis=1)
    return float(
        np.mean([trained.labels[i] == gold for i, gold in zip(answered, splits.test.labels, strict=True)])
    )


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trained.model.state_dict().items()}


def assert_same_weights(first: Trained, second: Trained) -> None:
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_lowers_the_loss_and_answers_unseen_texts(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    trained = train(encoder, splits, baseline.start, config.with_(epochs=6))
    assert np.mean(trained.losses[-6:]) < 0.5 * np.mean(trained.losses[:6])
    assert accuracy(trained, encoder, splits) >= 0.9


def test_only_lora_and_the_head_change(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    trained = train(encoder, splits, baseline.start, config)
    assert trained.base_before == trained.base_after == encoder.base_sha256
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.model.state_dict().items())
    head = {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}
    lora = {name for name in trained.changed if ".lora_" in name}
    # Two layers of six linear layers, two matrices each.
    assert len(lora) == 24
    assert set(trained.changed) == lora | head
    assert trained.moved
    assert trained.finite


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    first, second = (train(encoder, splits, baseline.start, config) for _ in range(2))
    assert_same_weights(first, second)
    other = train(encoder, splits, baseline.start, config.with_(seed=1))
    assert other.losses != first.losses


def test_training_leaves_torchs_random_numbers_and_threads_alone(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(encoder, splits, baseline.start, config.with_(epochs=1, threads=threads + 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("killed_at", [1, 4, 6, 7, 13, 17, 20])
def test_a_run_that_is_killed_at_any_step_ends_exactly_like_one_that_was_not(
    encoder: SentenceEncoder,
    splits: Splits,
    baseline: Baseline,
    config: TrainConfig,
    tmp_path: Path,
    killed_at: int,
) -> None:
    recipe = config.with_(refit=True, epochs=2, checkpoint_steps=2)
    whole = train(encoder, splits, baseline.start, recipe)
    steps = 0

    def die(_: Progress) -> None:
        nonlocal steps
        steps += 1
        if steps == killed_at:
            raise KilledError

    file = tmp_path / "run.ckpt"
    with pytest.raises(KilledError):
        train(encoder, splits, baseline.start, recipe, checkpoint=file, on_progress=die)
    torch.rand(5)  # the random state of the new process differs
    resumed = train(encoder, splits, baseline.start, recipe, checkpoint=file)
    assert resumed.resumed_at <= killed_at
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-5)
    assert resumed.log == whole.log
    assert_same_weights(resumed, whole)


def test_a_finished_run_resumes_to_its_result_without_a_step(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    file, seen = tmp_path / "run.ckpt", []
    first = train(encoder, splits, baseline.start, config, checkpoint=file)
    again = train(encoder, splits, baseline.start, config, checkpoint=file, on_progress=seen.append)
    assert seen == []
    assert again.changed == first.changed
    assert_same_weights(first, again)


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    file = tmp_path / "run.ckpt"
    train(encoder, splits, baseline.start, config.with_(epochs=1), checkpoint=file)
    with pytest.raises(InvalidInputError, match="config"):
        train(encoder, splits, baseline.start, config.with_(epochs=2), checkpoint=file)


def test_a_damaged_checkpoint_is_reported_as_damaged(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    file = tmp_path / "run.ckpt"
    file.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(IntegrityError, match="cannot be read"):
        train(encoder, splits, baseline.start, config, checkpoint=file)


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    full = Path("/dev/full/run.ckpt")  # a folder that nothing can be written into
    with pytest.raises(UnavailableError, match="could not be written"):
        train(encoder, splits, baseline.start, config, checkpoint=full)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    poisoned = Head(baseline.start.weight, np.full_like(baseline.start.bias, math.nan))
    with pytest.raises(DivergedError, match="epoch 1, batch 1, rows"):
        train(encoder, splits, poisoned, config)


@pytest.fixture
def broken(encoder: SentenceEncoder) -> SentenceEncoder:
    """The tiny encoder with one word whose vector is not a number."""
    twin = copy.copy(encoder)
    twin.model = copy.deepcopy(encoder.model)
    token = encoder.batcher(32).ids(["zebra"])[0][1]
    with torch.no_grad():
        twin.model.embeddings.word_embeddings.weight[token] = math.nan
    return twin


def test_training_that_diverges_keeps_the_last_good_checkpoint(
    broken: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    texts = ("zebra " + splits.train.texts[0], *splits.train.texts[1:])
    data = replace(splits, train=replace(splits.train, texts=texts))
    file, heard = tmp_path / "run.ckpt", []
    recipe = config.with_(checkpoint_steps=1)
    with pytest.raises(DivergedError, match="rows 0") as caught:
        train(broken, data, baseline.start, recipe, checkpoint=file, on_progress=heard.append)
    assert not caught.value.retryable
    assert heard, "the bad batch must not be the first for this test to show anything"
    saved = torch.load(file, weights_only=True)["state"]
    assert json.loads(saved["position"])["losses"] == [progress.loss for progress in heard]
    assert all(bool(tensor.isfinite().all()) for tensor in saved["weights"].values())


def test_a_validation_loss_that_is_not_finite_stops_the_run(
    broken: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    texts = ("zebra", *splits.validation.texts[1:])
    data = replace(splits, validation=replace(splits.validation, texts=texts))
    with pytest.raises(DivergedError, match="validation loss became nan after epoch 1"):
        train(broken, data, baseline.start, config)


def test_early_stopping_keeps_the_best_epoch(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    trained = train(encoder, splits, baseline.start, config.with_(epochs=40, patience=2))
    best = min(trained.log, key=lambda log: log.validation_loss)
    assert trained.epochs == best.epoch
    assert len(trained.log) == min(40, trained.epochs + 2)
    answered = trained.validation_logits.argmax(axis=1)
    right = np.mean([trained.labels[i] == g for i, g in zip(answered, splits.validation.labels, strict=True)])
    assert right == pytest.approx(best.validation_accuracy)


def test_the_refit_learns_from_train_and_validation_for_the_best_number_of_epochs(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    trained = train(encoder, splits, baseline.start, config.with_(refit=True))
    again = [log for log in trained.log if log.stage == "refit"]
    assert len(again) == trained.epochs
    first, second = 6 * 3, 9 * trained.epochs  # 48 texts, then 68, in batches of 8
    assert len(trained.losses) == first + second


def test_a_listener_hears_every_step_and_every_epoch(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig
) -> None:
    heard: list[Progress] = []
    trained = train(encoder, splits, baseline.start, config, on_progress=heard.append)
    steps = [p for p in heard if p.validation_accuracy is None]
    assert [p.step for p in steps] == list(range(1, 6 * 3 + 1))  # 48 texts in batches of 8, three epochs
    assert [p.loss for p in steps] == list(trained.losses)
    assert len(heard) - len(steps) == 3


def test_a_centroid_start_trains_too(encoder: SentenceEncoder, splits: Splits, config: TrainConfig) -> None:
    recipe = config.with_(head_init=HeadInit.CENTROID, epochs=6)
    start = fit_baseline(encoder, splits, recipe).start
    assert np.linalg.norm(start.scaled(recipe.scale).weight, axis=1) == pytest.approx(1, abs=1e-5)
    assert accuracy(train(encoder, splits, start, recipe), encoder, splits) >= 0.9
