"""Labelled texts as training and evaluation see them: rows, splits and their hash.

Pure data; reading files is in `sources`, judging the project's own files in `check`. Texts are kept as
they were written apart from Unicode form, line ends and outer white space, so that the same
rows come out of a CSV, a hub dataset and a YAML file alike.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from serving.errors import InvalidInputError

MAX_TEXT_CHARS = 2_000
"""Longest text of a dataset; a caller's turn is no longer either."""


@dataclass(frozen=True)
class Dataset:
    """Texts with one label each.

    Attributes:
        texts: what was said, canonical (see `canonical`).
        labels: intent of each text.
        split: `train`, `validation` or `test`.
        source: where it comes from, for people.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    split: str
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise InvalidInputError(
                f"{self.source} {self.split}: {len(self.texts)} texts but {len(self.labels)} labels."
            )

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def sha256(self) -> str:
        """Sha256 of the rows in canonical order: the same rows in any order and format hash alike."""
        rows = sorted(
            json.dumps(row, ensure_ascii=False) for row in zip(self.texts, self.labels, strict=True)
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Texts by label."""
        return Counter(self.labels)

    def take(self, positions: Iterable[int], split: str | None = None) -> "Dataset":
        """The rows at some positions, in their order."""
        chosen = list(positions)
        return Dataset(
            tuple(self.texts[i] for i in chosen),
            tuple(self.labels[i] for i in chosen),
            split or self.split,
            self.source,
        )

    def only(self, labels: Iterable[str]) -> "Dataset":
        """The rows of some labels."""
        wanted = set(labels)
        return self.take(i for i, label in enumerate(self.labels) if label in wanted)

    def plus(self, other: "Dataset") -> "Dataset":
        """These rows, then the other's."""
        return Dataset(
            self.texts + other.texts,
            self.labels + other.labels,
            f"{self.split}+{other.split}",
            self.source,
        )


