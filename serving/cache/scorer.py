"""The score of a stored question as an answer to another one: a small logistic regression over `comparison`.

Weights are data (data/cache_rule.json), fitted on split `train` of the labelled pairs
(evaluation/cache_rule.py) under signs: whatever sets two questions apart can only lower the score, so a
question never scores better for itself than with a difference. Beside the words it asks a linear head
over the sentence vector whether the question has the intent at all. Serving needs numpy alone.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.cache.comparison import FEATURES, Floats, WordWeights, compare
from serving.cache.evidence import Concepts, Evidence, read_evidence
from serving.errors import IntegrityError, InvalidInputError
from serving.language.lexicon import Lexicon
from serving.language.protocols import Embeddings

FORMULA = "4"
"""Version of the code that turns two questions into a score; part of every scorer's fingerprint."""
INTENT_RANGE = (-6.0, 3.0)
"""Least and most that the intent head says, in nats between the intent and the best other one."""
_KEPT_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class IntentHead:
    """A linear layer over sentence vectors.

    Attributes:
        labels: intents.
        weights: float32 of shape (intents, dimension).
        bias: float32 of shape (intents,).
    """

    labels: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def margin(self, vector: Embeddings, intent: str) -> float | None:
        """How much more an intent fits than the best other one; None for one that it does not know."""
        if intent not in self.labels:
            return None
        logits = self.weights @ vector + self.bias
        own = self.labels.index(intent)
        other = float(np.delete(logits, own).max())
        return float(np.clip(float(logits[own]) - other, *INTENT_RANGE))


@dataclass(frozen=True, slots=True)
class Regression:
    """Logistic regression over standardised features.

    Attributes:
        mean: of each feature.
        scale: of each feature, above 0.
        weights: of each standardised feature.
        bias: added to the sum.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def parts(self, features: Floats) -> Floats:
        """What each feature adds to the log-odds."""
        return (features - self.mean) / self.scale * self.weights

    def log_odds(self, features: Floats) -> float:
        """Of the right answer."""
        return float(self.parts(features).sum()) + self.bias


@dataclass(frozen=True, slots=True)
class Score:
    """What a stored question is worth as an answer.

    Attributes:
        log_odds: that it is the right answer, on pairs as adversarial as those it was fitted on.
        missing: words of the question without a counterpart in the stored one.
        against: features that cost most, dearest first.
    """

    log_odds: float
    missing: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def value(self) -> float:
        """0 to 1."""
        return probability(self.log_odds)


def probability(log_odds: float) -> float:
    """Log-odds as a probability."""
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -50.0), 50.0)))


def agreed(nearest: float, phrasings: Sequence[float]) -> float:
    """Log-odds of an answer: what its nearest phrasing says, and no more than all say on average."""
    return min(nearest, sum(phrasings) / len(phrasings))


class EvidenceScorer:
    """Scores pairs of questions; what it has read of a question is kept for the next time.

    Args:
        concepts: what words mean.
        lexicon: facets that no signature holds are read with it.
        words: what single words weigh.
        head: of intents.
        regression: over the features of `comparison`.
        fingerprint: of all of these.
    """

    def __init__(
        self,
        concepts: Concepts,
        lexicon: Lexicon,
        words: WordWeights,
        head: IntentHead,
        regression: Regression,
        fingerprint: str,
    ) -> None:
        self.fingerprint = fingerprint
        self.words = words
        self._head = head
        self._regression = regression
        self._of_itself = regression.parts(_PERFECT)
        self._unknown_intent = float(regression.mean[FEATURES.index("intent")])
        # Per instance, so that it dies with it.
        self._read = lru_cache(maxsize=_KEPT_TEXTS)(lambda text: read_evidence(text, concepts, lexicon))

    def read(self, text: str) -> Evidence:
        """What a question says."""
        return self._read(text)

    def intent(self, vector: Embeddings, intent: str) -> float:
        """The feature `intent`; the average of the training pairs for an intent that was never seen."""
        margin = self._head.margin(vector, intent)
        return self._unknown_intent if margin is None else margin

    def features(self, asked: str, stored: str, cosine: float, intent: float) -> Floats:
        """Features of a question beside a stored one."""
        return compare(self._read(asked), self._read(stored), cosine, intent, self.words)

    def score(self, asked: str, stored: str, cosine: float, intent: float) -> Score:
        """Judge one stored question."""
        features = self.features(asked, stored, cosine, intent)
        here = self._regression.parts(features)
        cost = here - self._of_itself
        order = [at for at in np.argsort(cost) if cost[at] < -_WORTH_TELLING][:3]
        mine, theirs = self._read(asked), self._read(stored)
        lacking = [
            " ".join(unit.words)
            for unit in mine.units
            if unit.words
            and max((self.words.alike(unit, other) for other in theirs.units), default=0.0) < _COUNTERPART
        ]
        told = tuple(FEATURES[at] for at in order)
        return Score(self._regression.log_odds(features), tuple(lacking), told)


_WORTH_TELLING = 0.3
_COUNTERPART = 0.5
_PERFECT = np.array(
    [
        {
            "cosine": 1.0,
            "intent": INTENT_RANGE[1],
            "asked_covered": 1.0,
            "stored_covered": 1.0,
            "focus_shared": 1.0,
        }.get(name, 1.0 if name == "words_shared" else 0.0)
        for name in FEATURES
    ]
)
"""Features of a question beside itself."""


def load_scorer(path: Path, concepts: Concepts, lexicon: Lexicon) -> EvidenceScorer:
    """Read the weights.

    Raises:
        InvalidInputError: absent or unreadable.
        IntegrityError: not what `dump_scorer` writes, or fitted with other word lists or another code.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"Weights of the cache's rule {path} cannot be read: {error}.") from error
    try:
        made_with = {name: found[name] for name in ("formula", "features", "concepts", "lexicon")}
        now = {
            "formula": FORMULA,
            "features": list(FEATURES),
            "concepts": concepts.sha256,
            "lexicon": lexicon.sha256,
        }
        if made_with != now:
            other = next(name for name in now if made_with[name] != now[name])
            raise IntegrityError(
                f"Weights of the cache's rule {path} were fitted with another {other}.",
                advice="Run `python -m flows.fit_cache_rule`, then `voicebot calibrate-cache`.",
            )
        return EvidenceScorer(
            concepts,
            lexicon,
            _words(found),
            _head(found),
            _regression(found["regression"]),
            fingerprint(found),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"Weights of the cache's rule {path} are damaged: {error!r}.") from error


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the weights and of what they were fitted with."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"evidence:{hashlib.sha256(canonical.encode()).hexdigest()}"


