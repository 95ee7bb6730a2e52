"""What a sentence does, by its grammar alone: orders, reports, who pays whom, where a side clause begins.

Two questions of the same words may be an instruction and a request for directions, or ask what somebody
pays and what is paid to them. Word order tells; no list of topics is needed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.language.lexicon import words


def _set(listed: str) -> frozenset[str]:
    """Words between blanks."""
    return frozenset(listed.split())


_PARTS = re.compile(r"[.!?;:,]+")
_FILLERS = _set(
    """please hi hello hey ok okay and so well now um uh then just yes yeah kindly but anyway right
    thanks"""
)
_DETERMINERS = _set(
    """my the a an me us our it this that these those another one some all both him her them his their
    two three"""
)
_TOLD = frozenset({"has", "have", "had", "did", "was", "were"})
_SUBJECTS = _set("i my you we our the it your somebody someone anybody anyone")
_STATES = frozenset({"is", "are", "am"})
_OWN = frozenset({"i", "my", "our", "we", "mine"})
_STILL = ("already", "left", "at the moment", "so far", "by now", "yet")
_SIDE = _set("""when if while because where that which who until once after before unless although""")
_LEAST_BEFORE_SIDE = 3
_GIVING = _set(
    """pay pays paying paid send sends sending sent lend lends lending owe owes wire wires transfer
    transfers give gives giving reimburse refund"""
)
_EARNING = _set("receive receives receiving earn earns earning")
_CHARGING = _set("charge charges charging bill bills deduct")
_BETWEEN = _set(
    """do does can to have must will would could should may might need usually normally still even then
    ever also just get"""
)
_ME, _YOU = frozenset({"i", "we"}), frozenset({"you"})
_OTHERS = _set(
    """he she they friend somebody someone anybody people others bank employer boss landlord customer
    customers buddy brother sister mother father son daughter one"""
)
_REACH = 5
_FROM_ME, _TO_ME = "from me", "to me"
_COMING = _set("come comes came coming")
_GOING = _set("go goes went going gone")
_OPPOSITE = {_FROM_ME: _TO_ME, _TO_ME: _FROM_ME, "origin": "goal", "goal": "origin"}


@dataclass(frozen=True, slots=True)
class Act:
    """What a sentence does.

    Attributes:
        order: tells somebody to do something now.
        report: asks what has happened.
        state: asks how things stand with the caller.
        obliged: asks whether somebody must.
        flows: which way money goes: `from me`, `to me`, `origin`, `goal`.
        side: place of the first word of a side clause; the number of words where there is none.
    """

    order: bool
    report: bool
    state: bool
    obliged: bool
    flows: frozenset[str]
    side: int

    @property
    def does(self) -> tuple[bool, bool, bool, bool]:
        """What it does, beside what it is about."""
        return self.order, self.report, self.state, self.obliged

    def against(self, other: "Act") -> bool:
        """Whether money goes the other way."""
        turned = {_OPPOSITE[flow] for flow in self.flows}
        return bool(turned & other.flows) and not self.flows & other.flows


def read_act(text: str, orders: frozenset[str], *, asks_how: bool) -> Act:
    """Read a sentence.

    Args:
        text: as it was said or written.
        orders: verbs that, at the beginning, tell somebody to do something.
        asks_how: it asks for a way, so that a verb at the beginning orders nothing.
    """
    parts = [part for part in (_opened(words(part)) for part in _PARTS.split(text)) if part]
    tokens = words(text)
    return Act(
        order=not asks_how and any(_orders(part, orders) for part in parts),
        report=_reports(tokens),
        state=any(_states(part) for part in parts),
        obliged=any(_obliges(part) for part in parts),
        flows=_flows(tokens),
        side=next(
            (at for at, token in enumerate(tokens) if at >= _LEAST_BEFORE_SIDE and token in _SIDE),
            len(tokens),
        ),
    )


def _opened(tokens: list[str]) -> list[str]:
    """Without the words that open a turn."""
    first = next((at for at, token in enumerate(tokens) if token not in _FILLERS), len(tokens))
    return tokens[first:]


def _orders(part: Sequence[str], orders: frozenset[str]) -> bool:
    return part[0] in orders and any(token in _DETERMINERS or token[0].isdigit() for token in part[1:3])


def _reports(tokens: Sequence[str]) -> bool:
    """A past or perfect question, or "that I ordered"."""
    following = [*tokens, ""][1:]
    if any(one in _TOLD and other in _SUBJECTS for one, other in zip(tokens, following, strict=True)):
        return True
    return (
        any(
            tokens[at] in {"that", "which"} and tokens[at + 1] in _ME and _is_past(tokens[at + 2])
            for at in range(len(tokens) - 2)
        )
        or "happened" in tokens
    )


def _is_past(token: str) -> bool:
    return token.endswith("ed") or token in _IRREGULAR


_IRREGULAR = _set(
    "sent made withdrew got paid took put lost bought signed gave wrote did had chose drew spent"
)


def _states(part: list[str]) -> bool:
    following = part[1] if len(part) > 1 else ""
    if part[0] in _STATES and following in _OWN:
        return True
    places = range(len(part) - 2)
    if any(part[at : at + 2] == ["am", "i"] and part[at + 2].endswith("ing") for at in places):
        return True
    said = f" {' '.join(part)} "
    return (" do i " in said or " have i " in said) and any(f" {phrase} " in said for phrase in _STILL)


def _obliges(part: Sequence[str]) -> bool:
    """Such as "do I have to", "must I", "is it mandatory": no "what do I have to", which asks for a way."""
    said = f" {' '.join(part)} "
    return part[0] in _ASKING and any(f" {phrase} " in said for phrase in _DUTIES)


_ASKING = _set("do does must is are am will would if")
_DUTIES = ("have to", "has to", "must", "mandatory", "compulsory", "obliged to", "required to", "forced to")


def _flows(tokens: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for at, token in enumerate(tokens):
        after = tokens[at + 1 : at + 3]
        if token in _GIVING:
            giver = _subject(tokens, at)
            if giver == "me" and after[:1] != ["in"]:
                found.add(_FROM_ME)
            elif giver == "you" or (giver == "other" and {"me", "us"} & set(after)) or _to_me(after):
                found.add(_TO_ME)
        elif token in _EARNING and _subject(tokens, at) == "me":
            found.add(_TO_ME)
        elif token in _CHARGING and _subject(tokens, at) == "you":
            found.add(_FROM_ME)
        elif token in _COMING and "from" in after:
            found.add("origin")
        elif token in _GOING and after[:1] == ["to"] and tokens[at - 1 : at] != ["i"]:
            found.add("goal")
    return frozenset(found)


def _to_me(after: Sequence[str]) -> bool:
    """Whether something goes to the caller, whoever gives it: "sent to me"."""
    return list(after) in (["to", "me"], ["to", "us"])


def _subject(tokens: Sequence[str], verb: int) -> str:
    """Who does it, by the nearest word before the verb that is none of a helping kind."""
    for token in reversed(tokens[max(verb - _REACH, 0) : verb]):
        if token in _BETWEEN:
            continue
        for name, group in (("me", _ME), ("you", _YOU), ("other", _OTHERS)):
            if token in group:
                return name
        return ""
    return ""
