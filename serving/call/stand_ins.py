"""Other people's data in place of what a record has redacted, so that a recorded call can be decided again.

A record has `<account>` where a caller said a number. Replayed, something of the same kind stands for it: of
what it may have been, what today's code answers as the record does, if there is anything. So only what no
value explains counts as decided differently. Nothing here is anybody's, and nothing is stored.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice, product
from typing import Any, Protocol

from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply, heard_only
from serving.call.differences import same_answer, tool_facts
from serving.call.policy import NO_DAY
from serving.call.ports import Responding
from serving.call.record import CallRecord, Decision, ToolRecord, TurnRecord
from serving.call.understanding import redacted_words
from serving.spoken import PERSONAL, Kind, say_digits
from serving.telemetry.redaction import Placeholders

_NAMED = re.compile(rf"<({'|'.join(sorted(PERSONAL, key=len, reverse=True))})(?:_[0-9]+|_[a-z]{{1,3}})?>")
_ANY = re.compile(r"<[a-z]+(?:_[a-z0-9]+)*>")
_ENDING = "<ending"
_MOST_TRIES = 60
"""Wordings of a turn that are tried at most."""
_LENGTHS = (8, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12)
"""Digits that a number may have had: a whole one, else as few as the record allows, as more may follow."""
_CODE_LENGTHS = (4, 3, 6)
_DIGITS = "573826491"
_NO_DAY_WORDS = "May the third"
_PEOPLE = ("Zelda Quimby", "Odell Farrow", "Petra Lindqvist", "Casper Holloway", "Imogen Thackeray")
_WORDS = ("swordfish", "bluebottle", "marzipan", "quicksand", "tamarind")


def hidden_values(value: Any) -> dict[str, str]:
    """What stands for the placeholders in a tool's recorded result; the same name always gives the same."""
    if isinstance(value, str):
        return {name: _hidden(name) for name in _ANY.findall(value)}
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    found: dict[str, str] = {}
    for item in items:
        found |= hidden_values(item)
    return found


def _hidden(name: str) -> str:
    """Ends of numbers must differ; anything else is only said."""
    if not name.startswith(_ENDING):
        return name.strip("<>").replace("_", " ")
    letters = name.removeprefix(_ENDING).strip("_>")
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a")
    return f"{6_021 + number}"


class Answers(Protocol):
    """Tools that answer from a record."""

    left: tuple[ToolRecord, ...]
    """What has not been asked for yet."""


@dataclass(frozen=True, slots=True)
class _Try:
    """What today's code makes of one wording of a turn."""

    words: str
    reply: Reply
    left: tuple[ToolRecord, ...]
    fit: tuple[bool, bool, bool, bool]


class StandIns:
    """A responder that is asked in a caller's words where the record has placeholders; see `Responding`.

    Args:
        inner: today's.
        call: as recorded.
        tools: what answers for the bank.
        cut: whether the replay hears every answer to its end, so that what the caller had not heard of one
            must be taken away here.
    """

    def __init__(self, inner: Responding, call: CallRecord, tools: Answers, *, cut: bool) -> None:
        self._inner = inner
        self._turns = call.turns
        self._tools = tools
        self._cut = cut
        self._at = 0
        self._interrupted: TurnRecord | None = None
        self.stood_in: set[int] = set()
        """Turns of the record in which something stood for a placeholder."""
        self.unsayable: dict[int, str] = {}
        """Turns of the record of which no words are known → their placeholders."""

    def prompt(self, name: str, attempt: int = 0) -> str:
        """See `Responding.prompt`."""
        return self._inner.prompt(name, attempt)

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        """See `Responding.answer`."""
        if self._interrupted is not None:
            state = heard_only(state, self._interrupted.spoken)
            self._interrupted = None
        recorded, state = self._found(turn.text, state)
        if recorded is None or not _NAMED.search(turn.text):
            reply = self._inner.answer(turn, state, laps)
        else:
            reply = self._stood_in(turn, recorded, state, laps)
        if self._cut and recorded is not None and recorded.interrupted:
            self._interrupted = recorded
        return reply

    def _found(self, text: str, state: DialogueState) -> tuple[TurnRecord | None, DialogueState]:
        """The recorded turn of these words, and the dialogue with what those before it had introduced."""
        at = next((at for at in self._in_turn() if self._turns[at].text == text), None)
        if at is None:
            return None, state
        for passed in self._turns[self._at : at]:  # nobody was asked about them
            words, known = next(self._wordings(passed, state), ("", state))
            state = replace(known, placeholders=redacted_words(words, known).placeholders)
        self._at = at + 1
        return self._turns[at], state

    def _in_turn(self) -> Iterator[int]:
        """Positions in the record: what is to come, then what has been."""
        yield from range(self._at, len(self._turns))
        yield from range(self._at)

    def _stood_in(self, turn: HeardTurn, recorded: TurnRecord, state: DialogueState, laps: Laps) -> Reply:
        best: _Try | None = None
        before = self._tools.left
        for words, known in islice(self._wordings(recorded, state), _MOST_TRIES):
            self._tools.left = before
            reply = self._inner.answer(replace(turn, text=words, say=None), known, laps)
            tried = _Try(words, reply, self._tools.left, _fit(recorded, reply))
            if best is None or tried.fit > best.fit:
                best = tried
            if all(tried.fit) or reply.llm_engine:  # an engine is not asked again and again
                break
        if best is None:
            self.unsayable[recorded.index] = ", ".join(dict.fromkeys(redacted_names(recorded.text)))
            return self._inner.answer(turn, state, laps)
        self.stood_in.add(recorded.index)
        self._tools.left = best.left
        return best.reply

    def _wordings(self, turn: TurnRecord, state: DialogueState) -> Iterator[tuple[str, DialogueState]]:
        """What a turn may have been in full: words that redaction makes the recorded ones of."""
        names = list(dict.fromkeys(redacted_names(turn.text)))
        if not names:
            return
        forms = [list(self._forms(name, turn, state)) for name in names]
        for chosen in product(*forms):
            values = dict(zip(names, chosen, strict=True))
            words = _NAMED.sub(lambda match: values[match.group()], turn.text)  # noqa: B023 (used at once)
            known = _fitting(words, turn.text, state)
            if known is not None:
                yield words, known

    def _forms(self, name: str, turn: TurnRecord, state: DialogueState) -> Iterator[str]:
        """Words for a placeholder: for the value that it has in this call by now, else for new ones."""
        match = _NAMED.fullmatch(name)
        assert match is not None
        kind = Kind(match.group(1))
        if name in state.placeholders:
            yield from _said(kind, state.placeholders[name])
            return
        if kind is Kind.CODE:
            ending = self._ending_told(turn)
            if ending:
                yield _hidden(ending)
        order = list(dict.fromkeys(name for turn in self._turns for name in redacted_names(turn.text)))
        yield from _new(kind, order.index(name))

    def _ending_told(self, turn: TurnRecord) -> str:
        """The end of a number that the bot was the first to name after a turn: most likely the caller's."""
        for later in self._turns[turn.index - 1 :]:
            told = {name for name in _ANY.findall(later.answer) if name.startswith(_ENDING)}
            if told:
                return told.pop() if len(told) == 1 else ""
        return ""


