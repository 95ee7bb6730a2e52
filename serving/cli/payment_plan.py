"""`payment-plan`: a plan with rate steps and extra payments, month by month."""

from datetime import date
from typing import Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table
from serving.errors import InvalidInputError
from serving.tools.money import annual_rate_of, extra_of, months_of, percent, principal_of
from serving.tools.plan import PaymentPlan, generate_plan, next_month

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def payment_plan(
    amount: Annotated[str, typer.Option(help="Amount owed, such as 10000.")],
    interest: Annotated[list[str], typer.Option(help="Annual rate as a fraction; repeat it for each step.")],
    months: Annotated[
        list[str], typer.Option(help="Months that the rate applies for; repeat it in parallel.")
    ],
    extra: Annotated[str, typer.Option(help="Extra monthly payment to principal.")] = "0",
    first_payment: Annotated[
        str,
        typer.Option(
            help="Due date of the first payment, YYYY-MM-DD; default: in a month, by the bank's day."
        ),
    ] = "",
    schedule: Annotated[bool, typer.Option("--schedule", help="Show every month.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document with the full schedule.")
    ] = False,
) -> None:
    """Compute a payment plan to the cent: --interest 0.08 --months 24 --interest 0.06 --months 36.

    Exit codes: 0 computed, 2 an argument makes no sense.
    """
    with command_errors():
        principal = principal_of(amount, "--amount")
        plan = generate_plan(
            principal,
            [annual_rate_of(rate, "--interest") for rate in interest],
            [months_of(term, "--months") for term in months],
            extra_of(extra, principal, "--extra"),
            first_payment=_date(first_payment) if first_payment else next_month(_today()),
        )
        if as_json:
            print_json(plan)
        else:
            _show(plan, schedule)


def _today() -> date:
    from serving.settings import Settings

    return Settings.load().today()


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"--first-payment must be a date such as 2027-01-31, got {text[:20]!r}."
        ) from None


def _show(plan: PaymentPlan, schedule: bool) -> None:
    steps = [
        (f"{s.from_month}-{s.to_month}", f"{percent(s.annual_rate)} %", f"{s.payment:,}") for s in plan.steps
    ]
    title = f"Plan for {plan.principal:,}" + (f" with {plan.extra:,} extra a month" if plan.extra else "")
    print_table(title, ["Months", "Rate", "Agreed payment"], steps, right=["Rate", "Agreed payment"])
    rows = [
        ("Payments", plan.months),
        ("Paid off on", plan.payoff_date),
        ("Last payment", f"{plan.last_payment:,}"),
        ("Total interest", f"{plan.total_interest:,}"),
        ("Total paid", f"{plan.total_paid:,}"),
    ]
    if plan.extra:
        rows += [("Months saved", plan.months_saved), ("Interest saved", f"{plan.interest_saved:,}")]
    print_table("", ["", "Value"], rows, right=["Value"])
    if schedule:
        columns = ["Month", "Payment", "Interest", "Principal", "Extra", "Balance"]
        months = [
            (r.month, *(f"{amount:,}" for amount in (r.payment, r.interest, r.principal, r.extra, r.balance)))
            for r in plan.schedule
        ]
        print_table("Schedule", columns, months, right=columns)


if __name__ == "__main__":
    app()
