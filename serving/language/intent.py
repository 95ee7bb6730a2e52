"""The intent tagger: sentence encoder + classification head, and the label file that belongs to it.

Logits are `W (20 e) + b` for a unit vector e: the factor makes a linear head on unit vectors trainable at
the learning rates of LoRA (measured on BANKING77). A text is out of scope when the energy,
logsumexp of the logits, is below the threshold that training calibrated. Nothing here trains,
and a tagger never changes after it is made.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from serving.errors import EngineError, IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder, sentence_vectors, tensors_sha256
from serving.language.protocols import IntentTag

INTENT_FILE = "intent.json"
BASELINE_FILE = "baseline.safetensors"
BASELINE_VERSION = "baseline"
OUT_OF_SCOPE = "out_of_scope"
LOGIT_SCALE = 20.0
MAX_LENGTH = 64
"""Tokens of a caller's turn that the tagger reads; 99 % of BANKING77's questions have at most 53."""
_RUNNERS_UP = 3

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Probe:
    """A text whose answer is known, to prove that a loaded tagger is the one that was trained.

    Attributes:
        text: something a caller might say; no personal data.
        label: the trained tagger's label.
        energy: the trained tagger's energy.
    """

    text: str
    label: str
    energy: float


@dataclass(frozen=True, slots=True)
class IntentConfig:
    """What a tagger needs besides its weights; saved as `intent.json` in the adapter's bundle.

    Attributes:
        labels: intents in the order of the logits.
        base_sha256: the encoder that the head and the LoRA weights belong to
            (`SentenceEncoder.base_sha256`).
        energy_threshold: energy below which a text is out of scope, for encoder + LoRA + head.
        baseline_energy_threshold: the same for the frozen encoder + baseline head.
        in_scope_rejection: share of in-scope validation texts below the threshold, 0 to 1; both
            thresholds were set for it.
        scale: factor on the unit vector before the adapter's head.
        max_length: tokens of a text that are read.
        out_of_scope_label: the label that means out of scope; None where training had none.
        probes: texts with known answers.
    """

    labels: tuple[str, ...]
    base_sha256: str
    energy_threshold: float
    baseline_energy_threshold: float
    in_scope_rejection: float
    scale: float = LOGIT_SCALE
    max_length: int = MAX_LENGTH
    out_of_scope_label: str | None = OUT_OF_SCOPE
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InvalidInputError(f"The intent configuration is wrong: {problem}.")

    @property
    def labels_sha256(self) -> str:
        """Sha256 of the labels in their order."""
        return labels_sha256(self.labels)

    def to_json(self) -> str:
        """The configuration as one JSON document."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, folder: Path) -> Path:
        """Write `intent.json` into a bundle that is being built."""
        path = folder / INTENT_FILE
        path.write_text(self.to_json(), encoding="utf-8")
        return path

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a configuration that `to_json` wrote.

        Raises:
            InvalidInputError: it is no such document, or a value is impossible.
        """
        try:
            fields: dict[str, Any] = dict(json.loads(text))
            fields["labels"] = tuple(fields["labels"])
            fields["probes"] = tuple(Probe(**probe) for probe in fields.get("probes", ()))
            return cls(**fields)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError(f"The intent configuration cannot be read: {error}.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `intent.json` of a bundle.

        Raises:
            IntegrityError: it is missing or not what `save` writes.
        """
        try:
            return cls.from_json((folder / INTENT_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InvalidInputError) as error:
            raise IntegrityError(f"{INTENT_FILE} of the adapter cannot be used: {error}") from error


def labels_sha256(labels: Sequence[str]) -> str:
    """Sha256 of labels in their order."""
    return hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode()).hexdigest()


