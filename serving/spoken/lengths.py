"""Lengths of time in hours, minutes and seconds: "2 hours", "half an hour", "an hour and a half", "90 secs".

`parse` reads terms in months and days; an hour is none of a loan's, and only who compares two texts needs
it. "A second" is left out: it is nearly always a second one or a moment.
"""

from dataclasses import dataclass
from decimal import Decimal

from serving.spoken.figures import fraction
from serving.spoken.lexicon import word_set
from serving.spoken.numbers import read_number
from serving.spoken.text import Reading

_HOUR, _MINUTE = 3_600, 60
_UNITS = {
    **dict.fromkeys(word_set("hour hours hour's hours' hr hrs"), _HOUR),
    **dict.fromkeys(word_set("minute minutes minute's minutes' min mins"), _MINUTE),
    **dict.fromkeys(word_set("second seconds sec secs"), 1),
}
_LETTERS = {"h": _HOUR}
"""Only directly after figures: `24h`."""
_ONE_EACH = word_set("hour minute")
"""What "a" and "per" make one of."""
_ARTICLES = word_set("a an per each every another")


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time in a text.

    Attributes:
        seconds: more than 0.
        start: first character in the text.
        end: one past its last character.
    """

    seconds: Decimal
    start: int
    end: int

    def canonical(self) -> str:
        """Equal for every way of saying the length, in the largest unit that it is whole in: `90:minutes`."""
        for unit, length in (("days", 24 * _HOUR), ("minutes", _MINUTE)):
            if not self.seconds % length:
                return f"{(self.seconds / length).normalize():f}:{unit}"
        return f"{self.seconds.normalize():f}:seconds"


def find_lengths(reading: Reading) -> tuple[Length, ...]:
    """All lengths of time that a text names by hours, minutes or seconds, in order."""
    found: list[Length] = []
    index = 0
    while index < reading.size:
        at = _length(reading, index)
        if at is not None:
            seconds, last = at
            found.append(Length(seconds, reading.starts[index], reading.ends[last - 1]))
        index = at[1] if at is not None else index + 1
    return tuple(found)


def _length(reading: Reading, index: int) -> tuple[Decimal, int] | None:
    words = reading.words
    if words[index] in _ARTICLES and words[index + 1] in _ONE_EACH:
        return _and_a_part(reading, Decimal(_UNITS[words[index + 1]]), index + 2)
    number = read_number(reading, index)
    if number is None or not number.value:
        return None
    at = number.last
    if words[at] == "of":
        at += 1
    if words[at] == "-" or (words[at] in {"a", "an"} and number.value < 1):
        at += 1
    unit = _UNITS.get(words[at], 0)
    if words[at] in _LETTERS and reading.written[at - 1] and reading.adjacent(at - 1):
        unit = _LETTERS[words[at]]
    if not unit or (words[at] == "second" and number.value == 1):
        return None
    return _and_a_part(reading, number.value * unit, at + 1)


def _and_a_part(reading: Reading, seconds: Decimal, last: int) -> tuple[Decimal, int]:
    """With what follows of the same unit: "an hour | and a half"."""
    part = fraction(reading.words, last + 1) if reading.words[last] == "and" else None
    if part is None:
        return seconds, last
    return seconds + part[0] * _UNITS.get(reading.words[last - 1], 0), part[1]
