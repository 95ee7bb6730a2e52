"""Numbers that a text states and no value holds, because they may mean two things: "two seventy five".

Nobody computes with them; two texts that differ in one still say different things.
"""

from collections.abc import Container, Sequence

from serving.spoken.joints import join_numbers
from serving.spoken.numbers import read_numbers
from serving.spoken.numerals import Number, Shape
from serving.spoken.text import Reading, read

_HALVES = frozenset({"am", "pm", "o'clock"})
"""Behind a time of day, which is none of them."""


def unread_numbers(text: str, taken: Container[int]) -> tuple[str, ...]:
    """The figures of every such number, in order.

    Args:
        text: any text.
        taken: places of the characters that something else accounts for, such as the values of `parse`.
    """
    reading = join_numbers(read(text))
    numbers = [number for number in read_numbers(reading) if reading.starts[number.first] not in taken]
    found = []
    for at, number in enumerate(numbers):
        before = at > 0 and _touch(reading, numbers[at - 1], number)
        after = at + 1 < len(numbers) and _touch(reading, number, numbers[at + 1])
        if (before or after or _is_large(number)) and not _is_time(reading, numbers[at : at + 2]):
            found.append(number.digits or format(number.value.normalize(), "f"))
    return tuple(found)


def _touch(reading: Reading, left: Number, right: Number) -> bool:
    """Whether nothing stands between two numbers, or a hyphen."""
    return reading.words[left.last : right.first] in ([], ["-"])


def _is_large(number: Number) -> bool:
    return number.shape in {Shape.QUANTITY, Shape.MARKED, Shape.FRACTION}


def _is_time(reading: Reading, numbers: Sequence[Number]) -> bool:
    """Whether the numbers in a row that begin here are "ten thirty | am"."""
    ahead = numbers[1:2]
    last = ahead[0].last if ahead and ahead[0].first == numbers[0].last else numbers[0].last
    words = reading.words
    if words[last] in {"a", "p"}:  # and not "two seventy five a month"
        return words[last + 1 + (words[last + 1] == ".")] == "m"
    return words[last] in _HALVES
