"""Sentence vectors of the frozen encoder, and logistic regression on them: what needs no training of it."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.language.encoder import SentenceEncoder
from serving.language.protocols import Embeddings
from training.config import TrainConfig
from training.data import Splits
from training.model import torch_threads

_MAX_ITERATIONS = 300


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Unit vectors of a split's texts by the frozen encoder, shape (texts, dimension) each.

    Attributes:
        train: of the training texts.
        validation: of the validation texts.
        seconds: wall time that they took.
    """

    train: Embeddings
    validation: Embeddings
    seconds: float


def embed_splits(encoder: SentenceEncoder, splits: Splits, config: TrainConfig) -> Vectors:
    """Embed train and validation, reading as many tokens as training does.

    Raises:
        InvalidInputError: the maximum length does not fit the encoder.
    """
    started = time.perf_counter()
    reader = encoder.with_max_length(config.max_length)
    with torch_threads(config.threads):
        train, validation = reader.embed(splits.train.texts), reader.embed(splits.validation.texts)
    return Vectors(train, validation, time.perf_counter() - started)


def fit_logistic_regression(vectors: Embeddings, labels: Sequence[str], c: float) -> Any:
    """scikit-learn's multinomial logistic regression; deterministic.

    Args:
        vectors: shape (texts, dimension).
        labels: of each text.
        c: inverse regularisation.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # The last digits of the weights move no answer; accuracy is flat long before.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=c, max_iter=_MAX_ITERATIONS).fit(vectors, labels)
