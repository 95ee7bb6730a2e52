"""What a calibration certifies: from which score on a stored answer may be served, and on what evidence.

`evaluation/cache_calibration.py` makes it, `flows/calibrate_cache.py` writes it, the hit rule reads it.
It is bound to everything that a score rests on; a file that was made with anything else is refused, never
bent to fit.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serving.cache.signature import RULES
from serving.errors import IntegrityError, InvalidInputError
from serving.files import make_folder, write_atomically

FORMAT = 1
FILE = "calibration.json"
"""In `home/cache`; the project's own is data/cache_calibration.json."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A threshold and what shows that it is safe.

    Attributes:
        threshold: least score of a hit, 0 to 1.
        served: pairs of the calibration that are served at it.
        wrong: those of them that have another answer.
        upper: upper bound of wrong among served, at the calibration's confidence.
    """

    threshold: float
    served: int
    wrong: int
    upper: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Certified thresholds.

    Attributes:
        embedder: fingerprint of the sentence encoder.
        rules: version of the signature's rules.
        rule: fingerprint of the scorer.
        pairs: SHA-256 of the labelled pairs.
        alpha: largest share of wrong answers among those served that is certified.
        confidence: with which all bounds hold together.
        pooled: for every intent in `covered`.
        covered: intents with enough labelled pairs to count as part of the pool, with their number of pairs.
        intents: certificates of single intents, which replace the pooled one; all of them hold together at
            the same confidence.
    """

    embedder: str
    rules: str
    rule: str
    pairs: str
    alpha: float
    confidence: float
    pooled: Certificate | None
    covered: Mapping[str, int] = field(default_factory=dict)
    intents: Mapping[str, Certificate] = field(default_factory=dict)

    def threshold(self, intent: str) -> float | None:
        """Least score of a hit; None where the intent is answered for the same words only."""
        own = self.intents.get(intent)
        if own is not None:
            return own.threshold
        return self.pooled.threshold if self.pooled is not None and intent in self.covered else None

    def precision(self, intent: str) -> float | None:
        """Share of right among those served at the intent's threshold, as it was seen; None as above."""
        found = self.intents.get(intent) or (self.pooled if intent in self.covered else None)
        return 1 - found.wrong / found.served if found is not None and found.served else None

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(_canonical(self).encode()).hexdigest()


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    make_folder(path.parent)
    write_atomically(path, _canonical(calibration))


def load_calibration(path: Path, *, embedder: str, rule: str) -> Calibration:
    """Read a calibration that fits what serves.

    Args:
        path: of the file.
        embedder: fingerprint of the sentence encoder that serves.
        rule: fingerprint of the scorer that serves.

    Raises:
        InvalidInputError: absent or unreadable.
        IntegrityError: damaged, or made with another encoder, scorer or version of the signature's rules.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"Cache calibration {path} cannot be read: {error}.", advice="Run `voicebot calibrate-cache`."
        ) from error
    try:
        calibration = _calibration(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"Cache calibration {path} is damaged: {error}.", advice="Run `voicebot calibrate-cache`."
        ) from error
    for name, made_with, now in (
        ("sentence encoder", calibration.embedder, embedder),
        ("rule", calibration.rule, rule),
        ("version of the signature's rules", calibration.rules, RULES),
    ):
        if made_with != now:
            raise IntegrityError(
                f"Cache calibration {path} was made with another {name}.",
                advice="Run `voicebot calibrate-cache`.",
            )
    return calibration


def _canonical(calibration: Calibration) -> str:
    return json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1, sort_keys=True) + "\n"


def _calibration(found: Mapping[str, Any]) -> Calibration:
    if found["format"] != FORMAT:
        raise ValueError(f"format {found['format']!r} is not {FORMAT}")
    texts = {name: found[name] for name in ("embedder", "rules", "rule", "pairs")}
    if not all(isinstance(text, str) and text for text in texts.values()):
        raise ValueError("fingerprints are texts")
    alpha = _share(found["alpha"])
    pooled = _certificate(found["pooled"], alpha) if found["pooled"] is not None else None
    return Calibration(
        **texts,
        alpha=alpha,
        confidence=_share(found["confidence"]),
        pooled=pooled,
        covered={str(intent): int(count) for intent, count in found["covered"].items()},
        intents={str(intent): _certificate(item, alpha) for intent, item in found["intents"].items()},
    )


def _certificate(found: Mapping[str, Any], alpha: float) -> Certificate:
    """A certificate that says what it has to: on some evidence, no more than alpha is wrong."""
    served, wrong = int(found["served"]), int(found["wrong"])
    if not 0 <= wrong <= served or not served:
        raise ValueError(f"{wrong} wrong of {served} served")
    upper = _share(found["upper"])
    if not wrong / served <= upper <= alpha:
        raise ValueError(
            f"{upper:g} is no bound of {wrong} wrong of {served} served that is at most {alpha:g}"
        )
    return Certificate(_share(found["threshold"]), served, wrong, upper)


def _share(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 1
        or math.isnan(value)
    ):
        raise ValueError(f"{value!r} is no number from 0 to 1")
    return float(value)
