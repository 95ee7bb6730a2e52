"""Hyphens and sounds inside of a spoken number: "two-hundred", "three-and-a-half-year", "two uh hundred".

They join words of one number and say nothing themselves, so they are left out before numbers are read.
A hyphen between two plain number words stays, because "twenty-five" is one number and "two-three years" are
two; so does every hyphen beside figures that no magnitude follows ("3-5 years", "555-1234").
"""

from serving.spoken.lexicon import (
    DIGITS,
    FILLERS,
    FRACTIONS,
    MAGNITUDES,
    MAJOR,
    OH,
    SMALL,
    TENS,
    TERM_UNITS,
    VAGUE,
)
from serving.spoken.text import Reading

_PLAIN = (SMALL.keys() | TENS.keys() | DIGITS.keys()) - OH
_SCALES = MAGNITUDES.keys() | {"hundred", "dozen"}
_PARTS = FRACTIONS.keys()
_AMOUNTS = _PLAIN | _SCALES | _PARTS
_HEADS = TERM_UNITS.keys() | MAJOR.keys() | {"percent"}
_ARTICLES = frozenset({"a", "an"})
_LINKS = frozenset({"and", "point", "to", "or"})
_SOUNDS = FILLERS - {"dash", "hyphen", "space", "slash", "stroke"}
_MINUS = "−"


def join_numbers(reading: Reading) -> Reading:
    """The same text without the hyphens and sounds that stand inside of a number; its values are kept."""
    for at in range(1, reading.size - 1):
        if reading.words[at] in _ANDS and _adds(reading, at):
            reading.reword(at, at + 1, "and")
    dropped = {at for at in range(1, reading.size - 1) if _is_hyphen(reading, at)}
    dropped |= _sounds(reading)
    return reading.without(dropped) if dropped else reading


_ANDS = frozenset({"&", "n"})


def _adds(reading: Reading, at: int) -> bool:
    """As in "two hundred | & | fifty", "six | n | a half": a number on one side, more of it on the other."""
    left, right = reading.words[at - 1], reading.words[at + 1]
    if right in _ARTICLES | {"one"} | SMALL.keys() and reading.words[at + 2] in _PARTS:
        return left in _AMOUNTS or left in _HEADS or reading.written[at - 1]
    if reading.words[at] == "n":
        return False
    return (left in _AMOUNTS or reading.written[at - 1]) and (right in _AMOUNTS or reading.written[at + 1])


def _is_hyphen(reading: Reading, at: int) -> bool:
    if reading.words[at] != "-" or not (reading.adjacent(at - 1) and reading.adjacent(at)):
        return False
    if reading.text[reading.starts[at]] == _MINUS:
        return False
    if reading.words[at + 1] == "k" and reading.words[at + 2] == "-":
        return False  # letters and digits that are spelled with hyphens
    return _joins(reading, at - 1, at + 1)


def _joins(reading: Reading, before: int, after: int) -> bool:
    left, right = reading.words[before], reading.words[after]
    counted = left in _PLAIN or reading.written[before]
    if right in _SCALES:
        return counted or left in _SCALES or left in _PARTS or left in _ARTICLES or left in _QUANTIFIERS
    if right in _ARTICLES:
        return left in _PARTS or left in {"and", "of"} or _is_period(reading, after)
    if right in _LINKS:
        return counted or left in _AMOUNTS or left in _HEADS
    if right in VAGUE:
        return counted
    if left in _LINKS:
        return right in _AMOUNTS or right in OH
    if left in _ARTICLES:
        return right in _PARTS or right in _HEADS
    if right in _PARTS:
        return left in SMALL
    if right == "cent":
        return left == "per"
    return (left in _SCALES and right in _PLAIN) or (left in _PARTS and right == "of")


def _is_period(reading: Reading, article: int) -> bool:
    """As in "five-hundred | -a-month"."""
    unit = article + 1 + (reading.words[article + 1] == "-")
    return reading.words[unit] in TERM_UNITS


_QUANTIFIERS = VAGUE | {"couple", "few", "several", "many"}


def _sounds(reading: Reading) -> set[int]:
    """Sounds between a number and its magnitude."""
    found: set[int] = set()
    waiting: list[int] = []
    counted = False
    for at in range(reading.size):
        word = reading.words[at]
        if word in _SOUNDS:
            waiting.append(at)
            continue
        if counted and word in _SCALES:
            found.update(waiting)
        counted, waiting = word in _PLAIN or word in _SCALES or reading.written[at], []
    return found
