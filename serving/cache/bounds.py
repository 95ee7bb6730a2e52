"""Which end of a range a value is, by the words and signs right beside it: "at least", ">", "or more"."""

import re
from collections.abc import Mapping, Sequence

from serving.cache.mentions import LENGTH, TIME, Mention, with_plain_marks
from serving.language.lexicon import Phrase, match_spans, words
from serving.spoken.lexicon import word_set
from serving.spoken.values import Kind

_MEASURES = frozenset({Kind.MONEY.value, Kind.RATE.value, Kind.TERM.value, Kind.COUNT.value, LENGTH})
_LENGTHS = frozenset({Kind.TERM.value, LENGTH})
_POINTS = frozenset({TIME, Kind.DATE.value})
_BEFORE, _AFTER = word_set("before by until till"), word_set("after past since from")
"""Beside a time or a date."""
_SIDES = {"before": word_set("before prior earlier"), "after": word_set("after later afterwards")}
"""Behind a length of time: "three days before"."""
_BESIDE = 4
_NEAR = 200
"""Characters that hold as many words; all of the text for each value would cost its square."""
_MARKS = 12
"""Characters that hold a sign beside a value, with blanks and what cannot be seen."""
_JOINS = word_set("or and")
_ALONE = word_set("minimum maximum min max least most tops up upwards")
"""Last words of what may stand behind a value without "or"."""
_SIGNS = {">": "above", ">=": "at_least", "≥": "at_least", "⩾": "at_least",
          "<": "below", "<=": "at_most", "≤": "at_most", "⩽": "at_most"}  # fmt: skip
_SIGN = re.compile(r"(>=|<=|[<>≥≤⩾⩽])\s*$")
_PLUS = re.compile(r"\+(?!\s*[0-9])")


def bounds(text: str, mentions: Sequence[Mention], phrases: Mapping[Phrase, str]) -> list[str]:
    """The bounds of a text in order; with the value that each belongs to where there are several values."""
    bounded = [it for it in mentions if it.facet in _MEASURES | _POINTS]
    found = [(bound, it) for it in bounded for bound in _of(text, it, phrases)]
    return [bound if len(bounded) == 1 else f"{bound} {it.facet}:{it.value}" for bound, it in found]


def beside_point(before: Sequence[str]) -> str:
    """`before`, `after` or nothing: where the words before a time or a date put what is asked for."""
    last = before[-1] if before else ""
    return "before" if last in _BEFORE else "after" if last in _AFTER else ""


def _of(text: str, it: Mention, phrases: Mapping[Phrase, str]) -> list[str]:
    before, after = text[max(0, it.start - _NEAR) : it.start], text[it.end : it.end + _NEAR]
    if it.facet not in _POINTS:
        return _of_measure(before, after, it, phrases)
    bound = beside_point(words(before))
    return [bound] if bound else []


def _of_measure(before: str, after: str, it: Mention, phrases: Mapping[Phrase, str]) -> list[str]:
    sign = _SIGN.search(with_plain_marks(before[-_MARKS:]))
    if sign is not None:
        return [_SIGNS[sign[1]]]
    leading, trailing = words(before)[-_BESIDE:], words(after)[:_BESIDE]
    found = [span.value for span in match_spans(leading, phrases) if span.last == len(leading)]
    if it.facet in _LENGTHS and leading[-1:] == ["over"]:
        found = []  # "over five years" says how long
    if _PLUS.match(with_plain_marks(after[:_MARKS])):
        found.append("at_least")
    if it.facet in _LENGTHS and leading[-1:] != ["within"]:
        found += [bound for bound, sides in _SIDES.items() if trailing and trailing[0] in sides]
    for span in match_spans(trailing, phrases):
        if not span.first and (trailing[0] in _JOINS or trailing[span.last - 1] in _ALONE):
            found.append(span.value)
    return found
