"""Numbers that a caller gives in parts, unasked: a few digits a turn, which no word introduces.

Nobody knows what the first four digits are before the last four are there, and by then the first would be on
record. So digits that make up a whole turn, or are read out one by one, are personal, unless the bot has just
asked for an amount, a term, a time or the like; and even then where two turns in a row hold different digits
that are no round figure. Amounts in words ("five thousand") are no digits.
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
_FIGURE_IN_DOUBT = 4
"""So many digits that end in no zero, or begin with one, are hardly an amount or a term."""
_MOST_FIGURE = 6
"""More digits are none, whatever the bot asked for; `parse` takes them for a number by itself."""
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
    announced = unfinished(text, values)
    for run in _runs(text, state, growing=growing):
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
    announced = before is not None and not before.bare
    run = next((run for run in digit_runs(text) if run.last), None)
    if asks_figure(state):
        doubtful = _figure_begun(run, state) if run is not None and not announced else None
        return doubtful or unfinished(text, values, before if announced else None)
    later = unfinished(text, values, before)
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
    return any(_counts(run, state, growing=False) for run in _runs(text, state))


def _runs(text: str, state: DialogueState, *, growing: bool = False) -> Sequence[DigitRun]:
    """Digits that may be a part of a number: where the bot has asked for a figure, hardly any."""
    runs = digit_runs(text)
    return [run for run in runs if _in_doubt(run, state, growing=growing)] if asks_figure(state) else runs


def _in_doubt(run: DigitRun, state: DialogueState, *, growing: bool = False) -> bool:
    """Whether digits go on with a number although the bot has asked for a figure.

    Nobody gives two figures in a row that are no round ones, unless it is the same again; a card number comes
    in such groups. From the third on, whatever they are.
    """
    before = state.unfinished
    if before is None or not before.bare or not run.alone or len(run.digits) < SHORTEST:
        return False
    if run.digits == before.digits:
        return False
    if not before.figure:  # what may be complete was no beginning, and what is asked for is a figure
        short = len(before.digits) >= SHORTEST and not before.maybe_whole
        return _no_round_figure(run.digits) and (short or is_card(before.digits + run.digits))
    return growing or _no_round_figure(run.digits) or len(before.digits) > _MOST_FIGURE


def _no_round_figure(digits: str) -> bool:
    return len(digits) >= _FIGURE_IN_DOUBT and (digits.startswith("0") or not digits.endswith("0"))


def _figure_begun(run: DigitRun, state: DialogueState) -> Unfinished | None:
    """What the next turn may go on with, where the bot has asked for a figure and got digits alone."""
    goes_on = _in_doubt(run, state)
    if not goes_on and not (run.alone and _no_round_figure(run.digits)):
        return None
    joined = _joined(run, state)
    figure = goes_on or len(joined) <= _MOST_FIGURE
    return None if _is_whole(joined) else Unfinished(Kind.ACCOUNT, joined, bare=True, figure=figure)


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
    # "pay four one one" may be the amount, or the beginning of anything while it is being heard; and where
    # a figure was asked for, any digits are one to `parse`.
    doubtful = secret or (growing and run.spelled) or asks_figure(state)
    amounts = doubtful and not any(value.personal for value in said)
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
    if before is None or not before.bare or not run.alone:
        return run.digits
    if not _in_doubt(run, state) if asks_figure(state) else _stands_alone(run, before, state):
        return run.digits
    joined = before.digits + run.digits
    return joined if len(joined) < CARD_DIGITS.stop else run.digits


def _stands_alone(run: DigitRun, before: Unfinished, state: DialogueState) -> bool:
    """Whether digits have nothing to do with those before: a choice, or a few behind what was a figure."""
    return _chooses(run, state) or (before.figure and len(run.digits) < SHORTEST)


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
