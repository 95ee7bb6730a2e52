"""Digits in a row, however few, read token by token, whatever `parse` takes them for.

A caller who gives a number in parts says nothing but a few digits in most of them, and a number that is being
heard has no end yet. By itself "four one one one" is a count to `parse`; what it means, whoever knows the
dialogue decides. Amounts and quantities ("five thousand", "$250", "two hundred fifty") are no digits here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from serving.spoken.joints import join_numbers
from serving.spoken.lexicon import FILLERS, REPEATS, SMALL, SOFT_FILLERS, SYMBOLS, TENS, word_set
from serving.spoken.numerals import digit_of
from serving.spoken.reading_out import hush_reading_out
from serving.spoken.text import Reading, read

_BETWEEN = FILLERS | SOFT_FILLERS | frozenset(",.!?;…-/*#()+'\"")
_AROUND = _BETWEEN | word_set(
    "please thanks thank no hi hello sure here here's my number digits digit it these those they first goes"
    " starts begins with for"
)
_COUNTED = frozenset({"second", "moment"})
"""As in "one moment"."""
_SOUNDS = {"to": "2", "too": "2", "for": "4", "fore": "4", "ate": "8", "won": "1"}
"""What a recogniser may write for a digit; only between digits that are read out one by one."""
_OFF = SYMBOLS.keys() | {"%"}


@dataclass(frozen=True, slots=True)
class DigitRun:
    """Digits in a row; they are true ones and never printed.

    Attributes:
        digits: as they are read out.
        start: first character of their words in the text.
        end: one past the last one.
        alone: the text says nothing else, sounds aside.
        last: the text ends with them, sounds aside.
        spelled: they are read out one by one, as no amount is.
    """

    digits: str
    start: int
    end: int
    alone: bool
    last: bool
    spelled: bool

    def __repr__(self) -> str:
        return f"DigitRun({len(self.digits)} digits)"


def digit_runs(text: str) -> tuple[DigitRun, ...]:
    """All digits in a row that a text holds, in order."""
    reading = join_numbers(read(text))
    hush_reading_out(reading)
    found = []
    for first, last in _spans(reading):
        groups = _groups(reading, first, last)
        begins = all(word in _AROUND for word in reading.words[:first])
        ends = all(word in _AROUND for word in reading.words[last : reading.size])
        found.append(
            DigitRun(
                digits="".join(groups),
                start=reading.starts[first],
                end=reading.ends[last - 1],
                alone=begins and ends,
                last=ends,
                spelled=all(len(set(group)) == 1 for group in groups),
            )
        )
    return tuple(found)


def digits_alone(text: str) -> DigitRun | None:
    """The digits of a text that says nothing else."""
    return next((run for run in digit_runs(text) if run.alone), None)


def _spans(reading: Reading) -> Iterator[tuple[int, int]]:
    """First token and one past the last of each run."""
    at = 0
    while at < reading.size:
        if not _says_digits(reading, at):
            at += 1
            continue
        first = at
        last = at = at + 1
        while at < reading.size:
            if _says_digits(reading, at) or _is_sound(reading, at):
                last = at + 1
            elif reading.words[at] not in _BETWEEN:
                break
            at += 1
        if _is_number(reading, first, last):
            yield first, last


def _is_number(reading: Reading, first: int, last: int) -> bool:
    """Not "$250", "12%", "twenty thousand", "one moment"."""
    words, before = reading.words, reading.words[first - 1] if first else ""
    counted = last == first + 1 and words[last] in _COUNTED
    return before not in _OFF and words[last] not in _OFF and words[last] not in _MAGNITUDES and not counted


_MAGNITUDES = frozenset({"hundred", "thousand", "million", "billion", "k", "grand", "dozen"})


def _says_digits(reading: Reading, index: int) -> bool:
    words = reading.words
    return bool(_digits_at(words[index])) or (words[index] in REPEATS and bool(_digits_at(words[index + 1])))


def _digits_at(word: str) -> str:
    """The digits that one token says; empty for none."""
    digit = digit_of(word)
    if digit is not None:
        return str(digit)
    value = SMALL.get(word) or TENS.get(word)
    if value is not None:
        return str(value)
    return word if word.isdecimal() else ""


def _is_sound(reading: Reading, index: int) -> bool:
    """Whether a word stands for a digit: single ones beside it, two on one side."""
    words = reading.words
    if words[index] not in _SOUNDS or index == 0:
        return False
    left, right = digit_of(words[index - 1]) is not None, digit_of(words[index + 1]) is not None
    more = digit_of(words[index + 2]) is not None or (index > 1 and digit_of(words[index - 2]) is not None)
    return left and right and more


def _groups(reading: Reading, first: int, last: int) -> list[str]:
    """The digits of each number: of "forty one", "double seven", "4111", "nine"."""
    groups: list[str] = []
    repeat, tens = 1, False
    for at in range(first, last):
        word = reading.words[at]
        said = _SOUNDS[word] if _is_sound(reading, at) else _digits_at(word)
        if word in REPEATS:
            repeat = REPEATS[word]
        elif said and tens and 0 < SMALL.get(word, 0) < 10:
            groups[-1] = groups[-1][0] + said
        elif said:
            groups.append(said * repeat)
            repeat = 1
        tens = word in TENS or (tens and word == "-")
    return groups
