"""Dates in words: "the third of may", "May 3rd, 2027", "on the fifteenth", years in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR

from serving.spoken.calendar import Calendar, DateFound, full_year, make
from serving.spoken.lexicon import (
    MAGNITUDES,
    MAJOR,
    MONTHS,
    OH,
    ORDINAL_ENDINGS,
    ORDINALS,
    SMALL,
    TENS,
    TERM_UNITS,
)
from serving.spoken.numbers import read_number
from serving.spoken.numerals import below_hundred, digit_of
from serving.spoken.text import Reading

BARE_DAY_CUES = frozenset({"on", "by", "before", "since", "until", "till", "from", "after", "of", "due", ","})
_MODAL = frozenset({"may", "march", "mar", "dec", "sep"})
_UNITS = frozenset({"%", "percent", "per", "hundred"}) | MAGNITUDES.keys() | MAJOR.keys() | TERM_UNITS.keys()


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a month, and whether it was said as one."""

    value: int
    last: int
    ordinal: bool


def read_day(reading: Reading, index: int, *, birth: bool = False) -> Day | None:
    """As in "third", "twenty first", "3rd", "twenty one", "21"; `birth` where a year is sure to follow."""
    words = reading.words
    if words[index] in ORDINALS:
        if index and words[index - 1] in TENS:
            return None
        return Day(ORDINALS[words[index]], index + 1, ordinal=True)
    after = index + 2 if words[index + 1] == "-" else index + 1
    if words[index] in {"twenty", "thirty"} and ORDINALS.get(words[after], 99) < 10:
        return Day(TENS[words[index]] + ORDINALS[words[after]], after + 1, ordinal=True)
    if reading.written[index]:
        if not words[index].isdecimal() or len(words[index]) > 2:
            return None
        ended = reading.adjacent(index) and words[index + 1] in ORDINAL_ENDINGS
        value, last = int(words[index]), index + 1 + ended
    elif words[index] in TENS and _starts_year(words, index + 1, birth=birth):
        (value, last), ended = (TENS[words[index]], index + 1), False
    else:
        small = below_hundred(words, index)
        if small is None:
            return None
        (value, last), ended = small, False
    return Day(value, last, ended) if 1 <= value <= 31 else None


