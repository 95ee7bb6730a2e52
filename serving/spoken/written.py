"""Values as they are written on a screen or in an answer: "$4,999.99", "6.99", "5 years", "dollars".

The counterpart of `say`, which gives words for a voice; whatever states an amount, a rate or a term in
figures takes its form from here. Nothing is computed besides the form.
"""

from decimal import Context, Decimal

from serving.spoken.lexicon import DOLLARS

_PRECISE = Context(prec=40)
_NAMES = {**dict.fromkeys(DOLLARS, "dollars"), "GBP": "pounds", "EUR": "euros"}


def dollars(amount: Decimal) -> str:
    """An amount: $20,000, or $4,999.99 where there are cents."""
    return f"${amount:,.0f}" if amount == amount.to_integral_value() else f"${amount:,.2f}"


def percent(rate: Decimal) -> str:
    """A rate fraction as a percentage without trailing zeros or sign: 0.0699 is 6.99."""
    return format(_PRECISE.multiply(rate, Decimal(100)).normalize(_PRECISE), "f")


def months(count: int) -> str:
    """A term in years where it is whole years, else in months."""
    number, unit = (count // 12, "year") if count and count % 12 == 0 else (count, "month")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def currency_name(code: str) -> str:
    """What callers call a currency; its ISO 4217 code where they have no word for it."""
    return _NAMES.get(code, code)
