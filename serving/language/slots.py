"""What a loan question needs, gathered from the caller's turns: amount, term, rate, extra, product.

Works on typed values and the few words around them ("extra", "a month", "then"); it never invents a
value. Later turns of the same task overrule earlier ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from serving.language.lexicon import words
from serving.language.protocols import UserTurn
from serving.spoken.values import Kind, TypedValue

LEAST_AMOUNT = 500
"""A bare number from here on may be the amount of a loan; smaller ones are read as counts."""
_ASIDES = frozenset({"repeat_that", "recording_opt_out"})
"""Intents that interrupt a task without closing it."""
_EXTRA_BEFORE = frozenset({"extra", "additional", "another", "overpay", "plus", "top"})
_EXTRA_AFTER = (("extra",), ("more",), ("additional",), ("on", "top"), ("a", "month"), ("per", "month"),
                ("each", "month"), ("every", "month"), ("monthly",))  # fmt: skip
_NEAR_WORDS = 3


@dataclass(frozen=True, slots=True)
class LoanSlots:
    """What is known of a loan question.

    Attributes:
        principal: amount to borrow.
        terms: months, one for each rate step, in the order they were said.
        rates: annual rates as fractions, in the order they were said; empty when none was named.
        extra: voluntary monthly payment.
        product: canonical product, such as `car_loan`; empty when none was named.
    """

    principal: Decimal | None = None
    terms: tuple[int, ...] = ()
    rates: tuple[Decimal, ...] = ()
    extra: Decimal | None = None
    product: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of what must still be asked: `amount`, `term`.

        Several terms need as many rates; with one rate or none, nobody knows which of them is meant.
        """
        unclear = len(self.terms) > 1 and len(self.rates) < 2
        known = {"amount": bool(self.principal), "term": bool(self.terms) and not unclear}
        return tuple(name for name, there in known.items() if not there)


def loan_slots(turns: Sequence[UserTurn], task: str, *, currency: str = "USD") -> LoanSlots:
    """Gather the slots of a task from its latest run of turns.

    Args:
        turns: the caller's turns of a call.
        task: the tool intent.
        currency: of the bank's loans; amounts of another one are none.
    """
    slots = LoanSlots()
    for turn in _latest_run(turns, task):
        if turn.tag.label == "deny":  # "no, that is not what I said": nothing before it holds
            slots = LoanSlots()
        found = _of_turn(turn, currency, amount_known=slots.principal is not None)
        slots = LoanSlots(
            principal=found.principal if found.principal is not None else slots.principal,
            terms=found.terms or slots.terms,
            rates=found.rates or slots.rates,
            extra=found.extra if found.extra is not None else slots.extra,
            product=found.product or slots.product,
        )
    return slots


def is_amount(value: TypedValue) -> bool:
    """Whether a bare number may be an amount: recognisers drop the word dollars."""
    return value.kind is Kind.COUNT and Decimal(str(value.value)) >= LEAST_AMOUNT


def _latest_run(turns: Sequence[UserTurn], task: str) -> list[UserTurn]:
    """Turns of the task at the end of the call; another topic in between closes a task, an aside does not."""
    run: list[UserTurn] = []
    for turn in reversed(turns):
        if turn.task == task:
            run.append(turn)
        elif turn.task or (turn.tag.in_scope and turn.tag.label not in _ASIDES):
            break
    return run[::-1]


def _of_turn(turn: UserTurn, currency: str, *, amount_known: bool) -> LoanSlots:
    amounts = [value for value in turn.values if value.kind is Kind.MONEY and value.unit == currency]
    extras = [value for value in amounts if _is_extra(turn, value)]
    principals = [value for value in amounts if value not in extras]
    if not principals and not amount_known:
        principals = [value for value in turn.values if is_amount(value)]
    products = turn.facets.get("product", ())
    terms = [int(str(value.value)) for value in turn.values if _is_months(value)]
    rates = _decimals(value for value in turn.values if value.kind is Kind.RATE)
    if len(set(rates)) < 2:  # "five years, that is sixty months" is one term said twice
        terms, rates = list(dict.fromkeys(terms)), list(dict.fromkeys(rates))
    return LoanSlots(
        principal=max(_decimals(principals), default=None),
        terms=tuple(terms),
        rates=tuple(rates),
        extra=next(iter(_decimals(extras)), None),
        product=products[0] if len(products) == 1 else "",
    )


def _is_months(value: TypedValue) -> bool:
    return value.kind is Kind.TERM and value.unit == "months"


def _is_extra(turn: UserTurn, value: TypedValue) -> bool:
    """Whether the words around an amount, up to the values beside it, make it an extra payment."""
    start = max((other.end for other in turn.values if other.end <= value.start), default=0)
    followers = [other for other in turn.values if other.start >= value.end]
    end = min((other.start for other in followers), default=len(turn.text))
    before = words(turn.text[start : value.start])[-_NEAR_WORDS:]
    after = tuple(words(turn.text[value.end : end]))
    if any(follower.kind is Kind.MONEY for follower in followers) and after in {("extra",), ("additional",)}:
        after = ()  # it belongs to the amount behind it: "twenty thousand, extra fifty"
    return bool(_EXTRA_BEFORE & set(before)) or any(after[: len(sign)] == sign for sign in _EXTRA_AFTER)


def _decimals(values: Iterable[TypedValue]) -> list[Decimal]:
    return [Decimal(str(value.value)) for value in values]
