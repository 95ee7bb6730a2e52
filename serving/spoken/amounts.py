"""Whether numbers in a row can be one amount: "two fifty dollars" can, "twenty five five dollars" cannot.

A wrong amount is worse than none, because loans are computed from it: what could mean two things is left
unread, and the caller is asked.
"""

from itertools import pairwise

from serving.spoken.lexicon import FILLERS, MAGNITUDES
from serving.spoken.numerals import Number, Shape
from serving.spoken.runs import Run
from serving.spoken.text import Reading
from serving.spoken.units import Unit
from serving.spoken.values import Kind

_RATE_DIGITS = 4


def reads_as_one(reading: Reading, run: Run, unit: Unit) -> bool:
    """Whether a run has one meaning with its unit.

    One number has. Several have as a rate of up to four digits, as digits one by one ("three six months"),
    as "two fifty", and as figures in groups of three ("12 500").
    """
    numbers = run.numbers
    if len(numbers) == 1:
        return True
    if unit.kind is Kind.RATE:
        return len(run.digits) <= _RATE_DIGITS
    written = [reading.written[number.first] for number in numbers]
    if all(number.shape is Shape.DIGIT for number in numbers):
        return len(numbers) > 2 or not _is_alternative(reading, numbers[0], numbers[1])
    if all(written):
        return _in_groups(reading, run)
    return not any(written) and [len(number.digits) for number in numbers] == [1, 2]


def _is_alternative(reading: Reading, left: Number, right: Number) -> bool:
    """As in "two three years", "three-two years": perhaps one or the other, perhaps both as one."""
    hyphened = "-" in reading.words[left.last : right.first]
    return hyphened or right.value == left.value + 1


def _in_groups(reading: Reading, run: Run) -> bool:
    """As in "12 500", "1'500"."""
    numbers = run.numbers
    separators = [reading.words[left.last : right.first] for left, right in pairwise(numbers)]
    lengths = [len(number.digits) for number in numbers]
    return (
        lengths[0] <= 3
        and set(lengths[1:]) == {3}
        and numbers[0].digits[0] != "0"
        and all(separator in ([], ["'"]) for separator in separators)
    )


def run_together(reading: Reading, left: Run, right: Run, unit: Unit | None) -> bool:
    """Whether two numbers stand together as no amount does: "two | fifty thousand", "1.5k | 5 dollars".

    Args:
        reading: the text.
        left: a number that no unit follows.
        right: the next one.
        unit: of the right one.
    """
    if any(word not in FILLERS for word in reading.words[left.last : right.first]):
        return False
    if any(number.shape in {Shape.ARTICLE, Shape.FRACTION} for number in left.numbers):
        return False
    number = right.number
    scaled = number is not None and reading.words[number.last - 1] in MAGNITUDES
    before = left.number
    whole = before is not None and before.shape is Shape.QUANTITY
    small = int(left.digits or 0) < 1_000
    return (scaled and (small or whole)) or (whole and unit is not None and unit.kind is Kind.MONEY)
