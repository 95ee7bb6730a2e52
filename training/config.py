"""Everything that a training run can be told, with the limits of each value.

Numbers of the presets come from runs on a validation split of BANKING77's train file and on the project's
own validation texts (docs/evaluation.md); no test set was used to choose them.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from serving.adapters.lora import TARGET_MODULES
from serving.errors import InvalidInputError
from serving.language.intent import LOGIT_SCALE, MAX_LENGTH


class HeadInit(StrEnum):
    """Where the classification head starts. A random start costs points (measured: .883 against .897)."""

    LOGREG = "logreg"
    """Logistic regression on frozen embeddings; best where there are many texts per intent."""
    CENTROID = "centroid"
    """Mean embedding of each intent; for a few texts per intent."""


class Balance(StrEnum):
    """What is done where some intents have many more texts than others."""

    NONE = "none"
    """Nothing: each text counts once per epoch."""
    SAMPLING = "sampling"
    """Each epoch draws every intent equally often: rare texts several times, frequent ones not always."""
    LOSS = "loss"
    """Each text counts once, weighted by the inverse of its intent's frequency; the mean weight is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run of an intent adapter."""

    rank: int = 16
    """Rank of the LoRA matrices."""
    alpha: float = 32.0
    """LoRA's numerator: the update is alpha / rank times B·A."""
    target_modules: str = TARGET_MODULES
    """Regular expression for whole names of the adapted linear layers."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW, for LoRA and head."""
    epochs: int = 3
    """Most passes over the training texts; early stopping may end before."""
    batch_size: int = 32
    """Texts of one step."""
    warmup_share: float = 0.06
    """Share of the steps in which the learning rate rises linearly; then it falls linearly to 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all intents; helps against wrong labels."""
    head_dropout: float = 0.1
    """Dropout on the sentence vector before the head, while training."""
    encoder_dropout: float = 0.1
    """Dropout inside the encoder, while training."""
    head_init: HeadInit = HeadInit.LOGREG
    """Where the head starts."""
    logreg_c: float = 10.0
    """Inverse regularisation of the frozen baseline, which is also the `logreg` start."""
    balance: Balance = Balance.NONE
    """Whether rare intents count as much as frequent ones."""
    shots: int = 0
    """Few-shot: so many training texts of each intent are drawn, the others are not used; 0 uses all.
    Validation stays whole, because epochs and thresholds are chosen on it; a refit would learn from it."""
    shots_seed: int = 0
    """Which texts `shots` draws; apart from `seed`, so that training seeds learn from the same texts."""
    scale: float = LOGIT_SCALE
    """Factor on the unit vector before the head."""
    max_length: int = MAX_LENGTH
    """Tokens of a text that are read."""
    patience: int = 1
    """Epochs without a lower validation loss after which training stops; 0 never stops early."""
    refit: bool = True
    """Train once more from the start on train + validation for the best number of epochs."""
    validation_share: float = 0.1
    """Share of each intent's training texts held out where the data brings no validation split."""
    seed: int = 0
    """Seed of batches and dropout. The validation split does not depend on it."""
    threads: int = 1
    """Torch threads while training."""
    checkpoint_steps: int = 50
    """Steps between two checkpoints, where a checkpoint file is asked for."""

    def __post_init__(self) -> None:
        wrong = [name for name, fine in _limits(self).items() if not fine]
        if wrong:
            shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in wrong)
            raise InvalidInputError(
                f"The training configuration is out of its limits: {shown}.",
                advice="training/config.py describes every value.",
            )
        if self.shots and self.refit:
            raise InvalidInputError(
                f"A refit learns from all validation texts, which is not {self.shots} texts per intent.",
                advice="Set refit to false with shots.",
            )

    def with_(self, **changes: Any) -> "TrainConfig":
        """The same configuration with some values changed; a choice may be given by its name.

        Raises:
            InvalidInputError: an unknown name, or a value out of its limits.
        """
        unknown = sorted(changes.keys() - asdict(self).keys())
        if unknown:
            raise InvalidInputError(
                f"Unknown training setting {unknown[0]!r}.",
                advice=f"There are {', '.join(sorted(asdict(self)))}.",
            )
        for name, choices in _CHOICES.items():
            if changes.get(name) in list(choices):
                changes[name] = choices(changes[name])
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All values as JSON types."""
        return asdict(self) | {name: str(getattr(self, name)) for name in _CHOICES}


def read_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Changes of a configuration as people type them: `epochs=2`, `refit=false`, `balance=loss`.

    Raises:
        InvalidInputError: one has no equals sign.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInputError(f"A setting is given as NAME=VALUE, not as {text[:40]!r}.")
        found[name.strip()] = _typed(value)
    return found


def read_values(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Values to vary as people type them: `rank=8,16`, `balance=none,loss`.

    Raises:
        InvalidInputError: one has no equals sign.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            raise InvalidInputError(f"A setting is given as NAME=VALUE,VALUE, not as {text[:40]!r}.")
        found[name.strip()] = [_typed(value) for value in values.split(",") if value.strip()]
    return found


def _typed(text: str) -> Any:
    """A number, true or false where the text is one; otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def preset(name: str) -> TrainConfig:
    """A named configuration.

    Raises:
        InvalidInputError: there is no such preset.
    """
    if name not in PRESETS:
        raise InvalidInputError(
            f"There is no preset {name!r}; there are {', '.join(sorted(PRESETS))}.",
        )
    return PRESETS[name]