def dump_scorer(
    concepts: Concepts,
    lexicon: Lexicon,
    words: WordWeights,
    head: IntentHead,
    regression: Regression,
) -> dict[str, Any]:
    """The content of data/cache_rule.json: vectors as signed bytes, the rest as rounded numbers."""
    return {
        "formula": FORMULA,
        "features": list(FEATURES),
        "concepts": concepts.sha256,
        "lexicon": lexicon.sha256,
        "regression": {
            "mean": [round(float(value), 6) for value in regression.mean],
            "scale": [round(float(value), 6) for value in regression.scale],
            "weights": [round(float(value), 6) for value in regression.weights],
            "bias": round(regression.bias, 6),
        },
        "weights": {key: round(weight, 4) for key, weight in sorted(words.weights.items())},
        "words": " ".join(words.rows),
        "vectors": _packed(words.vectors),
        "labels": list(head.labels),
        "head": _packed(head.weights),
        "head_bias": [round(float(value), 5) for value in head.bias],
    }


def _packed(rows: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Rows as signed bytes with one scale for all."""
    scale = float(np.abs(rows).max()) / 127
    content = np.rint(rows / scale).astype(np.int8)
    return {"scale": scale, "columns": rows.shape[1], "bytes": base64.b64encode(content.tobytes()).decode()}


def _unpacked(found: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    content = np.frombuffer(base64.b64decode(found["bytes"]), np.int8)
    rows = content.reshape(-1, found["columns"]).astype(np.float32)
    return np.asarray(rows * np.float32(found["scale"]), np.float32)


def _words(found: Mapping[str, Any]) -> WordWeights:
    names, vectors = found["words"].split(), _unpacked(found["vectors"])
    if len(names) != len(vectors):
        raise ValueError("as many words as vectors are needed")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return WordWeights(found["weights"], {name: row for row, name in enumerate(names)}, vectors)


def _head(found: Mapping[str, Any]) -> IntentHead:
    head = IntentHead(
        tuple(found["labels"]), _unpacked(found["head"]), np.array(found["head_bias"], np.float32)
    )
    if not len(head.labels) == len(head.weights) == len(head.bias):
        raise ValueError("as many rows of the head as labels are needed")
    return head


def _regression(found: Mapping[str, Any]) -> Regression:
    mean, scale, weights = (np.array(found[name], np.float64) for name in ("mean", "scale", "weights"))
    if not len(mean) == len(scale) == len(weights) == len(FEATURES) or not (scale > 0).all():
        raise ValueError("every feature needs a mean, a scale above 0 and a weight")
    return Regression(mean, scale, weights, float(found["bias"]))