def redacted_names(text: str) -> list[str]:
    """Placeholders of what a caller said, in order."""
    return [match.group() for match in _NAMED.finditer(text)]


def _fitting(words: str, recorded: str, state: DialogueState) -> DialogueState | None:
    """The dialogue in which words are redacted to the recorded ones; None where there is none.

    Placeholders are numbered in the order in which values come up, and the record may have had others.
    """
    found = redacted_words(words, state)
    if found.text == recorded:
        return state
    if _NAMED.sub(r"<\1>", found.text) != _NAMED.sub(r"<\1>", recorded):
        return None
    wanted = dict(zip(redacted_names(recorded), redacted_names(found.text), strict=True))
    new = {name: found.placeholders[got] for name, got in wanted.items() if name not in state.placeholders}
    known = replace(state, placeholders=Placeholders({**state.placeholders, **new}))
    return known if redacted_words(words, known).text == recorded else None


def _fit(recorded: TurnRecord, reply: Reply) -> tuple[bool, bool, bool, bool]:
    """How far a reply is the recorded one, the most important first."""
    return (
        recorded.decision
        in {reply.decision, Decision.TRANSFER},  # three failures end in one, whatever it was
        same_answer(recorded.answer, reply.answer, part=recorded.interrupted),
        tool_facts(recorded.tools) == tool_facts(reply.tools),
        recorded.intent == (reply.tag.label if reply.tag else ""),
    )


def _said(kind: Kind, value: str) -> Iterator[str]:
    """How a known value may be said."""
    if kind is Kind.BIRTH_DATE:
        yield _NO_DAY_WORDS if value == NO_DAY else _day(date.fromisoformat(value))
        return
    yield value
    if value.isdecimal():
        yield say_digits(value)


def _new(kind: Kind, number: int) -> Iterator[str]:
    """How a value that nobody has may be said; other numbers give other values."""
    turned = number % len(_DIGITS)
    digits = (_DIGITS[turned:] + _DIGITS[:turned]) * 2
    forms: Sequence[str]
    if kind in {Kind.ACCOUNT, Kind.CODE}:
        lengths = _LENGTHS if kind is Kind.ACCOUNT else _CODE_LENGTHS
        forms = [form for n in lengths for form in (digits[:n], say_digits(digits[:n]))]
    elif kind is Kind.CARD:
        card = _with_check_digit(f"4{digits[:14]}")
        forms = (card, say_digits(card))
    elif kind is Kind.PHONE:
        phone = f"20255501{turned:02}"
        forms = (phone, say_digits(phone), f"+1{phone}", f"555{digits[:4]}")
    elif kind is Kind.BIRTH_DATE:
        forms = (_day(date(1971, 5, 3 + number % 28)), _NO_DAY_WORDS)
    elif kind is Kind.EMAIL:
        forms = (f"{_WORDS[number % len(_WORDS)]}@example.com",)
    elif kind is Kind.NAME:
        full = _PEOPLE[number % len(_PEOPLE)]
        forms = (full, full.split()[0], full.lower(), full.split()[0].lower())
    elif kind is Kind.ADDRESS:
        forms = (f"{12 + number} Elm Street",)
    else:
        forms = (_WORDS[number % len(_WORDS)],)
    yield from forms


def _day(day: date) -> str:
    return f"{day:%B} {day.day} {day.year}"


def _with_check_digit(digits: str) -> str:
    """A card number: the digits and the one that makes them pass the Luhn check."""
    doubled = [int(char) * (2 if at % 2 == 0 else 1) for at, char in enumerate(reversed(digits))]
    total = sum(value - 9 if value > 9 else value for value in doubled)
    return f"{digits}{-total % 10}"
