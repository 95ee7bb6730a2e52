"""Values that callers say, drawn with a seed and said as people say them: "six and a half percent".

Each spoken form is read back by serving's parser before it is used, so nobody says a number here that the
bot would hear as another one. Which values belong together (a loan that the rate sheet holds, a customer
with something overdue) is decided in `scenes`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from serving.errors import InvalidInputError
from serving.spoken import Kind, parse, say_date, say_digits, say_integer, say_rate
from serving.spoken.written import percent

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Said:
    """A value and the words for it.

    Attributes:
        value: as a tool takes it.
        words: as the caller says it.
    """

    value: Any
    words: str


def said_money(random: Random, amount: Decimal, currency: str = "USD") -> Said:
    """An amount of whole units."""
    whole = int(amount)
    unit = {"USD": "dollars", "EUR": "euros", "GBP": "pounds"}[currency]
    forms = [f"{_number(random, whole)} {unit}", f"{say_integer(whole)} {unit}", f"{whole:,} {unit}"]
    if currency == "USD":
        forms += [f"${whole:,}", f"{say_integer(whole)} {unit}"]
        if whole % 1_000 == 0 and whole < 1_000_000:
            forms += [f"{say_integer(whole // 1_000)} grand", f"{whole // 1_000}k"]
    return _checked(random, forms, Kind.MONEY, amount, amount, unit=currency)


def said_rate(random: Random, rate: Decimal) -> Said:
    """A yearly rate, as a fraction."""
    figures = percent(rate)
    forms = [say_rate(rate), say_rate(rate), f"{figures} percent", f"{figures}%"]
    if (rate * 100) % 1 == Decimal("0.5"):
        forms += [f"{say_integer(int(rate * 100))} and a half percent"] * 2
    return _checked(random, forms, Kind.RATE, rate, rate)


def said_term(random: Random, months: int) -> Said:
    """A term."""
    forms = [f"{_number(random, months)} months", f"{say_integer(months)} months", f"{months} months"]
    if months % 12 == 0:
        years = months // 12
        forms += [f"{say_integer(years)} year{'' if years == 1 else 's'}"] * 3
    elif months % 12 == 6 and months > 12:
        forms += [f"{say_integer(months // 12)} and a half years"]
    return _checked(random, forms, Kind.TERM, months, months, unit="months")


def said_count(random: Random, count: int) -> Said:
    """A small number of things."""
    return _checked(random, [say_integer(count), say_integer(count), str(count)], Kind.COUNT, count, count)


def said_day(random: Random, day: date, today: date) -> Said:
    """A day near today; the year is left to the listener."""
    forms = [say_date(day).split(",")[0], f"{day:%A}", f"next {day:%A}", f"{day:%A} next week"]
    if day == today + timedelta(days=1):
        forms += ["tomorrow"]
    return _checked(random, forms, Kind.DATE, day, day.isoformat(), today=today)


def said_birth(random: Random, day: date) -> Said:
    """A date of birth with its year."""
    forms = [say_date(day).replace(",", ""), f"{say_date(day)}", f"{day:%B} {day.day} {day.year}"]
    return _checked(random, forms, Kind.BIRTH_DATE, day, day.isoformat(), expect=Kind.BIRTH_DATE)


def said_number(random: Random, number: str) -> Said:
    """A customer number, digit by digit."""
    forms = [" ".join(_DIGITS[int(digit)] for digit in number), say_digits(number), number]
    return _checked(random, forms, Kind.ACCOUNT, number, number, expect=Kind.ACCOUNT)


def _number(random: Random, value: int) -> str:
    """A whole number in words; now and then "a hundred and twenty" for "one hundred twenty"."""
    words = say_integer(value)
    if random.random() < 0.5:
        words = words.replace("one hundred", "a hundred", 1) if words.startswith("one hundred") else words
        head, hundred, rest = words.rpartition(" hundred ")
        words = f"{head} hundred and {rest}" if hundred and " " not in rest else words
    return words


def _checked(
    random: Random,
    forms: Sequence[str],
    kind: Kind,
    heard: Any,
    value: Any,
    *,
    unit: str = "",
    **options: Any,
) -> Said:
    """One of the forms that the parser reads as what is meant."""
    for words in random.sample(forms, len(forms)):
        found = parse(words, **options)
        if (
            len(found) == 1
            and (found[0].kind, found[0].value) == (kind, heard)
            and unit in {"", found[0].unit}
        ):
            return Said(value, words)
    raise InvalidInputError(f"No way of saying {heard} ({kind}) is understood: {', '.join(forms)}.")


def nice_amount(random: Random, low: int, high: int) -> Decimal:
    """An amount as people ask for it, between two bounds."""
    steps = [step for step in (100, 500, 1_000, 5_000, 10_000) if high - low >= 8 * step] or [50]
    step = random.choice(steps[-3:])
    return Decimal(random.randrange(-(-low // step), high // step + 1) * step)


def pick_other(draw: Callable[[], Any], known: Any, tries: int = 50) -> Any:
    """Draw until something else comes out."""
    for _ in range(tries):
        found = draw()
        if found != known:
            return found
    raise InvalidInputError(f"Nothing else than {known} can be drawn.")
