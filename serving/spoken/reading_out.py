"""What callers say between the groups of a long number: "first four are …", "the next four …".

Such phrases count digits and are none themselves. They become sounds, which the rules of digit strings pass
over; the last four digits alone stay the cue that they are.
"""

from serving.spoken.lexicon import FILLERS, SOFT_FILLERS, word_set
from serving.spoken.numerals import digit_of
from serving.spoken.text import Reading

_ORDER = word_set("first next last final second third other remaining following")
_LEADING = frozenset({"first", "next", "following"})
_GROUPS = word_set("digits digit numbers number ones bit part group set")
_LINKS = frozenset({"are", "is", "were", "being", ":"})
_PARTS = word_set("area country city dialing dialling")
_SOUND = "uh"
_COUNTED = range(2, 7)
_REACH = 6


def hush_reading_out(reading: Reading) -> None:
    """Turn every such phrase into sounds."""
    for index in range(reading.size):
        if reading.words[index] in _ORDER:
            _hush_group(reading, index)
        elif reading.words[index] in _PARTS and reading.words[index + 1] == "code":
            _hush_part(reading, index)


def _hush_group(reading: Reading, index: int) -> None:
    words, at = reading.words, index + 1
    counted = digit_of(words[at]) in _COUNTED
    at += counted
    named = words[at] in _GROUPS
    at += named
    linked = words[at] in _LINKS
    at += linked
    told = index > 0 and words[index - 1] == "the" and _row(reading, at) == digit_of(words[index + 1])
    sure = named or linked or told
    if not (counted or named) or not sure or not _digits(reading, at) or not _digits(reading, at + 1):
        return
    if words[index] in _LEADING or _after_digits(reading, index):
        reading.reword(index, at, _SOUND)
        if index and words[index - 1] == "the":
            reading.reword(index - 1, index, _SOUND)


def _hush_part(reading: Reading, index: int) -> None:
    """As in "plus one | area code | four one five": only inside of a number."""
    if _after_digits(reading, index) and _digits(reading, index + 2):
        reading.reword(index, index + 2, _SOUND)


def _row(reading: Reading, at: int) -> int:
    """How many single digits stand in a row."""
    count = 0
    while count <= _COUNTED.stop and digit_of(reading.words[at + count]) is not None:
        count += 1
    return count


def _digits(reading: Reading, at: int) -> bool:
    return reading.written[at] or digit_of(reading.words[at]) is not None or reading.words[at] in _REPEATS


_REPEATS = frozenset({"double", "triple"})


def _after_digits(reading: Reading, index: int) -> bool:
    """Whether a digit was read out before, with nothing but sounds and "and then" between."""
    at = index - 1
    while at >= max(0, index - _REACH):
        if _digits(reading, at):
            return True
        word = reading.words[at]
        if word not in FILLERS and word not in SOFT_FILLERS and word not in {",", "."}:
            return False
        at -= 1
    return False
