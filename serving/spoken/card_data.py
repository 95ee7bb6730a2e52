"""Whether words hold card data, for the loop that mutes the recording of them.

Works on what was heard so far as well as on whole turns, and errs on the side of muting: a recording that
lacks an amount is a nuisance, one that holds a card number is a breach.
"""

from collections.abc import Sequence

from serving.spoken.cues import Cue, find_cues
from serving.spoken.lexicon import CONNECTIVES, FILLERS, SOFT_FILLERS
from serving.spoken.text import read
from serving.spoken.unfinished import Unfinished
from serving.spoken.values import Kind, TypedValue

MOST_DIGITS = 7
"""More digits in a row that are no money and no phone number are card data."""
_PHONE_DIGITS = 12
"""A phone number of more digits may be a card's."""
_COUNTED = frozenset({Kind.CARD, Kind.ACCOUNT, Kind.CODE, Kind.COUNT})
_CARD_CUES = frozenset({Cue.CARD, Cue.CODE})
_BETWEEN = FILLERS | SOFT_FILLERS | CONNECTIVES | frozenset(",.!?;-")
_MOST_WORDS = 8


def holds_card(values: Sequence[TypedValue], text: str, before: Unfinished | None = None) -> bool:
    """Whether a turn, or what was heard of it so far, holds digits of a card, its codes or a PIN.

    Args:
        values: what `parse` found in the text.
        text: the true text, with or without its end.
        before: what the turn before left unfinished; its digits count.
    """
    if before is not None and before.kind in {Kind.CARD, Kind.CODE} and _has_digits(values):
        return True
    row = len(before.digits) if before is not None and before.kind is Kind.ACCOUNT else 0
    born = before is not None and before.kind is Kind.BIRTH_DATE
    end = 0
    for value in values:
        digits = 0 if _is_phone(value, text) else _digits(value)
        row = digits + (row if _goes_on(text[end : value.start]) else 0)
        end = value.end
        if value.kind is Kind.CARD or row > MOST_DIGITS or (value.kind is Kind.CODE and not born):
            return True
        if digits > 1 and _introduced(text[: value.start]):
            return True
        if value.kind not in _COUNTED:
            row = 0
    return False


def _has_digits(values: Sequence[TypedValue]) -> bool:
    return any(_digits(value) > 0 for value in values)


def _digits(value: TypedValue) -> int:
    digits = sum(character.isdecimal() for character in str(value.value))
    return digits if value.kind in _COUNTED or value.kind is Kind.PHONE else 0


def _is_phone(value: TypedValue, text: str) -> bool:
    """Whether digits were introduced as a phone number, and are none too many for one."""
    if value.kind is not Kind.PHONE or len(str(value.value)) > _PHONE_DIGITS:
        return False
    reading = read(text[: value.start])
    led = find_cues(reading).before(reading.words, reading.size) is Cue.PHONE
    return led or str(value.value).startswith("+")


def _goes_on(gap: str) -> bool:
    """Whether only words that join digits stand between two values."""
    words = [word for word in read(gap).words if word]
    return len(words) <= _MOST_WORDS and all(word in _BETWEEN for word in words)


def _introduced(lead: str) -> bool:
    """Whether "card number", "cvv" or the like leads up to what follows."""
    reading = read(lead)
    return find_cues(reading).before(reading.words, reading.size) in _CARD_CUES
