"""The figures of a text: every number it states, in whatever form, so that two texts can be compared.

Typed values come from `serving.spoken`, so "6.5 %" and "six and a half per cent" are one figure; digits and
words that no type fits ("9:30", "twice") count as they are. It decides nothing.
"""

import re
import unicodedata
from collections.abc import Iterable

from serving.spoken import parse
from serving.spoken.lexicon import word_set
from serving.spoken.unread import unread_numbers
from serving.spoken.values import Kind, TypedValue

_DIGITS = re.compile(r"\d+")
_PLACEHOLDER = re.compile(r"<[a-z]+(?:_[a-z]+)*(?:_\d+)?>")
_COUNTING = re.compile(
    r"\b(half|halves|double[sd]?|doubling|triple[sd]?|twice|thrice|fold|dozens?|hundreds?|thousands?|millions?"
    r"|billions?|quarters?|thirds?|fourths?|fifths?|tenths?|fourth|sixth|seventh|eighth|ninth|tenth)\b",
    re.IGNORECASE,
)
"""Words that state a number without naming one that can be typed."""
_LONGEST_BARE = 4
"""Digits from which a number without a unit may be a part of an account, a card or a telephone number."""


def figures(text: str, *, currency: str = "USD") -> frozenset[str]:
    """Every number that a text states: canonical typed values, and what is left of digits and counting words.

    The word "one" is none: it is nearly always a pronoun.
    """
    values = parse(text, currency=currency)
    found = {value.canonical() for value in values if not _pronoun(value, text)}
    taken = {at for value in values for at in range(value.start, value.end)}
    found |= {f"unread:{number}" for number in unread_numbers(text, taken)}
    for match in _DIGITS.finditer(text):
        if match.start() not in taken:
            found.add(f"digits:{unicodedata.normalize('NFKC', match.group())}")
    for match in _COUNTING.finditer(text):
        if match.start() not in taken:
            found.add(f"word:{match.group().lower()}")
    return frozenset(found)


def personal_kinds(text: str) -> tuple[str, ...]:
    """Kinds of personal data that a text holds, placeholders of redacted values included; never the values.

    A bare number of four digits or more, read out or written, counts as a part of one: nobody needs to see
    it to answer a question that others ask as well. Years and amounts with thousands separators do not.
    """
    kinds = {value.kind.value for value in parse(text) if value.personal or _may_identify(value, text)}
    kinds |= {match.group().strip("<>") for match in _PLACEHOLDER.finditer(text)}
    return tuple(sorted(kinds))


def personal_values(text: str) -> frozenset[str]:
    """Canonical personal values of a text; they are personal and go nowhere."""
    return frozenset(value.canonical() for value in parse(text) if value.personal)


def unknown_figures(text: str, approved: Iterable[str], *, currency: str = "USD") -> tuple[str, ...]:
    """Figures of a text that no approved text states, sorted.

    Args:
        text: an answer.
        approved: texts that may be quoted.
        currency: of amounts that name none, ISO 4217.
    """
    known: set[str] = set()
    for other in approved:
        known |= figures(other, currency=currency)
    return tuple(sorted(figures(text, currency=currency) - known))


def shown(canonical: Iterable[str]) -> str:
    """Figures as one short line of evidence."""
    found = list(canonical)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _pronoun(value: TypedValue, text: str) -> bool:
    return value.kind is Kind.COUNT and text[value.start : value.end].lower() == "one"


def _may_identify(value: TypedValue, text: str) -> bool:
    if value.kind is not Kind.COUNT:
        return False
    span = text[value.start : value.end]
    if "," in span or "." in span:
        return False
    if span.isdigit():
        return len(span) >= _LONGEST_BARE and not (len(span) == _LONGEST_BARE and span[:2] in {"19", "20"})
    said = [word for word in re.split(r"[\s-]+", span.lower()) if word in _SAID_DIGITS]
    return len(said) >= _LONGEST_BARE


_SAID_DIGITS = word_set("zero oh o one two three four five six seven eight nine double triple")
