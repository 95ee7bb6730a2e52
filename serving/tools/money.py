"""Decimal money: parsing what people give, rounding half up to cents, and the limits of a loan.

Nothing here touches binary floats; a float argument is read through its shortest decimal form.
"""

from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

from serving.errors import InvalidInputError

CENT = Decimal("0.01")
ZERO = Decimal("0.00")
MAX_PRINCIPAL = Decimal(100_000_000)
MAX_MONTHS = 600
"""Fifty years; longer terms are not sold."""
MAX_ANNUAL_RATE = Decimal(1)
"""100 % a year; anything above is almost surely a percentage typed as a fraction."""

PRECISE = Context(prec=40, rounding=ROUND_HALF_UP)
"""Working precision of annuity factors: (1 + r)^600 keeps more than 20 digits right of the cent."""


def cents(value: Decimal) -> Decimal:
    """Round half up to cents."""
    return value.quantize(CENT, rounding=ROUND_HALF_UP, context=PRECISE)


def decimal_of(value: object, name: str) -> Decimal:
    """A finite Decimal from a Decimal, int, float or text.

    Raises:
        InvalidInputError: not a number, NaN or infinite.
    """
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip().replace(",", ""))
    except InvalidOperation:
        raise InvalidInputError(f"{name} must be a number, got {str(value)[:40]!r}.") from None
    if not number.is_finite():
        raise InvalidInputError(f"{name} must be a finite number, got {number}.")
    return number


def principal_of(value: object, name: str = "principal") -> Decimal:
    """An amount of money to lend, from 1.00 to 100,000,000.00.

    Raises:
        InvalidInputError: outside the range, or with fractions of a cent.
    """
    amount = decimal_of(value, name)
    if not 1 <= amount <= MAX_PRINCIPAL:
        raise InvalidInputError(
            f"{name} must be between 1.00 and {MAX_PRINCIPAL:,}.00, got {_short(amount)}."
        )
    if amount != cents(amount):
        raise InvalidInputError(f"{name} must be whole cents, got {_short(amount)}.")
    return cents(amount)


def extra_of(value: object, principal: Decimal) -> Decimal:
    """A voluntary monthly payment to principal, from zero to the principal.

    Raises:
        InvalidInputError: negative, more than the principal, or with fractions of a cent.
    """
    amount = decimal_of(value, "extra")
    if not 0 <= amount <= principal:
        raise InvalidInputError(
            f"extra must be between 0.00 and the principal {principal}, got {_short(amount)}."
        )
    if amount != cents(amount):
        raise InvalidInputError(f"extra must be whole cents, got {_short(amount)}.")
    return cents(amount)


def annual_rate_of(value: object, name: str = "annual_rate") -> Decimal:
    """A nominal annual rate as a fraction: 0.0699 means 6.99 % a year.

    Raises:
        InvalidInputError: negative, or above 1, which is how a percentage typed as a fraction looks.
    """
    rate = decimal_of(value, name)
    if rate < 0:
        raise InvalidInputError(f"{name} must not be negative, got {_short(rate)}.")
    if rate > MAX_ANNUAL_RATE:
        advice = f"For {_short(rate)} % write {_short(rate / 100)}." if rate <= 100 else ""
        raise InvalidInputError(
            f"{name} is a fraction per year and must not be above {MAX_ANNUAL_RATE}, got {_short(rate)}.",
            advice=advice,
        )
    return rate


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
    text = format(number.normalize(), "f") if -20 < number.adjusted() < 20 else str(number)
    return text[:40]
