"""What a training run tells while it runs, and what it leaves."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from serving.errors import EngineError
from serving.language.intent import Logits
from training.config import TrainConfig

TRAIN, REFIT = "train", "refit"


class DivergedError(EngineError):
    """The loss or a gradient stopped being a finite number; the same run would do so again."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What a listener is told after every step, and once more after every epoch.

    Attributes:
        stage: `train` or `refit`.
        epoch: number of the epoch, from 1.
        step: steps done in this stage.
        steps: most steps of this stage.
        loss: mean loss of the batch; of the epoch where `validation_accuracy` is given.
        validation_accuracy: only after an epoch of stage `train`.
    """

    stage: str
    epoch: int
    step: int
    steps: int
    loss: float
    validation_accuracy: float | None = None


ProgressListener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class EpochLog:
    """One epoch of stage `train` or `refit`; validation figures are None in a refit."""

    stage: str
    epoch: int
    train_loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """The outcome of a run.

    Attributes:
        model: LoRA-wrapped classifier in evaluation mode.
        labels: intents in the order of the logits.
        config: the configuration.
        seed: its seed.
        epochs: epochs of the model (the best one of stage `train`).
        log: every epoch.
        losses: loss of every step, both stages.
        validation_logits: logits on the validation texts of a model that never saw them, which is the
            one before a refit; thresholds are set on these.
        base_before: `frozen_sha256` before training.
        base_after: the same after.
        changed: names of the tensors that differ from the start, as PEFT saves them.
        parameters: number of parameters that could change.
        moved: whether any LoRA B matrix left zero.
        finite: whether every trained weight is a finite number.
        seconds: wall time of this process's share of the run.
        resumed_at: steps that came from a checkpoint.
    """

    model: nn.Module
    labels: tuple[str, ...]
    config: TrainConfig
    epochs: int
    log: tuple[EpochLog, ...]
    losses: tuple[float, ...]
    validation_logits: Logits
    base_before: str
    base_after: str
    changed: tuple[str, ...]
    parameters: int
    moved: bool
    finite: bool
    seconds: float
    resumed_at: int = 0
