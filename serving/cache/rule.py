"""Hit rules: whether a question of the same intent and signature has the same answer.

`CosineRule` is the simplest, one threshold on one cosine. `CertifiedRule` weighs more evidence (see
`scorer`) and serves an intent only where a calibration shows that its threshold is safe; without one it
serves nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.cache.belief import LEAST_PRIOR, PRIOR, Prior, uncertified
from serving.cache.calibration import Calibration
from serving.cache.protocol import HitRule, Neighbour, Verdict
from serving.cache.scorer import EvidenceScorer, Score, agreed, probability
from serving.cache.types import CacheQuery, Reason
from serving.errors import InvalidInputError
from serving.language.protocols import Embeddings


class CosineRule:
    """One threshold for all intents.

    Args:
        threshold: least cosine of a hit, 0 to 1.

    Raises:
        InvalidInputError: a threshold that is no cosine from 0 to 1.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise InvalidInputError(f"A cache threshold is from 0 to 1, not {threshold}.")
        self.threshold = threshold
        self.fingerprint = f"cosine:{threshold!r}"

    def judge(
        self,
        query: CacheQuery,  # noqa: ARG002  # other rules look at the words
        vector: Embeddings,  # noqa: ARG002
        neighbours: Sequence[Neighbour],
    ) -> Verdict:
        """The nearest, or none."""
        if not neighbours:
            return Verdict(None, Reason.NO_ENTRY, "no entry of this intent has this signature")
        nearest = neighbours[0]
        if nearest.similarity < self.threshold:
            return Verdict(nearest, Reason.THRESHOLD, f"cosine {nearest.similarity:.3f} < {self.threshold}")
        return Verdict(nearest, None, f"cosine {nearest.similarity:.3f} ≥ {self.threshold}")


class CertifiedRule:
    """The nearest neighbour, if its answer's score reaches what the calibration asks of the intent.

    The score is the nearest phrasing's, and at most what all near phrasings of that answer say on
    average: one that is close by chance does not outvote the others. Where a phrasing of another answer
    fits better, none is served.

    Args:
        scorer: of a stored question as an answer.
        calibration: thresholds with their evidence; None where nothing is certified.
    """

    def __init__(self, scorer: EvidenceScorer, calibration: Calibration | None) -> None:
        self.calibration = calibration
        self.scorer = scorer
        certified = calibration.sha256 if calibration is not None else "none"
        self.fingerprint = f"{scorer.fingerprint}:{certified}"

    def judge(self, query: CacheQuery, vector: Embeddings, neighbours: Sequence[Neighbour]) -> Verdict:
        """The nearest one, or none."""
        if not neighbours:
            return Verdict(None, Reason.NO_ENTRY, "no entry of this intent has this signature")
        nearest = neighbours[0]
        least = self.calibration.threshold(query.intent) if self.calibration is not None else None
        if least is None:
            told = f"no threshold is certified for the intent {query.intent}"
            return Verdict(nearest, Reason.UNCERTIFIED, told)
        intent = self.scorer.intent(vector, query.intent)
        stored = [(it.entry.question, it.entry.answer, it.similarity) for it in neighbours]
        weighed = weigh(self.scorer, query.text, stored, intent)
        told = f"score {weighed.value:.3f}, cosine {nearest.similarity:.3f}"
        if weighed.value < least:
            return Verdict(nearest, Reason.THRESHOLD, f"{told}: under {least:g}{_against(weighed.nearest)}")
        if weighed.rival:
            return Verdict(nearest, Reason.THRESHOLD, f"{told}: another answer fits better")
        return Verdict(nearest, None, f"{told}: at least {least:g}")


def prior_of(rule: HitRule) -> Prior:
    """What is believed of an entry before anybody tells of it, where this rule serves.

    It is the precision that the calibration achieved for the entry's intent. It is never under `LEAST_PRIOR`,
    or one impatient caller would take an answer away from everybody; nor over `PRIOR`, or a small calibration
    without a mistake would make it certain. An intent without a certificate, and a rule without one, have
    `PRIOR`.
    """
    calibration = rule.calibration if isinstance(rule, CertifiedRule) else None
    if calibration is None:
        return uncertified

    def prior(intent: str) -> float:
        achieved = calibration.precision(intent)
        return PRIOR if achieved is None else min(PRIOR, max(LEAST_PRIOR, achieved))

    return prior


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the stored questions near a question say together.

    Attributes:
        value: score of the nearest one's answer, 0 to 1.
        nearest: the nearest one's own score.
        rival: a phrasing of another answer scores higher than any of this one.
    """

    value: float
    nearest: Score
    rival: bool


def weigh(
    scorer: EvidenceScorer, asked: str, stored: Sequence[tuple[str, str, float]], intent: float
) -> Weighed:
    """Weigh (question, answer, cosine) of stored questions, nearest first; there is at least one.

    Args:
        scorer: of single ones.
        asked: the question.
        stored: the phrasings of one bucket.
        intent: the scorer's feature of that name.
    """
    scores = [scorer.score(asked, question, cosine, intent) for question, _, cosine in stored]
    answer = stored[0][1]
    own = [score.log_odds for score, (_, other, _) in zip(scores, stored, strict=True) if other == answer]
    others = [score.log_odds for score, (_, other, _) in zip(scores, stored, strict=True) if other != answer]
    return Weighed(
        probability(agreed(scores[0].log_odds, own)), scores[0], max(others, default=-math.inf) > max(own)
    )


def _against(score: Score) -> str:
    """What spoke against a hit, in words."""
    parts = []
    if score.missing:
        parts.append("without counterpart: " + ", ".join(score.missing))
    if score.against:
        parts.append("against it: " + ", ".join(name.replace("_", " ") for name in score.against))
    return f" ({'; '.join(parts)})" if parts else ""
