"""Answers on their way to a voice: every figure becomes words.

Text without figures passes unchanged, and what comes out has none left (placeholders such as `<card_2>`
are kept), so that doing it twice changes nothing.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from serving.errors import InvalidInputError
from serving.spoken.lexicon import VULGAR
from serving.spoken.parser import parse
from serving.spoken.say import (
    say_date,
    say_decimal,
    say_digits,
    say_integer,
    say_money,
    say_ordinal,
    say_rate,
    say_term,
)
from serving.spoken.text import PLACEHOLDER
from serving.spoken.values import Kind, TypedValue

_FIGURES = re.compile(
    rf"(?P<placeholder>{PLACEHOLDER.pattern})"
    r"|(?P<plan>401|403)(?=\s?\(?[kb]\b)"
    r"|(?<![0-9:])(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?![0-9:])(?P<half>\s?[ap]\.?m\b)?"
    r"|(?P<ordinal>[0-9]{1,3})(?:st|nd|rd|th)(?![^\W\d_])"
    r"|(?P<always>24/7)(?![0-9/])"
    r"|(?P<number>[0-9]+(?:[.,][0-9]+)*)"
    r"|(?P<percent>%)|(?P<bps>\bbps\b)",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"[$£€¥₹¢]|[^\W\d_]")
_ABBREVIATED = re.compile(r"[0-9]\s?(?:y|yr|yrs|mo|mos|mth|mths|d|w|wk|wks)\b", re.IGNORECASE)
_FRACTION = re.compile(rf"[{''.join(VULGAR)}/]")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})*(?:\.[0-9]+)?")
_SPOKEN_MARKS = str.maketrans({"@": " at ", ".": " dot ", "-": " dash ", "_": " underscore ", "+": " plus "})
_LONGEST_CARDINAL = 12


def verbalise(text: str, *, currency: str = "USD") -> str:
    """A text with every amount, rate, term, date, digit string and other figure in words.

    Args:
        text: what is to be spoken.
        currency: ISO 4217 code that `$` and bare cents are in.
    """
    text = _plain_digits(text)
    if not re.search(r"[0-9]", PLACEHOLDER.sub("", text)):
        return text
    pieces: list[str] = []
    at, figured = 0, False
    for value in parse(text, currency=currency, unsigned=True):
        span = text[value.start : value.end]
        if not any("0" <= character <= "9" for character in span):
            continue
        gap = _loose(text[at : value.start])
        if figured and gap.strip() in {"-", "–", "—"}:
            gap = " to "
        pieces.append(_minus(gap))
        pieces.append(_words(value, span))
        at, figured = value.end, True
    pieces.append(_loose(text[at:]))
    return _join(pieces)


def _plain_digits(text: str) -> str:
    """Digits of every script as 0-9, character by character."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(character, character)) for character in text)


def _words(value: TypedValue, span: str) -> str:
    """The words of one value, or of its figures one after the other where there are none for so much."""
    try:
        return _value_words(value, span)
    except InvalidInputError:
        return _loose(span.replace("-", " "))


def _value_words(value: TypedValue, span: str) -> str:
    """The words of one value; units that stand in the text as words are kept."""
    match value.kind, value.value:
        case Kind.MONEY, Decimal() as amount if _SIGNS.search(span):
            return say_money(amount, value.unit)
        case ((Kind.DATE | Kind.BIRTH_DATE), date() as day):
            return say_date(day)
        case Kind.EMAIL, str() as address:
            return _email(address)
        case ((Kind.CARD | Kind.ACCOUNT | Kind.PHONE | Kind.CODE), str() as digits):
            return say_digits(digits)
        case Kind.TERM, int() as length if _ABBREVIATED.search(span) or _FRACTION.search(span):
            return say_term(length, value.unit)
        case Kind.RATE, Decimal() as rate if _FRACTION.search(span):
            return say_rate(rate)
        case Kind.COUNT, Decimal() as number if _FRACTION.search(span):
            return say_decimal(number)
    return _loose(span.replace("-", " "))


def _email(address: str) -> str:
    pieces = re.split(r"([0-9]+)", address.translate(_SPOKEN_MARKS))
    return _join(say_digits(piece).replace(",", "") if piece.isdecimal() else piece for piece in pieces)


def _loose(text: str) -> str:
    """Figures that no value explains: times, ordinals, counts, numbers inside names."""
    pieces: list[str] = []
    at = 0
    for match in _FIGURES.finditer(text):
        pieces.append(text[at : match.start()])
        pieces.append(_figure(match))
        at = match.end()
    pieces.append(text[at:])
    return _join(pieces)


def _figure(match: re.Match[str]) -> str:
    figure = match.group()
    match match.lastgroup:
        case "placeholder":
            return figure
        case "percent":
            return " percent"
        case "bps":
            return " basis points"
        case "plan":
            return f"four oh {say_integer(int(figure[-1]))}"
        case "always":
            return "twenty four seven"
        case "minute" | "half":
            return _time(int(match["hour"]), int(match["minute"]), match["half"])
        case "ordinal":
            return say_ordinal(int(match["ordinal"]))
    return _number(figure)


def _time(hour: int, minute: int, half: str | None) -> str:
    """10:30 is "ten thirty", 9:05 "nine oh five", 9:00 "nine o'clock", 9:00 am "nine am"."""
    words = say_integer(hour)
    if minute:
        words += f" {'oh ' if minute < 10 else ''}{say_integer(minute)}"
    elif not half:
        words += " o'clock"
    return f"{words} {half.strip()}" if half else words


def _number(figure: str) -> str:
    """A count or a decimal; what is too long or starts with a zero is read digit by digit."""
    plain = figure.replace(",", "") if _GROUPED.fullmatch(figure) else figure
    whole, point, decimals = plain.partition(".")
    short = whole.isdecimal() and len(whole) <= _LONGEST_CARDINAL
    if short and (whole == "0" or whole[0] != "0"):
        if not point:
            return say_integer(int(whole))
        if decimals.isdecimal():
            return say_decimal(Decimal(plain))
    groups = (group.split(",") for group in figure.split("."))
    return " point ".join(", ".join(say_digits(part) for part in group) for group in groups)


def _minus(gap: str) -> str:
    """A hyphen directly before a value and after a blank is its sign."""
    signed = gap.endswith("-") and (len(gap) == 1 or gap[-2].isspace())
    return f"{gap[:-1]}minus " if signed else gap


def _join(pieces: Iterable[str]) -> str:
    """Pieces in a row, with a blank where two words would touch and none doubled."""
    text = ""
    for piece in pieces:
        apart = " " if text[-1:].isalnum() and piece[:1].isalnum() else ""
        text += apart + (piece.lstrip(" ") if text[-1:].isspace() else piece)
    return text
