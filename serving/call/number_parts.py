"""Numbers that a caller gives in parts, unasked: a few digits a turn, which no word introduces.

Nobody knows what the first four digits are before the last four are there, and by then the first would be on
record. So digits that make up a whole turn, or are read out one by one, are personal, unless the bot has just
asked for an amount, a term, a time or the like. Amounts in words ("five thousand") are no digits.
"""

import re
from collections.abc import Sequence

from serving.call import policy
from serving.call.dialogue import SENTENCE_END, DialogueState, Step
from serving.language.embedded import TASKS
from serving.spoken.digit_runs import DigitRun, digit_runs
from serving.spoken.identifiers import DIGIT_STRINGS
from serving.spoken.runs import CARD_DIGITS, is_card
from serving.spoken.unfinished import Unfinished, unfinished
from serving.spoken.values import Kind, TypedValue

SHORTEST = 3
"""Fewer digits tell nothing by themselves."""
_READ_OUT = 4
"""So many digits in a row, read out one by one among other words, are no amount and no list."""
_FIGURES = frozenset({Step.AMOUNT, Step.TIME})
_ASKS_FIGURE = re.compile(
    r"\b(?:how (?:much|many|long|old|often)|amount|sum|price|months?|years?|term|rate|percent(?:age)?|when"
    r"|(?:what|which) (?:time|year|day|date))\b[^?]*\?\s*$",
    re.IGNORECASE,
)

_ASKS_CHOICE = re.compile(r"\b(?:which|choose|pick|option)\b[^?]*\?\s*$", re.IGNORECASE)
"""The answer may be a digit or two."""


def asks_figure(state: DialogueState) -> bool:
    """Whether the bot has just asked for a number that is no secret."""
    pending = state.pending
    if pending is not None and pending.step is not None:
        return pending.step in _FIGURES
    return (pending is not None and pending.intent in TASKS) or bool(_ASKS_FIGURE.search(_question(state)))


def _question(state: DialogueState) -> str:
    return SENTENCE_END.split(state.last_answer)[-1]


def goes_on(text: str, state: DialogueState) -> Kind | None:
    """What a turn is expected to go on with, as the turn before began it.

    What was begun unannounced and may be complete goes on only in a turn that says nothing but digits.
    """
    before = state.unfinished
    if before is None or not before.bare:
        return before.kind if before is not None else None
    runs = digit_runs(text)
    if not runs or _answers(state):
        return None
    if runs[0].alone:
        return before.kind if len(_joined(runs[0], state)) >= SHORTEST else None
    return before.kind if len(before.digits) >= SHORTEST and not before.maybe_whole else None


def with_parts(
    text: str,
    values: Sequence[TypedValue],
    state: DialogueState,
    *,
    growing: bool = False,
    keyed: Sequence[range] = (),
) -> tuple[TypedValue, ...]:
    """The values of a turn: digits that may be a part of a number are personal; a last one is the whole card.

    Args:
        text: the true text.
        values: what `parse` found, with what is expected.
        state: the dialogue before this turn.
        growing: the text is what was heard so far; digits that it ends with may go on.
        keyed: where digits were keyed; any of them are personal.
    """
    if asks_figure(state):
        return tuple(values)
    announced = unfinished(text, values)
    for run in digit_runs(text):
        pressed = any(keys.start < run.end and run.start < keys.stop for keys in keyed)
        value = _part(run, values, state, growing=growing, keyed=pressed) or _first_part(
            run, values, announced
        )
        if value is not None:
            others = (item for item in values if item.end <= value.start or item.start >= value.end)
            values = sorted((*others, value), key=lambda item: item.start)
    return tuple(values)


def begun(text: str, values: Sequence[TypedValue], state: DialogueState) -> Unfinished | None:
    """What the next turn will go on with, or None; `values` as `with_parts` gave them."""
    before = state.unfinished
    later = unfinished(text, values, before)
    run = next((run for run in digit_runs(text) if run.last), None)
    announced = before is not None and not before.bare
    if run is None or announced or _answers(state) or policy.expected_kind(state) is not None:
        return later
    if any(value.kind not in DIGIT_STRINGS | {Kind.COUNT} for value in _within(run, values)):
        return later
    if not run.alone and not (_read_out(run) and later == Unfinished(Kind.ACCOUNT, run.digits)):
        return later
    joined = _joined(run, state)
    return None if _is_whole(joined) else Unfinished(Kind.ACCOUNT, joined, bare=True)


