"""Whether two answers say the same, though in other words: by values, direction and vectors.

Used where the engine answers a question that the cache has answered, so doubt counts against the cache. An
answer may leave something out; what it says must not contradict the other.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.cache.figures import figures
from serving.cache.signature import Signer
from serving.cache.types import exact_key
from serving.language.protocols import Embedder

LEAST_COSINE = 0.75
"""Of two answers that say the same. Of the project's approved answers 0.1 % of the pairs of different intents
reach it, rewordings of one answer have 0.85 and more (docs/cache.md, "Governance")."""
_YES = re.compile(r"^\s*(yes|sure|certainly|of course)\b", re.IGNORECASE)
_NO = re.compile(r"^\s*(no|unfortunately|sorry|i am afraid|i'm afraid)\b", re.IGNORECASE)
_DECIDING = ("direction", "polarity", "action", "product", "tier", "currency", "place")
"""Facets of which two answers may not name different values; others colour an answer without changing it."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The verdict on two answers, with the evidence in words that quote neither."""

    agrees: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AnswerJudge:
    """Compares answers.

    Attributes:
        signer: knows facets and negations.
        embedder: any; only similarity counts.
        least_cosine: of two answers that say the same.
    """

    signer: Signer
    embedder: Embedder
    least_cosine: float = LEAST_COSINE

    def compare(self, one: str, other: str) -> Agreement:
        """Whether two answers to one question say the same."""
        if exact_key(one) == exact_key(other):
            return Agreement(True, "same words")
        against = self._contradiction(one, other)
        if against:
            return Agreement(False, against)
        vectors = self.embedder.embed([one, other])
        cosine = float(vectors[0] @ vectors[1])
        far = not cosine >= self.least_cosine  # also where it is no number
        return Agreement(not far, f"cosine {cosine:.3f} {'<' if far else '≥'} {self.least_cosine:g}")

    def _contradiction(self, one: str, other: str) -> str:
        """What one says and the other denies; empty where nothing shows."""
        for kind, (mine, theirs) in _by_kind(one, other, self.signer.currency).items():
            if not (mine <= theirs or theirs <= mine):
                return f"{kind}: the values differ"
        if (_YES.search(one) and _NO.search(other)) or (_NO.search(one) and _YES.search(other)):
            return "one says yes, the other no"
        lexicon = self.signer.lexicon
        facets = (lexicon.found(one), lexicon.found(other))
        for facet in _DECIDING:
            mine, theirs = (set(found.get(facet, ())) for found in facets)
            if mine and theirs and mine.isdisjoint(theirs):
                return f"{facet}: {', '.join(sorted(mine))} ≠ {', '.join(sorted(theirs))}"
        if lexicon.negations(one) % 2 != lexicon.negations(other) % 2:
            return "one is negated an odd number of times, the other an even one"
        return ""


def _by_kind(one: str, other: str, currency: str) -> Mapping[str, tuple[set[str], set[str]]]:
    """Kind of figure → those of either text."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for place, text in enumerate((one, other)):
        for figure in figures(text, currency=currency):
            found.setdefault(figure.partition(":")[0], (set(), set()))[place].add(figure)
    return found
