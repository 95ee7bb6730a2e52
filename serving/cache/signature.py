"""The signature: what two questions must share, beyond their wording, to share an answer.

Cosine similarity cannot tell "five year loan" from "seven year loan" (0.859 with MiniLM). A signature
holds the values a text names and the facets that its words express (product, direction, polarity, …,
from a lexicon kept as data). Its key is part of the cache's bucket, so only entries of the same
signature ever compete. What paraphrases say or leave out as they like is no part of it; the hit rule
weighs that (see `evidence`). It knows no intents and no test cases.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.language.lexicon import Lexicon, match_spans, unaccented, unreadable, words
from serving.spoken import parse
from serving.spoken.given_names import GIVEN_NAMES
from serving.spoken.ordinals import ordinal_at
from serving.spoken.unread import unread_numbers
from serving.spoken.values import Kind, TypedValue

RULES = "7"
"""Version of the rules below, part of the cache scope: signatures of other rules are not comparable."""


class PersonalHash(Protocol):
    """Keyed hash of a personal value; the same value gives the same hash in one installation."""

    def __call__(self, kind: Kind, value: str) -> str:
        """Hex digest."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """(Facet, value) pairs by facet; equal signatures mean "nothing visible sets them apart".

    Values of one facet are in order of mention: from 5 % to 7 % is not from 7 % to 5 %.
    """

    facets: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(json.dumps(self.facets, separators=(",", ":")).encode()).hexdigest()

    def difference(self, other: "Signature") -> str:
        """The facets that set the two apart, in words: `product: mortgage ≠ personal_loan`."""
        names = sorted({name for name, _ in (*self.facets, *other.facets)})
        pairs = [(name, self.values(name), other.values(name)) for name in names]
        return "; ".join(
            f"{name}: {mine or '-'} ≠ {theirs or '-'}" for name, mine, theirs in pairs if mine != theirs
        )

    def values(self, name: str) -> str:
        """Values of one facet, joined by commas."""
        return ",".join(value for facet, value in self.facets if facet == name)


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes signatures.

    Attributes:
        lexicon: word lists of the facets.
        personal: hash for personal values, which enter a signature in no other form.
        currency: of amounts that name none, ISO 4217.
    """

    lexicon: Lexicon
    personal: PersonalHash
    currency: str = "USD"

    def sign(self, text: str) -> Signature:
        """Signature of a question, from its true text.

        Values are read without knowing the day, so that "tomorrow" is a facet and no date: a stored
        question and the same question on another day have one signature. Negations are counted rather
        than cancelled: "no fee and no minimum" is not "a fee and a minimum".
        """
        # Without capitals: they tell of people whom another way of writing would hide.
        plain = unaccented(text).lower()
        values = [value for value in parse(plain, currency=self.currency) if not _is_below_zero(plain, value)]
        pairs = self._facets(text)
        pairs += [self._value(value) for value in values if not _is_period(plain, value)]
        pairs += [("unread", number) for number in unread_numbers(plain, values)]
        pairs += [("bound", bound) for value in values for bound in self._bounds(plain, value)]
        pairs += _counted(self._uncovered(_without(plain, values)))
        pairs += [("reversal", word) for word in self.lexicon.reversed_words(text)]
        pairs += [("person", self.personal(Kind.NAME, name)) for name in _people(text)]
        pairs += [("unreadable", self.personal(Kind.NAME, word)) for word in unreadable(text)]
        negations = self.lexicon.negations(text)
        if negations:
            pairs.append(("negations", str(negations)))
        return _signature(pair for pair in pairs if pair != _ONE)

    def _facets(self, text: str) -> list[tuple[str, str]]:
        """Facets of the lexicon that make a question another one, without those that are evidence only."""
        poles = self.lexicon.poles
        found = [
            (facet, poles.get(facet, {}).get(value, value))
            for facet, values in self.lexicon.found(text).items()
            for value in values
        ]
        return [pair for pair in found if pair[1]]

    def _uncovered(self, tokens: list[str]) -> list[str]:
        """Words that no phrase of a facet holds; the others become a blank."""
        spans = [span for phrases in self.lexicon.facets.values() for span in match_spans(tokens, phrases)]
        inside = {at for span in spans for at in range(span.first, span.last)}
        return ["" if at in inside else token for at, token in enumerate(tokens)]

    def _bounds(self, text: str, value: TypedValue) -> list[str]:
        """Which end of a range a number is, by the words right before and behind it."""
        if value.kind not in _MEASURES:
            return []
        before = words(text[max(0, value.start - _NEAR) : value.start])[-_BESIDE:]
        after = words(text[value.end : value.end + _NEAR])[:_BESIDE]
        leading = [
            span.value for span in match_spans(before, self.lexicon.bounds) if span.last == len(before)
        ]
        if value.kind is Kind.TERM and before[-1:] == ["over"]:
            leading = []  # "over five years" says how long
        trailing = [
            span.value
            for span in match_spans(after, self.lexicon.bounds)
            if not span.first and after[0] in _JOINS
        ]
        return leading + trailing

    def _value(self, value: TypedValue) -> tuple[str, str]:
        if value.personal:
            return f"personal_{value.kind}", self.personal(value.kind, str(value.value))
        return value.kind.value, value.canonical().partition(":")[2]


