"""Numbers in words: digits, cardinals up to trillions, "double seven", "a couple", decimals.

Looks at token texts only, from left to right, and takes the longest well-formed number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from serving.spoken.lexicon import DIGITS, MAGNITUDES, MAJOR, MONEY_MAGNITUDES, REPEATS, SMALL, TENS

LARGEST = 10**15
"""Numbers with a magnitude word stay below this."""


class Shape(StrEnum):
    """How a number was given; decides whether it can be part of a digit string."""

    DIGIT = "digit"
    """One digit said or written alone, or "double seven"."""
    PLAIN = "plain"
    """Up to "nine hundred ninety nine" in words, or ungrouped written digits."""
    QUANTITY = "quantity"
    """With a magnitude, grouping commas, a decimal point or a fraction."""
    FRACTION = "fraction"
    """A bare fraction; it means nothing without a unit."""
    MARKED = "marked"
    """Figures with marks that no number has ("20,50"): digits of a string perhaps, never a quantity."""
    ARTICLE = "article"
    """"a" before a unit: one of it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number and the tokens that say it.

    Attributes:
        first: first token.
        last: one past the last token.
        value: what it amounts to.
        digits: its digits as a string, as they are read out; empty for fractions.
        shape: how it was given.
        tail: token at which its last group below a thousand starts ("twenty thousand | five"), or 0.
        money: said with a magnitude that only money has ("grand", "k").
    """

    first: int
    last: int
    value: Decimal
    digits: str
    shape: Shape
    tail: int = 0
    money: bool = False


def digit_of(word: str) -> int | None:
    """The digit that a word or a written single digit stands for."""
    if len(word) == 1 and "0" <= word <= "9":
        return int(word)
    return DIGITS.get(word)


def below_hundred(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """Value and next token of a number from 1 to 99 in words."""
    word = words[index]
    if word in SMALL:
        return SMALL[word], index + 1
    if word not in TENS:
        return None
    after = index + 2 if words[index + 1] == "-" else index + 1
    unit = SMALL.get(words[after], 0)
    return (TENS[word] + unit, after + 1) if 0 < unit < 10 else (TENS[word], index + 1)


def _group(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """Value and next token of a number from 1 to 9,999 whose largest word is "hundred"."""
    base: tuple[int, int] | None
    if words[index] in {"a", "an"} and words[index + 1] == "hundred":
        base = (1, index + 1)
    elif words[index] == "hundred":
        base = (1, index)
    elif words[index].isdecimal() and len(words[index]) <= 3:
        base = (int(words[index]), index + 1)
    else:
        base = below_hundred(words, index)
    if base is None or words[base[1]] != "hundred":
        return base
    value, after = base[0] * 100, base[1] + 1
    spoken_and = words[after] == "and"
    rest = below_hundred(words, after + spoken_and)
    if rest is None and (spoken_and or words[after + 1] in MAJOR):
        rest = _written_rest(words, after + spoken_and)
    if rest is None or words[rest[1]] == "hundred" or _digitwise(words, after):
        return value, after
    return value + rest[0], rest[1]


def _written_rest(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """As in "2 hundred and | 50", where no more figures follow."""
    word = words[index]
    if not word.isdecimal() or len(word) > 2 or word[0] == "0" or words[index + 1][:1].isdecimal():
        return None
    return int(word), index + 1


def _digitwise(words: Sequence[str], index: int) -> bool:
    """Whether digits are read out one by one from here: "eight hundred | five five five"."""
    return digit_of(words[index]) is not None and digit_of(words[index + 1]) is not None


def magnitude(words: Sequence[str], index: int) -> int:
    """What the word at `index`, behind a number, multiplies by, or 0; "k y c", "a grand total" have none.

    Two letters behind "k" spell a word with it; "a" and "i" are words themselves ("5k a month").
    """
    word, follow = words[index], words[index + 1]
    spelled = word == "k" and _is_letter(follow) and _is_letter(words[index + 2])
    if spelled or (word == "grand" and follow == "total"):
        return 0
    return MAGNITUDES.get(word, 0)


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isalpha() and word not in {"a", "i"}


def cardinal(words: Sequence[str], index: int) -> Number | None:
    """As in "two million five hundred thousand and twenty"."""
    if digit_of(words[index]) == 0:
        return Number(index, index + 1, Decimal(0), "0", Shape.DIGIT)
    total, at, ceiling, tail, money = 0, index, LARGEST, 0, False
    between = index > 0 and words[index - 1] == "between"
    while (group := _next_group(words, at, first=at == index)) is not None:
        value, after = group
        scale = magnitude(words, after)
        if between and at > index and not scale and words[at] == "and":
            break  # "between twenty thousand | and thirty"
        if scale >= ceiling or value >= ceiling or (total and not scale and _digitwise(words, at)):
            break
        if not scale:
            total, tail, at = total + value, at if total else 0, after
            break
        total, ceiling, at = total + value * scale, scale, after + 1
        money = words[after] in MONEY_MAGNITUDES
    if at == index:
        return None
    single = at == index + 1 and total < 10
    shape = Shape.QUANTITY if ceiling < LARGEST else Shape.DIGIT if single else Shape.PLAIN
    return Number(index, at, Decimal(total), str(total), shape, tail, money)


_AFTER_A = frozenset({"thousand", "grand", "million", "billion", "trillion"})


def _next_group(words: Sequence[str], index: int, *, first: bool) -> tuple[int, int] | None:
    if first:
        if words[index] == "thousand":
            return 1, index
        if words[index] in {"a", "an"}:
            return (1, index + 1) if words[index + 1] in _AFTER_A else _group(words, index)
        return _group(words, index)
    return _group(words, index + 1 if words[index] == "and" else index)


def repeated(words: Sequence[str], index: int) -> Number | None:
    """As in "double seven", "triple 8"."""
    digit = digit_of(words[index + 1])
    if digit is None:
        return None
    digits = str(digit) * REPEATS[words[index]]
    return Number(index, index + 2, Decimal(digits), digits, Shape.DIGIT)


def couple(words: Sequence[str], index: int) -> Number | None:
    """As in "a couple (of)", "two dozen"."""
    at = index + 1 if words[index] in {"a", "an"} else index
    if words[at] == "couple":
        return Number(index, at + 1 + (words[at + 1] == "of"), Decimal(2), "", Shape.QUANTITY)
    base = 1
    small = below_hundred(words, index)
    if small is not None:
        base, at = small
    if words[at] == "dozen":
        return Number(index, at + 1, Decimal(12 * base), "", Shape.QUANTITY)
    return None


_NOT_BEFORE_POINT = frozenset({"this", "that", "some", "any", "what", "which", "every"})
_MAYBE_BEFORE_POINT = frozenset({"a", "an", "the"})
_SHARES = frozenset({"%", "percent", "pct", "percentage", "apr", "apy", "aer", "bps", "basis"})


def _measured(words: Sequence[str], index: int) -> bool:
    """Whether a unit that only decimals have follows: "a point five | percent", "the point two | million"."""
    word, follow = words[index], words[index + 1]
    if word in _SHARES or magnitude(words, index) or word in MAJOR:
        return True
    return (word == "per" and follow == "cent") or (word, follow, words[index + 2]) == ("a", "p", "r")


def point(words: Sequence[str], index: int, whole: Number | None) -> Number | None:
    """As in "point nine nine", "point twenty five" after a whole number or alone.

    "A point five" without a unit may be one and a half as well as a half: figures that are no quantity.
    """
    if words[index] != "point" or (whole is not None and whole.shape not in {Shape.DIGIT, Shape.PLAIN}):
        return None
    if whole is None and index and words[index - 1] in _NOT_BEFORE_POINT:
        return None
    after, decimals = index + 1, ""
    while (digit := digit_of(words[after])) is not None:
        decimals, after = decimals + str(digit), after + 1
        after += words[after] == "-" and digit_of(words[after + 1]) is not None
    if not decimals:
        if words[after].isdecimal():
            decimals, after = words[after], after + 1
        elif (small := below_hundred(words, after)) is not None:
            decimals, after = str(small[0]), small[1]
    if not decimals:
        return None
    if whole is None and index and words[index - 1] in _MAYBE_BEFORE_POINT and not _measured(words, after):
        marked = Number(index, after, Decimal(decimals), decimals, Shape.MARKED)
        return marked if words[index - 1] == "a" else None
    head = "0" if whole is None else whole.digits
    first = index if whole is None else whole.first
    return Number(first, after, Decimal(f"{head}.{decimals}"), head + decimals, Shape.QUANTITY)
