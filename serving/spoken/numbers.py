"""One number, spoken or written, at one place of a text.

`read_number` takes the longest well-formed number that starts at a token: "two hundred and fifty
thousand", "six point nine nine", "two and a half", "20,000", "1.5 million", "double seven". Whether
several numbers in a row are one string of digits is not decided here (see `runs`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from serving.spoken.figures import fraction, written_fraction, written_number
from serving.spoken.lexicon import (
    DIGITS,
    FILLERS,
    MAGNITUDES,
    MAJOR,
    MINOR,
    MONEY_MAGNITUDES,
    ORDINAL_ENDINGS,
    ORDINALS,
    REPEATS,
    SMALL,
    TENS,
    TERM_UNITS,
    VAGUE,
    VULGAR,
    word_set,
)
from serving.spoken.numerals import LARGEST, Number, Shape, cardinal, couple, magnitude, point, repeated
from serving.spoken.text import Reading

_ARTICLE_TERM_CUES = frozenset(
    {"", "for", "in", "over", "within", "after", "of", "about", "than", "around", "under", "least", "almost",
     "nearly", "only", "just", "another", "is", "it's", "take", "takes", "took", "been", "until", "to", "say",
     "maybe", "like", "past", "before", "have", "had", "got", "at", "and", "or", "from", "was",
     ",", ".", "-", "?", "!", ":"}
)  # fmt: skip


def read_numbers(reading: Reading) -> list[Number]:
    """All numbers of a text from left to right, none overlapping."""
    return list(_scan(reading))


def _scan(reading: Reading) -> Iterator[Number]:
    index = 0
    while index < reading.size:
        number = read_number(reading, index) if _may_start(reading, index) else None
        if number is None:
            index += 1
        else:
            yield number
            index = number.last


_STARTS = frozenset(DIGITS) | frozenset(SMALL) | frozenset(TENS) | frozenset(REPEATS) | frozenset(VULGAR)
_STARTS |= frozenset({"hundred", "thousand", "a", "an", "half", "quarter", "point", "couple", "dozen"})


def _may_start(reading: Reading, index: int) -> bool:
    return reading.written[index] or reading.words[index] in _STARTS


def read_number(reading: Reading, index: int) -> Number | None:
    """The longest number that starts at token `index`, or None."""
    words = reading.words
    word = words[index]
    if word in REPEATS:
        return repeated(words, index)
    number = _fraction_alone(words, index) or written_number(reading, index) or couple(words, index)
    spoken = None if number else cardinal(words, index)
    number = number or spoken or point(words, index, None)
    if number is None:
        return _article(words, index) if word in {"a", "an"} else None
    number = _with_fraction(reading, point(words, number.last, number) or number)
    if number is not spoken:
        number = _scaled(words, number)
    return None if _is_ordinal(reading, number) else _definite(words, number)


def _definite(words: Sequence[str], number: Number) -> Number:
    """The number, or figures that are no quantity where its words say that it is about so much.

    As in "twenty odd | thousand", "a few | hundred"; a magnitude behind a word that no amount begins after
    may belong to a number that was not understood ("twentyfive | thousand").
    """
    last = number.last
    if words[last] in VAGUE and _scale_at(words, last + 1):
        return replace(number, last=last + 2, digits="", shape=Shape.MARKED)
    if words[number.first] not in {"hundred", "thousand"} or _opens(words, number.first):
        return number
    return replace(number, digits="", shape=Shape.MARKED)


def _scale_at(words: Sequence[str], index: int) -> int:
    """What the word at `index` behind a number multiplies by, or 0; hundreds included."""
    return 100 if words[index] == "hundred" else magnitude(words, index)


_BEFORE_SCALE = word_set(
    """
    the my your his her our their this that these those each every per another any no one's first last next
    extra additional full whole spare of for about around over under than to from by with without in into at
    on plus minus up near nearly almost roughly approximately exactly only just even maybe say like until and
    or but so then borrow lend pay paid paying need needs want have has had got get owe owes cost costs spend
    spent withdraw deposit deposited send transfer is was are were be make makes it's that's add save lost
    earn invest please yes yeah okay ok no sure well right uh um
    """
)
"""After these a bare "hundred" or "thousand" is one of it."""


def _opens(words: Sequence[str], index: int) -> bool:
    """Whether an amount may begin with the magnitude at token `index`."""
    index -= index > 1 and words[index - 1] == "-"
    before = words[index - 1] if index else ""
    if before == "," and index > 1:
        return words[index - 2] not in _STARTS and not words[index - 2][:1].isdecimal()
    return before in _BEFORE_SCALE or before in FILLERS or not before[:1].isalnum()


_UNIT_HEADS = frozenset({"percent", "per", "%", "point", "basis"}) | TERM_UNITS.keys() | MAJOR.keys()
_UNIT_HEADS |= MAGNITUDES.keys() | {"hundred"}


def _fraction_alone(words: Sequence[str], index: int) -> Number | None:
    """As in "half a", "three quarters of a", "1/2" before whatever they divide."""
    found = fraction(words, index) or written_fraction(words, index)
    if found is None:
        return None
    value, after = found
    end = after
    if words[end] == "of":
        end += 1
    if words[end] in {"a", "an", "one"}:
        end += 1
    if words[end] not in _UNIT_HEADS:
        end = after
    return _scaled(words, Number(index, end, value, "", Shape.FRACTION))


def _with_fraction(reading: Reading, number: Number) -> Number:
    """As in "six | and a half", "a million | and a half", "6 1/2", "6-1/2", "6½"."""
    words, after = reading.words, number.last
    if number.value != number.value.to_integral_value() or number.shape in {Shape.FRACTION, Shape.MARKED}:
        return number
    if words[after] in VULGAR:
        found = fraction(words, after)
    elif words[after] == "and":
        written = written_fraction(words, after + 1) if reading.written[after - 1] else None
        found = fraction(words, after + 1) or written
    elif words[after] == "-" and reading.written[after - 1] and reading.adjacent(after - 1):
        found = written_fraction(words, after + 1) if reading.adjacent(after) else None
    elif reading.written[after] and reading.written[after - 1]:
        found = written_fraction(words, after)
    else:
        found = None
    if found is None:
        return number
    scale = 1 if number.tail else magnitude(words, after - 1) or 1
    value = number.value + found[0] * scale
    if value >= LARGEST:
        return number
    return replace(number, last=found[1], value=value, digits="", shape=Shape.QUANTITY, tail=0)


def _scaled(words: Sequence[str], number: Number) -> Number:
    """As in "one point five | million", "20 | k", "a couple | hundred | thousand"."""
    parted = number.shape in {Shape.QUANTITY, Shape.FRACTION} and number.value < 100
    if parted and words[number.last] == "hundred":
        number = replace(
            number, last=number.last + 1, value=number.value * 100, digits="", shape=Shape.QUANTITY
        )
    scale = magnitude(words, number.last)
    value = number.value * scale
    if words[number.last] == "k" and _is_somebodys(words, number):
        return number  # "account 123456 k thanks"
    if number.shape is Shape.MARKED or not scale or value >= LARGEST:
        return number
    if number.tail and number.shape is Shape.QUANTITY:
        return number
    digits = str(int(value)) if value == value.to_integral_value() else ""
    money = number.money or words[number.last] in MONEY_MAGNITUDES
    return Number(number.first, number.last + 1, value, digits, Shape.QUANTITY, 0, money)


_MOST_THOUSANDS = 4
"""Digits of a number before "k"; more are no amount but somebody's number, and the k is an okay."""


