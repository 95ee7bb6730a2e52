"""What a question names in figures or number words, and where: values, times, lengths of time, labels.

The typed values of `serving.spoken` leave out on purpose what no slot could use (times of day, hours,
figures with strange marks). Two questions that differ in one of those need two answers, so here nothing
with a digit in it is left out: what no kind fits is a `figure`, as it stands.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from serving.spoken import parse
from serving.spoken.lengths import find_lengths
from serving.spoken.lexicon import word_set
from serving.spoken.text import Reading, read
from serving.spoken.times import find_times
from serving.spoken.values import Kind, TypedValue

TIME, LENGTH, FIGURE, MULTIPLE = "time", "length", "figure", "multiple"


@dataclass(frozen=True, slots=True)
class Mention:
    """A value and where it stands.

    Attributes:
        facet: kind of the value, or one of the names above; empty where it says nothing ("three a day").
        value: canonical; a hash where it is personal.
        start: first character in the text.
        end: one past its last character.
        code: currency of an amount.
    """

    facet: str
    value: str
    start: int
    end: int
    code: str = ""


def find_mentions(
    text: str, reading: Reading, currency: str, hashed: Callable[[Kind, str], str]
) -> list[Mention]:
    """All mentions but loose figures, in order of their start.

    Args:
        text: in lower case and without accents, so that a way of writing hides nobody's name.
        reading: its tokens.
        currency: of amounts that name none, ISO 4217.
        hashed: for personal values.
    """
    values = parse(text, currency=currency, unsigned=True)
    taken = [value for value in values if value.personal]
    found = [Mention(f"personal_{it.kind}", hashed(it.kind, str(it.value)), it.start, it.end) for it in taken]
    found = _beside(found, [Mention(TIME, it.canonical(), it.start, it.end) for it in find_times(reading)])
    lengths = [Mention(LENGTH, it.canonical(), it.start, it.end) for it in find_lengths(reading)]
    found = _beside(found, [_in_days(it) for it in lengths])
    others = [value for value in values if not value.personal and not _is_below_zero(text, value)]
    return _beside(found, [_typed(text, value) for value in others], partly=True)


def loose_figures(reading: Reading, covered: Sequence[bool]) -> list[str]:
    """Figures of no mention, each with the letters and marks that touch it: "1/5", "q1", "20,50".

    Args:
        reading: the text.
        covered: for every token whether something else accounts for it.
    """
    found: list[str] = []
    first = 0
    for last in range(1, reading.size + 1):
        if last < reading.size and not _apart(reading, last):
            continue
        tokens = range(first, last)
        if any(_has_figure(reading, at) and not covered[at] for at in tokens):
            piece = "".join("" if covered[at] else reading.words[at] for at in tokens)
            found.append(piece.strip(_OUTER_MARKS) or piece)
        first = last
    return found


def with_plain_marks(text: str) -> str:
    """A text whose marks are those of a keyboard: one kind of hyphen, nothing wide or invisible."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES)
    return "".join(character for character in plain if unicodedata.category(character) not in _INVISIBLE)


_OUTER_MARKS = ".,:;?!\"'()[]{}…*_"
_INVISIBLE = frozenset({"Cf", "Mn", "Me"})
_PERIODS = frozenset({"a day", "a week", "a month", "a year"})
_SPANNING = frozenset({"for", "over", "within", "after", "than", "of", "about", "least", "most", "half"})
_TIMES = word_set("times x × fold")
"""Behind a number these make a multiple of it: "two times", "2x"."""
_NEAR = 60
"""Characters around a value in which the words beside it stand."""
_NEGATIVE = re.compile(r"(?:\b(?:minus|negative)\s*|(?<![\w%)])[-‐‑‒–—−])[$£€¥₹]?\s?$")
_LABEL = re.compile(r"(?<![\w'’])([b-hj-ru-z])[\s-]?$")
"""A letter of its own makes a name with the number behind it: "q three" is Q3."""
_SIGN_INSIDE = re.compile(r"[$£€¥₹]\s?-")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


def _beside(taken: Sequence[Mention], found: Sequence[Mention], *, partly: bool = False) -> list[Mention]:
    """What is taken and those of `found` that have nothing of it, in order of their start.

    With `partly` those that have more than what is taken stay as well: of "ten fifteen minute calls" fifteen
    minutes are taken, and 1015 still tells of the ten.
    """
    inside = {at for it in taken for at in range(it.start, it.end)}
    clash = inside.issuperset if partly else lambda span: not inside.isdisjoint(span)
    return sorted(
        [*taken, *(it for it in found if not clash(range(it.start, it.end)))], key=lambda it: it.start
    )


def _in_days(length: Mention) -> Mention:
    """24 hours are a term of one day."""
    return replace(length, facet=Kind.TERM.value) if length.value.endswith(":days") else length


def _typed(text: str, value: TypedValue) -> Mention:
    canonical = value.canonical().partition(":")[2]
    before = with_plain_marks(text[max(0, value.start - _NEAR) : value.start])
    following = read(text[value.end : value.end + _NEAR]).words
    if value.kind is Kind.COUNT and following[following[0] == "-"] in _TIMES:
        return Mention(MULTIPLE, canonical, value.start, value.end)
    label = _LABEL.search(before)
    if value.kind is Kind.COUNT and label is not None:
        return Mention(FIGURE, f"{label[1]}{canonical}", value.start, value.end)
    if _is_period(text, value):
        return Mention("", "", value.start, value.end)
    if _NEGATIVE.search(before) or _SIGN_INSIDE.match(with_plain_marks(text[value.start : value.end])):
        canonical = f"-{canonical}"
    return Mention(value.kind.value, canonical, value.start, value.end, value.unit)


def _is_period(text: str, value: TypedValue) -> bool:
    """Whether "a day" says how often ("three cards a day") and not how long ("for a day").

    People say as well "daily" or nothing at all, so it is evidence and no part of a signature.
    """
    if value.kind is not Kind.TERM or text[value.start : value.end] not in _PERIODS:
        return False
    before = read(text[max(0, value.start - _NEAR) : value.start])
    return before.size > 0 and before.words[before.size - 1] not in _SPANNING


def _is_below_zero(text: str, value: TypedValue) -> bool:
    """Whether "zero" is that of "below zero", which is an overdraft and no number."""
    if text[value.start : value.end] != "zero":
        return False
    before = read(text[max(0, value.start - _NEAR) : value.start])
    return before.size > 0 and before.words[before.size - 1] in {"below", "under"}


def _has_figure(reading: Reading, at: int) -> bool:
    """Digits, and signs that are numbers ("½")."""
    return reading.written[at] or unicodedata.category(reading.words[at][:1] or " ").startswith("N")


def _apart(reading: Reading, at: int) -> bool:
    """Whether white space stands before token `at`; invisible characters are none."""
    return any(map(str.isspace, reading.text[reading.ends[at - 1] : reading.starts[at]]))
