"""Which words a sentence turns on, read from its grammar alone: its head, who does what, from whom to whom.

Two questions of nearly the same words are two where the verb is another one, where two people have changed
places, or where one thing more is asked. Nothing here knows what a word means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


def _set(listed: str) -> frozenset[str]:
    """Words between blanks."""
    return frozenset(listed.split())


_HELPING = _set(
    """do does did can could will would shall should may might must is are am was were has have had isn't
    aren't doesn't don't can't"""
)
_BEING = _set("is are am was were be been being")
_ADVERBS = _set(
    """also just ever still even always already usually normally really actually possibly only now then to
    have has had need want like be been able going"""
)
_SPEAKERS = {**dict.fromkeys(_set("i we me us"), "me"), "you": "you"}
_SUBJECTS = _set("i we you")
_WHICH = _set("what which whose")
_HOW_MUCH = _set("much many long often do does can could is are will would about to far soon may should")
_BEHIND = {"how": _HOW_MUCH, "who": _HELPING}
"""Question word → what may stand behind it without being what is asked for ("how fair", "who pays")."""
_STOPS = _set(
    """to from for in on at with by as if when while before after until than or and into onto per about
    without because since during through under over between among against"""
)
_PREDICATES = ("ed", "able", "ible", "ive")
_CASES = {"from": "from", "by": "by", "to": "to", "into": "to", "onto": "to", "for": "for", "with": "with"}
_SKIPPED = _set("a an the my your our his her their its this that these those some any another one")
_NO_GROUP = _HELPING | _ADVERBS | _STOPS
"""Words that end what a preposition holds for."""
_NO_CASE = frozenset({""})
_CASE_NAMES = frozenset(_CASES.values())
_FIRST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Form:
    """How a sentence is built.

    Attributes:
        heads: places of the words that it turns on: the main verb, the predicate, what is asked for.
        roles: word → the prepositions (`from`, `to`, `for`, `by`, `with`) that it stands behind; an empty
            one for none.
        cased: words that stand behind one of them.
        doers: word → who does it, `me` or `you`, where a pronoun says so right before.
        places: word → its first place.
    """

    heads: tuple[int, ...]
    roles: Mapping[str, frozenset[str]]
    cased: tuple[str, ...]
    doers: Mapping[str, str]
    places: Mapping[str, int]

    def moved(self, other: "Form") -> int:
        """How often the common words go back in the other sentence, beyond once.

        Once is a part that has changed places as a whole ("is it free to …", "to …, is it free"); where two
        words have been exchanged it is twice.
        """
        order = [other.places[word] for word in self.places if word in other.places]
        back = sum(one > following for one, following in pairwise(order))
        return max(back - 1, 0)

    def exchanged(self, other: "Form") -> int:
        """How many common words stand behind another preposition, or have handed one on to each other."""
        words = {word for word in (*self.cased, *other.cased) if word in self.roles and word in other.roles}
        common = [(self.roles[word], other.roles[word]) for word in words]
        differing = [(one, two) for one, two in common if one != two]
        if not differing:
            return 0
        exchanged = sum("" not in one and "" not in two for one, two in differing)
        for case in _CASE_NAMES:
            gained = sum(case in one and case not in two and "" in two for one, two in differing)
            lost = sum(case in two and case not in one and "" in one for one, two in differing)
            exchanged += min(gained, lost)
        return exchanged

    def done_by_others(self, other: "Form") -> int:
        """How many common words the caller does in the one, and the bank in the other."""
        return sum(other.doers.get(word, doer) != doer for word, doer in self.doers.items())


def read_form(tokens: Sequence[str], stems: Sequence[str], verbs: frozenset[str]) -> Form:
    """Read a sentence.

    Args:
        tokens: its words.
        stems: the same, stemmed.
        verbs: stemmed verbs, before which "to" is no preposition.
    """
    names = [_SPEAKERS.get(token, root) for token, root in zip(tokens, stems, strict=True)]
    places: dict[str, int] = {}
    for at, name in enumerate(names):
        places.setdefault(name, at)
    roles = _roles(tokens, names, verbs)
    cased = tuple(name for name, cases in roles.items() if cases != _NO_CASE)
    return Form(_heads(tokens), roles, cased, _doers(tokens, stems), places)


def _roles(tokens: Sequence[str], names: Sequence[str], verbs: frozenset[str]) -> dict[str, frozenset[str]]:
    """Prepositions by word; one holds for its whole group: "for opening an account"."""
    found: dict[str, set[str]] = {}
    case = ""
    for at, (token, name) in enumerate(zip(tokens, names, strict=True)):
        if token in _CASES:
            case = _CASES[token]
        elif token not in _SKIPPED:
            case = "" if token in _NO_GROUP or (case == "to" and name in verbs) else case
            found.setdefault(name, set()).add(case)
            following = tokens[at + 1] if at + 1 < len(tokens) else ""
            if following in _SKIPPED and not token.endswith("ing"):
                case = ""
    return {name: frozenset(cases) for name, cases in found.items()}


def _doers(tokens: Sequence[str], stems: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for at, token in enumerate(tokens):
        if token in _SUBJECTS:
            verb = _after(tokens, at + 1)
            if verb is not None:
                found.setdefault(stems[verb], _SPEAKERS[token])
    return found


def _after(tokens: Sequence[str], first: int) -> int | None:
    """Place of the first word from there on that carries more than an adverb."""
    return next((at for at in range(first, len(tokens)) if tokens[at] not in _ADVERBS), None)


def _heads(tokens: Sequence[str]) -> tuple[int, ...]:
    """Places of the words that the sentence turns on, in order."""
    first = range(min(len(tokens), _FIRST_WORDS))
    found: set[int | None] = set()
    subject = next((at for at in first if tokens[at] in _SUBJECTS), None)
    helping = next((at for at in first if tokens[at] in _HELPING), None)
    if subject is not None:
        found.add(_after(tokens, subject + 1))
    elif helping is not None:
        found.add(_last_of_clause(tokens, helping + 1))
        if tokens[helping] in _BEING and tokens[-1].endswith(_PREDICATES):
            found.add(len(tokens) - 1)
    for at in first:
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if following not in _BEHIND.get(tokens[at], {following}):
            found.add(at + 1)
        elif tokens[at] in _WHICH:
            end = next((to for to in range(at + 1, len(tokens)) if tokens[to] in _HELPING), at + 1)
            found.update(range(at + 1, end))
    return tuple(sorted(at for at in found if at is not None and at < len(tokens)))


def _last_of_clause(tokens: Sequence[str], first: int) -> int | None:
    """Place of the last word before the first preposition or conjunction."""
    end = next((at for at in range(first, len(tokens)) if tokens[at] in _STOPS), len(tokens))
    return end - 1 if end > first else None
