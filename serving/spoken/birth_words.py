"""Dates of birth as only dates of birth are said: "the third of the fifth eighty four", "1984 05 03".

Read where a cue or a question says that a date of birth follows; anywhere else such numbers are something
different. Dates with the name of a month are read by `date_words`, except for those that start with the year.
"""

from dataclasses import dataclass

from serving.spoken.calendar import Calendar, DateFound, make
from serving.spoken.date_words import read_day, read_year
from serving.spoken.lexicon import FILLERS, MONTHS, OH
from serving.spoken.numerals import digit_of
from serving.spoken.text import Reading

_EARLIEST, _LATEST = 1900, 2099
_BETWEEN = FILLERS | {"of", "the", "in", "on", "and", ",", ".", "-", "/", "month", "day"}


@dataclass(frozen=True, slots=True)
class _Part:
    value: int
    last: int
    ordinal: bool = False
    month: bool = False


def read_birth(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """The date of birth in numbers that starts at token `index`, or None."""
    first = index + (reading.words[index] == "the")
    return _year_first(reading, index, first) or _year_last(reading, index, first, calendar)


def _year_last(reading: Reading, index: int, first: int, calendar: Calendar) -> DateFound | None:
    one = _part(reading, first)
    two = _part(reading, _past(reading, one.last)) if one else None
    if one is None or two is None or one.month or two.month:
        return None
    year = read_year(reading, _past(reading, two.last), short=True)
    if year is None or not _EARLIEST <= year[0] <= _LATEST:
        return None
    if one.ordinal and two.ordinal:  # "the third of the fifth" names the day first everywhere
        value = make(year[0], two.value, one.value)
    else:
        value = calendar.numeric(str(one.value), str(two.value), year[0])
    return DateFound(value, index, year[1]) if value is not None else None


def _year_first(reading: Reading, index: int, first: int) -> DateFound | None:
    year = read_year(reading, first, short=False)
    if year is None or not _EARLIEST <= year[0] <= _LATEST:
        return None
    one = _part(reading, _past(reading, year[1]))
    two = _part(reading, _past(reading, one.last)) if one else None
    if one is None or two is None or (one.month and two.month):
        return None
    month, day = (two.value, one.value) if two.month else (one.value, two.value)
    value = make(year[0], month, day)
    return DateFound(value, index, two.last) if value is not None else None


def _part(reading: Reading, index: int) -> _Part | None:
    """A day or a month: "third", "twenty first", "oh five", "05", "may"."""
    words = reading.words
    if words[index] in MONTHS:
        return _Part(MONTHS[words[index]], index + 1, month=True)
    digit = digit_of(words[index + 1])
    if (words[index] in OH or digit_of(words[index]) == 0) and digit:
        return _Part(digit, index + 2)
    day = read_day(reading, index, birth=True)
    return _Part(day.value, day.last, day.ordinal) if day is not None else None


def _past(reading: Reading, at: int) -> int:
    while reading.words[at] in _BETWEEN:
        at += 1
    return at
