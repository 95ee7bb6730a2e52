"""Which texts go together in which step, and how much each counts: functions of data, seed and epoch.

Texts of similar length share a batch, so that hardly any padding is computed; which texts meet and the
order of batches still change from epoch to epoch. Being pure, a resumed run walks the same way.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from serving.language.encoder import TokenBatcher
from training.config import Balance
from training.data import Dataset

_POOL_BATCHES = 50
"""Texts are sorted by length within pools of so many batches; larger pools pad less and mix less."""


class Tokens:
    """A dataset as the training loop needs it.

    Attributes:
        ids: token ids of each text.
        lengths: their number.
        labels: position of each text's label.
        targets: the same as a tensor, int64.
        weights: weight of each text in the loss; None where all weigh the same.
    """

    def __init__(
        self,
        batcher: TokenBatcher,
        labels: Sequence[str],
        data: Dataset,
        balance: Balance = Balance.NONE,
    ) -> None:
        place = {label: index for index, label in enumerate(labels)}
        self.ids = batcher.ids(data.texts)
        self.lengths = [len(row) for row in self.ids]
        self.labels = [place[label] for label in data.labels]
        self.targets = torch.tensor(self.labels)
        self.weights = torch.tensor(loss_weights(self.labels)) if balance == Balance.LOSS else None
        self._balance = balance

    def batches(self, size: int, seed: int, epoch: int) -> list[list[int]]:
        """Rows of each batch of an epoch."""
        if self._balance != Balance.SAMPLING:
            return epoch_batches(self.lengths, size, seed, epoch)
        rows = balanced_rows(self.labels, seed, epoch)
        batches = epoch_batches([self.lengths[row] for row in rows], size, seed, epoch)
        return [[rows[i] for i in batch] for batch in batches]


def epoch_batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of one epoch; every text is in exactly one.

    Args:
        lengths: tokens of each text.
        size: texts of a batch; the last of a pool may be smaller.
        seed: seed of the run.
        epoch: number of the epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    tokens = np.asarray(lengths)
    batches: list[list[int]] = []
    pool = size * _POOL_BATCHES
    for start in range(0, len(order), pool):
        chosen = order[start : start + pool]
        chosen = chosen[np.argsort(tokens[chosen], kind="stable")]
        batches += [chosen[i : i + size].tolist() for i in range(0, len(chosen), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def balanced_rows(targets: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Rows of an epoch in which every label comes equally often; as many rows as there are texts.

    No text of a label comes once more before each of its texts came. Where the labels do not divide the
    rows, chance gives some labels one row more.

    Args:
        targets: label of each text.
        seed: seed of the run.
        epoch: number of the epoch.
    """
    rng = np.random.default_rng([seed, epoch, 1])  # not the stream that orders the batches
    of_text = np.asarray(targets)
    labels = np.unique(of_text)
    share, extra = divmod(len(of_text), len(labels))
    one_more = set(rng.permutation(labels)[:extra].tolist())
    rows: list[int] = []
    for label in labels.tolist():
        own = np.flatnonzero(of_text == label)
        wanted = share + (label in one_more)
        rounds = [rng.permutation(own) for _ in range(-(-wanted // len(own)))]
        rows += np.concatenate([*rounds, own[:0]])[:wanted].tolist()
    return rows


def loss_weights(targets: Sequence[int]) -> list[float]:
    """Weight of each text: inverse frequency of its label, so that labels weigh alike; the mean is 1."""
    counts = Counter(targets)
    return [len(targets) / (len(counts) * counts[target]) for target in targets]


def learning_rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at a step (from 0): linear rise, then linear fall to 0."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))
