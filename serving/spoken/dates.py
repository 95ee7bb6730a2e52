"""All dates of a text: figures here, words in `date_words`, "next friday" where today is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

from serving.spoken.birth_words import read_birth
from serving.spoken.calendar import Calendar, DateFound, birth_date, full_year, make
from serving.spoken.cues import Cue
from serving.spoken.date_words import BARE_DAY_CUES, day_month, month_day
from serving.spoken.lexicon import MONTHS, ORDINALS, WEEKDAYS
from serving.spoken.numerals import below_hundred
from serving.spoken.text import Reading

_BARE_CUES = BARE_DAY_CUES - {",", "of"}
_IDENTIFIERS = frozenset({Cue.CARD, Cue.ACCOUNT, Cue.PHONE, Cue.CODE})


def find_dates(
    reading: Reading, calendar: Calendar, cue_of: Callable[[int, int], Cue] = lambda _, __: Cue.NONE
) -> list[DateFound]:
    """All dates of a text from left to right.

    Args:
        reading: the text.
        calendar: what dates depend on.
        cue_of: the cue of the tokens from one up to another. After one of birth, years may be two digits
            and months numbers; after one of an identifier, figures such as 12-05-03 are a part of it.
    """
    found = []
    index = 0
    births = replace(calendar, short_years=True)
    while index < reading.size:
        at = read_date(reading, index, births) or read_birth(reading, index, births)
        if at is not None:
            at = _as_introduced(reading, at, calendar, cue_of(at.first, at.last))
        if at is not None:
            found.append(at)
        index = at.last if at else index + 1
    return found


def _as_introduced(reading: Reading, found: DateFound, calendar: Calendar, cue: Cue) -> DateFound | None:
    """A date of birth after its cue; without one what stands there by the common rules, or nothing."""
    if cue is Cue.BIRTH:
        return replace(found, value=birth_date(found.value, calendar.today), birth=True)
    figures = reading.written[found.first] and reading.words[found.last - 1].isdecimal()
    return None if figures and cue in _IDENTIFIERS else read_date(reading, found.first, calendar)


def read_date(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """The date that starts at token `index`, or None."""
    word = reading.words[index]
    if reading.written[index]:
        return _numeric(reading, index, calendar) or day_month(reading, index, calendar)
    if word in MONTHS:
        return month_day(reading, index, calendar)
    if word == "the" or word in ORDINALS or below_hundred(reading.words, index) is not None:
        return day_month(reading, index, calendar)
    return _relative(reading, index, calendar) if calendar.today is not None else None


_DATE_MARKS = frozenset({"-", "/", "."})


def _numeric(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """2027-05-03, 5/3/2027, 3.5.2027; 5/3 after a word such as "on". Never a part of more figures."""
    words, written = reading.words, reading.written
    before = words[index - 1] if index else ""
    if (index and written[index - 1]) or (before in _DATE_MARKS and (index < 2 or written[index - 2])):
        return None
    parts, after = words[index].split("."), index + 1
    mark = words[after]
    while len(parts) < 3 and mark in {"-", "/"} and words[after] == mark and written[after + 1]:
        if not (reading.adjacent(after - 1) and reading.adjacent(after)):
            return None
        parts, after = [*parts, words[after + 1]], after + 2
    if written[after] or (words[after] in _DATE_MARKS and written[after + 1]):
        return None
    if len(parts) < 3 and (mark != "/" or before not in _BARE_CUES):
        return None
    if mark != "/" and len(parts[-1]) == 2 and len(parts[0]) < 4 and not calendar.short_years:
        return None  # 20-00-00 is a sort code
    value = _from_parts(parts, calendar)
    return DateFound(value, index, after) if value is not None else None


def _from_parts(parts: Sequence[str], calendar: Calendar) -> date | None:
    if not all(part.isdecimal() for part in parts):
        return None
    lengths = [len(part) for part in parts]
    if len(parts) == 3 and lengths[0] == 4 and max(lengths[1:]) <= 2:
        return make(int(parts[0]), int(parts[1]), int(parts[2]))
    if len(parts) == 3 and max(lengths[:2]) <= 2 and lengths[2] in {2, 4}:
        return calendar.numeric(parts[0], parts[1], full_year(parts[2]))
    if len(parts) == 2 and max(lengths) <= 2:
        return calendar.numeric(parts[0], parts[1], None)
    return None


_NEAR = {"today": 0, "tonight": 0, "tomorrow": 1, "yesterday": -1}


def _relative(reading: Reading, index: int, calendar: Calendar) -> DateFound | None:
    """As in "tomorrow", "the day after tomorrow", "next friday"; weeks run from Monday to Sunday."""
    words, today = reading.words, calendar.today
    if today is None:
        return None
    pair = (words[index + 1], words[index + 2])
    if words[index] == "day" and pair in {("after", "tomorrow"), ("before", "yesterday")}:
        return _shifted(today, 2 if pair[0] == "after" else -2, index, index + 3)
    if words[index] in _NEAR:
        return _shifted(today, _NEAR[words[index]], index, index + 1)
    which = words[index] if words[index] in {"this", "next", "last"} else ""
    at = index + 1 if which else index
    if words[at] not in WEEKDAYS:
        return None
    ahead = (WEEKDAYS[words[at]] - today.weekday()) % 7
    if which == "next":
        days = 7 - today.weekday() + WEEKDAYS[words[at]]
    else:
        days = (ahead or 7) - (7 if which == "last" and ahead else 14 if which == "last" else 0)
    return _shifted(today, days, index, at + 1)


def _shifted(today: date, days: int, first: int, last: int) -> DateFound | None:
    try:
        return DateFound(today + timedelta(days=days), first, last)
    except OverflowError:
        return None