def day_month(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """As in "the third of may 2027", "3 may", "on the fifteenth"."""
    words = reading.words
    day = read_day(reading, index + 1 if words[index] == "the" else index)
    if day is None:
        return None
    at = day.last + 1 if words[day.last] == "day" else day.last
    joined = words[at] == "of"
    month = MONTHS.get(words[at + joined], 0)
    if not month:
        return _day_alone(reading, index, day, calendar)
    after = at + joined + 1
    year = read_year(reading, after, short=calendar.short_years)
    doubtful = words[after - 1] == "apr" and not day.ordinal
    if year is None and not joined and (doubtful or words[after] in _AFTER_MODAL):
        return None
    return _found(reading, index, after, (year, month, day.value), calendar)


_AFTER_MODAL = frozenset(
    {"be", "have", "not", "i", "you", "we", "he", "she", "it", "they", "well", "also", "help", "need", "want",
     "take", "get", "cost", "the", "my", "a"}
)  # fmt: skip


def month_day(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """As in "may third", "May 3, 2027"; "may" needs more than a bare number, it is a verb too."""
    words = reading.words
    day = read_day(reading, index + 1 + (words[index + 1] in {"the", "."}), birth=calendar.short_years)
    if day is None or words[day.last] in _UNITS:
        return None
    year = read_year(reading, day.last, short=calendar.short_years)
    if year is None and not day.ordinal:
        before = words[index - 1] if index else ""
        if words[index] == "apr" or (words[index] in _MODAL and before not in BARE_DAY_CUES):
            return None
        follow = below_hundred(words, day.last)
        if (day.value in {19, 20} and follow is not None and follow[0] >= 10) or digit_of(words[day.last]):
            return None
    return _found(reading, index, day.last, (year, MONTHS[words[index]], day.value), calendar)


def _found(
    reading: Reading,
    first: int,
    last: int,
    parts: tuple[tuple[int, int] | None, int, int],
    calendar: Calendar,
) -> DateFound | None:
    year, month, day = parts
    past = first > 0 and reading.words[first - 1] in {"last", "since", "past"}
    value = calendar.build(year[0] if year else None, month, day, past=past)
    return DateFound(value, first, year[1] if year else last) if value is not None else None


_CLAUSE_ENDS = frozenset({"", ".", ",", "?", "!", "please", "and", "at"})


def _day_alone(reading: Reading, index: int, day: Day, calendar: Calendar) -> DateFound | None:
    """As in "on the fifteenth", "by the 15th of next month": only when today is known."""
    words, today = reading.words, calendar.today
    if today is None or not day.ordinal or index == 0 or words[index - 1] not in BARE_DAY_CUES:
        return None
    last, months = day.last, range(12)
    if words[last] == "of" and words[last + 1] in {"this", "the", "next"} and words[last + 2] == "month":
        months = range(1, 2) if words[last + 1] == "next" else range(1)
        last += 3
    elif words[last] not in _CLAUSE_ENDS:
        return None
    for ahead in months:
        year, month = divmod(today.year * 12 + today.month - 1 + ahead, 12)
        value = make(year, month + 1, day.value)
        if value is not None and (value >= today or len(months) == 1):
            return DateFound(value, index, last)
    return None


def read_year(reading: Reading, index: int, *, short: bool) -> tuple[int, int] | None:
    """Year and next token of ", 2027", "twenty twenty seven", "in the year …" after a day."""
    words = reading.words
    index += words[index] == ","
    if words[index] in {"of", "in", "'"}:
        index += 1
        if words[index] == "the" and words[index + 1] == "year":
            number = read_number(reading, index + 2)
            whole = number is not None and number.digits and number.value <= MAXYEAR
            return (int(number.value), number.last) if number is not None and whole else None
    found = _written_year(reading, index, short=short) or _spoken_year(words, index)
    if found is None and short:
        small = below_hundred(words, index)
        found = (2000 + small[0], small[1]) if small is not None and small[0] >= 10 else None
        if words[index] in OH and (digit := digit_of(words[index + 1])):
            found = 2000 + digit, index + 2
    return found if found is not None and words[found[1]] not in _UNITS else None


def _written_year(reading: Reading, index: int, *, short: bool) -> tuple[int, int] | None:
    word = reading.words[index]
    if not reading.written[index] or not word.isdecimal():
        return None
    if len(word) == 2 and (short or reading.words[index - 1] == "'"):
        return full_year(word), index + 1
    return (int(word), index + 1) if len(word) == 4 and word >= "1000" else None


def _spoken_year(words: Sequence[str], index: int) -> tuple[int, int] | None:
    spelled = _spelled_year(words, index)
    if spelled is not None:
        return spelled
    if words[index + 1] == "thousand" and words[index] in SMALL and SMALL[words[index]] < 10:
        after = index + 2 + (words[index + 2] == "and")
        rest = below_hundred(words, after)
        thousands = SMALL[words[index]] * 1000
        return (thousands + rest[0], rest[1]) if rest is not None else (thousands, index + 2)
    century = below_hundred(words, index)
    if century is None or century[0] < 10:
        return None
    head, after = century[0] * 100, century[1]
    if words[after] == "hundred":
        return head, after + 1
    if words[after] in OH or words[after] == "zero":
        digit = digit_of(words[after + 1])
        return (head + digit, after + 2) if digit else None
    rest = below_hundred(words, after)
    return (head + rest[0], rest[1]) if rest is not None and rest[0] >= 10 else None


def _starts_year(words: Sequence[str], index: int, *, birth: bool) -> bool:
    """Whether a year follows a ten at once: "thirty | two zero zero zero", "thirty | two thousand two".

    Outside a date of birth the latter is an amount.
    """
    if birth and words[index + 1] == "thousand":
        return _spoken_year(words, index) is not None
    return _spelled_year(words, index) is not None


_CENTURIES = frozenset({(1, 9), (2, 0)})


def _spelled_year(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """As in "one nine eight four"."""
    digits = [digit for word in words[index : index + 4] if (digit := digit_of(word)) is not None]
    if len(digits) < 4 or tuple(digits[:2]) not in _CENTURIES or digit_of(words[index + 4]) is not None:
        return None
    return int("".join(map(str, digits))), index + 4
