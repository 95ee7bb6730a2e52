"""Digit strings that identify a person, a card or an account.

Decides by checksum, length, written form, the cue near the string and what the bot has just asked for.
Where that leaves doubt the string counts as personal: six digits in a row are at least an account number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.spoken.calendar import Calendar, birth_digits
from serving.spoken.cues import Cue, Cues
from serving.spoken.lexicon import AMOUNT_ENDS, FILLERS, SOFT_FILLERS
from serving.spoken.numerals import Shape
from serving.spoken.runs import PERSONAL_DIGITS, Run, is_card, is_clock
from serving.spoken.text import Reading
from serving.spoken.units import currency_before, unit_after
from serving.spoken.values import Kind, Value

_CODE_DIGITS = range(3, 9)
_PHONE_DIGITS = range(7, 16)
_LONGEST_AMOUNT = 11
"""No caller has an amount of more digits."""
_MOST_DECIMALS = 6
_SHORTEST_ACCOUNT = 4
_EXPECTED = {Kind.CARD: Cue.CARD, Kind.ACCOUNT: Cue.ACCOUNT, Kind.PHONE: Cue.PHONE, Kind.CODE: Cue.CODE,
             Kind.BIRTH_DATE: Cue.BIRTH}  # fmt: skip
DIGIT_STRINGS = frozenset({Kind.CARD, Kind.ACCOUNT, Kind.PHONE, Kind.CODE})
"""Kinds that callers read out digit by digit."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an identifier is judged by besides its digits."""

    cues: Cues
    calendar: Calendar
    currency: str
    expect: Kind | None


def take_identifiers(reading: Reading, runs: Sequence[Run], around: Surroundings) -> list[Run]:
    """Record every personal digit string; the runs that are none are returned, in order."""
    left: list[Run] = []
    for whole in runs:
        for run in _peel(reading, whole, around):
            found = _identify(reading, run, around)
            if found is None:
                left.append(run)
            else:
                lead = found[0] is Kind.PHONE and (_plus(reading, run) or _opened(reading, run))
                reading.take(found[0], found[1], run.first - lead, run.last)
    return left


def _peel(reading: Reading, run: Run, around: Surroundings) -> tuple[Run, ...]:
    """As in "4111 1111 1111 1111 | 5 years": the number that its unit claims is not of the string."""
    if run.number is not None or len(run.digits) < PERSONAL_DIGITS:
        return (run,)
    unit = unit_after(reading, run.last, around.currency)
    rest = Run(run.numbers[:-1])
    claimed = unit is not None and run.numbers[-1].shape is Shape.PLAIN and not is_card(run.digits)
    if claimed or (unit is not None and is_card(rest.digits)):
        return rest, Run(run.numbers[-1:])
    return (run,)


def _identify(reading: Reading, run: Run, around: Surroundings) -> tuple[Kind, Value] | None:
    digits, number = run.digits, run.number
    if not digits or is_clock(reading, run):
        return None
    said = _cue(reading, run, around)
    cue = _EXPECTED.get(around.expect, said) if said is Cue.NONE and around.expect else said
    united = (
        currency_before(reading, run.first, around.currency) or unit_after(reading, run.last, around.currency)
    ) is not None
    quantity = number is not None and number.shape is Shape.QUANTITY
    spoken = not reading.written[run.first]
    amount = quantity and (spoken or (united and not _too_long(reading, run, united=True)))
    if is_card(digits) and not amount:
        return Kind.CARD if len(digits) > 14 else _KINDS.get(cue, Kind.CARD), digits
    counted = united or (quantity and said not in {Cue.ACCOUNT, Cue.CARD})
    if number is not None and counted and (spoken or not _too_long(reading, run, united=united)):
        return None
    if said is Cue.NONE and cue is not said and _is_lent(reading, run):
        return None
    if cue is Cue.BIRTH:
        born = birth_digits([item.digits for item in run.numbers], around.calendar)
        if born is not None:
            return Kind.BIRTH_DATE, born
    if united and len(digits) < PERSONAL_DIGITS:
        return None
    return _by_cue(reading, run, cue, around)


_EQUALS = frozenset({"is", "number", "no", "#", ":"})
_KINDS = {Cue.PHONE: Kind.PHONE, Cue.ACCOUNT: Kind.ACCOUNT}


def _too_long(reading: Reading, run: Run, *, united: bool) -> bool:
    """Whether written figures have too many digits or decimals for an amount."""
    whole, _, decimals = reading.words[run.first].partition(".")
    precise = len(decimals) > 2 and len(whole) > 1 and len(run.digits) >= PERSONAL_DIGITS
    if len(whole.replace(",", "")) > _LONGEST_AMOUNT or len(decimals) > _MOST_DECIMALS:
        return True
    return precise and not united


