"""Amounts, rates, terms, dates and digit strings as callers say them, for the language model.

Written utterances hold a few amounts; callers say any. An n-gram has no word classes, so classes
are written out: phrases drawn at random stand alone (the answer to "how much?"), and values inside
a line are exchanged for others of their kind. The draw is seeded, so equal text gives an equal
model. Nobody's real numbers are used.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import Decimal
from itertools import cycle
from random import Random

from serving.spoken.parser import parse
from serving.spoken.say import say_date, say_integer, say_money, say_ordinal, say_rate, say_term, say_year
from serving.spoken.values import Kind

SEED = 20_240_229
ALONE = {"money": 140, "rate": 40, "term": 35, "date": 62, "digits": 50}
"""How many phrases of each kind stand alone; three times as many measured worse on other speech."""
VARIANTS = 1
"""How many times a line with values is repeated with other values."""

_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TERMS_IN_MONTHS = (6, 12, 18, 24, 30, 36, 48, 60, 72, 84, 96, 120, 180, 240, 360)
_STRING_LENGTHS = (4, 4, 6, 8, 9, 10, 16)
"""Last four digits, codes, dates, account and phone numbers, cards."""


def standalone_phrases(currency: str = "USD") -> list[str]:
    """Phrases of every kind, `ALONE` of each, always the same; every day of a month is among them."""
    random = Random(SEED)  # noqa: S311 (text, not secrets)
    makers = _makers(random, currency)
    makers[Kind.DATE.value] = _days(random).__next__
    return [makers[kind]() for kind, count in ALONE.items() for _ in range(count)]


def with_other_values(lines: Iterable[str], currency: str = "USD") -> list[str]:
    """For each line that says an amount, a rate, a term or a date: the line with other ones."""
    random = Random(SEED)  # noqa: S311 (text, not secrets)
    makers = _makers(random, currency)
    found: list[str] = []
    for line in lines:
        slots = [value for value in parse(line, currency=currency) if value.kind.value in makers]
        for _ in range(VARIANTS if slots else 0):
            pieces: list[str] = []
            at = 0
            for slot in slots:
                pieces += [line[at : slot.start], makers[slot.kind.value]()]
                at = slot.end
            found.append("".join([*pieces, line[at:]]))
    return found


def _makers(random: Random, currency: str) -> dict[str, Callable[[], str]]:
    return {
        Kind.MONEY.value: lambda: _money(random, currency),
        Kind.RATE.value: lambda: _rate(random),
        Kind.TERM.value: lambda: _term(random),
        Kind.DATE.value: lambda: _date(random),
        "digits": lambda: _digits(random),
    }


def _money(random: Random, currency: str) -> str:
    """Round thousands are what loans are asked in; prices and payments have cents."""
    amount = random.choices(
        [
            Decimal(random.randrange(1, 100) * 1000),
            Decimal(random.randrange(1, 40) * 500),
            Decimal(random.randrange(1, 100) * 10),
            Decimal(random.randrange(1, 1000)),
            Decimal(random.randrange(100, 200_000)) / 100,
        ],
        weights=[35, 15, 20, 15, 15],
    )[0]
    words = say_money(amount, currency)
    if random.random() < 0.3:
        words = re.sub(r"hundred (?!thousand|million|dollar|pound|euro)", "hundred and ", words)
    if random.random() < 0.15:
        words = re.sub(r"^one (?=hundred|thousand)", "a ", words)
    if random.random() < 0.2:
        words = re.sub(r" (?:dollars|pounds|euros)$", "", words)
    return words


def _rate(random: Random) -> str:
    whole = random.randrange(2, 15)
    return random.choice(
        [
            say_rate(Decimal(random.randrange(1, 25)) / 100),
            say_rate(Decimal(random.randrange(10, 250)) / 1000),
            say_rate(Decimal(random.randrange(100, 2500)) / 10_000),
            f"{say_integer(whole)} and a half percent",
        ]
    )


def _term(random: Random) -> str:
    if random.random() < 0.5:
        return say_term(12 * random.randrange(1, 31))
    months = random.choice([*_TERMS_IN_MONTHS, random.randrange(2, 121)])
    return f"{say_integer(months)} months"


def _date(random: Random, day: int | None = None) -> str:
    day = day or random.randrange(1, 32)
    months = [month for month in range(1, 13) if day <= monthrange(2001, month)[1]]
    when = date(random.randrange(1940, 2031), random.choice(months), day)
    month_day = say_date(when).split(",")[0]
    month = month_day.split()[0]
    return random.choice(
        [month_day, f"{month_day} {say_year(when.year)}", f"the {say_ordinal(when.day)} of {month}"]
    )


def _days(random: Random) -> Iterator[str]:
    """Dates with the first of a month, the second, and so on, again and again."""
    for day in cycle(range(1, 32)):
        yield _date(random, day)


def _digits(random: Random) -> str:
    """A digit string as people read one out: "oh" for zero, now and then "double"."""
    words = []
    for _ in range(random.choice(_STRING_LENGTHS)):
        digit = random.choice(_DIGIT_WORDS)
        if digit == "zero" and random.random() < 0.6:
            digit = "oh"
        words.append(f"double {digit}" if random.random() < 0.08 else digit)
    return " ".join(words)
