"""Units beside a number: currencies, per cent and basis points, years to days.

Each function looks at fixed places next to a number and says what it found and where that ends.
"""

from dataclasses import dataclass

from serving.spoken.lexicon import (
    AMOUNT_ENDS,
    DOLLAR_PREFIXES,
    DOLLARS,
    MAJOR,
    MINOR,
    SYMBOLS,
    TERM_ADJECTIVES,
    TERM_UNITS,
    WRITTEN_TERM_UNITS,
)
from serving.spoken.text import Reading
from serving.spoken.values import Kind


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit and where it stands.

    Attributes:
        kind: MONEY, RATE or TERM.
        code: currency, `months` or `days`; empty for rates.
        divisor: how many of it make one of `code`: 100 for cents and per cent, 10,000 for basis points.
        factor: how many of `code` one of it is: 12 for years, 12 for a rate per month.
        at: first token of a unit before the number, or one past the last token of one after it.
    """

    kind: Kind
    code: str
    divisor: int
    factor: int
    at: int


def _resolve(code: str, currency: str) -> str:
    """The currency that a word means when the caller's own one is `currency`."""
    if code == "$":
        return currency if currency in DOLLARS else "USD"
    if code == "¢":
        return currency
    return code


def _counts(reading: Reading, last: int, currency: str) -> bool:
    """Whether a number that ends before token `last` counts no money: "usd five percent"."""
    unit = unit_after(reading, last, currency)
    return unit.kind is not Kind.MONEY if unit is not None else reading.words[last] not in AMOUNT_ENDS


def currency_before(reading: Reading, first: int, currency: str, last: int | None = None) -> Unit | None:
    """`$`, `US$`, `USD` before a number; without a code where the currency is none that is known ("R$").

    Args:
        reading: the text.
        first: first token of the number.
        currency: ISO 4217 code of amounts without one.
        last: one past its last token, where that is known; a spoken number of no money takes no code.
    """
    if first == 0:
        return None
    sign = reading.words[first - 1]
    if sign in SYMBOLS:
        prefix = reading.words[first - 2] if first >= 2 and reading.adjacent(first - 2) else ""
        if sign == "$" and prefix in DOLLAR_PREFIXES:
            return Unit(Kind.MONEY, DOLLAR_PREFIXES[prefix], 1, 1, first - 2)
        if sign == "$" and prefix.isalpha() and len(prefix) <= 2 and prefix not in _BEFORE_SIGN:
            return Unit(Kind.MONEY, "", 1, 1, first - 2)
        return Unit(Kind.MONEY, _resolve(SYMBOLS[sign], currency), 1, 1, first - 1)
    amount = reading.written[first] or last is None or not _counts(reading, last, currency)
    if amount and len(sign) == 3 and MAJOR.get(sign) == sign.upper():
        return Unit(Kind.MONEY, MAJOR[sign], 1, 1, first - 1)
    return None


_BEFORE_SIGN = AMOUNT_ENDS | {"of", "up"}
"""Short words that touch a sign only where a blank was forgotten."""


def unit_after(reading: Reading, last: int, currency: str) -> Unit | None:
    """The unit that follows a number whose last token is `last - 1`."""
    after = last + 1 if reading.words[last] == "-" else last
    return (
        _rate_after(reading, after)
        or _currency_after(reading, after, currency)
        or _term_after(reading, after)
    )


def _currency_after(reading: Reading, at: int, currency: str) -> Unit | None:
    words, word = reading.words, reading.words[at]
    if word in MAJOR:
        return Unit(Kind.MONEY, _resolve(MAJOR[word], currency), 1, 1, at + 1 + _sterling(reading, at))
    if word in SYMBOLS and (not reading.written[at + 1] or _touches_left_only(reading, at)):
        return Unit(Kind.MONEY, _resolve(SYMBOLS[word], currency), 1, 1, at + 1)
    if word in DOLLAR_PREFIXES and MAJOR.get(words[at + 1]) == "$":
        return Unit(Kind.MONEY, DOLLAR_PREFIXES[word], 1, 1, at + 2)
    if word == "u" and words[at + 1] == "s" and MAJOR.get(words[at + 2]) == "$":
        return Unit(Kind.MONEY, "USD", 1, 1, at + 3)
    return minor_after(reading, at, currency)


