"""Runs that are no identifiers: money, rates, terms and counts with the units beside them.

Neighbours help each other: "five dollars | ten cents", "a year | and a half", "two to five | years".
What a bare number means by its surroundings is decided afterwards (see `context`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from serving.spoken.amounts import reads_as_one, run_together
from serving.spoken.lexicon import AMOUNT_ENDS, DOLLAR_PREFIXES, DOLLARS, FILLERS, MAGNITUDES, MAJOR, SYMBOLS
from serving.spoken.numbers import read_number
from serving.spoken.numerals import Number, Shape
from serving.spoken.runs import Run
from serving.spoken.text import Reading
from serving.spoken.units import Unit, currency_before, unit_after
from serving.spoken.values import Kind

CENT = Decimal("0.01")
_DAYS_A_MONTH = 30
_ABSURD = {"months": 1_200, "days": 36_500, "rate": 10}
"""A spoken number with a magnitude and beyond this (a rate is a fraction) was two numbers."""
_RATE_STEP = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity and the tokens that say it.

    Attributes:
        kind: MONEY, RATE, TERM or COUNT.
        value: in the kind's own unit.
        code: currency, `months`, `days` or empty.
        first: first token.
        last: one past the last token.
        run: its number.
        unit: the unit that was said; None where it was not.
    """

    kind: Kind
    value: Decimal
    code: str
    first: int
    last: int
    run: Run
    unit: Unit | None = None


def find_quantities(
    reading: Reading, runs: Sequence[Run], currency: str, *, unsigned: bool = False
) -> list[Quantity]:
    """All quantities of the given runs, in order; a bare number is a COUNT.

    A number that is written or said as less than zero is none, nor is one that it is taken off, unless
    numbers are wanted `unsigned`.
    """
    found: list[Quantity] = []
    for run in _apart(reading, runs, currency):
        if _illegible(reading, run):
            continue
        for quantity in _read(reading, run, currency, found[-1].last if found else 0):
            if not unsigned and (sign := _minus_before(reading, quantity.first)) is not None:
                if found and found[-1].last >= sign:
                    found.pop()
                continue
            merged = _merge(reading, found[-1], quantity) if found else None
            if merged is not None:
                found[-1] = merged
            elif not _meaningless(quantity):
                found.append(quantity)
    return _share_units(reading, found)


def _apart(reading: Reading, runs: Sequence[Run], currency: str) -> list[Run]:
    """The runs without those that stand together as no amount does."""
    together = set()
    for at in range(len(runs) - 1):
        unit = unit_after(reading, runs[at + 1].last, currency)
        if run_together(reading, runs[at], runs[at + 1], unit):
            together |= {at, at + 1}
    return [run for at, run in enumerate(runs) if at not in together]


def _meaningless(quantity: Quantity) -> bool:
    number = quantity.run.number
    return quantity.unit is None and number is not None and number.shape in {Shape.FRACTION, Shape.ARTICLE}


def _illegible(reading: Reading, run: Run) -> bool:
    """Whether figures can be no quantity: "20,50", "1e5", "20.000", "x100", ",5"."""
    if any(number.shape is Shape.MARKED for number in run.numbers):
        return True
    first, last = run.first, run.last
    before = reading.words[first - 1] if first else ""
    if before == "," and reading.written[first] and reading.adjacent(first - 1):
        return first == 1 or not reading.adjacent(first - 2)
    if reading.written[first] and before.isalpha() and before not in _BEFORE and reading.adjacent(first - 1):
        return True
    digits_on = reading.words[last].isalpha() and reading.adjacent(last - 1) and reading.written[last + 1]
    return reading.written[last - 1] and digits_on and reading.adjacent(last)


THOUSANDTHS = re.compile(r"[0-9]{1,3}\.[0-9]{3}")
"""Twenty or twenty thousand, if it is money: nobody can tell."""
_BEFORE = MAJOR.keys() | DOLLAR_PREFIXES.keys()
_MINUS = frozenset({"minus", "negative"})


def _minus_before(reading: Reading, first: int) -> int | None:
    """The token of a sign before token `first`; a hyphen between words and a dash are none."""
    if not first:
        return None
    at = first - 1
    if reading.words[at] in SYMBOLS and at:
        at -= 1
    if reading.words[at] in _MINUS:
        return at
    if reading.words[at] != "-" or not reading.adjacent(at):
        return None
    hyphen = at > 0 and reading.adjacent(at - 1) and reading.words[at - 1] not in SYMBOLS
    return None if hyphen else at


