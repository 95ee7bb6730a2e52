"""What each value of a loan question is for: the amount to borrow, an extra payment, the rate, the term.

Goes by the few words around a value, up to the values beside it. A role that the words make plain is clear;
one that is only likely is not, and is read back before anything rests on it. It never invents a value.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from serving.language.lexicon import words
from serving.language.protocols import UserTurn
from serving.spoken import parse
from serving.spoken.values import Kind, TypedValue

LEAST_AMOUNT = 500
"""A bare number from here on may be the amount of a loan; smaller ones are read as counts."""
_YEARS = range(1900, 2101)
_BEFORE_YEARS = frozenset({"in", "since", "year", "from", "until", "by", "back"})
_OVERPAY = frozenset({"overpay", "overpaying", "overpayment", "overpayments"})
_EXTRA = frozenset({"extra", "additional"})
_EXTRA_IF_PERIODIC = frozenset({"another", "plus", "add", "adding", "top"})
_EXTRA_AFTER = (("extra",), ("more",), ("additional",), ("on", "top"))
_NEAR = 3
_EACH = frozenset({"a", "per", "each", "every"})
_PERIODS = frozenset({"week", "fortnight", "month", "quarter", "year"})
_PERIODIC = frozenset({"weekly", "monthly", "quarterly", "yearly", "annually"})
_BORROW = frozenset(
    {"borrow", "borrows", "borrowed", "borrowing", "lend", "lends", "take", "taking", "finance",
     "financing", "need"}
)  # fmt: skip
_PAY = frozenset(
    {"pay", "pays", "paying", "paid", "put", "add", "have", "earn", "make", "made", "got", "with"}
)
_LOANS = frozenset({"loan", "loans", "mortgage", "amount", "plan", "schedule", "quote", "principal"})
_PAYMENTS = frozenset(
    {
        "payment",
        "payments",
        "installment",
        "installments",
        "instalment",
        "repayment",
        "repayments",
        "interest",
    }
)
_TERMED = frozenset({"loan", "mortgage", "term", "plan", "financing"})
_OWN = frozenset({"my", "our", "his", "her", "their", "had", "down"})
"""What belongs to somebody already is not what is asked for."""
_OVER = frozenset({"over", "across", "within", "spread"})
_PAST = frozenset({"last", "past", "previous", "ago"})
_FILLING = frozenset(
    {"about", "around", "roughly", "approximately", "maybe", "only", "just", "say", "like", "a", "an", "the",
     "up", "uh", "um", "would", "be", "is", "you", "me"}
)  # fmt: skip
_LINKS = (_FILLING - {"is", "would", "you", "me"}) | frozenset(
    {"over", "across", "within", "for", "at", "with", "in", "and", "then", "to", "of", "on", "or", "plus",
     "interest", "rate", "annual", "apr", "fixed", "next", "first", "second", "another", "car", "personal",
     "home", "improvement", "loan", "mortgage", "paid", "back", "term", "each", "month", "monthly", "extra"}
)  # fmt: skip
"""Words that tie one value of a loan to the next."""
_ANSWERING = (_LINKS | _FILLING) | frozenset(
    {"yes", "no", "okay", "ok", "sorry", "well", "please", "i", "i'd", "i'm", "it", "it's", "that", "that's",
     "this", "not", "but", "said", "meant", "mean", "want", "need", "like", "take", "make", "have", "let's",
     "lets", "so", "now", "pay", "borrow", "instead", "thanks", "thank", "dollars", "right", "correct", "if",
     "what", "off", "do", "as", "can", "could", "wait", "rather", "actually", "correction"}
)  # fmt: skip
"""Words of a turn that says little besides its values, or that takes one of them back."""


class Role(StrEnum):
    """What a value of a loan question is for."""

    PRINCIPAL = "principal"
    EXTRA = "extra"
    RATE = "rate"
    TERM = "term"


@dataclass(frozen=True, slots=True)
class LoanValue:
    """A value with its role.

    Attributes:
        clear: the caller's words say so; else it is only likely.
    """

    value: TypedValue
    role: Role
    clear: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """A value among the words of its turn, with a role where it can have one.

    Attributes:
        before: words between the value before and this one.
        after: words up to the next value.
        bare: its own words name no unit.
    """

    value: TypedValue
    before: tuple[str, ...]
    after: tuple[str, ...]
    bare: bool
    role: Role | None = None
    clear: bool = False


def loan_values(turn: UserTurn, currency: str = "USD") -> tuple[LoanValue, ...]:
    """The values of a turn that a loan may rest on.

    Where one amount or term is clear, others that are not are left out; several that are equally likely are
    all given, and nobody knows which is meant.

    Args:
        turn: the caller's turn.
        currency: of the bank's loans; amounts of another one have no role.
    """
    places = [_with_role(place, currency) for place in _places(turn)]
    answering = all(_ANSWERING.issuperset(place.before + place.after) for place in places)
    places = _tied([_with_cues(place, answering=answering) for place in places])
    found = [LoanValue(place.value, place.role, place.clear) for place in places if place.role is not None]
    steps = len({item.value.value for item in found if item.role is Role.RATE}) > 1
    return _clearest(found, (Role.PRINCIPAL,) if steps else (Role.PRINCIPAL, Role.TERM))


def is_amount(value: TypedValue) -> bool:
    """Whether a bare number may be an amount: recognisers drop the word dollars."""
    return value.kind is Kind.COUNT and Decimal(str(value.value)) >= LEAST_AMOUNT


def _places(turn: UserTurn) -> list[_Place]:
    values = sorted(turn.values, key=lambda value: value.start)
    ends = [0, *(value.end for value in values)]
    starts = [*(value.start for value in values), len(turn.text)]
    gaps = [tuple(words(turn.text[end:start])) for end, start in zip(ends, starts, strict=True)]
    places = []
    for at, value in enumerate(values):
        own = parse(turn.text[value.start : value.end])
        bare = all(part.kind is Kind.COUNT for part in own)
        places.append(_Place(value, gaps[at], gaps[at + 1], bare))
    for at, place in enumerate(places[:-1]):  # "twenty thousand, extra fifty": it belongs to what follows
        if place.after in {("extra",), ("additional",)} and places[at + 1].value.kind is Kind.MONEY:
            places[at] = replace(place, after=())
    return places


def _with_role(place: _Place, currency: str) -> _Place:
    value = place.value
    if value.kind is Kind.RATE:
        return replace(place, role=Role.RATE)
    if value.kind is Kind.TERM and value.unit == "months":
        return replace(place, role=Role.TERM)
    if value.kind is Kind.MONEY and value.unit == currency:
        if not _is_borrowed(place) and _is_extra(place):
            return replace(place, role=Role.EXTRA, clear=True)
        small = place.bare and Decimal(str(value.value)) < LEAST_AMOUNT
        recurring = _after_period(place.after) is not None and not _is_borrowed(place)
        return place if small or recurring or _is_year(place) else replace(place, role=Role.PRINCIPAL)
    return replace(place, role=Role.PRINCIPAL) if is_amount(value) and not _is_year(place) else place


def _with_cues(place: _Place, *, answering: bool) -> _Place:
    """The place with what its own words make clear; a bare number that nothing explains has no role."""
    match place.role:
        case Role.PRINCIPAL:
            clear = _is_borrowed(place) or _is_loan_noun(place) or _leads(place.after, _TERMED - {"term"})
            if place.value.kind is Kind.COUNT:
                return replace(place, clear=clear) if clear or answering else replace(place, role=None)
            return replace(place, clear=clear or answering)
        case Role.TERM:
            return replace(place, clear=not place.bare and (answering or _is_term_cue(place)))
        case Role.RATE:
            near = place.before[-5:]
            named = bool({"rate", "apr"} & set(near)) and not _OWN & set(near)
            return replace(place, clear=answering or named)
    return place


def _tied(places: Sequence[_Place]) -> list[_Place]:
    """What is tied to a clear value is as clear: "twenty thousand for five years at six percent"."""
    tied = list(places)
    for at in range(1, len(tied)):
        left, here = tied[at - 1], tied[at]
        joined = _LINKS.issuperset(here.before)
        if joined and here.role is Role.TERM and left.role in {Role.PRINCIPAL, Role.RATE}:
            spread = bool(_OVER & set(here.before)) and _LOANS.isdisjoint(here.before)
            if spread and left.role is Role.PRINCIPAL and _OWN.isdisjoint(left.before[-5:]):
                left = tied[at - 1] = replace(left, clear=True)
        joined = joined or (here.role is left.role and _ANSWERING.issuperset(here.before))
        if joined and left.role is not None and left.clear and here.role is not None:
            tied[at] = replace(here, clear=not (here.role is Role.TERM and here.bare))
    for at in range(len(tied) - 2, -1, -1):
        here, right = tied[at], tied[at + 1]
        joined = _LINKS.issuperset(here.after) and _ANSWERING.issuperset(here.before)
        if joined and right.clear and here.role in {Role.RATE, Role.TERM} and not here.bare:
            tied[at] = replace(here, clear=True)
    return tied


def _clearest(found: Sequence[LoanValue], roles: Collection[Role]) -> tuple[LoanValue, ...]:
    settled = {item.role for item in found if item.clear and item.role in roles}
    return tuple(item for item in found if item.clear or item.role not in settled)


def _is_borrowed(place: _Place) -> bool:
    """After "borrow" and the like, with no other verb in between."""
    near = place.before[-5:]
    borrow = max((at for at, word in enumerate(near) if word in _BORROW), default=-1)
    other = max((at for at, word in enumerate(near) if word in _PAY), default=-1)
    return borrow > other


def _is_loan_noun(place: _Place) -> bool:
    """After "loan of", "the amount is", "payment on"; not after "my loan is", "down payment of"."""
    left = list(place.before)
    while left and left[-1] in _FILLING:
        left.pop()
    preposition = left.pop() if left and left[-1] in {"of", "for", "on"} else ""
    while left and left[-1] in _FILLING:
        left.pop()
    if _OWN & set(left[-3:]) and preposition != "of":
        return False
    if preposition in {"for", "on"} and _PAYMENTS & set(left[-_NEAR:]):
        return True
    return bool(left) and left[-1] in _LOANS and "down" not in left[-_NEAR:]


def _leads(after: Sequence[str], nouns: Collection[str]) -> bool:
    """Whether an attribute of a loan: "twenty thousand dollar | car loan", "five year | loan"."""
    for at, word in enumerate(after[:_NEAR]):
        if word in nouns:
            return True
        if word in _ANSWERING - {"car", "personal", "home", "improvement", "fixed"} and at < _NEAR:
            return False
    return False


def _is_term_cue(place: _Place) -> bool:
    near = set(place.before[-_NEAR:])
    if _PAST & near or place.after[:1] == ("ago",):
        return False
    if (_OVER | {"term"}) & near or _leads(place.after, _TERMED):
        return True
    nouns = (_TERMED | {"back", "repay", "off", "borrow"}) & near
    return bool(nouns) and not _OWN & set(place.before[-5:])


def _is_year(place: _Place) -> bool:
    number = Decimal(str(place.value.value))
    led = bool(place.before) and place.before[-1] in _BEFORE_YEARS
    return place.bare and led and number == int(number) and int(number) in _YEARS


def _after_period(after: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words behind "a month" or "monthly"; None where an amount has no such period."""
    if after[:1] and after[0] in _PERIODIC:
        return after[1:]
    periodic = len(after) > 1 and after[0] in _EACH and after[1] in _PERIODS
    return after[2:] if periodic else None


def _is_extra(place: _Place) -> bool:
    """Only an explicit word makes an extra payment of an amount: extra, additional, more, on top."""
    near = place.before[-_NEAR:]
    periodic = _after_period(place.after)
    if not _OVERPAY.isdisjoint(place.before):
        return True
    if _LOANS.isdisjoint(near):  # "an additional loan of" is a loan
        if _EXTRA & set(near) or near[-2:] == ("on", "top"):
            return True
        if periodic is not None and _EXTRA_IF_PERIODIC & set(near):
            return True
    after = place.after if periodic is None else periodic
    return after[:2] != ("more", "or") and any(after[: len(sign)] == sign for sign in _EXTRA_AFTER)
