"""Numbers in a row: when they are one string of digits and when they are several quantities.

Callers say a card number digit by digit, in pairs, in groups, with "double", with pauses and sounds in
between; they also say lists of amounts and terms. The rules below lean to one string wherever a long
one is plausible, because a personal number that is cut in two is a number that leaks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from serving.spoken.cues import Cue, Cues
from serving.spoken.lexicon import AMOUNT_ENDS, FILLERS, MAJOR, OH, SOFT_FILLERS, SYMBOLS, TERM_UNITS
from serving.spoken.numerals import Number, Shape
from serving.spoken.text import Reading

PERSONAL_DIGITS = 6
"""A string of at least so many digits is never a quantity."""
CARD_DIGITS = range(12, 20)
_MOST_WORDS = 6


class Gap(IntEnum):
    """What stands between two numbers, from nothing to something that separates them."""

    TIGHT = 0
    """Nothing, a sound, a hyphen, a symbol without meaning."""
    LIST = 1
    """A comma, or the end of a sentence."""
    SOFT = 2
    """A few words that a caller says while reading digits out ("and then")."""
    BREAK = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers that are read as one; mostly just one number."""

    numbers: tuple[Number, ...]

    @property
    def first(self) -> int:
        """First token."""
        return self.numbers[0].first

    @property
    def last(self) -> int:
        """One past the last token."""
        return self.numbers[-1].last

    @property
    def digits(self) -> str:
        """All digits, as they are read out."""
        return "".join(number.digits for number in self.numbers)

    @property
    def number(self) -> Number | None:
        """The number of a run that has just one."""
        return self.numbers[0] if len(self.numbers) == 1 else None


def luhn(digits: str) -> bool:
    """Whether a digit string passes the check of ISO/IEC 7812-1, annex B."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + position % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether a digit string has the length and the check digit of a card number."""
    return len(digits) in CARD_DIGITS and luhn(digits)


def is_clock(reading: Reading, run: Run) -> bool:
    """Whether a run is a time of day: 10:30 or 10:30:05."""
    numbers = run.numbers
    if len(numbers) not in {2, 3} or reading.words[numbers[0].last] != ":":
        return False
    later = all(len(number.digits) == 2 and number.value < 60 for number in numbers[1:])
    return later and numbers[0].value < 24 and numbers[-1].last == numbers[0].first + 2 * len(numbers) - 1


def find_runs(
    reading: Reading, cues: Cues, numbers: Sequence[Number], *, expected: bool = False
) -> list[Run]:
    """Group numbers into runs, in order; lone interjections ("oh") are dropped.

    With `expected` a digit string is what the caller was asked for.
    """
    runs: list[Run] = []
    cluster: list[Number] = []
    gaps: list[Gap] = []
    for number in numbers:
        gap = _gap(reading, cluster[-1].last, number.first) if cluster else Gap.BREAK
        if gap is Gap.BREAK or _is_range(reading, cluster[-1], number):
            runs.extend(_split(reading, cues, cluster, gaps, expected=expected))
            cluster, gaps = [number], []
        else:
            cluster.append(number)
            gaps.append(gap)
    runs.extend(_split(reading, cues, cluster, gaps, expected=expected))
    kept = []
    for run in runs:
        asked = expected or cues.before(reading.words, run.first) is not Cue.NONE
        alone = expected and reading.size == 1
        bare = run if asked and (len(run.numbers) > 1 or alone) else _without_oh(reading, run)
        if bare is not None:
            kept.append(bare)
    return kept


_NOT_FILLING = frozenset("%=&@¢") | SYMBOLS.keys()


def _gap(reading: Reading, first: int, last: int) -> Gap:
    """Classify the tokens from `first` up to `last`."""
    gap, words = Gap.TIGHT, 0
    for index in range(first, last):
        word = reading.words[index]
        if word in FILLERS:
            continue
        if not word or word in _NOT_FILLING or (word == "+" and reading.written[index + 1]):
            return Gap.BREAK
        if word in SOFT_FILLERS and words < _MOST_WORDS:
            gap, words = Gap.SOFT, words + 1
        elif word[0].isalpha():
            return Gap.BREAK
        elif word in ",.!?;" and not reading.adjacent(index):
            gap = max(gap, Gap.LIST)
    return gap


def _is_range(reading: Reading, left: Number, right: Number) -> bool:
    """As in "3-5 days", "20-30k": a hyphen between rising written numbers before a unit."""
    if right.first != left.last + 1 or reading.words[left.last] != "-":
        return False
    written = reading.written[left.first] and reading.written[right.first]
    if not written and _is_spoken_range(reading, left, right):
        return reading.words[right.last] in _UNITS
    if not written or left.value >= right.value or len(left.digits + right.digits) > 7:
        return False
    return right.money or reading.words[right.last] in _UNITS


def _is_spoken_range(reading: Reading, left: Number, right: Number) -> bool:
    """As in "two-three years", "twenty-thirty dollars": two words and no more hyphens."""
    words = reading.words
    single = left.last == left.first + 1 and right.last == right.first + 1
    hyphens = words[right.last] == "-" or (left.first > 0 and words[left.first - 1] == "-")
    return single and not hyphens and left.value < right.value <= 2 * left.value


_UNITS = frozenset({"%", "percent", "per", "basis", "k"}) | TERM_UNITS.keys() | MAJOR.keys()
_UNITS |= frozenset({"business", "working", "calendar"})