_MEASURES = frozenset({Kind.MONEY, Kind.RATE, Kind.TERM, Kind.COUNT})
_BESIDE = 4
_NEAR = 200
"""Characters that hold as many words; all of the text for each value would cost its square."""
_JOINS = frozenset({"or", "and"})
_ONE = (Kind.COUNT.value, "1")
"""A bare "one" is nearly always a pronoun ("a new one") and says no more than the singular does."""
_PERIODS = frozenset({"a day", "a week", "a month", "a year"})
_SPANNING = frozenset({"for", "over", "within", "after", "than", "of", "about", "least", "most", "half"})
_MULTIPLES = {"double": "2", "doubled": "2", "twice": "2", "triple": "3", "thrice": "3", "quadruple": "4"}
_HALVES = frozenset({"half", "halve", "halved"})
_PLAIN_ORDINALS = frozenset(
    {"time", "name", "thing", "class", "party", "parties", "thought", "thoughts", "place"}
)


def _is_period(text: str, value: TypedValue) -> bool:
    """Whether "a day" says how often ("three cards a day") and not how long ("for a day").

    People say as well "daily" or nothing at all, so it is evidence and no part of a signature.
    """
    if value.kind is not Kind.TERM or text[value.start : value.end] not in _PERIODS:
        return False
    before = words(text[max(0, value.start - _NEAR) : value.start])[-1:]
    return bool(before) and before[0] not in _SPANNING


def _is_below_zero(text: str, value: TypedValue) -> bool:
    """Whether "zero" is that of "below zero", which is an overdraft and no number."""
    return text[value.start : value.end] == "zero" and words(text[: value.start])[-1:] in (
        ["below"],
        ["under"],
    )


def _without(text: str, values: Sequence[TypedValue]) -> list[str]:
    """Words of a text outside its values."""
    kept, at = [], 0
    for value in values:
        kept.append(text[at : value.start])
        at = max(at, value.end)
    return words(" ".join([*kept, text[at:]]))


def _counted(tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Places in a row, multiples and pairs among words that are no values: "second", "twice", "a pair of"."""
    found: list[tuple[str, str]] = []
    following = [*tokens, ""][1:]
    for at, (word, after) in enumerate(zip(tokens, following, strict=True)):
        before = tokens[at - 1] if at else ""
        place = ordinal_at(tokens, at)
        behind = [*tokens[place[1] : place[1] + 2], "", ""] if place else []
        plain = bool(place) and (behind[0] in _PLAIN_ORDINALS or behind[:2] == ["of", "all"])
        if place and not plain and before != "at" and (before, word) != ("a", "second"):
            found.append(("ordinal", str(place[0])))
        elif word in _MULTIPLES:
            found.append(("multiple", _MULTIPLES[word]))
        elif word in _HALVES:
            found.append(("multiple", "1/2"))
        elif word == "pair" and after == "of":
            found.append((Kind.COUNT.value, "2"))
    return found


def _signature(pairs: Iterable[tuple[str, str]]) -> Signature:
    """Each pair once; sorting is stable, so values of a facet stay in order of mention."""
    return Signature(tuple(sorted(dict.fromkeys(pairs), key=lambda pair: pair[0])))


def _people(text: str) -> list[str]:
    """Given names with the word behind them, also of people who are only spoken about."""
    tokens = [word.removesuffix("'s") for word in words(text)]
    return [" ".join(tokens[at : at + 2]) for at, token in enumerate(tokens) if token in GIVEN_NAMES]
