"""Where a training run stands and what it has seen: all that a checkpoint holds besides tensors."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from training.outcome import TRAIN, EpochLog


@dataclass(slots=True)
class Position:
    """Everything that changes while a run goes on, besides weights, optimizer and random numbers.

    Attributes:
        stage: `train` or `refit`.
        epochs: most epochs of the stage.
        epoch: the present one, from 1.
        batch: batches of it that are done.
        losses: loss of every step, both stages.
        log: every finished epoch, as in `EpochLog`.
        best_epoch: the one with the lowest validation loss; 0 before the first.
        best_loss: its validation loss.
        done: nothing is left to do.
    """

    stage: str = TRAIN
    epochs: int = 0
    epoch: int = 1
    batch: int = 0
    losses: list[float] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    done: bool = False

    def stale(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def epochs_log(self) -> tuple[EpochLog, ...]:
        """The finished epochs."""
        return tuple(EpochLog(**row) for row in self.log)

    def to_json(self) -> str:
        """For a checkpoint."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """What `to_json` wrote."""
        return cls(**json.loads(text))
