"""What a turn has begun to give and not finished: "my card number is", "… four one one one", "my name is".

A caller who pauses inside of a number is heard as two turns, and the second has nothing but a few digits in
it. `unfinished` tells what they belong to, so that they are parsed and redacted as a part of it. It looks at
words and digits only; what the bot asked for, the dialogue knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from serving.spoken.calendar import NO_YEAR
from serving.spoken.cues import Cue, find_cues
from serving.spoken.lexicon import CONNECTIVES, FILLERS, SOFT_FILLERS, word_set
from serving.spoken.runs import CARD_DIGITS, is_card
from serving.spoken.text import Reading, read
from serving.spoken.values import Kind, TypedValue


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A value that goes on in the next turn; it holds true digits and is never stored or printed.

    Attributes:
        kind: what to expect of the next turn.
        digits: what was given so far, over all turns; empty for words.
        bare: nothing said what the digits are.
        figure: the bot had asked for a figure, which they may be as well.
    """

    kind: Kind
    digits: str = ""
    bare: bool = False
    figure: bool = False

    @property
    def maybe_whole(self) -> bool:
        """Whether there are digits enough for a number that needs no more."""
        return _is_whole(self.kind, self.digits)

    def __repr__(self) -> str:
        return f"Unfinished({self.kind}, {len(self.digits)} digits)"


def unfinished(
    text: str, values: Sequence[TypedValue], before: Unfinished | None = None
) -> Unfinished | None:
    """What the next turn will go on with, or None.

    Args:
        text: the true text of a turn.
        values: what `parse` found in it, with `expect` from `before` where there is one.
        before: what the turn before left unfinished.

    Returns:
        Also something where it is merely likely: to expect digits changes nothing about amounts, rates and
        terms.
    """
    reading = read(text)
    last = values[-1] if values else None
    if last is None or not _ends(reading, last):
        return _announced(reading)
    if last.kind is Kind.BIRTH_DATE and isinstance(last.value, date) and last.value.year == NO_YEAR:
        return Unfinished(Kind.BIRTH_DATE)
    if last.kind is Kind.EMAIL and "." not in str(last.value).partition("@")[2]:
        return Unfinished(Kind.EMAIL)
    if last.kind not in _DIGITS:
        return None
    kind = before.kind if before is not None else _promised(text, last)
    if kind is None:
        return None
    joined = "".join(str(value.value) for value in values if value.kind in _DIGITS) if before else ""
    digits = before.digits + joined if before is not None else str(last.value)
    return None if _is_whole(kind, digits) else Unfinished(kind, digits)


_DIGITS = frozenset({Kind.ACCOUNT, Kind.CODE, Kind.PHONE, Kind.COUNT, Kind.CARD})
_KINDS = {
    Cue.CARD: Kind.CARD, Cue.SOME_CARD: Kind.CARD, Cue.ACCOUNT: Kind.ACCOUNT,
    Cue.SOME_ACCOUNT: Kind.ACCOUNT, Cue.PHONE: Kind.PHONE, Cue.CODE: Kind.CODE, Cue.BIRTH: Kind.BIRTH_DATE,
}  # fmt: skip
_WHOLE = {Kind.ACCOUNT: 8, Kind.PHONE: 10, Kind.CODE: 4, Kind.BIRTH_DATE: 2}
"""From so many digits on a string may be complete."""
_LONGEST_CARD = 16
_SHORT_CARDS = ("34", "37")
"""Cards of 15 digits; the first ones of any other card may pass the check, too."""
_LINKS = frozenset({"is", "it's", "its", "was", "are", ":", "that's", "starts", "begins", "with"})
_TAIL = FILLERS | SOFT_FILLERS | CONNECTIVES | frozenset({",", ".", "…", "-"})
_ALONE = _TAIL | word_set("hi hello yes sure and my the it's its for")
_WORDS = {
    ("name", "is"): Kind.NAME, ("name's",): Kind.NAME, ("name", "was"): Kind.NAME,
    ("surname", "is"): Kind.NAME, ("email", "is"): Kind.EMAIL, ("e", "mail", "is"): Kind.EMAIL,
    ("email", "address", "is"): Kind.EMAIL, ("mail", "address", "is"): Kind.EMAIL, ("email's",): Kind.EMAIL,
}  # fmt: skip


def _ends(reading: Reading, value: TypedValue) -> bool:
    """Whether nothing but sounds follows a value."""
    return all(reading.words[at] in _TAIL for at in range(reading.size) if reading.starts[at] >= value.end)


def _promised(text: str, value: TypedValue) -> Kind | None:
    """What the cue before the last value of a text says that it is."""
    reading = read(text[: value.start])
    cue = find_cues(reading).before(reading.words, reading.size)
    kind = _KINDS.get(cue)
    if kind is None and value.kind in {Kind.ACCOUNT, Kind.PHONE}:
        return value.kind
    return kind


def _announced(reading: Reading) -> Unfinished | None:
    """What the last words of a text announce: "my card number is", "my name is uh"."""
    words = reading.words[: reading.size]
    while words and (words[-1] in FILLERS or words[-1] in {",", ".", "…"}):
        words.pop()
    for phrase, kind in _WORDS.items():
        if tuple(words[-len(phrase) :]) == phrase:
            return Unfinished(kind)
    cues = find_cues(reading)
    for end in sorted(cues.by_end, reverse=True):
        kind_here = _KINDS.get(cues.by_end[end])
        tail = words[end:]
        if kind_here is None or any(word not in _TAIL for word in tail):
            continue
        start = max((at for at in cues.by_start if at < end), default=0)
        if not _LINKS.isdisjoint(tail) or all(word in _ALONE for word in words[:start]):
            return Unfinished(kind_here)
    return None


def _is_whole(kind: Kind, digits: str) -> bool:
    if kind is Kind.CARD:
        short = digits.startswith(_SHORT_CARDS) and len(digits) == _LONGEST_CARD - 1
        return len(digits) >= _LONGEST_CARD or (short and is_card(digits))
    return len(digits) >= _WHOLE.get(kind, CARD_DIGITS.start)