def _split(
    reading: Reading, cues: Cues, numbers: list[Number], gaps: list[Gap], *, expected: bool
) -> list[Run]:
    """Cut a cluster of numbers at its weakest gaps until each part is one run."""
    if not numbers:
        return []
    if len(numbers) == 1 or _reads_as_card(numbers):
        return [Run(tuple(numbers))]
    runs: list[Run] = []
    led = expected or cues.before(reading.words, numbers[0].first) in _STRINGS

    def apart(at: int) -> bool:
        joined = _spelled(numbers, at) or (led and _goes_on(reading, numbers, gaps, at))
        return gaps[at] is Gap.SOFT and not joined

    for part, inner in _cut(numbers, gaps, apart):
        if len(part) > 1 and _reads_as_card(part):
            runs.append(Run(tuple(part)))
        else:
            runs.extend(_split_part(reading, cues, part, inner))
    return runs


def _split_part(reading: Reading, cues: Cues, part: list[Number], gaps: list[Gap]) -> list[Run]:
    alone = [_stands_alone(reading, number) for number in part]
    runs: list[Run] = []
    for piece, inner in _cut(part, gaps, lambda at: alone[at] or alone[at + 1]):
        if Gap.LIST in inner and not _one_string(reading, cues, piece):
            runs.extend(Run(tuple(item)) for item, _ in _cut_lists(piece, inner))
        else:
            runs.append(Run(tuple(piece)))
    return runs


def _cut_lists(numbers: list[Number], gaps: list[Gap]) -> list[tuple[list[Number], list[Gap]]]:
    return _cut(numbers, gaps, lambda at: gaps[at] is Gap.LIST)


def _cut(
    numbers: list[Number], gaps: list[Gap], breaks: Callable[[int], bool]
) -> list[tuple[list[Number], list[Gap]]]:
    """Parts of a list of numbers, and the gaps inside each, cut where `breaks(gap)` holds."""
    parts: list[tuple[list[Number], list[Gap]]] = [([numbers[0]], [])]
    for at, number in enumerate(numbers[1:]):
        if breaks(at):
            parts.append(([number], []))
        else:
            parts[-1][0].append(number)
            parts[-1][1].append(gaps[at])
    return parts


def _reads_as_card(numbers: Sequence[Number]) -> bool:
    """Whether all digits together are a card number, and not a list of round amounts."""
    if any(not number.digits for number in numbers):
        return False
    total = sum(len(number.digits) for number in numbers)
    if total not in CARD_DIGITS or not luhn("".join(number.digits for number in numbers)):
        return False
    return any(int(number.digits) % 100 for number in numbers)


def _spelled(numbers: Sequence[Number], at: int) -> bool:
    """Whether digits are read out one by one on both sides of gap `at`."""
    return all(
        sum(len(number.digits) for number in side if number.shape is Shape.DIGIT) >= 2
        and all(number.shape is Shape.DIGIT for number in side)
        for side in (numbers[max(0, at - 1) : at + 1], numbers[at + 1 : at + 3])
    )


_STRINGS = frozenset({Cue.CARD, Cue.SOME_CARD, Cue.ACCOUNT, Cue.SOME_ACCOUNT, Cue.PHONE})
_LONGEST_GROUP = 6


def _goes_on(reading: Reading, numbers: Sequence[Number], gaps: Sequence[Gap], at: int) -> bool:
    """As in "account number 1234 and then | 5678": a group of digits that counts nothing."""
    end = at + 1
    while end < len(gaps) and gaps[end] is Gap.TIGHT:
        end += 1
    group = (numbers[at], *numbers[at + 1 : end + 1])
    if any(
        item.shape not in {Shape.DIGIT, Shape.PLAIN} or len(item.digits) > _LONGEST_GROUP for item in group
    ):
        return False
    follow = reading.words[group[-1].last]
    closed = follow in AMOUNT_ENDS or follow in FILLERS or follow in SOFT_FILLERS
    return closed and sum(len(item.digits) for item in group[1:]) > 1


def _stands_alone(reading: Reading, number: Number) -> bool:
    """A quantity by its form, or by the currency sign before it."""
    priced = number.first > 0 and reading.words[number.first - 1] in SYMBOLS
    return priced or number.shape not in {Shape.DIGIT, Shape.PLAIN, Shape.MARKED}


def _one_string(reading: Reading, cues: Cues, numbers: list[Number]) -> bool:
    """Whether a list with commas is one string of digits: "4, 1, 1, 1", "4111, 1111"."""
    if len(numbers) == 1:
        return True
    total = sum(len(number.digits) for number in numbers)
    if cues.before(reading.words, numbers[0].first) is not Cue.NONE:
        return True
    if all(number.shape is Shape.DIGIT for number in numbers):
        return total >= PERSONAL_DIGITS
    round_list = all(int(number.digits) % 100 == 0 for number in numbers)
    if total >= CARD_DIGITS.start:
        return not round_list
    unit = reading.words[numbers[-1].last] in _UNITS
    even = len({len(number.digits) for number in numbers[:-1]}) == 1
    return even and len(numbers) >= 4 and total >= PERSONAL_DIGITS and not unit and not round_list


def _without_oh(reading: Reading, run: Run) -> Run | None:
    """Drop "oh" at either end where too few digits are left for it to be a zero."""
    numbers = list(run.numbers)
    cents = run.first > 0 and reading.words[run.first - 1] in MAJOR
    for end in (-1,) if cents else (0, -1):
        while numbers and _lone_oh(reading, numbers[end]) and len(numbers) < 3:
            numbers.pop(end)
    return Run(tuple(numbers)) if numbers else None


def _lone_oh(reading: Reading, number: Number) -> bool:
    return number.last == number.first + 1 and reading.words[number.first] in OH
