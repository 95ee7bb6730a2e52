"""Passwords that callers say aloud: what stands after "my password is".

Nobody may ask for one, yet callers tell them. Words that say how the password is ("wrong", "not working")
are none. Passcodes and PINs in figures are codes and found with the other digit strings.
"""

from serving.spoken.cues import index_phrases, match_phrase
from serving.spoken.lexicon import FILLERS, word_set
from serving.spoken.numbers import read_number
from serving.spoken.people import NO_NAMES
from serving.spoken.text import Reading
from serving.spoken.values import Kind

_CUES = index_phrases(
    {
        True: (
            "password", "pass word", "passcode", "pass code", "passphrase", "pass phrase", "passwords",
            "memorable word", "secret word", "security word", "security answer",
        )
    }
)  # fmt: skip
_LINKS = frozenset({"is", "was", ":", "=", "it's"})
_BETWEEN = FILLERS | {'"', "'", "“"}
_OPENING_MARKS = frozenset("@#$!%&*€£")
_STATES = NO_NAMES | word_set(
    """
    accepted active asked asking case compromised complex correct denied different empty enough especially
    forgotten gone good hacked hard insecure invalid known lax leaked long okay outdated public refused
    rejected required reset safe secret secure sensitive short simple stored strange strong temporary unsafe
    unknown valid weak
    """
)
_STATE_ENDINGS = ("ed", "ing", "able", "ible", "ly", "n't")
_MOST_WORDS = 4
_LONGEST_CHUNK = 64
"""Tokens without a blank between that are looked at; keeps the time linear."""


def take_passwords(reading: Reading) -> None:
    """Record every password that is no plain string of digits; the value is as it was written."""
    index = 0
    while index < reading.size:
        found = match_phrase(reading.words, index, _CUES) or _with_link(reading.words, index)
        index = _take(reading, found[0]) if found else index + 1


def _with_link(words: list[str], index: int) -> tuple[int, bool] | None:
    """As in "password's": the cue and its "is" are one token."""
    bare = words[index].removesuffix("'s")
    return (index + 1, True) if bare != words[index] and bare in _CUES else None


def _take(reading: Reading, index: int) -> int:
    """Record the password after the cue that ends at token `index`; where to go on."""
    words, first = reading.words, index
    linked = words[index - 1].endswith("'s")
    first += words[first] == "," and words[first + 1] in _LINKS
    while words[first] in _LINKS or words[first] in _BETWEEN:
        linked = linked or words[first] in _LINKS
        first += 1
    last = _chunk(reading, first)
    plain = not any(reading.written[first:last])
    if not _mixed(words[first:last]) or (plain and (not linked or _describes(words[first]))):
        last = _spoken(reading, first) if linked else first
    if last > first:
        value = reading.text[reading.starts[first] : reading.ends[last - 1]]
        reading.take(Kind.SECRET, value, first, last)
    return max(last, index)


def _chunk(reading: Reading, first: int) -> int:
    """One past the last token that touches token `first`; marks at the end are not of it."""
    last, end = first, min(reading.size, first + _LONGEST_CHUNK)
    if not reading.words[first][:1].isalnum() and reading.words[first] not in _OPENING_MARKS:
        return first
    while last < end and reading.words[last] and (last == first or reading.adjacent(last - 1)):
        last += 1
    while last > first and reading.words[last - 1] in ".,?;:'\"":
        last -= 1
    return last


def _mixed(chunk: list[str]) -> bool:
    """Letters with figures or marks inside ("hunter2"), which no sentence has there."""
    letters = any(word[:1].isalpha() for word in chunk)
    return letters and any(not word[:1].isalpha() and word not in "-/'" for word in chunk)


def _spoken(reading: Reading, first: int) -> int:
    """One past plain words such as "blue whale seven"; `first` where they only describe the password."""
    words, at = reading.words, first
    while at < reading.size and at - first < _MOST_WORDS:
        word = words[at]
        number = read_number(reading, at) if at > first else None
        if number is not None and number.digits:
            at = number.last
        elif not word[:1].isalpha() or _describes(word):
            break
        else:
            at += 1
    return at


def _describes(word: str) -> bool:
    return word in _STATES or word.endswith(_STATE_ENDINGS)
