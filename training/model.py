"""The network that is trained: an untouched copy of the encoder, LoRA matrices, and one linear head.

Built from serving's own `IntentClassifier`, so that what is trained is what will serve. Also the proof
of what training changed: a hash of every tensor before and after.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from serving.errors import InvalidInputError
from serving.language.encoder import BATCH_SIZE, SentenceEncoder, TokenBatcher, tensors_sha256
from serving.language.intent import IntentClassifier, Logits
from training.config import TrainConfig

HEAD = "classifier"
"""Name of the module that is trained whole; PEFT saves it beside the LoRA matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear head on unit vectors: logits = weight · e + bias.

    Attributes:
        weight: shape (labels, dimension), float32.
        bias: shape (labels,), float32.
    """

    weight: Logits
    bias: Logits

    def scaled(self, scale: float) -> "Head":
        """The head that gives the same logits from a vector that is `scale` times as long."""
        return Head((self.weight / scale).astype(np.float32), self.bias.astype(np.float32))


def build_model(encoder: SentenceEncoder, head: Head, config: TrainConfig) -> nn.Module:
    """A fresh classifier with LoRA on a copy of the encoder, in training mode.

    LoRA's A matrices come from torch's global random state: seed it first.

    Args:
        encoder: stays as it is.
        head: start of the head, for vectors that are already scaled.
        config: rank, alpha, targets, dropout.

    Raises:
        InvalidInputError: no layer bears a name that is targeted, or one is not linear.
    """
    with quiet_peft():
        from peft import LoraConfig, get_peft_model

        network = copy.deepcopy(encoder.model)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.encoder_dropout
        classifier = IntentClassifier(
            network, len(head.bias), scale=config.scale, dropout=config.head_dropout
        )
        with torch.no_grad():
            classifier.classifier.weight.copy_(torch.from_numpy(head.weight))
            classifier.classifier.bias.copy_(torch.from_numpy(head.bias))
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=config.target_modules,
            modules_to_save=[HEAD],
        )
        classifier.name_or_path = encoder.name  # PEFT writes it into the configuration
        try:
            model: nn.Module = get_peft_model(classifier, lora)
        except ValueError as error:  # no layer of that name, or one that LoRA cannot adapt
            raise InvalidInputError(
                f"LoRA cannot adapt {config.target_modules!r} of this encoder: {str(error)[:120]}",
                advice="target_modules is a regular expression for whole names of linear layers.",
            ) from error
    model.train()
    return model


def save_adapter(model: nn.Module, folder: Any) -> None:
    """Write LoRA matrices and head in PEFT's format; PEFT's own model card is left out."""
    with quiet_peft():
        # "auto" would look the base up on the hub, to see whether its vocabulary grew.
        model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training may change, by name."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def parameter_count(model: nn.Module) -> int:
    """Number of parameters that training may change."""
    return sum(tensor.numel() for tensor in trainable(model).values())


def tensor_hashes(model: nn.Module) -> dict[str, str]:
    """Sha256 of every parameter and buffer, by the name under which PEFT would save it."""
    return {saved_name(name): tensors_sha256({"": tensor}) for name, tensor in model.state_dict().items()}


def changed_tensors(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Names whose hash differs, or that stand on one side only."""
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


def saved_name(name: str) -> str:
    """A tensor's name in the adapter file: without the adapter's own name and PEFT's wrappers."""
    return name.replace(".modules_to_save.default.", ".").replace(".default.", ".")


def adapter_moved(model: nn.Module) -> bool:
    """Whether any LoRA B matrix left zero, where it starts; otherwise the adapter does nothing."""
    return any(bool(t.detach().any()) for name, t in model.named_parameters() if ".lora_B." in name)


def all_finite(model: nn.Module) -> bool:
    """Whether every trained parameter is a finite number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in trainable(model).values())


def copy_into(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Set parameters to values of the same names."""
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(values[name])


def logits_of(model: nn.Module, batcher: TokenBatcher, ids: Sequence[Sequence[int]]) -> Logits:
    """Logits of tokenised texts in evaluation mode, shape (texts, labels); the model's mode is restored."""
    training, rows = model.training, []
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_SIZE):
            tokens, mask = batcher.pad([ids[i] for i in order[start : start + BATCH_SIZE]])
            rows.append(model(tokens, mask).numpy())
    model.train(training)
    result = np.empty((len(order), rows[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(rows)
    return result


def cross_entropy(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy.

    Args:
        logits: shape (texts, labels).
        targets: shape (texts,).
        smoothing: share of the target that is spread over all labels.
        weights: weight of each text, shape (texts,); the mean is over texts, not over weights, so that the
            share of a text does not depend on the batch it is in.
    """
    if weights is None:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    losses = nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    return (losses * weights).mean()


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on so many threads, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """PEFT imports bitsandbytes, which advertises a GPU kernel; neither warning concerns a CPU run."""
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", message="Could not find a config file")
            yield
    finally:
        logger.setLevel(level)
