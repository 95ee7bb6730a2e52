"""Values as words for a voice, so that what is read back is what `parse` understands.

`parse(say_x(value))` gives the value back; the tests hold it to that. American style without "and"
inside numbers, no hyphens, no digits.
"""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from serving.errors import InvalidInputError
from serving.spoken.calendar import NO_YEAR

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
_LARGEST = 10**15
_ORDINALS = (
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_NAMES = {
    **dict.fromkeys(("USD", "CAD", "AUD", "NZD", "SGD", "HKD"), ("dollar", "dollars", "cent", "cents")),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "INR": ("rupee", "rupees", "paise", "paise"),
    "CHF": ("franc", "francs", "centimes", "centimes"),
    "JPY": ("yen", "yen", "", ""),
}
_GROUP = 4


def say_integer(value: int) -> str:
    """A whole number as a cardinal: 250 is "two hundred fifty".

    Raises:
        InvalidInputError: negative, or 10^15 and more.
    """
    if not 0 <= value < _LARGEST:
        raise InvalidInputError(f"Cannot say a number of {len(str(abs(value)))} digits or below zero.")
    for scale, word in _SCALES:
        if value >= scale:
            rest = value % scale
            return f"{say_integer(value // scale)} {word}" + (f" {say_integer(rest)}" if rest else "")
    if value >= 100:
        return f"{_ONES[value // 100]} hundred" + (f" {say_integer(value % 100)}" if value % 100 else "")
    if value >= 20:
        return _TENS[value // 10 - 2] + (f" {_ONES[value % 10]}" if value % 10 else "")
    return _ONES[value]


def say_ordinal(value: int) -> str:
    """A whole number as an ordinal: 23 is "twenty third"."""
    head, _, last = say_integer(value).rpartition(" ")
    if last in _ONES:
        last = _ORDINALS[_ONES.index(last)]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{head} {last}".strip()


def say_decimal(value: Decimal) -> str:
    """A number with its decimals digit by digit: 6.99 is "six point nine nine"."""
    whole, _, decimals = format(value, "f").partition(".")
    decimals = decimals.rstrip("0")
    words = say_integer(int(whole))
    return f"{words} point {' '.join(_ONES[int(digit)] for digit in decimals)}" if decimals else words


def say_money(amount: Decimal, currency: str) -> str:
    """An amount: 1234.56 USD is "one thousand two hundred thirty four dollars and fifty six cents".

    Args:
        amount: not negative; rounded half up to cents.
        currency: ISO 4217 code; every dollar is "dollars".

    Raises:
        InvalidInputError: a negative, infinite or too large amount, or a currency without words here.
    """
    names = _NAMES.get(currency)
    if names is None:
        raise InvalidInputError(f"Cannot say amounts in {currency}; known are {', '.join(sorted(_NAMES))}.")
    if not amount.is_finite() or not 0 <= amount < _LARGEST:
        raise InvalidInputError("Cannot say an amount below zero, of 10^15 or more, or that is no number.")
    one, many, minor, minors = names
    step = Decimal("0.01") if minor else Decimal(1)
    major, cents = divmod(int(amount.quantize(step, ROUND_HALF_UP) * 100), 100)
    whole = f"{say_integer(major)} {one if major == 1 else many}"
    part = f"{say_integer(cents)} {minor if cents == 1 else minors}"
    if not cents:
        return whole
    return f"{whole} and {part}" if major else part


def say_rate(fraction: Decimal) -> str:
    """A yearly rate: Decimal("0.0699") is "six point nine nine percent".

    Raises:
        InvalidInputError: negative or not a number.
    """
    if not fraction.is_finite() or fraction < 0:
        raise InvalidInputError("Cannot say a rate below zero or that is no number.")
    return f"{say_decimal(fraction * 100)} percent"


def say_term(length: int, unit: str = "months") -> str:
    """A term: 60 months is "five years", 18 months "eighteen months", 90 days "ninety days"."""
    singular = unit.removesuffix("s")
    if unit == "months" and length and length % 12 == 0:
        length, singular = length // 12, "year"
    return f"{say_integer(length)} {singular}{'' if length == 1 else 's'}"


def say_date(day: date) -> str:
    """A date: "May third, twenty twenty seven"; without the year where none is known."""
    words = f"{_MONTHS[day.month - 1]} {say_ordinal(day.day)}"
    return words if day.year == NO_YEAR else f"{words}, {say_year(day.year)}"


def say_year(year: int) -> str:
    """A year after a date: "nineteen oh five", "two thousand seven", "in the year four hundred"."""
    century, rest = divmod(year, 100)
    if year < 1000:
        return f"in the year {say_integer(year)}"
    if year % 1000 < 10:
        return say_integer(year)
    if rest == 0:
        return f"{say_integer(century)} hundred"
    return f"{say_integer(century)} {'oh ' if rest < 10 else ''}{say_integer(rest)}"


def say_digits(text: str) -> str:
    """Digits and letters one by one, with a pause (a comma) after every fourth.

    A leading + is said; anything else that is neither letter nor digit is left out.
    """
    words = [_ONES[int(char)] if char.isdecimal() else char.upper() for char in text if char.isalnum()]
    groups = [" ".join(words[at : at + _GROUP]) for at in range(0, len(words), _GROUP)]
    return ("plus " if text.startswith("+") else "") + ", ".join(groups)
