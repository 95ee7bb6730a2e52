"""Finding wrong labels: on labels that the tests themselves have made wrong."""

import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.errors import InvalidInputError
from serving.language.encoder import load_encoder
from tests.training.conftest import WORDS, make_split
from training.data import Dataset
from training.label_noise import COLUMNS, NoiseReport, find_label_noise
from training.model import torch_threads
from training.row_files import read_csv

SHARED = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data"))


def flipped(data: Dataset, share: float, seed: int) -> tuple[Dataset, set[int]]:
    """The data with that share of labels replaced by another one, and the rows."""
    rng = np.random.default_rng(seed)
    names = sorted(set(data.labels))
    rows = set(rng.permutation(len(data))[: round(share * len(data))].tolist())
    labels = [
        str(rng.choice([name for name in names if name != label])) if row in rows else label
        for row, label in enumerate(data.labels)
    ]
    return replace(data, labels=tuple(labels)), rows


def bags(data: Dataset) -> np.ndarray:
    """A vector per text that counts its words, of length 1: an encoder that needs no weights."""
    words = sorted({word for group in WORDS.values() for word in group})
    counts = np.array([[text.split().count(word) for word in words] for text in data.texts], dtype=np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def precision_and_recall(found: NoiseReport, rows: set[int]) -> tuple[float, float]:
    hits = sum(doubt.row in rows for doubt in found.doubts)
    return hits / max(1, len(found.doubts)), hits / len(rows)


def test_flipped_labels_of_separable_data_are_found_and_the_right_one_is_suggested() -> None:
    clean = make_split("train", 60, 1)
    noisy, rows = flipped(clean, 0.05, 0)
    found = find_label_noise([(noisy, bags(noisy))])
    precision, recall = precision_and_recall(found, rows)
    assert precision >= 0.9
    assert recall >= 0.9
    assert all(doubt.suggested == clean.labels[doubt.row] for doubt in found.doubts if doubt.row in rows)
    assert all(doubt.given == noisy.labels[doubt.row] for doubt in found.doubts)
    margins = [doubt.margin for doubt in found.doubts]
    assert margins == sorted(margins, reverse=True)


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "banking77").is_dir(), reason="BANKING77 is not beside the checkout")
def test_of_5_percent_flipped_labels_of_banking77_most_are_found() -> None:
    """Eleven of its intents with forty texts each; all of it stands in docs/evaluation.md."""
    data = read_csv(SHARED / "banking77" / "train.csv", "train")
    names = sorted(set(data.labels))[::7]
    rows = [row for name in names for row in [i for i, x in enumerate(data.labels) if x == name][:40]]
    noisy, wrong = flipped(data.take(rows), 0.05, 0)
    with torch_threads(1):
        vectors = load_encoder().with_max_length(64).embed(noisy.texts)
    found = find_label_noise([(noisy, vectors)], folds=3)
    precision, recall = precision_and_recall(found, wrong)
    assert precision >= 0.6
    assert recall >= 0.7


def test_clean_separable_data_are_hardly_doubted() -> None:
    clean = make_split("train", 60, 1)
    found = find_label_noise([(clean, bags(clean))])
    assert len(found.doubts) <= 0.01 * len(clean)
    assert found.agreement >= 0.99


def test_the_splits_judge_each_other_and_a_doubt_names_its_split() -> None:
    train, validation = make_split("train", 30, 1), make_split("validation", 10, 2)
    assert validation.labels[0] != "out_of_scope"
    wrong = replace(validation, labels=("out_of_scope", *validation.labels[1:]))
    found = find_label_noise([(train, bags(train)), (wrong, bags(wrong))])
    surest = found.doubts[0]
    assert (surest.split, surest.row, surest.text) == ("validation", len(train), validation.texts[0])


def test_copies_of_a_wrong_text_do_not_vouch_for_each_other() -> None:
    clean = make_split("train", 40, 1)
    copies = Dataset(
        (*clean.texts, *[clean.texts[0]] * 6, *[clean.texts[0].upper()] * 2),
        (*clean.labels, *["out_of_scope"] * 8),
        "train",
    )
    vectors = bags(clean)
    found = find_label_noise([(copies, np.concatenate([vectors, np.repeat(vectors[:1], 8, axis=0)]))])
    assert {doubt.row for doubt in found.doubts} >= set(range(len(clean), len(clean) + 8))


def test_a_label_with_a_single_text_is_not_judged_and_said_so() -> None:
    clean = make_split("train", 20, 1)
    data = Dataset((*clean.texts, "zebra"), (*clean.labels, "rare"), "train")
    vectors = np.concatenate([bags(clean), np.eye(1, bags(clean).shape[1], dtype=np.float32)])
    found = find_label_noise([(data, vectors)])
    assert found.not_judged == ("rare",)
    assert "rare" not in {doubt.given for doubt in found.doubts} | {doubt.suggested for doubt in found.doubts}
    assert found.items == len(clean)


def test_the_report_is_the_same_each_time() -> None:
    noisy, _ = flipped(make_split("train", 30, 1), 0.1, 3)
    assert find_label_noise([(noisy, bags(noisy))]) == find_label_noise([(noisy, bags(noisy))])


def test_one_label_cannot_be_doubted() -> None:
    data = Dataset(("a", "b"), ("x", "x"), "train")
    with pytest.raises(InvalidInputError, match="two"):
        find_label_noise([(data, np.eye(2, dtype=np.float32))])


def test_the_csv_file_holds_every_doubt_whatever_the_text(tmp_path: Path) -> None:
    clean = make_split("train", 30, 1)
    texts = (f'{clean.texts[0]},\n"quoted"', *clean.texts[1:])
    noisy = replace(clean, texts=texts, labels=("out_of_scope", *clean.labels[1:]))
    found = find_label_noise([(noisy, bags(clean))])
    rows = list(csv.DictReader(io.StringIO(found.save(tmp_path / "noise.csv").read_text(encoding="utf-8"))))
    assert len(rows) == len(found.doubts) >= 1
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["text"], rows[0]["given"]) == (texts[0], "out_of_scope")
    assert float(rows[0]["margin"]) == pytest.approx(found.doubts[0].margin, abs=1e-3)
