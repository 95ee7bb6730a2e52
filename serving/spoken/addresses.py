"""Street addresses: a house number, one to three words, and a word such as "street".

Only the common English form is read. An address without a house number, a post box, a house name, and what
follows the street (town, state) are not recognised.
"""

from serving.spoken.lexicon import FILLERS, MAGNITUDES, MAJOR, TERM_UNITS, word_set
from serving.spoken.numbers import read_number
from serving.spoken.people import NO_NAMES
from serving.spoken.text import Reading
from serving.spoken.values import Kind

_STREETS = word_set("street road avenue boulevard lane crescent terrace highway parkway rd ave blvd ln")
_PERHAPS = word_set(
    "st dr drive court ct place square sq way close grove mews circle trail gardens hill row walk"
)
"""Everyday words, too: they need a cue, or capitals."""
_CUES = word_set(
    "live lives living lived address addresses moved moving move reside home house flat apartment"
)
_CUE_REACH = 8
_UNITS = word_set("apartment apt flat unit suite ste room floor")
_LONGEST_STREET = 3
_MOST_DIGITS = 5
_NO_STREET = (
    (NO_NAMES - {"college", "harbor", "harbour", "school", "house", "church", "next"})
    | TERM_UNITS.keys()
    | MAJOR.keys()
    | MAGNITUDES.keys()
    | word_set("accounts branches cards payments percent per transfers times dots cents pence")
)
_SIDES = word_set("north south east west old new upper lower")


def take_addresses(reading: Reading) -> None:
    """Record every street address; the value is lower case, its house number in figures."""
    for index in range(reading.size):
        if reading.words[index]:
            _take(reading, index)


def _take(reading: Reading, index: int) -> None:
    words = reading.words
    number = read_number(reading, index)
    if number is None or not 0 < len(number.digits) <= _MOST_DIGITS:
        return
    at, house = number.last, number.digits
    while at < reading.size and at - number.first < _MOST_DIGITS:  # "four twenty two"
        further = read_number(reading, at)
        if further is None or not further.digits or len(house + further.digits) > _MOST_DIGITS:
            break
        house, at = house + further.digits, further.last
    if len(words[at]) == 1 and words[at].isalpha() and reading.adjacent(at - 1):
        house, at = house + words[at], at + 1
    last = _street(reading, at)
    if not last or not _sure(reading, index, at, last):
        return
    street = " ".join(word for word in words[at:last] if word[0].isalnum())
    reading.take(Kind.ADDRESS, f"{house} {street}", index, _with_unit(words, last))


def _street(reading: Reading, at: int) -> int:
    """One past the word "street" of a name that starts at token `at`, or 0."""
    words = reading.words
    first = at
    while at - first <= _LONGEST_STREET:
        word = words[at]
        if at > first and (word in _STREETS or word in _PERHAPS):
            return at + 1
        ordinal = reading.written[at] and reading.adjacent(at)  # "5th"
        if not ordinal and (not word[:1].isalpha() or (word in _NO_STREET and word not in _SIDES)):
            return 0
        at += 1 + ordinal
    return 0


def _sure(reading: Reading, index: int, at: int, last: int) -> bool:
    """Whether number and words are an address and not so many of something."""
    words = reading.words
    if not _CUES.isdisjoint(words[max(0, index - _CUE_REACH) : index]):
        return True
    if words[last - 1] in _PERHAPS:
        return all(reading.text[reading.starts[part]].isupper() for part in range(at, last))
    return reading.written[index] or at > index + 1


def _with_unit(words: list[str], last: int) -> int:
    """As in "… street | , apartment 4b": one past the last token."""
    at = last
    while words[at] in {",", "."} or words[at] in FILLERS:
        at += 1
    if words[at] not in _UNITS:
        return last
    at += 1 + (words[at + 1] in {"number", "#"})
    if not words[at][:1].isalnum():
        return last
    at += 1
    return at + (len(words[at]) == 1 and words[at].isalpha())
