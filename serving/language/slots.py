"""What a loan question needs, gathered from the caller's turns: amount, term, rate, extra, product.

Works on the values whose role is known (see `roles`); it never invents a value. Later turns of the same
question overrule earlier ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from serving.language.protocols import UserTurn
from serving.language.roles import LoanValue, Role, loan_values
from serving.spoken.values import Kind

_ASIDES = frozenset({"repeat_that", "recording_opt_out", "thanks", "greeting"})
"""Intents that interrupt a task without closing it."""


@dataclass(frozen=True, slots=True)
class LoanSlots:
    """What is known of a loan question.

    Attributes:
        principal: amount to borrow.
        terms: months, one for each rate step, in the order they were said.
        rates: annual rates as fractions, in the order they were said; empty when none was named.
        extra: voluntary monthly payment.
        product: canonical product, such as `car_loan`; empty when none was named.
        foreign: the last turn named an amount in a currency that the bank does not lend.
    """

    principal: Decimal | None = None
    terms: tuple[int, ...] = ()
    rates: tuple[Decimal, ...] = ()
    extra: Decimal | None = None
    product: str = ""
    foreign: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what must still be asked: `amount`, `term`.

        Several terms need as many rates; with one rate or none, nobody knows which of them is meant.
        """
        unclear = len(self.terms) > 1 and len(self.rates) < 2
        known = {"amount": bool(self.principal), "term": bool(self.terms) and not unclear}
        return tuple(name for name, there in known.items() if not there)


def loan_slots(turns: Sequence[UserTurn], *, currency: str = "USD") -> LoanSlots:
    """Gather the slots of the loan question that the last turn belongs to.

    Args:
        turns: the caller's turns of a call.
        currency: of the bank's loans; amounts of another one are none.
    """
    slots, task = LoanSlots(), ""
    for turn in _latest_run(turns):
        if turn.tag.label == "deny":  # "no, that is not what I said": nothing before it holds
            slots = LoanSlots()
        if turn.task != task:
            slots = _carried(slots)
        slots, task = _with_turn(slots, turn, currency), turn.task
    return slots


def _latest_run(turns: Sequence[UserTurn]) -> list[UserTurn]:
    """Turns of a task at the end of the call; another topic in between closes it, an aside does not."""
    run: list[UserTurn] = []
    for turn in reversed(turns):
        if turn.task:
            run.append(turn)
        elif turn.tag.in_scope and turn.tag.label not in _ASIDES:
            break
    return run[::-1]


def _carried(slots: LoanSlots) -> LoanSlots:
    """What a question leaves to one of another kind: the loan itself, not its steps or extra payments."""
    if len(slots.terms) > 1 or len(slots.rates) > 1:
        return LoanSlots()
    return replace(slots, extra=None)


def _with_turn(slots: LoanSlots, turn: UserTurn, currency: str) -> LoanSlots:
    found = loan_values(turn, currency)
    principals = dict.fromkeys(_numbers(found, Role.PRINCIPAL))
    terms, rates = _numbers(found, Role.TERM), _numbers(found, Role.RATE)
    if len(set(rates)) < 2:  # "five years, that is sixty months" is one term said twice
        terms, rates = list(dict.fromkeys(terms)), list(dict.fromkeys(rates))
    products = turn.facets.get("product", ())
    principal = slots.principal
    if principals:  # one of several is anybody's guess, so it is asked for
        principal = next(iter(principals)) if len(principals) == 1 else None
    return LoanSlots(
        principal=principal,
        terms=tuple(int(term) for term in terms) or slots.terms,
        rates=tuple(rates) or slots.rates,
        extra=next(iter(_numbers(found, Role.EXTRA)), slots.extra),
        product=products[0] if len(products) == 1 else slots.product,
        foreign=any(value.kind is Kind.MONEY and value.unit != currency for value in turn.values),
    )


def _numbers(found: Iterable[LoanValue], role: Role) -> list[Decimal]:
    return [Decimal(str(item.value.value)) for item in found if item.role is role]