def _touches_left_only(reading: Reading, at: int) -> bool:
    """As in "20€ 30€"."""
    return at > 0 and reading.adjacent(at - 1) and not reading.adjacent(at)


def _sterling(reading: Reading, at: int) -> bool:
    return reading.words[at] == "pounds" and reading.words[at + 1] == "sterling"


def minor_after(reading: Reading, at: int, currency: str) -> Unit | None:
    """Cents or pence at token `at`; `p` only where it is no initial."""
    word = reading.words[at]
    if word == "¢":
        return Unit(Kind.MONEY, currency, 100, 1, at + 1)
    if word not in MINOR or (word == "p" and len(reading.words[at + 1]) == 1):
        return None
    return Unit(Kind.MONEY, _resolve(MINOR[word], currency), 100, 1, at + 1)


_ANNUAL = frozenset({"apr", "apy", "aer"})
_SPELLED = frozenset({"apr", "apy", "aer"})
_EACH = frozenset({"per", "a", "each", "every"})


def annual_at(reading: Reading, at: int) -> int:
    """One past "apr" or its spelled form at token `at`, or 0."""
    words = reading.words
    if words[at] in _ANNUAL:
        return at + 1
    if words[at + 1] == ".":
        dotted = words[at] + words[at + 2] + words[at + 4]
        return (at + 6 if words[at + 5] == "." else at + 5) if dotted in _SPELLED else 0
    return at + 3 if len(words[at]) == 1 and "".join(words[at : at + 3]) in _SPELLED else 0


def _rate_after(reading: Reading, at: int) -> Unit | None:
    words = reading.words
    if words[at] == "annual" and words[at + 1] in {"percent", "percentage"}:
        at += 1
    word, follow = words[at], words[at + 1]
    divisor, end = 100, 0
    if word in {"%", "percent", "pct", "percentage"}:
        end = at + 1 + (follow in {"point", "points"} and word.startswith("percent"))
    elif word == "per" and follow in {"cent", "cents"}:
        end = at + 2
    elif word in {"bp", "bps", "bips"}:
        divisor, end = 10_000, at + 1
    elif word == "basis" and follow in {"point", "points"}:
        divisor, end = 10_000, at + 2
    annual = annual_at(reading, end or at)
    if annual:
        return Unit(Kind.RATE, "", divisor, 1, annual)
    if not end:
        return None
    monthly = (words[end] in _EACH and words[end + 1] == "month") or words[end] == "pcm"
    return Unit(Kind.RATE, "", divisor, 12, end + 2) if monthly else Unit(Kind.RATE, "", divisor, 1, end)


def _written_against(reading: Reading, at: int) -> bool:
    """Whether a letter stands directly after figures, two of them where the letter is `d`."""
    touching = at > 0 and reading.written[at - 1] and reading.adjacent(at - 1)
    return touching and (reading.words[at] != "d" or len(reading.words[at - 1]) > 1)


def _term_after(reading: Reading, at: int) -> Unit | None:
    words = reading.words
    if words[at] in TERM_ADJECTIVES and words[at + 1] in TERM_UNITS:
        at += 1
    if words[at] in TERM_UNITS:
        code, factor = TERM_UNITS[words[at]]
    elif words[at] in WRITTEN_TERM_UNITS and _written_against(reading, at):
        code, factor = WRITTEN_TERM_UNITS[words[at]]
    else:
        return None
    aged = words[at + 1] == "old" or (words[at + 1] == "-" and words[at + 2] == "old")
    return None if aged else Unit(Kind.TERM, code, 1, factor, at + 1)
