"""The signature: what two questions must share, beyond their wording, to share an answer.

Cosine similarity cannot tell "five year loan" from "seven year loan" (0.859 with MiniLM). A signature
holds the values a text names and the facets that its words express (product, direction, polarity, …,
from a lexicon kept as data). Its key is part of the cache's bucket, so only entries of the same
signature ever compete. It knows no intents and no test cases.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from serving.language.lexicon import Lexicon, unaccented, unreadable, words
from serving.spoken import parse
from serving.spoken.given_names import GIVEN_NAMES
from serving.spoken.values import Kind, TypedValue

RULES = "5"
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
        pairs = [(facet, value) for facet, values in self.lexicon.found(text).items() for value in values]
        # Without capitals: they tell of people whom another way of writing would hide.
        found = parse(unaccented(text).lower(), currency=self.currency)
        pairs += [self._value(value) for value in found]
        pairs += [("person", self.personal(Kind.NAME, name)) for name in _people(text)]
        pairs += [("unreadable", self.personal(Kind.NAME, word)) for word in unreadable(text)]
        negations = self.lexicon.negations(text)
        if negations:
            pairs.append(("negations", str(negations)))
        return _signature(pair for pair in pairs if pair != _ONE)

    def _value(self, value: TypedValue) -> tuple[str, str]:
        if value.personal:
            return f"personal_{value.kind}", self.personal(value.kind, str(value.value))
        return value.kind.value, value.canonical().partition(":")[2]


_ONE = (Kind.COUNT.value, "1")
"""A bare "one" is nearly always a pronoun ("a new one") and says no more than the singular does."""


def _signature(pairs: Iterable[tuple[str, str]]) -> Signature:
    """Each pair once; sorting is stable, so values of a facet stay in order of mention."""
    return Signature(tuple(sorted(dict.fromkeys(pairs), key=lambda pair: pair[0])))


def _people(text: str) -> list[str]:
    """Given names with the word behind them, also of people who are only spoken about."""
    tokens = [word.removesuffix("'s") for word in words(text)]
    return [" ".join(tokens[at : at + 2]) for at, token in enumerate(tokens) if token in GIVEN_NAMES]