def _limits(config: TrainConfig) -> dict[str, bool]:
    """Whether each value is within its limits; NaN never is."""

    def between(value: float, low: float, high: float) -> bool:
        # What comes from a request or the command line may be of any type.
        return type(value) in {int, float} and low <= value <= high

    def whole(value: object, low: int, high: int) -> bool:
        return type(value) is int and low <= value <= high

    return {
        "rank": whole(config.rank, 1, 256),
        "alpha": between(config.alpha, 1e-3, 1e4),
        "target_modules": _is_pattern(config.target_modules),
        "learning_rate": between(config.learning_rate, 1e-7, 1.0),
        "epochs": whole(config.epochs, 1, 1_000),
        "batch_size": whole(config.batch_size, 1, 4_096),
        "warmup_share": between(config.warmup_share, 0.0, 1.0),
        "weight_decay": between(config.weight_decay, 0.0, 1.0),
        "clip_norm": between(config.clip_norm, 1e-6, 1e6),
        "label_smoothing": between(config.label_smoothing, 0.0, 0.9),
        "head_dropout": between(config.head_dropout, 0.0, 0.9),
        "encoder_dropout": between(config.encoder_dropout, 0.0, 0.9),
        "head_init": isinstance(config.head_init, HeadInit),
        "logreg_c": between(config.logreg_c, 1e-6, 1e6),
        "balance": isinstance(config.balance, Balance),
        "shots": whole(config.shots, 0, 1_000_000),
        "shots_seed": whole(config.shots_seed, 0, 2**31 - 1),
        "scale": between(config.scale, 1e-3, 1e3),
        "max_length": whole(config.max_length, 3, 512),
        "patience": whole(config.patience, 0, 1_000),
        "refit": isinstance(config.refit, bool),
        "validation_share": between(config.validation_share, 0.01, 0.5),
        "seed": whole(config.seed, 0, 2**31 - 1),
        "threads": whole(config.threads, 1, 1_024),
        "checkpoint_steps": whole(config.checkpoint_steps, 1, 10**9),
    }


def _is_pattern(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(text) and bool(re.compile(text))
    except re.error:
        return False


_CHOICES: dict[str, type[StrEnum]] = {"head_init": HeadInit, "balance": Balance}

PRESETS = {
    "project": TrainConfig(epochs=2, refit=False, threads=2),
    "banking77": TrainConfig(),
}
"""`project`: the project's own few thousand texts, about a minute on two cores.
`banking77`: ten thousand texts with some wrong labels."""
