"""Loans and plans to the cent: worked figures, invariants, agreement with numpy-financial."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import numpy_financial as npf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from serving.tools.loan import calculate_payment
from serving.tools.plan import generate_plan

D = Decimal
START = date(2026, 1, 31)

amounts = st.decimals(min_value=1, max_value=5_000_000, places=2)
rates = st.decimals(min_value=0, max_value=1, places=5)
terms = st.integers(1, 600)


def test_the_designs_example_is_reproduced_to_the_cent() -> None:
    quote = calculate_payment(D(10_000), D("0.0699"), 60)
    assert (quote.monthly_payment, quote.last_payment) == (D("197.96"), D("198.32"))


def test_a_loan_without_interest_is_the_amount_divided_by_the_months() -> None:
    quote = calculate_payment(D(100), D(0), 3)
    assert [row.payment for row in quote.schedule] == [D("33.33"), D("33.33"), D("33.34")]
    assert quote.total_interest == 0


def test_a_loan_of_one_month_is_paid_back_with_one_months_interest() -> None:
    quote = calculate_payment(D(1200), D("0.06"), 1)
    assert quote.monthly_payment == quote.last_payment == D("1206.00")


@given(amounts.filter(lambda a: a >= 3), rates, terms)
def test_principal_parts_add_up_to_the_loan_and_nothing_is_owed_at_the_end(
    principal: Decimal, rate: Decimal, months: int
) -> None:
    quote = calculate_payment(principal, rate, months)
    assert sum(row.principal for row in quote.schedule) == principal
    assert quote.schedule[-1].balance == 0
    assert len(quote.schedule) <= months
    assert quote.total_paid == principal + quote.total_interest
    assert all(row.payment == row.interest + row.principal for row in quote.schedule)
    assert all(amount == round(amount, 2) for row in quote.schedule for amount in (row.payment, row.interest))


@given(
    amounts.filter(lambda a: a >= 1_000),
    st.decimals(min_value="0.001", max_value="0.3", places=4),
    st.integers(6, 360),
)
def test_the_payment_agrees_with_numpy_financial(principal: Decimal, rate: Decimal, months: int) -> None:
    expected = -npf.pmt(rate / 12, months, principal)
    rounded = D(expected).quantize(D("0.01"), rounding=ROUND_HALF_UP)
    assert calculate_payment(principal, rate, months).monthly_payment == rounded


@given(
    amounts.filter(lambda a: a >= 1_000),
    st.decimals(min_value="0.001", max_value="0.3", places=4),
    st.integers(6, 360),
)
def test_rounding_never_moves_the_total_by_more_than_a_cent_a_month(
    principal: Decimal, rate: Decimal, months: int
) -> None:
    quote = calculate_payment(principal, rate, months)
    exact = -npf.pmt(rate / 12, months, principal) * months
    growth = (1 + rate / 12) ** months
    assert abs(quote.total_paid - exact) <= D("0.01") * months * growth


@pytest.mark.parametrize(
    ("principal", "rate", "months", "said"),
    [
        (D(-5), D("0.06"), 60, "principal must be between"),
        (D(0), D("0.06"), 60, "principal must be between"),
        (D("NaN"), D("0.06"), 60, "finite"),
        (D("Infinity"), D("0.06"), 60, "finite"),
        (D("1E+12"), D("0.06"), 60, "between"),
        (D("10.005"), D("0.06"), 60, "whole cents"),
        (D(10_000), D(6), 60, "write 0.06"),
        (D(10_000), D("-0.01"), 60, "negative"),
        (D(10_000), D("0.06"), 10**9, "1 to 600"),
        (D(10_000), D("0.06"), 0, "1 to 600"),
        (D(10_000), D("0.06"), D("1.5"), "whole number"),
        (D(1), D(0), 600, "less than half a cent a month"),
    ],
)
def test_nonsense_is_refused_with_the_reason(
    principal: Decimal, rate: Decimal, months: int, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        calculate_payment(principal, rate, months)


def test_a_step_down_plan_re_amortises_over_the_months_left() -> None:
    plan = generate_plan(D(10_000), [D("0.08"), D("0.06")], [24, 36], first_payment=START)
    assert [step.payment for step in plan.steps] == [D("202.76"), D("196.85")]
    assert plan.months == 60
    assert plan.payoff_date == date(2030, 12, 31)


def test_an_extra_payment_shortens_the_plan_and_leaves_the_agreed_payments_alone() -> None:
    without = generate_plan(D(10_000), [D("0.08"), D("0.06")], [24, 36], first_payment=START)
    plan = generate_plan(D(10_000), [D("0.08"), D("0.06")], [24, 36], D(50), first_payment=START)
    assert plan.steps == without.steps
    assert plan.months == 47
    assert plan.months_saved == 13
    assert plan.interest_saved == without.total_interest - plan.total_interest > 0
    assert plan.payoff_date == date(2029, 11, 30)


def test_a_plan_with_one_step_is_the_loan() -> None:
    quote = calculate_payment(D(20_000), D("0.0699"), 60)
    assert generate_plan(D(20_000), [D("0.0699")], [60], first_payment=START).schedule == quote.schedule


steps = st.lists(st.tuples(rates, st.integers(1, 120)), min_size=1, max_size=5)


@given(amounts, steps, st.decimals(min_value=0, max_value=500, places=2))
def test_every_plan_pays_exactly_what_is_owed(
    principal: Decimal, parts: list[tuple[Decimal, int]], extra: Decimal
) -> None:
    extra = min(extra, principal)
    plan = generate_plan(principal, [r for r, _ in parts], [t for _, t in parts], extra, first_payment=START)
    assert sum(row.principal + row.extra for row in plan.schedule) == principal
    assert plan.schedule[-1].balance == 0
    assert plan.total_paid == principal + plan.total_interest
    assert plan.total_paid == sum(row.payment + row.extra for row in plan.schedule)
    assert plan.months == len(plan.schedule) <= sum(term for _, term in parts)
    assert plan.months_saved >= 0
    assert plan.interest_saved >= 0
    assert all(row.extra <= extra for row in plan.schedule)


@pytest.mark.parametrize(
    ("rates", "terms", "extra", "said"),
    [
        ([], [], D(0), "at least one"),
        ([D("0.05")], [12, 24], D(0), "as many rates as terms"),
        ([D("0.05")] * 2, [400, 400], D(0), "600 months together"),
        ([D("0.05")], [12], D(-1), "extra must be between"),
        ([D("0.05")], [12], D(10_001), "extra must be between"),
        ([D(5)], [12], D(0), "write 0.05"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(rates: list[D], terms: list[int], extra: D, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        generate_plan(D(10_000), rates, terms, extra, first_payment=START)
