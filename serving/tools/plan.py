"""A payment plan whose rate steps over time, with optional extra payments, to the cent.

`rates[i]` applies for `terms[i]` months. At each step the payment is re-amortised over the months left,
on the balance the agreement foresees. An extra payment goes to principal and shortens the plan; it
never lowers the agreed payment.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from serving.errors import InvalidInputError
from serving.tools.loan import Instalment, annuity_payment, instalment
from serving.tools.money import MAX_MONTHS, ZERO, annual_rate_of, extra_of, months_of, principal_of

LAST_START_YEAR = 9_900
"""So that every due date of a plan is a date that the calendar knows."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A stretch of months with one rate and one agreed payment.

    Attributes:
        from_month: first month, from 1.
        to_month: last month by the agreement; extra payments may end the plan before it.
        annual_rate: nominal, as a fraction.
        payment: agreed monthly payment.
    """

    from_month: int
    to_month: int
    annual_rate: Decimal
    payment: Decimal


@dataclass(frozen=True, slots=True)
class PaymentPlan:
    """A plan and what it costs.

    Attributes:
        months: number of payments until nothing is owed.
        payoff_date: due date of the last payment.
        months_saved: payments fewer than without the extra.
        interest_saved: interest less than without the extra.
    """

    principal: Decimal
    extra: Decimal
    steps: tuple[PlanStep, ...]
    months: int
    payoff_date: date
    total_paid: Decimal
    total_interest: Decimal
    last_payment: Decimal
    months_saved: int
    interest_saved: Decimal
    schedule: tuple[Instalment, ...]


def generate_plan(
    principal: Decimal,
    rates: Sequence[Decimal],
    terms: Sequence[int],
    extra: Decimal = ZERO,
    *,
    first_payment: date,
) -> PaymentPlan:
    """Build a plan from parallel lists of rates and terms.

    Args:
        principal: amount owed, 1.00 to 100,000,000.00, whole cents.
        rates: nominal annual rates as fractions, each 0 to 1.
        terms: months for which each rate applies; together at most 600.
        extra: voluntary monthly payment to principal, zero or more.
        first_payment: due date of the first payment; later ones fall on the same day of the month, or on
            its last day where the month is shorter.

    Raises:
        InvalidInputError: lists of unequal length or empty, or an argument outside its range.
    """
    principal = principal_of(principal)
    if not rates or len(rates) != len(terms):
        raise InvalidInputError(
            f"A plan needs as many rates as terms, at least one of each; got {len(rates)} and {len(terms)}."
        )
    checked = [
        (annual_rate_of(rate, "rates"), months_of(term, "terms"))
        for rate, term in zip(rates, terms, strict=True)
    ]
    if sum(term for _, term in checked) > MAX_MONTHS:
        raise InvalidInputError(f"The terms of a plan must not exceed {MAX_MONTHS} months together.")
    if first_payment.year > LAST_START_YEAR:
        raise InvalidInputError(f"The first payment must fall before the year {LAST_START_YEAR + 1}.")
    extra = extra_of(extra, principal)
    steps, agreed = _agree(principal, checked)
    schedule = _pay(principal, steps, extra) if extra else agreed
    interest = sum((row.interest for row in schedule), ZERO)
    return PaymentPlan(
        principal=principal,
        extra=extra,
        steps=steps,
        months=len(schedule),
        payoff_date=_later(first_payment, len(schedule) - 1),
        total_paid=principal + interest,
        total_interest=interest,
        last_payment=schedule[-1].payment + schedule[-1].extra,
        months_saved=len(agreed) - len(schedule),
        interest_saved=sum((row.interest for row in agreed), ZERO) - interest,
        schedule=schedule,
    )


def _agree(
    principal: Decimal, terms: Sequence[tuple[Decimal, int]]
) -> tuple[tuple[PlanStep, ...], tuple[Instalment, ...]]:
    """Agreed payments of each step, and the schedule when nothing extra is paid."""
    total = sum(months for _, months in terms)
    steps: list[PlanStep] = []
    rows: list[Instalment] = []
    balance, month = principal, 0
    for rate, months in terms:
        payment = annuity_payment(balance, rate, total - month)
        steps.append(PlanStep(month + 1, month + months, rate, payment))
        for current in range(month + 1, month + months + 1):
            if balance == 0:
                break
            row = instalment(current, balance, rate, payment, last=current == total)
            rows.append(row)
            balance = row.balance
        month += months
    return tuple(steps), tuple(rows)


def _pay(principal: Decimal, steps: Sequence[PlanStep], extra: Decimal) -> tuple[Instalment, ...]:
    """The schedule when `extra` is paid every month beside the agreed payments."""
    rows: list[Instalment] = []
    balance, total = principal, steps[-1].to_month
    for step in steps:
        for month in range(step.from_month, step.to_month + 1):
            if balance == 0:
                return tuple(rows)
            row = instalment(month, balance, step.annual_rate, step.payment, last=month == total, extra=extra)
            rows.append(row)
            balance = row.balance
    return tuple(rows)


def next_month(day: date) -> date:
    """The same day of the next month: when a plan agreed today is first paid."""
    return _later(day, 1)


def _later(start: date, months: int) -> date:
    """The same day `months` later, or the last day of a shorter month."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))