def _cue(reading: Reading, run: Run, around: Surroundings) -> Cue:
    """The nearest phrase before, else the phrase after."""
    cue = around.cues.before(reading.words, run.first)
    if cue is Cue.SOME_CARD:
        near = run.first - (reading.words[run.first - 1] in _EQUALS)
        cue = around.cues.before(reading.words, near, reach=0)
    return cue if cue is not Cue.NONE else around.cues.after(reading.words, run.last)


def _by_cue(reading: Reading, run: Run, cue: Cue, around: Surroundings) -> tuple[Kind, Value] | None:
    digits = run.digits
    length = len(digits)
    if _plus(reading, run) and length in _PHONE_DIGITS:
        return Kind.PHONE, f"+{digits}"
    if cue in {Cue.CODE, Cue.BIRTH} and length in _CODE_DIGITS:  # "born in 1984"
        return Kind.CODE, digits
    if cue is Cue.PHONE and (length in _PHONE_DIGITS or (around.expect is Kind.PHONE and length > 2)):
        return Kind.PHONE, digits
    if cue in {Cue.CARD, Cue.SOME_CARD} and length == 4:
        return Kind.CODE, digits
    if cue in {Cue.ACCOUNT, Cue.CARD} and length >= (3 if around.expect else _SHORTEST_ACCOUNT):
        return Kind.ACCOUNT, digits
    if _round_amount(reading, run, around):
        return None
    if around.expect in _EXPECTED and length < PERSONAL_DIGITS and _is_piece(reading, run):
        return Kind.ACCOUNT, digits
    if cue in _KINDS | {Cue.CARD: Kind.ACCOUNT} and length > 1 and _is_begun(reading, run):
        return (Kind.PHONE if cue is Cue.PHONE else Kind.ACCOUNT), digits
    if _phone_form(reading, run):
        return Kind.PHONE, digits
    return (Kind.ACCOUNT, digits) if length >= PERSONAL_DIGITS else None


def _plus(reading: Reading, run: Run) -> bool:
    return run.first > 0 and reading.words[run.first - 1] in {"+", "plus"}


def _opened(reading: Reading, run: Run) -> bool:
    return run.first > 0 and reading.words[run.first - 1] == "("


def _is_piece(reading: Reading, run: Run) -> bool:
    """Whether a few digits that were asked for count nothing: "and then one one", not "two cards"."""
    follow = reading.words[run.last]
    if len(run.digits) == 1:
        return all(not word or word in _NO_WORDS for word in _words_around(reading, run))
    return follow in AMOUNT_ENDS or follow in _NO_WORDS


_NO_WORDS = FILLERS | SOFT_FILLERS | frozenset(",.!?;:")


def _is_lent(reading: Reading, run: Run) -> bool:
    """As in "borrow 20000", which no question makes a number of an account."""
    before = reading.words[run.first - 1] if run.first else ""
    return run.number is not None and len(run.digits) < PERSONAL_DIGITS and before in _LENT


_LENT = frozenset({"borrow", "borrowing", "lend", "finance", "pay", "owe"})


def _words_around(reading: Reading, run: Run) -> list[str]:
    return reading.words[: run.first] + reading.words[run.last : reading.size]


def _is_begun(reading: Reading, run: Run) -> bool:
    """As in "my card number is four one" where the text ends: a number that goes on in the next turn."""
    spelled = all(number.shape is Shape.DIGIT for number in run.numbers)
    return spelled and all(word in _NO_WORDS for word in reading.words[run.last : reading.size])


_AMOUNT_CUES = frozenset({"borrow", "borrowing", "of", "lend", "finance", "amount", "need"})


def _round_amount(reading: Reading, run: Run, around: Surroundings) -> bool:
    """As in "borrow 250000", "250000 over 30 years": whole thousands written without commas."""
    digits = run.digits
    if run.number is None or not 6 <= len(digits) <= 9 or not digits.endswith("000") or digits[0] == "0":
        return False
    if around.cues.before(reading.words, run.first) is not Cue.NONE:
        return False
    before = reading.words[run.first - 1] if run.first else ""
    after = around.expect not in _EXPECTED and reading.words[run.last] in {"over", "at"}
    return before in _AMOUNT_CUES or after


def _phone_form(reading: Reading, run: Run) -> bool:
    """(555) 123-4567, 555-1234, 1-800-555-0199, 07700 900123, "oh seven seven …"."""
    groups = [len(number.digits) for number in run.numbers]
    if len(run.digits) in {10, 11} and run.digits.startswith("0") and run.digits[1] in "12378":
        return True
    if groups and groups[0] == 1 and run.digits.startswith("1"):
        groups = groups[1:]
    marked = any(reading.words[at] in {"-", ")", "."} for at in range(run.first, run.last))
    if len(run.numbers) == 1:
        return [len(part) for part in reading.words[run.first].split(".")] == [3, 3, 4]
    return groups in ([3, 3, 4], [3, 4]) and marked
