"""Adapter and frozen baseline side by side on the same texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.intents import IntentReport, best_labels
from evaluation.statistics import PairedDifference, discordance, mcnemar, paired_bootstrap
from serving.language.encoder import SentenceEncoder
from serving.language.intent import Logits
from serving.plain import plain
from training.baseline import Baseline, score_on
from training.data import Dataset
from training.model import logits_of, torch_threads
from training.outcome import Trained

SHOWN_INTENTS = 10
"""Worst intents and most frequent confusions that a summary shows."""


@dataclass(frozen=True)
class Comparison:
    """Adapter against baseline on one split.

    Attributes:
        split: `validation` or `test`.
        data_sha256: its rows.
        adapter: scores of the adapter.
        baseline: scores of the frozen baseline.
        difference: adapter's accuracy minus the baseline's, paired by text.
        gained: texts that only the adapter answers right.
        lost: texts that only the baseline answers right.
        mcnemar_p: exact two-sided p-value of gained against lost.
    """

    split: str
    data_sha256: str
    adapter: IntentReport
    baseline: IntentReport
    difference: PairedDifference
    gained: int
    lost: int
    mcnemar_p: float

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON types, with the worst intents and confusions only."""
        facts: dict[str, Any] = plain(self)
        for who in ("adapter", "baseline"):
            facts[who]["intents"] = facts[who]["intents"][:SHOWN_INTENTS]
            facts[who]["confusions"] = facts[who]["confusions"][:SHOWN_INTENTS]
        return facts


def compare(
    data: Dataset,
    labels: tuple[str, ...],
    adapter: Logits,
    baseline: Logits,
    thresholds: tuple[float, float],
) -> Comparison:
    """Compare logits of adapter and baseline on the same texts.

    Args:
        data: the texts.
        labels: intents in the order of the logits.
        adapter: logits of the adapter.
        baseline: logits of the baseline.
        thresholds: energy thresholds of adapter and baseline.
    """
    new, old = right(data.labels, adapter, labels), right(data.labels, baseline, labels)
    table = discordance(new, old)
    return Comparison(
        split=data.split,
        data_sha256=data.sha256,
        adapter=score_on(data, adapter, labels, thresholds[0]),
        baseline=score_on(data, baseline, labels, thresholds[1]),
        difference=paired_bootstrap(new, old),
        gained=table.gained,
        lost=table.lost,
        mcnemar_p=mcnemar(table.gained, table.lost),
    )


def right(gold: Sequence[str], logits: Logits, labels: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which texts are answered with their gold label."""
    return np.array([a == b for a, b in zip(best_labels(logits, labels), gold, strict=True)])


def adapter_logits(trained: Trained, encoder: SentenceEncoder, texts: Sequence[str]) -> Logits:
    """Logits of the trained model, shape (texts, labels)."""
    batcher = encoder.batcher(trained.config.max_length)
    with torch_threads(trained.config.threads):
        return logits_of(trained.model, batcher, batcher.ids(texts))


def frozen_logits(
    baseline: Baseline, encoder: SentenceEncoder, texts: Sequence[str], max_length: int
) -> Logits:
    """Logits of the frozen baseline, shape (texts, labels)."""
    vectors = encoder.with_max_length(max_length).embed(texts)
    return vectors @ baseline.head.weight.T + baseline.head.bias
