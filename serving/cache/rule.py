"""The simplest hit rule: the nearest entry of the bucket, if its cosine reaches a threshold."""

from collections.abc import Sequence

from serving.cache.protocol import Neighbour, Verdict
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
