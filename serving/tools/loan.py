"""An instalment loan to the cent: the monthly payment and the full schedule behind it.

Interest is rounded half up to cents each month, the payment is constant, and the last payment takes
what is left, so that the principal parts add up to the loan exactly and the balance ends at 0.00.
Annuity formula: payment = P·r / (1 - (1 + r)^-n) with r = annual rate / 12 and n months.
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext

from serving.errors import InvalidInputError
from serving.tools.money import PRECISE, ZERO, annual_rate_of, cents, months_of, principal_of


@dataclass(frozen=True, slots=True)
class Instalment:
    """One month of a loan; all amounts in the loan's currency.

    Attributes:
        month: 1 for the first payment.
        payment: what is due: interest plus principal.
        extra: voluntary payment to principal beside it.
        balance: what is owed afterwards.
    """

    month: int
    payment: Decimal
    interest: Decimal
    principal: Decimal
    extra: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class LoanQuote:
    """A loan and what it costs.

    Attributes:
        annual_rate: nominal, as a fraction.
        last_payment: the final payment, which differs by the cents that rounding left.
    """

    principal: Decimal
    annual_rate: Decimal
    months: int
    monthly_payment: Decimal
    last_payment: Decimal
    total_paid: Decimal
    total_interest: Decimal
    schedule: tuple[Instalment, ...]


def annuity_payment(principal: Decimal, annual_rate: Decimal, months: int) -> Decimal:
    """The constant monthly payment, rounded half up to cents (arguments already checked)."""
    with localcontext(PRECISE):
        if annual_rate == 0:
            return cents(principal / months)
        rate = annual_rate / 12
        growth = (1 + rate) ** months
        return cents(principal * rate * growth / (growth - 1))


def monthly_interest(balance: Decimal, annual_rate: Decimal) -> Decimal:
    """One month's interest on a balance, rounded half up to cents."""
    return cents(PRECISE.divide(PRECISE.multiply(balance, annual_rate), Decimal(12)))


def calculate_payment(principal: Decimal, annual_rate: Decimal, months: int) -> LoanQuote:
    """Monthly payment and full breakdown of an instalment loan.

    Args:
        principal: amount lent, 1.00 to 100,000,000.00, whole cents.
        annual_rate: nominal annual rate as a fraction (0.0699 is 6.99 %), 0 to 1.
        months: number of monthly payments, 1 to 600.

    Raises:
        InvalidInputError: an argument is outside its range, or the amount is too small for the months.
    """
    principal, annual_rate = principal_of(principal), annual_rate_of(annual_rate)
    months = months_of(months)
    payment = annuity_payment(principal, annual_rate, months)
    if payment == 0:
        raise InvalidInputError(
            f"{principal} over {months} months comes to less than half a cent a month.",
            advice="Take a larger amount or fewer months.",
        )
    schedule, balance = [], principal
    for month in range(1, months + 1):
        row = instalment(month, balance, annual_rate, payment, last=month == months)
        schedule.append(row)
        balance = row.balance
        if balance == 0:
            break
    total = sum((row.payment for row in schedule), ZERO)
    return LoanQuote(
        principal=principal,
        annual_rate=annual_rate,
        months=months,
        monthly_payment=schedule[0].payment if months == 1 else payment,
        last_payment=schedule[-1].payment,
        total_paid=total,
        total_interest=total - principal,
        schedule=tuple(schedule),
    )


def instalment(
    month: int, balance: Decimal, annual_rate: Decimal, payment: Decimal, *, last: bool, extra: Decimal = ZERO
) -> Instalment:
    """One month: interest first, then principal, then the extra; nobody pays more than is owed."""
    interest = monthly_interest(balance, annual_rate)
    due = balance + interest
    paid = due if last or payment > due else payment
    principal = paid - interest
    additional = min(extra, balance - principal)
    return Instalment(month, paid, interest, principal, additional, balance - principal - additional)
