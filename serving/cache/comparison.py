"""How two questions compare, in numbers: which of what one says has a counterpart in the other.

Each number is one feature of the hit rule's score (see `FEATURES`). Words without a common idea are
compared by small vectors of single words, made once from the sentence encoder; a word that has none is
like no other word.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.cache.evidence import Evidence, Unit, opposed

Floats = npt.NDArray[np.float64]
MARKS = (
    "conditional", "circumstance", "past", "quantity", "request", "mine", "yours", "others", "cause",
    "comparison", "without",
)  # fmt: skip
ASKS = ("limit", "reason", "who", "ability")
FEATURES = (
    "cosine", "intent", "ideas_added", "ideas_dropped", "idea_swapped", "words_added", "words_dropped",
    "word_swapped", "asked_covered", "stored_covered", "owner",
    "focus_shared", "focus_disjoint", "focus_added", "focus_dropped", "values_added", "values_dropped",
    "values_conflict", "words_shared", "near_copy_asked", "near_copy_stored", "copy_added",
    "copy_swapped", "asks_added", "asks_dropped", "event", "asks_time", "asks_price", "lead", "longer",
    "shorter", "order", "tells", "reports", "states", "flow_against",
    "side_added", "copy_lead", "copy_focus", "copy_acts", "copy_marks", "copy_values", "copy_little",
    "kept_added", "kept_acts", "kept_side", "frame_classes", "frame_doers",
    "copy_moved", "kept_head", "frame_head", "frame_alike",
    *(f"asks_{ask}" for ask in ASKS), *(f"{mark}_added" for mark in MARKS), "marks_dropped",
)  # fmt: skip
"""Names of the features, in the order of `compare`."""
_ALIKE_FROM = 0.35
_ALIKE_SPAN = 0.45
_MOST_ALIKE = 0.9
_PRICE = frozenset({"cost", "rate"})
_MOST_LOOSE = 3.0
"""Word vectors: cosine from which two words count as somewhat alike, the rest up to alike, and the most
it gives; most missing words that are counted."""


@dataclass(frozen=True, slots=True)
class WordWeights:
    """What single words weigh and how alike they are.

    Attributes:
        weights: unit → how much it tells (inverse document frequency, largest 1).
        rows: word → its row in `vectors`.
        vectors: float32 of shape (words, dimension), rows of length 1.
    """

    weights: Mapping[str, float]
    rows: Mapping[str, int]
    vectors: npt.NDArray[np.float32]

    def weight(self, unit: Unit) -> float:
        """Of a unit; one that was never seen tells as much as any."""
        return self.weights.get(unit.key, 1.0)

    def alike(self, one: Unit, other: Unit) -> float:
        """0 to 1: whether two units can stand for each other; what excludes each other never can."""
        if (one.poles or one.reverses or other.reverses) and one.excludes(other):
            return 0.0
        if one.key == other.key or one.ideas & other.ideas:
            return 1.0
        if one.ideas and other.ideas:
            return 0.0
        mine, theirs = self._rows(one), self._rows(other)
        if not mine or not theirs:
            return 0.0
        best = float((self.vectors[mine] @ self.vectors[theirs].T).max())
        return min(max((best - _ALIKE_FROM) / _ALIKE_SPAN, 0.0), 1.0) * _MOST_ALIKE

    def _rows(self, unit: Unit) -> list[int]:
        return [self.rows[word] for word in unit.words if word in self.rows]


def compare(asked: Evidence, stored: Evidence, cosine: float, intent: float, words: WordWeights) -> Floats:
    """Features of a question beside a stored one, float64 of shape (len(FEATURES),).

    Args:
        asked: the question.
        stored: the one whose answer it would get.
        cosine: of the two.
        intent: how sure it is that the question has the stored one's intent, beside the next best one.
        words: of single words.
    """
    alike = [[words.alike(mine, theirs) for theirs in stored.units] for mine in asked.units]
    best_asked = [max(row, default=0.0) for row in alike]
    best_stored = [max(column, default=0.0) for column in zip(*alike, strict=True)] or [0.0] * len(
        stored.units
    )
    best_asked = _found_as_words(asked.units, best_asked, stored)
    best_stored = _found_as_words(stored.units, best_stored, asked)
    missing_asked = _missing(asked.units, best_asked, words)
    missing_stored = _missing(stored.units, best_stored, words)
    frame = _frame(asked, stored)
    opposite = 1.0 if _opposed(asked, stored) else frame * _others_do(asked, stored)
    head = _head_lack(asked, stored, best_asked, words)
    worst_asked, worst_stored = max((*missing_asked, opposite, head)), max((*missing_stored, opposite))
    ideas_added, words_added = _by_kind(asked.units, missing_asked)
    ideas_dropped, words_dropped = _by_kind(stored.units, missing_stored)
    shared = len(asked.stems & stored.stems) / max(len(asked.stems | stored.stems), 1)
    contained = len(asked.stems & stored.stems) / max(len(stored.stems), 1)
    loose_asked = sum(missing_asked) + _loose(asked, stored, words)
    loose_stored = sum(missing_stored) + _loose(stored, asked, words)
    near = shared * shared
    kept = _kept(stored, asked, words)
    disjoint = bool(asked.focus and stored.focus) and not asked.focus & stored.focus
    added_values, dropped_values = asked.values - stored.values, stored.values - asked.values
    facets = {value.partition(":")[0] for value in added_values}
    conflict = any(value.partition(":")[0] in facets for value in dropped_values)
    ratio = math.log((asked.length + 1) / (stored.length + 1))
    return np.array(
        [
            cosine,
            intent,
            ideas_added,
            ideas_dropped,
            math.sqrt(ideas_added * ideas_dropped),
            words_added,
            words_dropped,
            math.sqrt(worst_asked * worst_stored),
            _covered(asked.units, best_asked, words),
            _covered(stored.units, best_stored, words),
            _owner_differs(asked, stored),
            len(asked.focus & stored.focus) / max(len(asked.focus | stored.focus), 1),
            disjoint,
            len(asked.focus - stored.focus),
            len(stored.focus - asked.focus),
            len(added_values),
            len(dropped_values),
            conflict,
            shared,
            shared * worst_asked,
            shared * worst_stored,
            contained * min(loose_asked, _MOST_LOOSE),
            shared * min(loose_asked, loose_stored, 1.0),
            len(asked.asks - stored.asks),
            len(stored.asks - asked.asks),
            "event" in asked.focus and "event" not in stored.focus,
            "time" in asked.asks and "time" not in stored.asks,
            bool(_PRICE & asked.asks) and not _PRICE & stored.asks,
            _leads(asked, stored),
            max(ratio, 0.0),
            max(-ratio, 0.0),
            _disorder(alike),
            asked.act.order and not stored.act.order,
            asked.act.report and not stored.act.report,
            asked.act.state and not stored.act.state,
            asked.act.against(stored.act),
            _beside(asked, missing_asked),
            near * _leads(asked, stored),
            near * len(asked.focus ^ stored.focus),
            near * (asked.act.does != stored.act.does),
            near * len(asked.marks - stored.marks),
            near * len(added_values ^ dropped_values),
            near * min(len(asked.little ^ stored.little), _MOST_LOOSE),
            kept * worst_asked,
            kept * (asked.act.does != stored.act.does),
            kept * _beside(asked, missing_asked),
            frame * len(asked.poles ^ stored.poles),
            frame * asked.form.done_by_others(stored.form),
            near * near * asked.form.moved(stored.form),
            kept * head,
            frame * head,
            frame * _merely_alike(asked.units, best_asked, words),
            *(ask in asked.asks and ask not in stored.asks for ask in ASKS),
            *(mark in asked.marks and mark not in stored.marks for mark in MARKS),
            len(stored.marks - asked.marks),
        ],
        np.float64,
    )


def _loose(one: Evidence, other: Evidence, words: WordWeights) -> float:
    """How many words that carry little the one has and the other has nothing like."""
    there = (*other.units, *other.light)
    return sum(1.0 - max((words.alike(unit, it) for it in there), default=0.0) for unit in one.light)


def _kept(one: Evidence, other: Evidence, words: WordWeights) -> float:
    """Share of the weight of what the one says that the other says in the same words."""
    total = sum(words.weight(unit) for unit in one.units)
    same = sum(words.weight(unit) for unit in one.units if unit.stems and unit.stems <= other.stems)
    return same / total if total else 0.0


def _frame(asked: Evidence, stored: Evidence) -> float:
    """0 to 1: how much the two are one sentence with one word changed, added or left out."""
    common = len(asked.stems & stored.stems)
    fewest = min(len(asked.stems), len(stored.stems)) - 1
    return float(min(common / max(fewest, 1), 1.0) ** 3)


def _opposed(asked: Evidence, stored: Evidence) -> bool:
    """Whether the one says something that excludes what the other says."""
    prefixed = asked.reverses & stored.stems or stored.reverses & asked.stems
    return bool(prefixed) or opposed(asked.poles, stored.poles)


def _others_do(asked: Evidence, stored: Evidence) -> bool:
    """Whether somebody else does it, or it goes another way."""
    mine, theirs = asked.form, stored.form
    return bool(mine.exchanged(theirs) or mine.done_by_others(theirs)) or asked.act.against(stored.act)


def _merely_alike(units: Sequence[Unit], best: Sequence[float], words: WordWeights) -> float:
    """What has a counterpart by its word vector alone: those of siblings are as near as those of synonyms."""
    alike = (words.weight(unit) for unit, found in zip(units, best, strict=True) if 0 < found < 1)
    return max(alike, default=0.0)


def _head_lack(one: Evidence, other: Evidence, best: Sequence[float], words: WordWeights) -> float:
    """How much of what the sentence turns on the other one lacks."""
    units = ((unit, found) for unit, found in zip(one.units, best, strict=True) if unit.key in one.heads)
    there = (*other.units, *other.light)
    light = (
        (unit, max((words.alike(unit, it) for it in there), default=0.0))
        for unit in one.light
        if unit.key in one.heads
    )
    return max((words.weight(unit) * (1 - found) for unit, found in (*units, *light)), default=0.0)


def _beside(asked: Evidence, missing: Sequence[float]) -> float:
    """What is missing inside a side clause, which is mostly a circumstance."""
    inside = (lack for unit, lack in zip(asked.units, missing, strict=True) if unit.at > asked.act.side)
    return min(sum(inside), _MOST_LOOSE)


def _by_kind(units: Sequence[Unit], missing: Sequence[float]) -> tuple[float, float]:
    """What is missing, apart for units with ideas and for words that the lexicon does not know."""
    known = sum(lack for unit, lack in zip(units, missing, strict=True) if unit.ideas)
    return known, sum(missing) - known


def _owner_differs(asked: Evidence, stored: Evidence) -> bool:
    """Whether one thing is said to be one's in the one question, and another's in the other."""
    return any(
        not asked.owners[thing] & stored.owners[thing] for thing in asked.owners.keys() & stored.owners.keys()
    )


def _leads(asked: Evidence, stored: Evidence) -> float:
    """1 where two questions begin with asking for different things, 0 where for the same, else between."""
    mine, theirs = (set(one.lead.split("|")) - {""} for one in (asked, stored))
    if not mine or not theirs or mine & theirs:
        return 0.0
    return 1.0 if not mine & stored.focus and not theirs & asked.focus else 0.5


def _found_as_words(units: Sequence[Unit], best: Sequence[float], other: Evidence) -> list[float]:
    """A phrase whose words stand apart in the other question ("pay off it", "pay it off") is there too."""
    return [
        1.0 if unit.stems and unit.stems <= other.stems else found
        for unit, found in zip(units, best, strict=True)
    ]


def _missing(units: Sequence[Unit], best: Sequence[float], words: WordWeights) -> list[float]:
    return [words.weight(unit) * (1 - found) for unit, found in zip(units, best, strict=True)]


def _covered(units: Sequence[Unit], best: Sequence[float], words: WordWeights) -> float:
    """Share of the weight that has a counterpart; 1 where nothing is said."""
    total = sum(words.weight(unit) for unit in units)
    return 1 - sum(_missing(units, best, words)) / total if total else 1.0


def _disorder(alike: Sequence[Sequence[float]]) -> float:
    """Share of the pairs of sure counterparts that stand the other way round."""
    places = [row.index(1.0) for row in alike if 1.0 in row]
    pairs = [(one, other) for at, one in enumerate(places) for other in places[at + 1 :]]
    return sum(one > other for one, other in pairs) / len(pairs) if pairs else 0.0
