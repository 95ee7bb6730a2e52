"""The signature: what two questions must share, beyond their wording, to share an answer.

Cosine similarity cannot tell "five year loan" from "seven year loan" (0.859 with MiniLM). A signature
holds the values a text names and the facets that its words express (product, direction, polarity, …,
from a lexicon kept as data). Its key is part of the cache's bucket, so only entries of the same
signature ever compete. What paraphrases say or leave out as they like is no part of it; the hit rule
weighs that (see `evidence`). It knows no intents and no test cases.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from serving.cache.bounds import bounds
from serving.cache.counting_words import Words, counted, days, months
from serving.cache.mentions import FIGURE, MULTIPLE, find_mentions, loose_figures
from serving.language.lexicon import Lexicon, match_spans, unaccented, unreadable, words
from serving.spoken.given_names import GIVEN_NAMES
from serving.spoken.lexicon import VULGAR
from serving.spoken.text import read
from serving.spoken.unread import unread_numbers
from serving.spoken.values import Kind

RULES = "8"
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
        reading = read(plain)
        mentions = find_mentions(plain, reading, self.currency, self.personal)
        said = Words.of(reading, mentions)
        pairs = self._facets(" ".join(said.in_words()))
        pairs += [(it.facet, it.value) for it in mentions if it.facet]
        pairs += [("bound", bound) for bound in bounds(plain, mentions, self.lexicon.bounds)]
        pairs += [("things", self.personal(Kind.NAME, thing)) for thing in said.things()]
        pairs += days(said.outside()) + months(said.outside())
        inside = self._covered(said.outside())
        pairs += counted(["" if held else token for token, held in zip(said.outside(), inside, strict=True)])
        covered = said.covered(inside)
        taken = {start for start, held in zip(reading.starts, covered, strict=True) if held}
        pairs += [("unread", self._figure(number)[1]) for number in unread_numbers(plain, taken)]
        pairs += [self._figure(figure) for figure in loose_figures(reading, covered)]
        pairs += [("reversal", word) for word in self.lexicon.reversed_words(text)]
        pairs += [("person", self.personal(Kind.NAME, name)) for name in _people(text)]
        pairs += [("unreadable", self.personal(Kind.NAME, word)) for word in unreadable(text)]
        negations = self.lexicon.negations(text)
        if negations:
            pairs.append(("negations", str(negations)))
        return _signature(_without_pronoun(pairs))

    def _facets(self, text: str) -> list[tuple[str, str]]:
        """Facets of the lexicon that make a question another one, without those that are evidence only."""
        poles = self.lexicon.poles
        found = [
            (facet, poles.get(facet, {}).get(value, value))
            for facet, values in self.lexicon.found(text).items()
            for value in values
        ]
        return [pair for pair in found if pair[1]]

    def _covered(self, tokens: list[str]) -> list[bool]:
        """For each word whether a phrase of a facet holds it."""
        spans = [span for phrases in self.lexicon.facets.values() for span in match_spans(tokens, phrases)]
        inside = {at for span in spans for at in range(span.first, span.last)}
        return [at in inside for at in range(len(tokens))]

    def _figure(self, figure: str) -> tuple[str, str]:
        """As it stands, or hashed where it is so long that it may be a part of what is somebody's."""
        if figure in VULGAR or _PART.fullmatch(figure):
            return MULTIPLE, "/".join(map(str, VULGAR[figure])) if figure in VULGAR else figure
        digits, letters = sum(map(str.isdecimal, figure)), sum(map(str.isalpha, figure))
        long = digits > _MOST_DIGITS or letters > _MOST_LETTERS
        return FIGURE, self.personal(Kind.ACCOUNT, figure) if long else figure


_PART = re.compile(r"[1-9]/[1-9]")
_MOST_DIGITS, _MOST_LETTERS = 3, 2
_ONE = (Kind.COUNT.value, "1")


def _without_pronoun(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without a lone "one", which is nearly always a pronoun ("a new one") and says no more than "a" does.

    Beside another count it does say something: "one loan, three documents".
    """
    lone = all(pair == _ONE for pair in pairs if pair[0] == Kind.COUNT.value)
    return [pair for pair in pairs if not (lone and pair == _ONE)]


def _signature(pairs: Iterable[tuple[str, str]]) -> Signature:
    """Each pair once; sorting is stable, so values of a facet stay in order of mention."""
    return Signature(tuple(sorted(dict.fromkeys(pairs), key=lambda pair: pair[0])))


def _people(text: str) -> list[str]:
    """Given names with the word behind them, also of people who are only spoken about."""
    tokens = [word.removesuffix("'s") for word in words(text)]
    return [" ".join(tokens[at : at + 2]) for at, token in enumerate(tokens) if token in GIVEN_NAMES]
