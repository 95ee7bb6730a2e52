"""Words that count, order or name a day, beside values that a parser types: "second", "twice", "in May"."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from serving.cache.bounds import beside_point
from serving.cache.mentions import MULTIPLE, Mention
from serving.spoken.lexicon import MONTHS, ORDINAL_ENDINGS, SMALL, WEEKDAYS, word_set
from serving.spoken.ordinals import ordinal_at
from serving.spoken.say import say_ordinal
from serving.spoken.text import Reading
from serving.spoken.values import Kind

Pair = tuple[str, str]

_OWN = word_set("my our his her their your")
_YEARS = word_set("year years yr yrs")
_MULTIPLES = {"double": "2", "doubled": "2", "twice": "2", "triple": "3", "thrice": "3", "quadruple": "4"}
_HALVES = word_set("half halve halved")
_PARTS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5, "eighth": 8,
          "eighths": 8}  # fmt: skip
_PLAIN_FIRST = word_set("time name thing class place")
"""Behind "first" these say nothing of a row: "the first time", "in the first place"."""
_PLAIN = word_set("party parties thought thoughts")
_MONTH_CUES = word_set(
    "in of by until till since last next this from early late mid through during for every before after"
)
_DOUBTFUL_MONTHS = word_set("may march mar dec sep jan jun")
"""Verbs and names: months only behind a word such as "in"."""
_NO_MONTH = "apr"
"""A rate, unless a day stands beside it; then it is a date."""
_SHORT_DAYS = {"mon": "monday", "tue": "tuesday", "tues": "tuesday", "weds": "wednesday", "thu": "thursday",
               "thur": "thursday", "thurs": "thursday", "fri": "friday"}  # fmt: skip
"""Without those that are words of their own: wed, sat, sun."""
_THROUGH = word_set("to through thru till until")
_CURRENCIES = {"EUR": "euros", "GBP": "pounds", "CAD": "canadian dollars", "AUD": "australian dollars",
               "JPY": "yen", "CHF": "francs"}  # fmt: skip
"""How an amount names its currency, so that "€20" does as "20 euros" does."""
_AWAY = 3
"""Words behind a number among which the thing that it counts stands."""
_SINGULAR = word_set("is was has as this less plus does its us yes always perhaps")
_PLURAL = word_set("people children men women")
_CLAUSE = word_set(
    ". ? ! ; : for in on at to per a an the and or each every from with by of if than that when"
)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text beside its mentions.

    Attributes:
        reading: all tokens.
        mentions: what was found, in order.
        holds: for each token the place of its mention, or -1.
    """

    reading: Reading
    mentions: Sequence[Mention]
    holds: Sequence[int]

    @classmethod
    def of(cls, reading: Reading, mentions: Sequence[Mention]) -> Self:
        """Find out which token belongs to which mention."""
        place = {at: number for number, it in enumerate(mentions) for at in range(it.start, it.end)}
        return cls(reading, mentions, [place.get(start, -1) for start in reading.starts])

    def in_words(self) -> list[str]:
        """All words: "second" for "2nd", "euros" for "€20", and "my son" for "my 8-year-old son"."""
        found: list[str] = []
        ages = self._ages()
        for at in range(self.reading.size):
            mention = self.holds[at]
            currency = _CURRENCIES.get(self.mentions[mention].code) if mention >= 0 else None
            if currency is None and at not in ages:
                found += self._word(at)
            elif currency is not None and (at == 0 or self.holds[at - 1] != mention):
                found.append(currency)
        return found

    def outside(self) -> list[str]:
        """Words of no mention, with ordinals in words."""
        return [word for at in range(self.reading.size) if self.holds[at] < 0 for word in self._word(at)]

    def covered(self, inside: Sequence[bool]) -> list[bool]:
        """For each token whether it is of a mention, of an ordinal, or all of it of words held `inside`.

        `inside` has an item for each word of `outside`.
        """
        found, place = [], 0
        for at in range(self.reading.size):
            count = len(self._word(at)) if self.holds[at] < 0 else 0
            ordinal = self._is_ordinal(at) or (at > 0 and self._is_ordinal(at - 1))
            held = count > 0 and all(inside[place : place + count])
            found.append(self.holds[at] >= 0 or ordinal or held)
            place += count
        return found

    def things(self) -> list[str]:
        """What each count counts, so that "2 cards for an account" is not "a card for 2 accounts"."""
        things = [self._thing(at) for at in self._behind_counts()]
        return [thing for thing in things if thing]

    def _behind_counts(self) -> list[int]:
        """Tokens right behind a number that counts something, or behind "a pair of"."""
        words, found = self.reading.words, []
        for at, (number, following) in enumerate(pairwise([*self.holds, -1])):
            mention = self.mentions[number] if number >= 0 else None
            counts = mention is not None and mention.facet == Kind.COUNT.value and mention.value != "1"
            if counts and number != following:
                found.append(at + 1)
            elif number < 0 and words[at] == "pair" and words[at + 1] == "of":
                found.append(at + 2)
        return found

    def _thing(self, first: int) -> str:
        """The plural that follows a number, without its ending; empty where there is none nearby."""
        for at in range(first, min(first + _AWAY, self.reading.size)):
            word = self.reading.words[at]
            if word in _CLAUSE or self.holds[at] >= 0:
                break
            if word in _PLURAL or (len(word) > 3 and word.endswith("s") and word not in _SINGULAR):
                return word.removesuffix("s")
        return ""

    def _word(self, at: int) -> list[str]:
        """The words that a token is read as: none for a mark or the end of "2nd"."""
        word = self.reading.words[at]
        if self._is_ordinal(at):
            return say_ordinal(int(word)).split()
        if not word[:1].isalnum() or (at > 0 and self._is_ordinal(at - 1)):
            return []
        return [word]

    def _is_ordinal(self, at: int) -> bool:
        word = self.reading.words[at]
        figures = self.reading.written[at] and word.isdecimal() and len(word) <= 2 and int(word) > 0
        return figures and self.holds[at] < 0 and self.reading.words[at + 1] in ORDINAL_ENDINGS

    def _ages(self) -> set[int]:
        """Tokens of ages between a word such as "my" and somebody."""
        words, found = self.reading.words, set()
        for at in range(1, self.reading.size):
            if self.holds[at] < 0 or words[at - 1] not in _OWN:
                continue
            last = next((it for it in range(at, self.reading.size) if self.holds[it] != self.holds[at]), at)
            years = last + (words[last] == "-")
            old = years + 1 + (words[years + 1] == "-")
            if words[years] in _YEARS and words[old] == "old" and words[old + 1].isalpha():
                found |= set(range(at, old + 1))
        return found