@dataclass(frozen=True)
class Splits:
    """Everything of one data source.

    Attributes:
        train: to learn from.
        validation: to choose by: epochs, thresholds. Never part of `train`.
        test: to report on; None where the source brings none.
        source: where it comes from, for people.
    """

    train: Dataset
    validation: Dataset
    test: Dataset | None
    source: str

    def __post_init__(self) -> None:
        known = set(self.train.labels)
        if len(known) < 2:
            raise InvalidInputError(
                f"{self.source}: training needs at least two labels; it holds {sorted(known)}."
            )
        for other in (self.validation, self.test):
            if other is None:
                continue
            if not other.texts:
                raise InvalidInputError(f"{other.source}: the {other.split} split is empty.")
            unknown = next((label for label in other.labels if label not in known), None)
            if unknown is not None:
                raise InvalidInputError(
                    f"{other.source}: the label {unknown!r} of the {other.split} split has no training text.",
                    advice="Correct the label, or add training texts for it.",
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels in alphabetical order: the order of the logits."""
        return tuple(sorted(set(self.train.labels)))

    @cached_property
    def sha256(self) -> str:
        """Sha256 over the rows that training may learn from or choose by (train and validation)."""
        parts = {"train": self.train.sha256, "validation": self.validation.sha256}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def few_shot(self, shots: int, seed: int = 0) -> "Splits":
        """The same splits with `shots` training texts of each label; validation and test stay whole.

        Which ones depends on the rows and the seed, not on the order of labels. 0 keeps all.

        Raises:
            InvalidInputError: a label has fewer training texts; the message names it.
        """
        if not shots:
            return self
        rng = np.random.default_rng(seed)
        chosen: list[int] = []
        for label in self.labels:
            own = [i for i, given in enumerate(self.train.labels) if given == label]
            if len(own) < shots:
                raise InvalidInputError(
                    f"{self.source}: {shots} texts per intent are asked for; {label!r} has {len(own)}.",
                    advice="Ask for fewer shots, or add texts.",
                )
            chosen += rng.permutation(own)[:shots].tolist()
        return replace(self, train=self.train.take(sorted(chosen)))

    def contradictions(self) -> int:
        """Training texts that stand under two labels, apart from case and punctuation; one must be wrong."""
        labels: dict[str, set[str]] = {}
        for text, label in zip(self.train.texts, self.train.labels, strict=True):
            labels.setdefault(comparable(text), set()).add(label)
        return sum(len(found) > 1 for found in labels.values())

    def shared_with_validation(self) -> int:
        """Validation texts that, apart from case and punctuation, also stand in train."""
        seen = {comparable(text) for text in self.train.texts}
        return sum(comparable(text) in seen for text in self.validation.texts)

    def shared_with_test(self) -> int:
        """Test texts that, apart from case and punctuation, also stand in train or validation."""
        if self.test is None:
            return 0
        seen = {comparable(text) for text in self.train.texts + self.validation.texts}
        return sum(comparable(text) in seen for text in self.test.texts)


def canonical(text: str) -> str:
    """A text in Unicode NFC with line feeds as line ends and without outer white space."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def comparable(text: str) -> str:
    """What is left of a text when case, accents' form, punctuation and spacing do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Apostrophes vanish, so that "card's" equals "cards"; other signs part words.
    folded = folded.replace("'", "").replace("’", "")
    return " ".join("".join(sign if sign.isalnum() else " " for sign in folded).split())


def make_dataset(
    rows: Sequence[tuple[str, str]], split: str, source: str, *, known: Iterable[str] | None = None
) -> Dataset:
    """Build a dataset from rows of text and label, refusing rows that cannot be trained on.

    Args:
        rows: text and label.
        split: name of the split.
        source: file or name, for the messages.
        known: labels that may occur; None allows any.

    Raises:
        InvalidInputError: no rows, an empty or over-long text, an empty or unknown label; the message
            names the source, the row and the label.
    """
    if not rows:
        raise InvalidInputError(f"{source}: the {split} split is empty.")
    allowed = None if known is None else frozenset(known)
    texts, labels = [], []
    for number, (raw, label) in enumerate(rows, start=1):
        text = canonical(raw)
        problem = _row_problem(text, label, allowed)
        if problem:
            raise InvalidInputError(f"{source}, {split} row {number}: {problem}.")
        texts.append(text)
        labels.append(label)
    return Dataset(tuple(texts), tuple(labels), split, source)


def hold_out(train: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split a stratified validation set off: of each label, `share` of its texts, at least one.

    The choice depends only on the rows and the seed. Copies of one text go to the same side, so that
    validation never repeats a training text.

    Raises:
        InvalidInputError: a label has a single text and cannot be in both.
    """
    rng = np.random.default_rng(seed)
    held: set[int] = set()
    for label in sorted(set(train.labels)):
        groups: dict[str, list[int]] = {}
        for i, (text, own) in enumerate(zip(train.texts, train.labels, strict=True)):
            if own == label:
                groups.setdefault(comparable(text), []).append(i)
        if len(groups) < 2:
            raise InvalidInputError(
                f"{train.source}: the label {label!r} has only {len(groups)} distinct text; "
                "two are needed to train and to validate."
            )
        wanted = max(1, round(share * train.counts[label]))
        held |= _draw(groups, min(wanted, train.counts[label] - 1), rng)
    inside = [i for i in range(len(train)) if i not in held]
    return train.take(inside, "train"), train.take(sorted(held), "validation")


def _draw(groups: Mapping[str, list[int]], wanted: int, rng: np.random.Generator) -> set[int]:
    """Whole groups of equal texts until at least `wanted` rows are drawn; one group always stays."""
    names = sorted(groups)
    drawn: set[int] = set()
    for place in rng.permutation(len(names))[:-1]:
        if len(drawn) >= wanted:
            break
        drawn.update(groups[names[place]])
    return drawn


def _row_problem(text: str, label: str, allowed: frozenset[str] | None) -> str:
    if not label.strip():
        return "the label is empty"
    if allowed is not None and label not in allowed:
        return f"the label {label[:80]!r} is unknown"
    if not comparable(text):
        return f"the text of {label!r} is empty"
    if len(text) > MAX_TEXT_CHARS:
        return f"the text of {label!r} has {len(text)} characters, {MAX_TEXT_CHARS} at most"
    return ""
