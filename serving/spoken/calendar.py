"""What a day, a month and perhaps a year amount to.

A date without a year gets the next such day when today is known, and the year `NO_YEAR` otherwise:
a value of its own that no real date has. Numbers such as 5/3/2027 are read month first where the
currency is the US dollar and day first elsewhere; an impossible order is read the other way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

NO_YEAR = 4
"""Year of a date that was given without one: a leap year, so that 29 February has a value."""

_LATEST_BIRTH = 2030


@dataclass(frozen=True, slots=True)
class DateFound:
    """A date and the tokens that say it; `birth` where it was introduced as one of birth."""

    value: date
    first: int
    last: int
    birth: bool = False


@dataclass(frozen=True, slots=True)
class Calendar:
    """What dates depend on besides the text: today, and the order of 5/3."""

    today: date | None
    month_first: bool
    short_years: bool = False
    """Whether a year may be two digits without an apostrophe, as in dates of birth."""

    def build(self, year: int | None, month: int, day: int, *, past: bool = False) -> date | None:
        """The date, with the year filled in where none was given; None where no such day exists."""
        if year is not None:
            return make(year, month, day)
        if self.today is None:
            return make(NO_YEAR, month, day)
        step = -1 if past else 1
        for years in range(9):
            found = make(self.today.year + step * years, month, day)
            if found is not None and ((found <= self.today) if past else (found >= self.today)):
                return found
        return None

    def numeric(self, first: str, second: str, year: int | None) -> date | None:
        """5/3 in this calendar's order, or the other one where only that is a day."""
        one, two = int(first), int(second)
        month, day = (one, two) if self.month_first else (two, one)
        return self.build(year, month, day) or self.build(year, day, month)


def make(year: int, month: int, day: int) -> date | None:
    """The date, or None where the calendar has no such day."""
    try:
        return date(year, month, day)
    except ValueError:
        return None


def full_year(digits: str) -> int:
    """A written year; two digits are of this century."""
    return int(digits) + (2000 if len(digits) == 2 else 0)


def birth_date(value: date, today: date | None) -> date:
    """A date of birth lies in the past: two digits of a year mean the last such year."""
    latest = today.year if today is not None else _LATEST_BIRTH
    return value.replace(year=value.year - 100) if value.year >= 2000 and value.year > latest else value


def birth_digits(parts: Sequence[str], calendar: Calendar) -> date | None:
    """A date of birth read out in digits: 05031984, 050384, or three separate numbers."""
    if len(parts) != 3 or any(len(part) > 4 for part in parts):
        digits = "".join(parts)
        if len(digits) not in {6, 8}:
            return None
        parts = (digits[:2], digits[2:4], digits[4:])
    if len(parts[2]) not in {2, 4} or max(len(parts[0]), len(parts[1])) > 2:
        return None
    value = calendar.numeric(parts[0], parts[1], full_year(parts[2]))
    return birth_date(value, calendar.today) if value is not None else None
