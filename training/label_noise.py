"""Which labels of a data set are probably wrong, in the manner of confident learning.

Every text is judged by a logistic regression on frozen sentence vectors that has not seen it. A label is
doubted where another one reaches the probability that its own texts reach on average, and is the likeliest
of those (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 2021). No label is changed: people decide.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInputError
from serving.files import make_folder, write_atomically, writing_to
from serving.language.protocols import Embeddings
from training.data import Dataset, comparable
from training.frozen import fit_logistic_regression

FOLDS = 5
REGULARISATION = 10.0
"""Inverse regularisation of the judging regression: the frozen baseline's."""
COLUMNS = ("split", "given", "suggested", "p_given", "p_suggested", "margin", "text")

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that is probably wrong.

    Attributes:
        row: position in the data, from 0.
        split: of the text.
        text: the text.
        given: its label.
        suggested: the label that fits better.
        p_given: probability of the given label, by a model that has not seen the text.
        p_suggested: the same of the suggested label.
    """

    row: int
    split: str
    text: str
    given: str
    suggested: str
    p_given: float
    p_suggested: float

    @property
    def margin(self) -> float:
        """By how much the suggested label is likelier."""
        return self.p_suggested - self.p_given


@dataclass(frozen=True)
class NoiseReport:
    """The doubted labels of a data set.

    Attributes:
        doubts: largest margin first.
        items: texts that were judged.
        agreement: share of them whose likeliest label is the given one.
        thresholds: per label, the mean probability that its own texts reach.
        not_judged: labels with one distinct text, which no model can judge without having seen it.
    """

    doubts: tuple[Doubt, ...]
    items: int
    agreement: float
    thresholds: Mapping[str, float]
    not_judged: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """A row per doubt, with a heading."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for doubt in self.doubts:
            numbers = (f"{value:.4f}" for value in (doubt.p_given, doubt.p_suggested, doubt.margin))
            writer.writerow((doubt.split, doubt.given, doubt.suggested, *numbers, doubt.text))
        return out.getvalue()

    def save(self, path: Path) -> Path:
        """Write the CSV file; its folder is made.

        Raises:
            UnavailableError: it cannot be written.
        """
        with writing_to(path.parent):
            make_folder(path.parent)
            write_atomically(path, self.to_csv())
        return path


def find_label_noise(
    parts: Sequence[tuple[Dataset, Embeddings]],
    *,
    folds: int = FOLDS,
    c: float = REGULARISATION,
    seed: int = 0,
) -> NoiseReport:
    """Doubt the labels of some splits, which judge each other.

    Args:
        parts: splits with their unit vectors, shape (texts, dimension).
        folds: parts that the texts are dealt into; each is judged by a model of the others.
        c: inverse regularisation of the model.
        seed: of the dealing. Copies of a text are dealt into one fold, so that none vouches for another.

    Raises:
        InvalidInputError: fewer than two labels.
    """
    labels = np.array([label for data, _ in parts for label in data.labels])
    texts = [text for data, _ in parts for text in data.texts]
    splits = [data.split for data, _ in parts for _ in data.texts]
    names = np.unique(labels)
    if len(names) < 2:
        raise InvalidInputError("A label can only be doubted where there are two.", advice="Give more data.")
    vectors = np.concatenate([own for _, own in parts])
    fold, alone = _deal(texts, labels, folds, seed)
    chances = _out_of_fold(vectors, labels, names, fold, c)
    given = np.searchsorted(names, labels)
    judged = ~np.isin(labels, list(alone))
    own = chances[np.arange(len(labels)), given]
    chances[:, np.isin(names, list(alone))] = 0.0
    thresholds = np.array([own[given == place].mean() for place in range(len(names))])
    confident = np.where(chances >= np.maximum(thresholds, 1e-9), chances, 0.0)
    best = confident.argmax(axis=1)
    doubted = np.flatnonzero(judged & (confident.max(axis=1) > 0) & (best != given))
    found = [
        Doubt(
            row=int(row),
            split=splits[row],
            text=texts[row],
            given=str(labels[row]),
            suggested=str(names[best[row]]),
            p_given=float(own[row]),
            p_suggested=float(chances[row, best[row]]),
        )
        for row in doubted
    ]
    return NoiseReport(
        doubts=tuple(sorted(found, key=lambda doubt: (-doubt.margin, doubt.row))),
        items=int(judged.sum()),
        agreement=float((chances.argmax(axis=1) == given)[judged].mean()),
        thresholds=dict(zip(names.tolist(), thresholds.tolist(), strict=True)),
        not_judged=tuple(sorted(alone)),
    )


def _deal(
    texts: Sequence[str], labels: npt.NDArray[Any], folds: int, seed: int
) -> tuple[npt.NDArray[np.int64], set[str]]:
    """Fold of each text, every label dealt evenly; and the labels with one distinct text."""
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(texts), dtype=np.int64)
    alone = set()
    for label in np.unique(labels):
        groups: dict[str, list[int]] = {}
        for row in np.flatnonzero(labels == label).tolist():
            groups.setdefault(comparable(texts[row]), []).append(row)
        start = int(rng.integers(folds))
        for place, name in enumerate(rng.permutation(sorted(groups)).tolist()):
            fold[groups[name]] = (start + place) % folds
        if len(groups) == 1:
            alone.add(str(label))
    return fold, alone


def _out_of_fold(
    vectors: Embeddings,
    labels: npt.NDArray[Any],
    names: npt.NDArray[Any],
    fold: npt.NDArray[np.int64],
    c: float,
) -> Probabilities:
    """Probability of each label by a model that has not seen the text, shape (texts, labels)."""
    chances = np.zeros((len(labels), len(names)))
    for number in np.unique(fold):
        held = fold == number
        model = fit_logistic_regression(vectors[~held], labels[~held], c)
        chances[np.ix_(held, np.searchsorted(names, model.classes_))] = model.predict_proba(vectors[held])
    return chances
