"""The bank's tools as engines see them: thin functions over the calculators, with described arguments.

Each returns a small mapping for a spoken answer; full schedules stay with the functions themselves and the
commands `loan-calc` and `payment-plan`.
"""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serving.tools import loan, plan
from serving.tools.compliance import ComplianceLibrary
from serving.tools.money import MAX_MONTHS, MAX_PRINCIPAL, MIN_PRINCIPAL, read_number
from serving.tools.protocols import Effect, Tool
from serving.tools.rates import NoRateError, RateSheet
from serving.tools.schema import tool_schema


def _number_given(value: object) -> object:
    """Engines write numbers as text now and then; text is read as everywhere, and true is no number."""
    if not isinstance(value, bool | str):
        return value
    number = None if isinstance(value, bool) else read_number(value)
    if number is None:
        raise ValueError("must be a number")
    return number


# Last in each list: pydantic runs it first, and keeps the bounds in the schema.
_AsNumber = BeforeValidator(_number_given)
_LEAST, _MOST = int(MIN_PRINCIPAL), int(MAX_PRINCIPAL)
Principal = Annotated[
    Decimal,
    Field(ge=_LEAST, le=_MOST, description="Amount to borrow, in dollars and whole cents."),
    _AsNumber,
]
Rate = Annotated[
    Decimal, Field(ge=0, le=1, description="Nominal annual rate as a fraction: 0.0699 is 6.99 %."), _AsNumber
]
Months = Annotated[int, Field(ge=1, le=MAX_MONTHS, description="Number of monthly payments."), _AsNumber]
Extra = Annotated[
    Decimal, Field(ge=0, le=_MOST, description="Extra monthly payment to principal."), _AsNumber
]
Product = Annotated[
    str,
    Field(max_length=40, description="Product, such as personal_loan or car_loan; empty for the usual loan."),
]


def bank_tools(
    rates: RateSheet,
    texts: ComplianceLibrary,
    *,
    bank_name: str,
    jurisdiction: str,
    today: Callable[[], date],
) -> tuple[Tool, ...]:
    """All tools of a call.

    Args:
        rates: the rate sheet.
        texts: approved compliance wordings.
        bank_name: fills the parameter of that name in wordings.
        jurisdiction: where the bank's callers are, unless a wording is asked for elsewhere.
        today: the day that rates, due dates and wordings are looked up for.
    """
    house = {"bank_name": bank_name}

    def get_rate(principal: Principal, months: Months, product: Product = "") -> Mapping[str, Any]:
        """Look up the bank's annual rate for a loan; the only source of a rate the caller did not name.

        `found` is false where the rate sheet holds none for the product, amount, term or day; then
        `reason` and `detail` say why, and no rate may be quoted.
        """
        asked = product.strip() or rates.default_product
        try:
            row = rates.rate(asked, principal, months, today())
        except NoRateError as error:
            return {"found": False, "product": asked, "reason": error.reason, "detail": error.message}
        return {"found": True, "product": row.product, "annual_rate": row.annual_rate, "row": row.id}

    def calculate_payment(principal: Principal, annual_rate: Rate, months: Months) -> Mapping[str, Any]:
        """Compute the monthly payment, the total and the interest of an instalment loan, to the cent."""
        quote = loan.calculate_payment(principal, annual_rate, months)
        return {
            "principal": quote.principal,
            "annual_rate": quote.annual_rate,
            "months": quote.months,
            "monthly_payment": quote.monthly_payment,
            "last_payment": quote.last_payment,
            "total_paid": quote.total_paid,
            "total_interest": quote.total_interest,
        }

    def generate_plan(
        principal: Principal,
        rates: Annotated[
            list[Rate], Field(min_length=1, max_length=12, description="Annual rate of each step.")
        ],
        terms: Annotated[
            list[Months], Field(min_length=1, max_length=12, description="Months of each step.")
        ],
        extra: Extra = Decimal(0),
    ) -> Mapping[str, Any]:
        """Compute a payment plan with rate steps and extra payments: payments, interest, pay-off date."""
        made = plan.generate_plan(principal, rates, terms, extra, first_payment=plan.next_month(today()))
        return {
            "principal": made.principal,
            "extra": made.extra,
            "steps": [
                {
                    "from_month": step.from_month,
                    "to_month": step.to_month,
                    "annual_rate": step.annual_rate,
                    "payment": step.payment,
                }
                for step in made.steps
            ],
            "months": made.months,
            "payoff_date": made.payoff_date,
            "last_payment": made.last_payment,
            "total_interest": made.total_interest,
            "total_paid": made.total_paid,
            "months_saved": made.months_saved,
            "interest_saved": made.interest_saved,
        }

    def get_prompt(
        flow_type: Annotated[
            Literal["KYC", "RECORDING_OPT_OUT", "LEGAL_NOTICE"], Field(description="The occasion.")
        ],
        params: Annotated[
            Mapping[str, str], Field(description="Values of the wording's parameters.")
        ] = {},  # read only; pydantic copies it
        notice: Annotated[str, Field(max_length=60, description="A wording other than the usual one.")] = "",
    ) -> Mapping[str, Any]:
        """Fetch the verbatim compliance wording for an occasion; it must be spoken word for word.

        The bank's own name is not an engine's to give, so a parameter of that name is passed over.
        """
        found = texts.notice(
            flow_type,
            {name: value for name, value in params.items() if name not in house},
            jurisdiction=jurisdiction,
            on=today(),
            text_id=notice,
            house=house,
        )
        return {
            "reference": found.reference,
            "text": found.text,
            "sha256": found.sha256,
            "jurisdiction": found.jurisdiction,
            "used_fallback": found.used_fallback,
        }

    functions = (get_rate, calculate_payment, generate_plan, get_prompt)
    return tuple(Tool(tool_schema(function), function, Effect.READ) for function in functions)