class IntentClassifier(nn.Module):  # type: ignore[misc]  # torch publishes no types to follow
    """Encoder, dropout and one linear head; the module that LoRA is trained on.

    Args:
        encoder: a BERT-like network that yields `last_hidden_state` (`SentenceEncoder.model`).
        labels: number of intents.
        scale: factor on the unit vector before the head.
        dropout: probability, active only in training mode.
    """

    def __init__(
        self, encoder: nn.Module, labels: int, *, scale: float = LOGIT_SCALE, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(int(encoder.config.hidden_size), labels)
        self.scale = scale

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape (texts, labels) for int64 ids and mask of shape (texts, tokens)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = sentence_vectors(hidden, attention_mask)
        logits: Tensor = self.classifier(self.dropout(vectors) * self.scale)
        return logits


def frozen_sha256(model: nn.Module) -> str:
    """Sha256 of the encoder's own weights inside an `IntentClassifier`, wrapped by PEFT or not.

    LoRA matrices and heads are left out and PEFT's renaming is undone, so that an untouched encoder
    gives `SentenceEncoder.base_sha256` before, during and after training.
    """
    frozen = {}
    for name, tensor in model.named_parameters():
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if plain.startswith("encoder.") and ".lora_" not in plain:
            frozen[plain.removeprefix("encoder.")] = tensor
    return tensors_sha256(frozen)


class _LogitTagger(ABC):
    """From logits to tags; the two taggers differ only in where the logits come from."""

    def __init__(self, config: IntentConfig, version: str, threshold: float) -> None:
        self.config = config
        self.labels = config.labels
        self.version = version
        self._threshold = threshold

    @abstractmethod
    def logits(self, texts: Sequence[str]) -> Logits:
        """Float32 array of shape (len(texts), labels), in the order of `texts`."""

    def tag(self, text: str) -> IntentTag:
        """Tag one text; a blank one is never in scope.

        Raises:
            EngineError: the network gave a number that is not finite.
        """
        return self._tagged(self.logits([text])[0], blank=not text.strip())

    def tag_all(self, texts: Sequence[str]) -> list[IntentTag]:
        """Tags of many texts in their order; the same as `tag` up to float rounding, and faster."""
        rows = self.logits(texts)
        return [self._tagged(row, blank=not text.strip()) for row, text in zip(rows, texts, strict=True)]

    def _tagged(self, row: Logits, *, blank: bool) -> IntentTag:
        energy = log_sum_exp(row)
        if not math.isfinite(energy):
            raise EngineError(f"The intent tagger {self.version} gave logits that are not finite.")
        order = np.argsort(row)[::-1][: _RUNNERS_UP + 1]
        best, *others = [(self.labels[i], math.exp(float(row[i]) - energy)) for i in order]
        label, probability = best
        in_scope = not blank and energy >= self._threshold and label != self.config.out_of_scope_label
        return IntentTag(label, probability, energy, in_scope, self.version, tuple(others))


class TorchIntentTagger(_LogitTagger):
    """Encoder with merged LoRA weights + trained head; implements `IntentTagger`.

    Immutable: a forward pass reads parameters that nothing changes any more, so threads need no lock.
    """

    def __init__(
        self, classifier: IntentClassifier, encoder: SentenceEncoder, config: IntentConfig, version: str
    ) -> None:
        super().__init__(config, version, config.energy_threshold)
        classifier.eval()
        classifier.requires_grad_(requires_grad=False)
        self._classifier = classifier
        self._batcher = encoder.batcher(config.max_length)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Float32 array of shape (len(texts), labels), in the order of `texts`."""
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        with torch.inference_mode():
            for chosen, ids, mask in self._batcher.batches(texts):
                result[chosen] = self._classifier(ids, mask).numpy()
        return result


class FrozenHeadTagger(_LogitTagger):
    """The untouched encoder + a linear head on its unit vectors: the baseline that LoRA must beat.

    Args:
        encoder: the frozen encoder.
        weight: shape (labels, dimension); applied to the unit vector itself, without `scale`.
        bias: shape (labels,).
        config: labels and thresholds.
        version: what the tags say; `baseline` unless told otherwise.

    Raises:
        InvalidInputError: the shapes do not fit the labels or the encoder.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        weight: Logits,
        bias: Logits,
        config: IntentConfig,
        version: str = BASELINE_VERSION,
    ) -> None:
        super().__init__(config, version, config.baseline_energy_threshold)
        expected = (len(config.labels), encoder.dimension)
        if weight.shape != expected or bias.shape != expected[:1]:
            raise InvalidInputError(
                f"The baseline head has shapes {weight.shape} and {bias.shape}; "
                f"{expected} and {expected[:1]} were expected."
            )
        self._encoder = encoder.with_max_length(config.max_length)
        self._weight = np.array(weight, dtype=np.float32)
        self._bias = np.array(bias, dtype=np.float32)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Float32 array of shape (len(texts), labels), in the order of `texts`."""
        return self._encoder.embed(texts) @ self._weight.T + self._bias


def probes_of(tagger: TorchIntentTagger, texts: Sequence[str]) -> tuple[Probe, ...]:
    """Known answers of a freshly trained tagger; texts that it is unsure about are left out.

    Args:
        tagger: made of the classifier that was trained, before anything is saved.
        texts: a few dozen texts without personal data, such as one training text per intent.
    """
    tags = tagger.tag_all(texts)
    sure = zip(texts, tags, strict=True)
    return tuple(Probe(text, tag.label, tag.energy) for text, tag in sure if tag.probability >= 0.5)


def save_baseline(folder: Path, weight: Logits, bias: Logits) -> Path:
    """Write the baseline head into a bundle that is being built (`baseline.safetensors`)."""
    from safetensors.numpy import save_file

    path = folder / BASELINE_FILE
    head = {"weight": weight, "bias": bias}
    save_file({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in head.items()}, path)
    return path


def load_baseline(
    folder: Path, encoder: SentenceEncoder, config: IntentConfig, version: str = BASELINE_VERSION
) -> FrozenHeadTagger:
    """Build the baseline tagger of a bundle.

    Raises:
        IntegrityError: the file is missing, damaged or does not fit the labels.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        head: Mapping[str, Logits] = load_file(folder / BASELINE_FILE)
        return FrozenHeadTagger(encoder, head["weight"], head["bias"], config, version)
    except (OSError, SafetensorError, KeyError, InvalidInputError) as error:
        raise IntegrityError(f"{BASELINE_FILE} of the adapter cannot be used: {error}") from error


