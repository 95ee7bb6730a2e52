"""The frozen baseline: the encoder as it is, with logistic regression on its vectors.

A run of its own, and the bar for LoRA: on BANKING77 it is within a point of fine-tuned large
models. Its head is also where LoRA's head starts.
"""

import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.intents import IntentReport, energy_threshold, score
from serving.errors import IntegrityError, MissingError
from serving.files import write_atomically
from serving.language.encoder import SentenceEncoder
from serving.language.intent import OUT_OF_SCOPE, Logits
from serving.language.protocols import Embeddings
from training.config import HeadInit, TrainConfig
from training.data import Dataset, Splits
from training.frozen import Vectors, embed_splits, fit_logistic_regression
from training.model import Head

_FILE = "baseline.npz"
_FACTS = "baseline.json"


@dataclass(frozen=True, eq=False)
class Baseline:
    """A trained frozen baseline.

    Attributes:
        head: logistic regression's weights, for unit vectors.
        start: the head that LoRA starts from (the same, or the centroids).
        labels: intents in the order of the logits.
        threshold: energy below which a text is out of scope, set on validation.
        validation_logits: on the validation texts, shape (texts, labels).
        validation_accuracy: share of validation texts answered right.
        data_sha256: train and validation rows (`Splits.sha256`).
        base_sha256: the encoder's weights.
        parameters: trained parameters, all in the head.
        seconds: wall time of embedding and fitting.
    """

    head: Head
    start: Head
    labels: tuple[str, ...]
    threshold: float
    validation_logits: Logits
    validation_accuracy: float
    data_sha256: str
    base_sha256: str
    parameters: int
    seconds: float

    def save(self, folder: Path) -> Path:
        """Write the baseline for a later task of the same run."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "weight": self.head.weight,
            "bias": self.head.bias,
            "start_weight": self.start.weight,
            "start_bias": self.start.bias,
            "validation_logits": self.validation_logits,
        }
        np.savez(folder / _FILE, **arrays)  # type: ignore[arg-type]  # numpy types its keywords as bool
        names = ("labels", "threshold", "validation_accuracy", "data_sha256", "base_sha256", "parameters")
        facts = {name: getattr(self, name) for name in (*names, "seconds")}
        write_atomically(folder / _FACTS, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Baseline":
        """Read what `save` wrote.

        Raises:
            MissingError: there is no baseline in the folder.
            IntegrityError: it is damaged.
        """
        try:
            facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            with (folder / _FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                head = Head(arrays["weight"], arrays["bias"])
                start = Head(arrays["start_weight"], arrays["start_bias"])
                logits = arrays["validation_logits"]
            facts["labels"] = tuple(facts["labels"])
            return cls(head=head, start=start, validation_logits=logits, **facts)
        except FileNotFoundError as error:
            raise MissingError(f"There is no baseline in {folder}.", advice="Train it first.") from error
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise IntegrityError(
                f"The baseline in {folder} cannot be read: {error}", advice="Train it again."
            ) from error


def fit_baseline(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig, vectors: Vectors | None = None
) -> Baseline:
    """Embed the training texts with the frozen encoder and fit logistic regression on the vectors.

    Deterministic: no seed takes part.

    Args:
        encoder: the frozen base.
        splits: the data.
        config: regularisation, start of the head, maximum length.
        vectors: the splits' vectors (`embed_splits`), where they are there already.

    Raises:
        InvalidInputError: validation holds no in-scope text, or the maximum length does not fit the encoder.
    """
    found = vectors or embed_splits(encoder, splits, config)
    started = time.perf_counter()
    head = _logistic_regression(found.train, splits, config.logreg_c)
    start = head if config.head_init == HeadInit.LOGREG else _centroids(found.train, splits, config.scale)
    logits = found.validation @ head.weight.T + head.bias
    report = score(splits.validation.labels, logits, splits.labels)
    return Baseline(
        head=head,
        start=start,
        labels=splits.labels,
        threshold=scope_threshold(logits, splits.validation, splits.labels),
        validation_logits=logits,
        validation_accuracy=report.accuracy.estimate,
        data_sha256=splits.sha256,
        base_sha256=encoder.base_sha256,
        parameters=head.weight.size + head.bias.size,
        seconds=found.seconds + time.perf_counter() - started,
    )


def score_on(
    data: Dataset, logits: Logits, labels: tuple[str, ...], threshold: float | None = None
) -> IntentReport:
    """Score logits on a split, out of scope included where the split has such texts."""
    return score(
        data.labels, logits, labels, threshold=threshold, out_of_scope_label=out_of_scope_label(labels)
    )


def out_of_scope_label(labels: tuple[str, ...]) -> str | None:
    """The out-of-scope label where the data has one."""
    return OUT_OF_SCOPE if OUT_OF_SCOPE in labels else None


def scope_threshold(logits: Logits, data: Dataset, labels: tuple[str, ...]) -> float:
    """Energy threshold from the in-scope texts of a split that the logits' model did not learn from."""
    inside = np.array([label != OUT_OF_SCOPE for label in data.labels])
    return energy_threshold(logits[inside], labels, out_of_scope_label=out_of_scope_label(labels))


def _logistic_regression(vectors: Embeddings, splits: Splits, c: float) -> Head:
    model = fit_logistic_regression(vectors, splits.train.labels, c)
    assert tuple(model.classes_) == splits.labels
    weight, bias = model.coef_, model.intercept_
    if len(splits.labels) == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Head(weight.astype(np.float32), bias.astype(np.float32))


def _centroids(vectors: Embeddings, splits: Splits, scale: float) -> Head:
    """Unit mean vector of each label, so that logits are `scale` times the cosine."""
    labels = np.array(splits.train.labels)
    means = np.stack([vectors[labels == label].mean(axis=0) for label in splits.labels])
    means /= np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-9)
    return Head((means * scale).astype(np.float32), np.zeros(len(means), dtype=np.float32))
