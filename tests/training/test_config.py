"""Limits of the training configuration, and the batches and learning rates it leads to."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from training.batches import balanced_rows, epoch_batches, learning_rate_share, loss_weights
from training.config import PRESETS, Balance, HeadInit, TrainConfig, preset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("rank", 16.5),
        ("rank", True),
        ("alpha", -1.0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("epochs", 0),
        ("batch_size", 0),
        ("warmup_share", 1.5),
        ("label_smoothing", 1.0),
        ("head_dropout", -0.1),
        ("validation_share", 0.0),
        ("max_length", 2),
        ("seed", -1),
        ("threads", 0),
        ("head_init", "logreg "),
        ("target_modules", ""),
        ("target_modules", "(query"),
        ("target_modules", None),
        ("learning_rate", "fast"),
        ("refit", "no"),
        ("balance", "half"),
        ("shots", -1),
        ("shots", 2.5),
        ("shots_seed", -1),
    ],
)
def test_a_value_out_of_its_limits_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}="):
        TrainConfig(**{name: value})


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="learning_rat"):
        TrainConfig().with_(learning_rat=1e-3)


def test_a_choice_is_given_by_its_name_and_a_wrong_name_is_refused() -> None:
    changed = TrainConfig().with_(head_init="centroid", balance="sampling")
    assert (changed.head_init, changed.balance) == (HeadInit.CENTROID, Balance.SAMPLING)
    assert TrainConfig().with_(**changed.to_dict()) == changed
    with pytest.raises(InvalidInputError, match="balance='sampled'"):
        TrainConfig().with_(balance="sampled")
    with pytest.raises(InvalidInputError, match="balance="):
        TrainConfig().with_(balance=["loss"])


def test_a_few_shot_run_does_not_learn_from_all_of_validation() -> None:
    with pytest.raises(InvalidInputError, match="10 texts per intent") as caught:
        TrainConfig(shots=10)
    assert "refit" in caught.value.advice
    assert TrainConfig(shots=10, refit=False).shots == 10


def test_presets_are_named_and_an_unknown_one_lists_them() -> None:
    assert set(PRESETS) == {"project", "banking77"}
    with pytest.raises(InvalidInputError, match="banking77, project"):
        preset("demo")


@given(st.lists(st.integers(3, 64), min_size=1, max_size=400), st.integers(1, 40), st.integers(0, 5))
def test_every_text_is_in_exactly_one_batch(lengths: list[int], size: int, seed: int) -> None:
    batches = epoch_batches(lengths, size, seed, 1)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(len(batch) for batch in batches) <= size


def test_batches_are_repeatable_and_differ_between_epochs_and_seeds() -> None:
    lengths = [3 + i % 20 for i in range(300)]
    assert epoch_batches(lengths, 8, 0, 1) == epoch_batches(lengths, 8, 0, 1)
    assert epoch_batches(lengths, 8, 0, 1) != epoch_batches(lengths, 8, 0, 2)
    assert epoch_batches(lengths, 8, 0, 1) != epoch_batches(lengths, 8, 1, 1)


def test_texts_of_similar_length_share_a_batch() -> None:
    lengths = [3 + (i * 7) % 60 for i in range(3_200)]
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in epoch_batches(lengths, 32, 0, 1))
    assert padded / sum(lengths) < 1.06


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.integers(0, 3), st.integers(1, 3))
def test_a_balanced_epoch_draws_labels_alike_and_texts_of_a_label_alike(
    targets: list[int], seed: int, epoch: int
) -> None:
    rows = balanced_rows(targets, seed, epoch)
    assert len(rows) == len(targets)
    per_label, per_text = Counter(targets[row] for row in rows), Counter(rows)
    counts = [per_label[label] for label in set(targets)]
    assert max(counts) - min(counts) <= 1
    for label in set(targets):
        times = [per_text[row] for row, own in enumerate(targets) if own == label]
        assert max(times) - min(times) <= 1


def test_a_balanced_epoch_is_repeatable_and_the_next_one_differs() -> None:
    targets = [0] * 50 + [1] * 5
    assert balanced_rows(targets, 0, 1) == balanced_rows(targets, 0, 1)
    assert balanced_rows(targets, 0, 1) != balanced_rows(targets, 0, 2)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200))
def test_weights_make_labels_weigh_alike_and_have_the_mean_one(targets: list[int]) -> None:
    weights = loss_weights(targets)
    assert math.isclose(math.fsum(weights), len(targets), rel_tol=1e-9)
    sums = {
        label: math.fsum(w for w, own in zip(weights, targets, strict=True) if own == label)
        for label in set(targets)
    }
    assert max(sums.values()) == pytest.approx(min(sums.values()))


@given(st.integers(1, 5_000), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_once_and_falls_towards_zero(steps: int, warmup: float) -> None:
    shares = [learning_rate_share(step, steps, warmup) for step in range(steps)]
    peak = shares.index(max(shares))
    assert min(shares) > 0
    assert max(shares) <= 1
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
