"""Labelled pairs as questions put to caches, and what the answers are worth.

Pure: it knows neither a cache nor an encoder. A cache is asked in *contests*: these questions are stored,
those probes are asked, and for each probe the cache says which stored question's answer it would give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from evaluation.cache_pairs import CachePair
from evaluation.statistics import Interval, clopper_pearson

Question = tuple[str, str]
"""Text and intent."""
NOTHING = -1


@dataclass(frozen=True, slots=True)
class Contest:
    """What a cache holds, and what it is asked."""

    stored: tuple[Question, ...]
    probes: tuple[CachePair, ...]


Served = Sequence[Sequence[int]]
"""For each contest and probe the position of the question whose answer is given; NOTHING for none."""
Nearest = Sequence[Sequence[tuple[int, float]]]
"""The same for the nearest question, with its score: what a cache with one threshold goes by."""


class Worth(Enum):
    """What an answer from the cache is worth."""

    NONE = "none"
    RIGHT = "right"
    WRONG = "wrong"
    UNJUDGED = "unjudged"
    """An entry that no label speaks of."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Shares with exact 95 % intervals.

    Attributes:
        right: paraphrases that get the right answer.
        astray: paraphrases that get another answer.
        wrong: near-twins that get their twin's answer.
        unjudged: near-twins that get an answer of which no label says whether it is right.
    """

    right: Interval
    astray: Interval
    wrong: Interval
    unjudged: int


def alone(pairs: Sequence[CachePair]) -> list[Contest]:
    """Each stored question in a cache of its own: only the rule decides."""
    probes: dict[Question, list[CachePair]] = {}
    for pair in pairs:
        probes.setdefault((pair.stored, pair.intent), []).append(pair)
    return [Contest((stored,), tuple(own)) for stored, own in probes.items()]


def together(pairs: Sequence[CachePair]) -> list[Contest]:
    """All stored questions in one cache: any entry may answer."""
    stored = tuple(dict.fromkeys((pair.stored, pair.intent) for pair in pairs))
    return [Contest(stored, tuple(pairs))]


class Judge:
    """Says what an answer is worth, by the pairs' labels.

    Stored questions that paraphrases join have one answer. Beyond the labels, a paraphrase that gets another
    stored question's answer is answered rightly where both have the same approved answer, else wrongly; a
    near-twin that gets an answer of which no label speaks is left unjudged.

    Args:
        pairs: of all splits.
        approved: stored question → id of its approved answer, for those that have one.
        counts: which pairs are counted in shares; all by default.
    """

    def __init__(
        self,
        pairs: Sequence[CachePair],
        approved: dict[Question, str],
        counts: Callable[[CachePair], bool] = lambda _: True,
    ) -> None:
        self._approved = approved
        self._counts = counts
        self._group: dict[str, str] = {}
        for pair in pairs:
            if pair.same:
                self._join(pair.stored, pair.probe)
        self._apart = {(pair.probe, self._root(pair.stored)) for pair in pairs if not pair.same}

    def worth(self, pair: CachePair, served: Question | None) -> Worth:
        """What it is worth to answer a pair's probe with a stored question's answer."""
        if served is None:
            return Worth.NONE
        home = (pair.stored, pair.intent)
        if (pair.probe, self._root(served[0])) in self._apart:
            return Worth.WRONG
        if self._root(served[0]) == self._root(pair.stored if pair.same else pair.probe):
            return Worth.RIGHT
        if not pair.same:
            return Worth.UNJUDGED
        same = served in self._approved and self._approved[served] == self._approved.get(home)
        return Worth.RIGHT if same else Worth.WRONG

    def tally(self, contests: Sequence[Contest], served: Served) -> Tally:
        """Count one cache's answers."""
        found: dict[bool, list[Worth]] = {True: [], False: []}
        for contest, answers in zip(contests, served, strict=True):
            for pair, at in zip(contest.probes, answers, strict=True):
                if not self._counts(pair):
                    continue
                given = None if at == NOTHING else contest.stored[at]
                found[pair.same].append(self.worth(pair, given))
        same, apart = found[True], found[False]
        return Tally(
            right=clopper_pearson(same.count(Worth.RIGHT), len(same)),
            astray=clopper_pearson(same.count(Worth.WRONG), len(same)),
            wrong=clopper_pearson(apart.count(Worth.WRONG), len(apart)),
            unjudged=apart.count(Worth.UNJUDGED),
        )

    def _join(self, one: str, other: str) -> None:
        self._group[self._root(one)] = self._root(other)

    def _root(self, text: str) -> str:
        while text in self._group and self._group[text] != text:
            text = self._group[text]
        return text


def at_threshold(nearest: Nearest, threshold: float) -> Served:
    """What a cache with one threshold serves."""
    return [[at if score >= threshold else NOTHING for at, score in row] for row in nearest]


def best_threshold(judge: Judge, contests: Sequence[Contest], nearest: Nearest) -> float:
    """The threshold with the best F1 of serving right answers, as optimisers of such caches choose it.

    Precision is right of all that is served, recall is right of all paraphrases. Of equals the highest.
    """
    edges = {round(score, 3) for row in nearest for _, score in row}

    def gain(threshold: float) -> tuple[float, float]:
        found = judge.tally(contests, at_threshold(nearest, threshold))
        right = found.right.estimate * found.right.items
        served = right + found.astray.estimate * found.astray.items + found.wrong.estimate * found.wrong.items
        return 2 * right / (served + found.right.items), threshold

    return max(edges, key=gain)


def as_often_right(judge: Judge, contests: Sequence[Contest], nearest: Nearest, share: float) -> float:
    """The highest threshold at which at least this share of paraphrases gets the right answer."""
    edges = sorted({score for row in nearest for _, score in row}, reverse=True)
    return _first(
        edges,
        lambda edge: judge.tally(contests, at_threshold(nearest, edge)).right.estimate >= share,
    )


def as_seldom_wrong(judge: Judge, contests: Sequence[Contest], nearest: Nearest, share: float) -> float:
    """The lowest threshold at which at most this share of near-twins gets its twin's answer."""
    edges = sorted({score for row in nearest for _, score in row})
    edges.append(float(np.nextafter(edges[-1], np.inf)))  # serves nothing
    return _first(
        edges,
        lambda edge: judge.tally(contests, at_threshold(nearest, edge)).wrong.estimate <= share,
    )


def _first(values: Sequence[float], holds: Callable[[float], bool]) -> float:
    """The first value for which something holds that holds for all after it; the last where it never does."""
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if holds(values[middle]):
            high = middle
        else:
            low = middle + 1
    return values[low]
