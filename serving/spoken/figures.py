"""Numbers in figures: grouping, decimal points, fractions such as 6 1/2 and ½.

Only the form is judged here; whether figures are an amount or an identifier is decided later.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

from serving.spoken.lexicon import AMOUNT_ENDS, FRACTIONS, MAJOR, SMALL, SYMBOLS, VULGAR, word_set
from serving.spoken.numerals import LARGEST, Number, Shape, cardinal, magnitude
from serving.spoken.text import Reading

_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?")
_CONTINENTAL = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}")
_DIVISORS = frozenset({"2", "3", "4", "5", "8"})


def written_number(reading: Reading, index: int) -> Number | None:
    """Digits as they stand, with grouping or a decimal point; other marks make them no quantity."""
    words, word = reading.words, reading.words[index]
    if not reading.written[index]:
        return None
    if word.isdecimal() and len(word) <= 3 and (words[index + 1] == "hundred" or magnitude(words, index + 1)):
        return cardinal(words, index)
    amount = _amount(word)
    scale = _suffix(reading, index)
    if amount is not None and scale and Decimal(amount) * scale < LARGEST:
        return Number(index, index + 2, Decimal(amount) * scale, "", Shape.QUANTITY)
    if word.isdecimal():
        shape = Shape.DIGIT if len(word) == 1 else Shape.PLAIN
        return _space_grouped(reading, index) or Number(index, index + 1, Decimal(word), word, shape)
    digits = word.replace(",", "").replace(".", "")
    if amount is None:
        last = index + 2 if magnitude(words, index + 1) else index + 1
        return Number(index, last, Decimal(digits), digits, Shape.MARKED)
    return Number(index, index + 1, Decimal(amount), digits, Shape.QUANTITY)


_SUFFIXES = {"m": 10**6, "mm": 10**6, "b": 10**9, "t": 10**12}


def _suffix(reading: Reading, index: int) -> int:
    """What the letters behind figures multiply them by, or 0: "5m", "$2b", "$1.5 M".

    Only "m" against its figures does without a currency sign before them.
    """
    words, suffix = reading.words, reading.words[index + 1]
    if suffix not in _SUFFIXES:
        return 0
    priced = index > 0 and words[index - 1] in SYMBOLS
    if not reading.adjacent(index):
        spelled = len(words[index + 2]) == 1 and words[index + 2].isalpha()
        return _SUFFIXES[suffix] if priced and suffix != "t" and not spelled else 0
    return _SUFFIXES[suffix] if priced or suffix == "m" else 0


def _amount(word: str) -> str | None:
    """Figures as a decimal number, or None where their marks are none of an amount."""
    if _GROUPED.fullmatch(word):
        return word.replace(",", "")
    if _CONTINENTAL.fullmatch(word):
        return word.replace(".", "").replace(",", ".")
    padded = word.startswith("0") and word[1:2].isdecimal()
    return word if word.count(".") <= 1 and "," not in word and not padded else None


_MOST_GROUPS = 4
_GROUP = re.compile(r"[0-9]{3}(?:\.[0-9]{1,2})?")


def _space_grouped(reading: Reading, index: int) -> Number | None:
    """As in "20 000", "1 250 000": groups of three after a blank.

    The last group is 000, or a currency stands beside and nothing is counted: "€12 500", "1 250 500 dollars".
    """
    words, after = reading.words, index + 1
    if len(words[index]) > 3 or words[index].startswith("0") or _is_labelled(words, index):
        return None
    while _GROUP.fullmatch(words[after]) and reading.starts[after] == reading.ends[after - 1] + 1:
        after += 1
        if "." in words[after - 1] or after - index > _MOST_GROUPS:
            break
    if after == index + 1 or reading.written[after]:
        return None
    if words[after - 1] != "000" and not _is_priced(words, index, after):
        return None
    written = "".join(words[index:after])
    return Number(index, after, Decimal(written), written.replace(".", ""), Shape.QUANTITY)


_LABELS = word_set(
    """account accounts acct card cards ssn social number numbers phone telephone mobile cell routing iban pin
    passcode code zip id passport licence license customer member reference"""
)
_LABEL_REACH = 4


def _is_labelled(words: Sequence[str], index: int) -> bool:
    """Whether figures are somebody's number rather than an amount, as in "my account is 123 456 789"."""
    return not _LABELS.isdisjoint(words[max(0, index - _LABEL_REACH) : index])


def _is_priced(words: Sequence[str], first: int, last: int) -> bool:
    """Whether a currency stands behind figures, or before them and nothing that they count behind."""
    if words[last] in MAJOR or (words[last] in SYMBOLS and not words[last + 1][:1].isdecimal()):
        return True
    before = words[first - 1] if first else ""
    return (before in SYMBOLS or MAJOR.get(before) == before.upper()) and words[last] in AMOUNT_ENDS


def _ratio(top: int, bottom: int) -> Decimal:
    return (Decimal(top) / bottom).quantize(Decimal("0.000001")).normalize()


def fraction(words: Sequence[str], index: int) -> tuple[Decimal, int] | None:
    """Value and next token of "half", "a quarter", "three quarters", "½"."""
    if words[index] in VULGAR:
        return _ratio(*VULGAR[words[index]]), index + 1
    if words[index] in {"half", "quarter"}:
        return _ratio(1, FRACTIONS[words[index]]), index + 1
    top = 1 if words[index] in {"a", "an"} else SMALL.get(words[index], 0)
    bottom = FRACTIONS.get(words[index + 1], 0)
    return (_ratio(top, bottom), index + 2) if 0 < top < bottom else None


def written_fraction(words: Sequence[str], index: int) -> tuple[Decimal, int] | None:
    """Value and next token of "1/2"."""
    top, bottom = words[index], words[index + 2]
    if words[index + 1] != "/" or words[index + 3] == "/" or (index and words[index - 1] == "/"):
        return None
    if bottom in _DIVISORS and len(top) == 1 and "0" < top < bottom:
        return _ratio(int(top), int(bottom)), index + 3
    return None
