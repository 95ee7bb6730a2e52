"""Everything that a training run of a dialogue adapter can be told, with the limits of each value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from serving.errors import InvalidInputError
from training.dialogue.network import TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueConfig:
    """One training run."""

    rank: int = 16
    """Rank of the LoRA matrices."""
    alpha: float = 32.0
    """LoRA's numerator: the update is alpha / rank times B·A."""
    targets: tuple[str, ...] = TARGETS
    """Names of the adapted linear layers."""
    learning_rate: float = 2e-4
    """Peak learning rate of AdamW; it rises linearly, then falls linearly to 0."""
    epochs: int = 2
    """Most passes over the examples."""
    packs: int = 4
    """Packed sequences of one optimizer step; their gradients are added up."""
    max_length: int = 4_096
    """Most tokens of a packed sequence, and of an example."""
    warmup_share: float = 0.05
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    patience: int = 1
    """Epochs without a lower validation loss after which training stops; 0 never stops early."""
    four_bit: bool = False
    """Quantise the frozen base to NF4 with bitsandbytes (CUDA only)."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    seed: int = 0
    """Seed of LoRA's start and of the order of packs."""
    threads: int = 1
    """Torch threads while training."""
    checkpoint_steps: int = 50
    """Optimizer steps between two saved checkpoints; one is saved after each epoch besides."""

    def __post_init__(self) -> None:
        least = {
            "rank": 1, "epochs": 1, "packs": 1, "max_length": 16, "patience": 0, "seed": 0, "threads": 1,
            "checkpoint_steps": 1,
        }  # fmt: skip
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise InvalidInputError(f"{name} must be at least {limit}, not {getattr(self, name)}.")
        positive = {"alpha": 1e4, "learning_rate": 1.0, "clip_norm": 1e6}
        for name, most in positive.items():
            if not 0 < getattr(self, name) <= most:
                raise InvalidInputError(f"{name} must be above 0 and at most {most:g}.")
        if not 0 <= self.warmup_share < 1 or not 0 <= self.weight_decay < 1:
            raise InvalidInputError("warmup_share and weight_decay must be at least 0 and below 1.")
        if not self.targets:
            raise InvalidInputError("LoRA needs at least one kind of layer to adapt.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for the manifest and the identity of a run."""
        return asdict(self) | {"targets": list(self.targets)}


def changed_config(changes: Mapping[str, Any]) -> DialogueConfig:
    """The recipe with some of its values changed, as a request names them.

    Raises:
        InvalidInputError: there is no such value, or it is out of its range or of another type.
    """
    known = {field.name for field in fields(DialogueConfig)}
    if unknown := sorted(changes.keys() - known):
        raise InvalidInputError(
            f"A dialogue recipe has no {unknown[0][:80]!r}.", advice=f"It has {', '.join(sorted(known))}."
        )
    values = dict(changes)
    if "targets" in values:
        values["targets"] = tuple(values["targets"])
    try:
        if "rank" in values:  # the update keeps its strength
            values.setdefault("alpha", 2.0 * values["rank"])
        return DialogueConfig(**values)
    except TypeError as error:
        raise InvalidInputError(f"The recipe cannot be used: {error}.") from error
