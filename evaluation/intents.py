"""How well an intent tagger answers a labelled test set: accuracy, per intent, confusions, out of scope.

Pure functions of gold labels and logits; nothing here runs a model or reads a file. A text counts as
out of scope when its energy, logsumexp of the logits, is below the threshold or when its best
label is the out-of-scope label: the same rule as the tagger in serving.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.statistics import Interval, wilson
from serving.errors import InvalidInputError

Logits = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

IN_SCOPE_REJECTION = 0.05
"""Share of in-scope validation texts that the energy threshold may turn away."""
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class IntentScore:
    """One intent's row of the table.

    Attributes:
        label: intent.
        items: test items that carry it.
        right: of those, answered with it.
        predicted: items answered with it, rightly or not.
    """

    label: str
    items: int
    right: int
    predicted: int

    @property
    def recall(self) -> float:
        """Share of its items that were found; 0 without items."""
        return self.right / self.items if self.items else 0.0

    @property
    def precision(self) -> float:
        """Share of its answers that were right; 0 without answers."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 right / (items + predicted)."""
        total = self.items + self.predicted
        return 2 * self.right / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often texts of one intent were answered as another."""

    gold: str
    predicted: str
    items: int


@dataclass(frozen=True, slots=True)
class OutOfScope:
    """Out-of-scope detection at one threshold.

    Attributes:
        threshold: energy below which a text is out of scope.
        recall: share of out-of-scope texts turned away.
        in_scope_rejection: share of in-scope texts turned away by mistake.
    """

    threshold: float
    recall: Interval
    in_scope_rejection: Interval


@dataclass(frozen=True, slots=True)
class IntentReport:
    """Everything that is reported about a tagger on one test set.

    Attributes:
        accuracy: share of items whose best label is the gold label, with Wilson's interval.
        macro_f1: mean F1 over the intents that the test set holds.
        calibration_error: expected calibration error of the best label's probability.
        intents: a row per intent of the test set, worst F1 first.
        confusions: wrong pairs, most frequent first.
        out_of_scope: None where the test set holds no out-of-scope text.
    """

    accuracy: Interval
    macro_f1: float
    calibration_error: float
    intents: tuple[IntentScore, ...]
    confusions: tuple[Confusion, ...]
    out_of_scope: OutOfScope | None = None


def score(
    gold: Sequence[str],
    logits: Logits,
    labels: Sequence[str],
    *,
    threshold: float | None = None,
    out_of_scope_label: str | None = None,
) -> IntentReport:
    """Score logits against gold labels.

    Args:
        gold: right label of each text.
        logits: shape (texts, labels).
        labels: intents in the order of the logits.
        threshold: energy threshold; without one out-of-scope detection is not scored.
        out_of_scope_label: the label of out-of-scope texts, where there is one.

    Raises:
        InvalidInputError: no texts, shapes that differ, logits that are not finite, or a gold label
            that the tagger does not know.
    """
    predicted = best_labels(logits, labels)
    if len(gold) != len(predicted) or not predicted:
        raise InvalidInputError(f"{len(gold)} gold labels do not fit {len(predicted)} answers.")
    unknown = sorted(set(gold) - set(labels))
    if unknown:
        raise InvalidInputError(
            f"The test set holds {len(unknown)} labels that the tagger does not know: "
            f"{', '.join(unknown[:3])}.",
            advice="Train with these labels, or score a test set of the tagger's own labels.",
        )
    right = np.array([a == b for a, b in zip(gold, predicted, strict=True)])
    rows = _rows(gold, predicted)
    scope = None
    if threshold is not None and out_of_scope_label in gold:
        scope = score_scope(gold, logits, labels, threshold, out_of_scope_label)
    return IntentReport(
        accuracy=wilson(int(right.sum()), len(right)),
        macro_f1=float(np.mean([row.f1 for row in rows])),
        calibration_error=calibration_error(probabilities(logits).max(axis=1), right),
        intents=rows,
        confusions=_confusions(gold, predicted),
        out_of_scope=scope,
    )


def best_labels(logits: Logits, labels: Sequence[str]) -> list[str]:
    """The label with the highest logit for each text.

    Raises:
        InvalidInputError: logits are not finite or do not fit the labels.
    """
    _check_logits(logits, labels)
    return [labels[index] for index in logits.argmax(axis=1)]


def energies(logits: Logits) -> Floats:
    """Logsumexp of each row; low means "like nothing in training"."""
    values = logits.astype(np.float64)
    top = values.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(values - top).sum(axis=1)))


def probabilities(logits: Logits) -> Floats:
    """Softmax of each row."""
    return np.asarray(np.exp(logits.astype(np.float64) - energies(logits)[:, None]))


def energy_threshold(
    logits: Logits,
    labels: Sequence[str],
    *,
    rejection: float = IN_SCOPE_REJECTION,
    out_of_scope_label: str | None = None,
) -> float:
    """Highest threshold at which at most `rejection` of in-scope texts are turned away.

    Texts answered with the out-of-scope label are turned away at any threshold and count first. Give
    texts that training did not see: on its own training texts a tagger's energy is too high.

    Args:
        logits: of in-scope texts only, shape (texts, labels).
        labels: intents in the order of the logits.
        rejection: share from 0 to below 1.
        out_of_scope_label: the label of out-of-scope texts, where there is one.

    Raises:
        InvalidInputError: no texts, or a share out of its range.
    """
    if not 0 <= rejection < 1:
        raise InvalidInputError(f"The share turned away is from 0 to below 1; {rejection} was given.")
    answered = np.array(best_labels(logits, labels), dtype=object)
    if not answered.size:
        raise InvalidInputError("A threshold needs in-scope texts to be set on.")
    by_label = answered == out_of_scope_label
    budget = int(rejection * len(answered)) - int(by_label.sum())
    kept = np.sort(energies(logits)[~by_label])
    if not kept.size:
        return float(energies(logits).min())
    return float(kept[min(max(budget, 0), len(kept) - 1)])


def in_scope(logits: Logits, labels: Sequence[str], threshold: float, out_of_scope_label: str | None) -> Mask:
    """Which texts the tagger takes for in scope."""
    answered = np.array(best_labels(logits, labels), dtype=object)
    return np.asarray((energies(logits) >= threshold) & (answered != out_of_scope_label))


def score_scope(
    gold: Sequence[str],
    logits: Logits,
    labels: Sequence[str],
    threshold: float,
    out_of_scope_label: str | None,
) -> OutOfScope:
    """Recall on out-of-scope texts and rejection of in-scope ones, at one threshold.

    Raises:
        InvalidInputError: the texts lack one of the two kinds.
    """
    outside = np.array([label == out_of_scope_label for label in gold])
    if outside.all() or not outside.any():
        raise InvalidInputError("Scoring the scope needs texts in scope and texts out of scope.")
    refused = ~in_scope(logits, labels, threshold, out_of_scope_label)
    return OutOfScope(
        threshold=threshold,
        recall=wilson(int(refused[outside].sum()), int(outside.sum())),
        in_scope_rejection=wilson(int(refused[~outside].sum()), int((~outside).sum())),
    )


def calibration_error(confidence: Floats, right: Mask, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: sum over equal-width bins of share x |accuracy - mean confidence|.

    Guo et al. 2017, "On calibration of modern neural networks"; the last bin includes 1.

    Args:
        confidence: probability of the answer given, shape (texts,).
        right: whether it was right, shape (texts,).
        bins: number of bins over 0 to 1.

    Raises:
        InvalidInputError: nothing to score, shapes that differ, or a confidence that is none.
    """
    if confidence.shape != right.shape or confidence.size == 0:
        raise InvalidInputError("Calibration needs one confidence for each answer, at least one.")
    if not ((confidence >= 0) & (confidence <= 1 + 1e-9)).all():
        raise InvalidInputError("Confidence must be from 0 to 1.")
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / confidence.size)


def _rows(gold: Sequence[str], predicted: Sequence[str]) -> tuple[IntentScore, ...]:
    items, answered = Counter(gold), Counter(predicted)
    right = Counter(a for a, b in zip(gold, predicted, strict=True) if a == b)
    rows = [IntentScore(label, items[label], right[label], answered[label]) for label in items]
    return tuple(sorted(rows, key=lambda row: (row.f1, row.label)))


def _confusions(gold: Sequence[str], predicted: Sequence[str]) -> tuple[Confusion, ...]:
    pairs = Counter((a, b) for a, b in zip(gold, predicted, strict=True) if a != b)
    rows = [Confusion(a, b, count) for (a, b), count in pairs.items()]
    return tuple(sorted(rows, key=lambda row: (-row.items, row.gold, row.predicted)))


def _check_logits(logits: Logits, labels: Sequence[str]) -> None:
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise InvalidInputError(f"Logits of shape {logits.shape} do not fit {len(labels)} labels.")
    if not np.isfinite(logits).all():
        raise InvalidInputError("The logits hold a number that is not finite.")
