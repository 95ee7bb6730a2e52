"""Decimal money: parsing what people give, rounding half up to cents, and the limits of a loan.

Nothing here touches binary floats; a float argument is read through its shortest decimal form. Text is
read strictly, because a number that is read wrongly becomes a wrong quote: "12,50" is no number here.
"""

import re
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal

from serving.errors import InvalidInputError
from serving.spoken.written import dollars as dollars  # noqa: PLC0414  # tools take both from here
from serving.spoken.written import percent as percent  # noqa: PLC0414

CENT = Decimal("0.01")
ZERO = Decimal("0.00")
MIN_PRINCIPAL = Decimal(1)
MAX_PRINCIPAL = Decimal(100_000_000)
MAX_MONTHS = 600
"""Fifty years; longer terms are not sold."""
MAX_ANNUAL_RATE = Decimal(1)
"""100 % a year; anything above is almost surely a percentage typed as a fraction."""

MAX_RATE_DECIMALS = 8
"""A millionth of a percent. Finer rates are noise of binary floats, and would cost the annuity its digits."""

PRECISE = Context(prec=40, rounding=ROUND_HALF_UP, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Working precision of annuity factors: with the smallest rate, (1 + r)^n - 1 keeps 30 digits."""

_NUMBER = re.compile(r"[+-]?(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
"""Plain digits, a decimal point, commas only between thousands, an exponent."""


def cents(value: Decimal) -> Decimal:
    """Round half up to cents."""
    return value.quantize(CENT, rounding=ROUND_HALF_UP, context=PRECISE)


def read_number(value: object) -> Decimal | None:
    """The finite number that a Decimal, int, float or text stands for; None where it is none.

    Everything that takes numbers from outside reads them here, so that a check and a calculation can never
    see two different numbers in the same text.
    """
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, float | str):
        return None
    text = str(value).strip()
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def decimal_of(value: object, name: str) -> Decimal:
    """A finite Decimal from a Decimal, int, float or text.

    Raises:
        InvalidInputError: not a number, NaN or infinite.
    """
    number = read_number(value)
    if number is None:
        raise InvalidInputError(
            f"{name} must be a finite number such as 1250.50, got {_short_text(str(value))}."
        )
    return number


def money_of(value: object, name: str, most: Decimal, least: Decimal = ZERO) -> Decimal:
    """An amount in whole cents from `least` to `most`.

    Raises:
        InvalidInputError: outside the range, or with fractions of a cent.
    """
    amount = decimal_of(value, name)
    if not least <= amount <= most:
        raise InvalidInputError(f"{name} must be between {least:,.2f} and {most:,.2f}, got {_short(amount)}.")
    rounded = cents(amount).copy_abs()  # a negative zero is zero
    if amount != rounded:
        raise InvalidInputError(f"{name} must be whole cents, got {_short(amount)}.")
    return rounded


def principal_of(value: object, name: str = "principal") -> Decimal:
    """An amount of money to lend, from 1.00 to 100,000,000.00.

    Raises:
        InvalidInputError: outside the range, or with fractions of a cent.
    """
    return money_of(value, name, MAX_PRINCIPAL, MIN_PRINCIPAL)


def extra_of(value: object, principal: Decimal, name: str = "extra") -> Decimal:
    """A voluntary monthly payment to principal, from zero to the principal.

    Raises:
        InvalidInputError: negative, more than the principal, or with fractions of a cent.
    """
    return money_of(value, name, principal)


def annual_rate_of(value: object, name: str = "annual_rate") -> Decimal:
    """A nominal annual rate as a fraction: 0.0699 means 6.99 % a year.

    Raises:
        InvalidInputError: negative, finer than eight decimals, or above 1, which is how a percentage
            typed as a fraction looks.
    """
    rate = decimal_of(value, name)
    if rate < 0:
        raise InvalidInputError(f"{name} must not be negative, got {_short(rate)}.")
    if rate > MAX_ANNUAL_RATE:
        advice = f"For {_short(rate)} % write {_short(PRECISE.divide(rate, 100))}." if rate <= 100 else ""
        raise InvalidInputError(
            f"{name} is a fraction per year and must not be above {MAX_ANNUAL_RATE}, got {_short(rate)}.",
            advice=advice,
        )
    exponent = rate.normalize(PRECISE).as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MAX_RATE_DECIMALS:
        raise InvalidInputError(
            f"{name} must have at most {MAX_RATE_DECIMALS} decimals, got {_short(rate)}.",
            advice="Round it: 0.0699 is 6.99 %.",
        )
    return rate.copy_abs()


def months_of(value: object, name: str = "months") -> int:
    """A term in whole months, from 1 to 600.

    Raises:
        InvalidInputError: outside the range or not whole.
    """
    number = decimal_of(value, name)
    if number != number.to_integral_value() or not 1 <= number <= MAX_MONTHS:
        raise InvalidInputError(
            f"{name} must be a whole number from 1 to {MAX_MONTHS}, got {_short(number)}."
        )
    return int(number)


def _short(number: Decimal) -> str:
    """Digits as a person would write them; huge exponents stay exponents."""
    text = format(number.normalize(PRECISE), "f") if -20 < number.adjusted() < 20 else f"{number:.3E}"
    return text[:40]


def _short_text(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"