def days(words: Sequence[str]) -> list[Pair]:
    """Days of the week, but for those that together are the weekend or the working days."""
    named = [(at, day) for at, word in enumerate(words) if (day := _day(word))]
    ends = {(at, day) for at, day in named if day in {"saturday", "sunday"}}
    found = set(named)
    if len({day for _, day in ends}) == 2:
        found -= ends
    for at, day in named:
        last = at + 1 + (words[at + 1 : at + 2] != [] and words[at + 1] in _THROUGH)
        if day == "monday" and last < len(words) and _day(words[last]) == "friday":
            found -= {(at, day), (last, "friday")}
    return [pair for at, day in sorted(found) for pair in _bounded(words, at, ("weekday", day))]


def _day(word: str) -> str:
    day = word.removesuffix("'s")
    day = _SHORT_DAYS.get(day, day.removesuffix("s"))
    return day if day in WEEKDAYS else ""


def months(words: Sequence[str]) -> list[Pair]:
    """Months without a day: "in December"."""
    found = []
    for at, word in enumerate(words):
        month = MONTHS.get(word.removesuffix("'s"), 0)
        doubtful = word in _DOUBTFUL_MONTHS and not (at and words[at - 1] in _MONTH_CUES)
        if month and word != _NO_MONTH and not doubtful:
            found += _bounded(words, at, ("month", f"{month:02d}"))
    return found


def _bounded(words: Sequence[str], at: int, pair: Pair) -> list[Pair]:
    """A day or month, and whether something is before or after it."""
    bound = beside_point(words[:at])
    return [pair, ("bound", f"{bound} {pair[1]}")] if bound else [pair]


def counted(words: Sequence[str]) -> list[Pair]:
    """Places in a row, multiples, parts and pairs among words that are no values."""
    found: list[Pair] = []
    padded = ["", *words, "", ""]
    for at in range(1, len(words) + 1):
        before, word, after = padded[at - 1 : at + 2]
        place = _place(padded, at)
        if word in _PARTS and (part := _part(before, word, after)):
            found.append((MULTIPLE, part))
        elif place:
            found.append(("ordinal", str(place)))
        elif word in _MULTIPLES:
            found.append((MULTIPLE, _MULTIPLES[word]))
        elif word in _HALVES:
            found.append((MULTIPLE, "1/2"))
        elif word == "pair" and after == "of":
            found.append((Kind.COUNT.value, "2"))
    return found


def _place(words: Sequence[str], at: int) -> int:
    """The place that an ordinal names, or 0 as for "first of all", "at first", "a second", "third party"."""
    found = ordinal_at(words, at)
    if found is None:
        return 0
    place, last = found
    before, word, after = words[at - 1], words[at], words[last]
    saying = place == 1 and (after in _PLAIN_FIRST or (after == "of" and words[last + 1] == "all"))
    if saying or after in _PLAIN or before == "at" or (before, word) == ("a", "second"):
        return 0
    return place


def _part(before: str, word: str, after: str) -> str:
    """As in "two thirds", "a quarter of"; "a third card" is a place in a row."""
    top = 1 if before in {"a", "an"} and after == "of" else SMALL.get(before, 0)
    return f"{top}/{_PARTS[word]}" if 0 < top < _PARTS[word] else ""