def is_part(text: str, state: DialogueState) -> bool:
    """Whether a turn holds digits that may be a part of a card number."""
    if asks_figure(state):
        return False
    return any(_counts(run, state, growing=False) for run in digit_runs(text))


def _answers(state: DialogueState) -> bool:
    """Whether a few digits are the answer to a question, whatever was said before."""
    rated = state.pending is not None and state.pending.step in {Step.SETTLED, Step.RATING}
    return rated or asks_figure(state)


def _chooses(run: DigitRun, state: DialogueState) -> bool:
    """Whether digits are the answer to a question, or to a choice that is no more than a digit or two."""
    short = len(run.digits) < SHORTEST
    return _answers(state) or (short and _ASKS_CHOICE.search(_question(state)) is not None)


def _part(
    run: DigitRun, values: Sequence[TypedValue], state: DialogueState, *, growing: bool, keyed: bool
) -> TypedValue | None:
    """The value that a run of digits is; None where `parse` knows better."""
    secret = keyed and not _chooses(run, state)
    if not _counts(run, state, growing=growing) and not secret:
        return None
    joined = _joined(run, state)
    if len(joined) > len(run.digits) and is_card(joined):
        return TypedValue(Kind.CARD, joined, "", run.start, run.end)
    said = _within(run, values)
    counts = [value for value in said if value.kind is Kind.COUNT]
    # "pay four one one" may be the amount, or the beginning of anything while it is being heard.
    amounts = (secret or (growing and run.spelled)) and not any(value.personal for value in said)
    if not (counts or amounts or (run.alone and not said)):
        return None
    start = min([run.start, *(value.start for value in said)])
    end = max([run.end, *(value.end for value in said)])
    return TypedValue(_known(run.digits, state), run.digits, "", start, end)


def _within(run: DigitRun, values: Sequence[TypedValue]) -> list[TypedValue]:
    return [value for value in values if value.start < run.end and value.end > run.start]


def _first_part(
    run: DigitRun, values: Sequence[TypedValue], announced: Unfinished | None
) -> TypedValue | None:
    """As in "call me on 415" where the turn ends, which is too short for a phone number by itself."""
    if announced is None or announced.digits != run.digits or len(run.digits) < SHORTEST or not run.last:
        return None
    if all(value.kind is not Kind.COUNT for value in _within(run, values)):
        return None
    kind = Kind.PHONE if announced.kind is Kind.PHONE else Kind.ACCOUNT
    return TypedValue(kind, run.digits, "", run.start, run.end)


def _counts(run: DigitRun, state: DialogueState, *, growing: bool) -> bool:
    """Whether a run has digits enough to be a part of something."""
    if run.alone and len(_joined(run, state)) >= SHORTEST:
        return True
    return len(run.digits) >= SHORTEST and ((growing and run.last) or _read_out(run))


def _read_out(run: DigitRun) -> bool:
    return run.spelled and len(run.digits) >= _READ_OUT


def _joined(run: DigitRun, state: DialogueState) -> str:
    """The digits with those of the turns before."""
    before = state.unfinished
    if before is None or not before.bare or not run.alone or _chooses(run, state):
        return run.digits
    joined = before.digits + run.digits
    return joined if len(joined) < CARD_DIGITS.stop else run.digits


def _is_whole(digits: str) -> bool:
    """Whether digits are a card number that no more of them belong to."""
    return is_card(digits) and Unfinished(Kind.CARD, digits).maybe_whole


def _known(digits: str, state: DialogueState) -> Kind:
    """What the same digits were before, in this call."""
    for name, value in state.placeholders.items():
        if value == digits:
            kind = re.sub(r"_[0-9]+$", "", name.strip("<>"))
            return Kind(kind) if kind in {Kind.CODE, Kind.PHONE} else Kind.ACCOUNT
    return Kind.ACCOUNT
