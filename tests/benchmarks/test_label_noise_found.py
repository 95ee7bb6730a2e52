"""How many of 5 % flipped labels are found, on all of BANKING77's and of the project's training texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.cli.console import print_table
from serving.language.encoder import load_encoder
from serving.settings import Settings
from tests.training.test_label_noise import SHARED, flipped, precision_and_recall
from training.data import Dataset
from training.label_noise import find_label_noise
from training.model import torch_threads
from training.row_files import read_csv
from training.sources import read_intents

SHARE, SEEDS = 0.05, (0, 1)


def data_sets() -> dict[str, Dataset]:
    found = {"the project": read_intents(Path(Settings.load().data) / "intents")["train"]}
    if (SHARED / "banking77").is_dir():
        found["BANKING77"] = read_csv(SHARED / "banking77" / "train.csv", "train")
    return found


@pytest.mark.benchmark(group="labels that are probably wrong")
def test_flipped_labels_are_found(benchmark: Any) -> None:
    if benchmark.disabled:
        pytest.skip("minutes of measurement; what must hold is in tests/training/test_label_noise.py")
    table = []

    def measure() -> None:
        for name, clean in data_sets().items():
            with torch_threads(1):
                vectors = load_encoder().with_max_length(64).embed(clean.texts)
            for seed in SEEDS:
                noisy, wrong = flipped(clean, SHARE, seed)
                found = find_label_noise([(noisy, vectors)])
                precision, recall = precision_and_recall(found, wrong)
                hits = [doubt for doubt in found.doubts if doubt.row in wrong]
                right = np.mean([doubt.suggested == clean.labels[doubt.row] for doubt in hits])
                counts = (f"{len(clean):,}", len(wrong), len(found.doubts))
                table.append((name, *counts, f"{precision:.2f}", f"{recall:.2f}", f"{right:.0%}"))

    benchmark.pedantic(measure, rounds=1)
    columns = ["", "texts", "flipped", "doubted", "precision", "recall", "suggestion right"]
    print_table("Flipped labels", columns, table)
    assert all(float(row[5]) > 0.5 for row in table)
