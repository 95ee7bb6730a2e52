"""Which texts go together in which step: a pure function of lengths, seed and epoch.

Texts of similar length share a batch, so that hardly any padding is computed; which texts meet and the
order of batches still change from epoch to epoch. Being pure, a resumed run walks the same way.
"""

from collections.abc import Sequence

import numpy as np

_POOL_BATCHES = 50
"""Texts are sorted by length within pools of so many batches; larger pools pad less and mix less."""


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


def learning_rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at a step (from 0): linear rise, then linear fall to 0."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))