def log_sum_exp(row: Logits) -> float:
    """The energy of one row of logits; exact to float64 and safe from overflow."""
    values = row.astype(np.float64)
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).sum())) if math.isfinite(top) else math.nan


def _problem(config: Any) -> str:
    """What is wrong with a configuration, which may come from a file; nothing where it is sound."""
    labels, oos = config.labels, config.out_of_scope_label
    sound = {
        "two or more labels are needed, all different and none empty": len(labels) >= 2
        and len(set(labels)) == len(labels)
        and all(isinstance(label, str) and label for label in labels),
        "energy thresholds must be finite numbers": _is_finite(config.energy_threshold)
        and _is_finite(config.baseline_energy_threshold),
        "scale must be a positive number": _is_finite(config.scale) and config.scale > 0,
        "in_scope_rejection must be from 0 to 1": _is_finite(config.in_scope_rejection)
        and 0 <= config.in_scope_rejection <= 1,
        "max_length must be 3 to 512 tokens": type(config.max_length) is int
        and 3 <= config.max_length <= 512,
        f"out_of_scope_label {oos!r} is none of the labels (null means none)": oos is None or oos in labels,
        "every probe needs a known label and a finite energy": all(
            isinstance(probe.text, str) and probe.label in labels and _is_finite(probe.energy)
            for probe in config.probes
        ),
    }
    return next((problem for problem, fine in sound.items() if not fine), "")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