def _read(reading: Reading, run: Run, currency: str, free: int) -> list[Quantity]:
    """The quantity of a run, two where a number was two, none where it is illegible; from token `free` on."""
    before = currency_before(reading, run.first, currency, run.last)
    if before is not None and before.at < free:
        before = None
    after = unit_after(reading, run.last, currency)
    money = before is not None or (after is not None and after.kind is Kind.MONEY)
    if money and THOUSANDTHS.fullmatch(reading.words[run.last - 1]):
        return []
    unit = before or after
    if unit is not None and not reads_as_one(reading, run, unit):
        return []
    if before is not None:
        return _priced(reading, run, before, after)
    number = run.number
    if after is None:
        grand = Unit(Kind.MONEY, currency, 1, 1, run.last) if number and number.money else None
        if grand is not None:
            return [with_unit(value_of(run, grand), grand, run.first, run.last, run)]
        return [Quantity(Kind.COUNT, value_of(run, None), "", run.first, run.last, run)]
    if number is not None and number.tail and _is_absurd(number.value, after):
        return _split_tail(reading, number, after)
    if number is None and _is_absurd(value_of(run, after), after):
        return []
    return [with_unit(value_of(run, after), after, run.first, after.at, run)]


def _priced(reading: Reading, run: Run, before: Unit, after: Unit | None) -> list[Quantity]:
    """An amount with its currency before it, perhaps named behind it again: "$20 CAD" are Canadian dollars.

    None where the two do not agree, or where letters touch it that say nothing.
    """
    unit, last = before, run.last
    if after is not None and after.kind is Kind.MONEY and after.divisor == 1:
        plain = reading.words[before.at] == "$" and after.code in DOLLARS
        if before.code != after.code and not plain:
            return []
        unit, last = replace(after, at=before.at), after.at
    stray = reading.words[run.last]
    touched = len(stray) == 1 and stray.isalpha() and reading.written[run.last - 1]
    if not unit.code or (touched and reading.adjacent(run.last - 1)):
        return []
    return [with_unit(value_of(run, unit), unit, before.at, last, run)]


def value_of(run: Run, unit: Unit | None) -> Decimal:
    """What a run amounts to in a unit; "six nine nine" per cent is 6.99."""
    if run.number is not None:
        return run.number.value
    digits = run.digits
    if unit is None or unit.kind is not Kind.RATE or unit.divisor != 100 or len(digits) > 4:
        return Decimal(digits)
    head = len(run.numbers[0].digits)
    whole = 2 if head == 2 or len(digits) == 4 else 1
    return Decimal(f"{digits[:whole]}.{digits[whole:]}")


def with_unit(value: Decimal, unit: Unit, first: int, last: int, run: Run) -> Quantity:
    """A number of some unit in the kind's own unit; rounds half up to cents, whole months or days."""
    code = unit.code
    if unit.kind is Kind.MONEY:
        amount = (value / unit.divisor).quantize(CENT, ROUND_HALF_UP)
    elif unit.kind is Kind.RATE:
        amount = (value * unit.factor / unit.divisor).quantize(_RATE_STEP, ROUND_HALF_UP).normalize()
    else:
        amount = value * unit.factor
        if code == "months" and unit.factor == 1 and amount != amount.to_integral_value():
            amount, code = value * _DAYS_A_MONTH, "days"
        amount = amount.to_integral_value(ROUND_HALF_UP)
    return Quantity(unit.kind, amount, code, first, last, run, unit)


def _is_absurd(value: Decimal, unit: Unit) -> bool:
    key = unit.code or str(unit.kind)
    return key in _ABSURD and value * unit.factor / unit.divisor > _ABSURD[key]


def _split_tail(reading: Reading, number: Number, unit: Unit) -> list[Quantity]:
    """As in "twenty thousand | sixty months"."""
    tail = read_number(reading, number.tail + (reading.words[number.tail] == "and"))
    if tail is None:
        return []
    value = number.value - tail.value
    head = Number(number.first, number.tail, value, str(value), Shape.QUANTITY, 0, number.money)
    return [
        Quantity(Kind.COUNT, value, "", head.first, head.last, Run((head,))),
        with_unit(tail.value, unit, tail.first, unit.at, Run((tail,))),
    ]


