"""Scores of an intent tagger against scikit-learn and hand-made cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from evaluation.intents import (
    calibration_error,
    energies,
    energy_threshold,
    in_scope,
    probabilities,
    score,
)
from serving.errors import InvalidInputError
from serving.language.intent import log_sum_exp

LABELS = ("block_card", "card_arrival", "out_of_scope")
answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def logits_for(answered: list[int], margin: float = 8.0) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[answered] * margin


@given(answers)
def test_accuracy_and_per_intent_scores_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, answered = [LABELS[g] for g, _ in pairs], [p for _, p in pairs]
    report = score(gold, logits_for(answered), LABELS)
    predicted = [LABELS[p] for p in answered]
    present = sorted(set(gold))
    assert report.accuracy.estimate == pytest.approx(
        np.mean([a == b for a, b in zip(gold, predicted, strict=True)])
    )
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert report.macro_f1 == pytest.approx(f1_score(gold, predicted, **options))
    assert np.mean([r.recall for r in report.intents]) == pytest.approx(
        recall_score(gold, predicted, **options)
    )
    assert np.mean([r.precision for r in report.intents]) == pytest.approx(
        precision_score(gold, predicted, **options)
    )


def test_confusions_come_most_frequent_first_and_add_up_to_the_errors() -> None:
    gold = ["block_card"] * 4 + ["card_arrival"] * 2
    report = score(gold, logits_for([0, 1, 1, 2, 1, 0]), LABELS)
    assert [(c.gold, c.predicted, c.items) for c in report.confusions] == [
        ("block_card", "card_arrival", 2),
        ("block_card", "out_of_scope", 1),
        ("card_arrival", "block_card", 1),
    ]
    assert report.intents[0].label == "block_card"


@given(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3))
def test_the_energy_here_is_the_energy_that_serving_computes(row: list[float]) -> None:
    array = np.array([row], dtype=np.float32)
    assert energies(array)[0] == pytest.approx(log_sum_exp(array[0]))
    assert probabilities(array).sum() == pytest.approx(1)


@given(
    st.lists(st.tuples(st.floats(0.5, 30, width=32), st.integers(0, 2)), min_size=1, max_size=200),
    st.floats(0, 0.5),
)
def test_the_threshold_never_turns_away_more_than_its_share_unless_the_label_did(
    texts: list[tuple[float, int]], rejection: float
) -> None:
    logits = np.stack([np.eye(3, dtype=np.float32)[label] * size for size, label in texts])
    threshold = energy_threshold(logits, LABELS, rejection=rejection, out_of_scope_label="out_of_scope")
    refused = ~in_scope(logits, LABELS, threshold, "out_of_scope")
    by_label = sum(label == 2 for _, label in texts)
    assert refused.sum() <= max(int(rejection * len(texts)), by_label)


def test_a_higher_threshold_than_the_calibrated_one_would_turn_away_too_many() -> None:
    logits = logits_for([0] * 100) * np.linspace(0.5, 2, 100, dtype=np.float32)[:, None]
    threshold = energy_threshold(logits, LABELS, rejection=0.05)
    assert (energies(logits) < threshold).sum() == 5
    assert (energies(logits) < math.nextafter(threshold, math.inf)).sum() == 6


def test_scope_is_judged_by_energy_and_by_label() -> None:
    gold = ["block_card", "block_card", "out_of_scope", "out_of_scope", "out_of_scope"]
    logits = logits_for([0, 0, 2, 0, 0])
    logits[3] *= 0.1  # unlike anything known: low energy
    report = score(gold, logits, LABELS, threshold=4.0, out_of_scope_label="out_of_scope")
    assert report.out_of_scope is not None
    assert report.out_of_scope.recall.estimate == pytest.approx(2 / 3)
    assert report.out_of_scope.in_scope_rejection.estimate == 0


def test_a_test_set_without_out_of_scope_texts_has_no_scope_score() -> None:
    report = score(["block_card"], logits_for([0]), LABELS, threshold=4.0, out_of_scope_label="out_of_scope")
    assert report.out_of_scope is None


def test_a_tagger_that_is_always_sure_and_half_right_is_off_by_half() -> None:
    assert calibration_error(np.ones(4), np.array([True, False, True, False])) == pytest.approx(0.5)


def test_confidence_that_matches_the_share_right_has_no_calibration_error() -> None:
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)


@pytest.mark.parametrize(
    ("gold", "logits"),
    [
        ([], np.zeros((0, 3), dtype=np.float32)),
        (["block_card"], np.zeros((2, 3), dtype=np.float32)),
        (["block_card"], np.zeros((1, 2), dtype=np.float32)),
        (["block_card"], np.full((1, 3), np.nan, dtype=np.float32)),
        (["no_such_intent"], np.zeros((1, 3), dtype=np.float32)),
    ],
)
def test_answers_that_do_not_fit_the_questions_are_refused(gold: list[str], logits: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        score(gold, logits, LABELS)


def test_a_threshold_needs_texts_and_a_share_below_one() -> None:
    with pytest.raises(InvalidInputError):
        energy_threshold(np.zeros((0, 3), dtype=np.float32), LABELS)
    with pytest.raises(InvalidInputError):
        energy_threshold(logits_for([0]), LABELS, rejection=1.0)
