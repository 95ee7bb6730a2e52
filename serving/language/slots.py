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

_EXTRA_BEFORE = frozenset({"extra", "additional", "another", "overpay", "plus", "top"})
_EXTRA_AFTER = frozenset({"extra", "more", "additional", "top"})
_MONTHLY = ("a month", "per month", "each month", "every month", "monthly")
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
        """Names of what must still be asked: `amount`, `term`."""
        return tuple(name for name, value in (("amount", self.principal), ("term", self.terms)) if not value)


def loan_slots(turns: Sequence[UserTurn], task: str) -> LoanSlots:
    """Gather the slots of a task from its latest unbroken run of turns."""
    slots = LoanSlots()
    for turn in _latest_run(turns, task):
        if turn.tag.label == "deny":  # "no, that is not what I said": nothing before it holds
            slots = LoanSlots()
        found = _of_turn(turn, amount_known=slots.principal is not None)
        slots = LoanSlots(
            principal=found.principal if found.principal is not None else slots.principal,
            terms=found.terms or slots.terms,
            rates=found.rates or slots.rates,
            extra=found.extra if found.extra is not None else slots.extra,
            product=found.product or slots.product,
        )
    return slots


def _latest_run(turns: Sequence[UserTurn], task: str) -> list[UserTurn]:
    """Turns of the task at the end of the call; another topic in between closes a task."""
    run: list[UserTurn] = []
    for turn in reversed(turns):
        if turn.task != task:
            break
        run.append(turn)
    return run[::-1]


def _of_turn(turn: UserTurn, *, amount_known: bool) -> LoanSlots:
    amounts = [value for value in turn.values if value.kind is Kind.MONEY]
    extras = [value for value in amounts if _is_extra(turn.text, value)]
    principals = [value for value in amounts if value not in extras]
    if not principals and not amount_known:
        # "twenty thousand": recognisers drop the word dollars, and nothing else has that size.
        counts = [value for value in turn.values if value.kind is Kind.COUNT]
        principals = [value for value in counts if Decimal(str(value.value)) >= _LEAST_AMOUNT]
    products = turn.facets.get("product", ())
    return LoanSlots(
        principal=max(_decimals(principals), default=None),
        terms=tuple(int(str(value.value)) for value in turn.values if _is_months(value)),
        rates=tuple(_decimals(value for value in turn.values if value.kind is Kind.RATE)),
        extra=next(iter(_decimals(extras)), None),
        product=products[0] if len(products) == 1 else "",
    )


_LEAST_AMOUNT = 500
"""A bare number from here on is taken for the amount of a loan; smaller ones are read as counts."""


def _is_months(value: TypedValue) -> bool:
    return value.kind is Kind.TERM and value.unit == "months"


def _is_extra(text: str, value: TypedValue) -> bool:
    """Whether the words around an amount make it an extra payment rather than the loan."""
    before = words(text[: value.start])[-_NEAR_WORDS:]
    after = words(text[value.end :])[:_NEAR_WORDS]
    monthly = any(" ".join(after).startswith(phrase) for phrase in _MONTHLY)
    return bool(_EXTRA_BEFORE & set(before) or _EXTRA_AFTER & set(after[:2]) or monthly)


def _decimals(values: Iterable[TypedValue]) -> list[Decimal]:
    return [Decimal(str(value.value)) for value in values]