def _merge(reading: Reading, left: Quantity, right: Quantity) -> Quantity | None:
    """One quantity of two that belong together, or None."""
    if left.unit is None or left.unit.divisor != 1:
        return None
    between = [word for word in reading.words[left.last : right.first] if word not in FILLERS]
    if between not in ([], ["and"]):
        return None
    number = right.run.number
    if right.unit is None and between and number is not None and number.shape is Shape.FRACTION:
        scale = MAGNITUDES.get(reading.words[left.run.last - 1], 1)  # "a million dollars | and a half"
        part = with_unit(
            number.value * scale + _number_value(left), left.unit, left.first, right.last, left.run
        )
        return part if left.kind in {Kind.TERM, Kind.MONEY} else None
    if left.kind is Kind.MONEY and left.value == left.value.to_integral_value():
        return _with_cents(reading, left, right, left.unit, between)
    if left.kind is Kind.TERM and right.kind is Kind.TERM and right.unit is not None:
        smaller = right.unit.factor < left.unit.factor and right.value < left.unit.factor
        if smaller and left.code == right.code:
            return replace(left, value=left.value + right.value, last=right.last, unit=right.unit)
    return None


def _number_value(quantity: Quantity) -> Decimal:
    return value_of(quantity.run, quantity.unit)


def _with_cents(
    reading: Reading, left: Quantity, right: Quantity, unit: Unit, between: list[str]
) -> Quantity | None:
    """As in "five dollars | and ten cents", "two hundred pounds | fifty"."""
    cents: Decimal | None = None
    if right.unit is not None and right.unit.kind is Kind.MONEY and right.unit.divisor == 100:
        cents = right.value * 100
    elif right.unit is None and not between and reading.words[left.last - 1] in MAJOR:
        digits = right.run.digits
        if len(digits) == 2 and right.kind is Kind.COUNT and reading.words[right.last] in AMOUNT_ENDS:
            cents = right.value
    if cents is None or cents >= 100:
        return None
    return replace(left, value=left.value + cents / 100, last=right.last, unit=replace(unit, divisor=100))


_LINKS = frozenset({"to", "or", "-", "and", ",", "through"})


def _share_units(reading: Reading, found: list[Quantity]) -> list[Quantity]:
    """Give the bare numbers of "36, 48 or 60 months", "twenty to thirty thousand dollars" their unit."""
    shared: list[Quantity] = found[-1:]
    for at in range(len(found) - 2, -1, -1):
        kept = bool(shared) and shared[-1].first == found[at + 1].first
        shared += _beside(reading, found[at], shared[-1] if kept else found[at + 1])
    return shared[::-1]


def _beside(reading: Reading, left: Quantity, right: Quantity) -> list[Quantity]:
    """A quantity with the unit and the magnitude of the one behind it; nothing where that is doubtful."""
    between = reading.words[left.last : right.first]
    if left.kind is Kind.MONEY and between in (["to"], ["-"]) and _is_bare(left):
        value = _like(reading, left, right)
        own = right.first < right.run.first
        return [] if own and value != left.value else [replace(left, value=value)]
    if left.kind is not Kind.COUNT or not 0 < len(between) <= 2 or not _LINKS.issuperset(between):
        return [left]
    if right.unit is None:
        return [left if between == [","] else replace(left, value=_like(reading, left, right))]
    value = _like(reading, left, right)
    if _is_absurd(value, right.unit) or not reads_as_one(reading, left.run, right.unit):
        return [left]  # "fifteen thousand, forty eight months"
    return [with_unit(value, right.unit, left.first, left.last, left.run)]


def _is_bare(quantity: Quantity) -> bool:
    """Whether figures have their currency before them and nothing behind: "$10 | to $12 thousand"."""
    return quantity.first < quantity.run.first and quantity.run.last - quantity.run.first == 1


def _like(reading: Reading, left: Quantity, right: Quantity) -> Decimal:
    """The value of `left` with the magnitude of `right`: "two or three hundred"."""
    word = reading.words[right.run.last - 1]
    scale, whole = Decimal(100 if word == "hundred" else MAGNITUDES.get(word, 1)), _number_value(right)
    if right.kind in {Kind.MONEY, Kind.COUNT} and right.value > whole > 0:
        scale, whole = right.value / whole, right.value  # it has its own from the next one
    scaled = left.value * scale
    return scaled if left.value < 1_000 and scaled < whole else left.value