def _is_somebodys(words: Sequence[str], number: Number) -> bool:
    digits, grouped = len(number.digits), number.first > 0 and words[number.first - 1].isdecimal()
    okay = grouped or words[number.last + 1] in {"i", "a"}
    return digits > _MOST_THOUSANDS or (digits == _MOST_THOUSANDS and okay)


def _article(words: Sequence[str], index: int) -> Number | None:
    """As in "a year", "a dollar"; "a month" only where it is not "per month"."""
    unit = words[index + 1]
    if unit in MAJOR or (unit in MINOR and unit != "p"):
        return Number(index, index + 1, Decimal(1), "", Shape.ARTICLE)
    if unit not in TERM_UNITS:
        return None
    before = words[index - 1] if index else ""
    halves = words[index + 2] == "and" and fraction(words, index + 3) is not None
    if halves or before in _ARTICLE_TERM_CUES:
        return Number(index, index + 1, Decimal(1), "", Shape.ARTICLE)
    return None


def _is_ordinal(reading: Reading, number: Number) -> bool:
    """As in "twenty | third", "3 | rd": not a quantity."""
    words, after = reading.words, number.last
    if words[after] in ORDINAL_ENDINGS and reading.written[after - 1]:
        return reading.adjacent(after - 1)
    follow = words[after + 1] if words[after] == "-" else words[after]
    return words[after - 1] in TENS and ORDINALS.get(follow, 99) < 10
