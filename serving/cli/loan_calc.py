"""`loan-calc`: what a loan costs a month, and in full."""

from typing import Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table
from serving.tools.loan import LoanQuote, calculate_payment
from serving.tools.money import annual_rate_of, months_of, percent, principal_of

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def loan_calc(
    amount: Annotated[str, typer.Option(help="Amount lent, such as 20000 or 12500.50.")],
    interest: Annotated[str, typer.Option(help="Nominal annual rate as a fraction: 0.06 is 6 %.")],
    months: Annotated[str, typer.Option(help="Number of monthly payments, 1 to 600.")],
    schedule: Annotated[bool, typer.Option("--schedule", help="Show every month.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document with the full schedule.")
    ] = False,
) -> None:
    """Compute the monthly payment of an instalment loan, to the cent.

    Exit codes: 0 computed, 2 an argument makes no sense.
    """
    with command_errors():
        quote = calculate_payment(
            principal_of(amount, "--amount"),
            annual_rate_of(interest, "--interest"),
            months_of(months, "--months"),
        )
        if as_json:
            print_json(quote)
        else:
            _show(quote, schedule)


def _show(quote: LoanQuote, schedule: bool) -> None:
    rows = [
        ("Monthly payment", f"{quote.monthly_payment:,}"),
        ("Last payment", f"{quote.last_payment:,}"),
        ("Payments", len(quote.schedule)),
        ("Total interest", f"{quote.total_interest:,}"),
        ("Total paid", f"{quote.total_paid:,}"),
    ]
    title = f"Loan of {quote.principal:,} at {percent(quote.annual_rate)} % over {quote.months} months"
    print_table(title, ["", "Amount"], rows, right=["Amount"])
    if schedule:
        columns = ["Month", "Payment", "Interest", "Principal", "Balance"]
        months = [
            (r.month, f"{r.payment:,}", f"{r.interest:,}", f"{r.principal:,}", f"{r.balance:,}")
            for r in quote.schedule
        ]
        print_table("Schedule", columns, months, right=columns)


if __name__ == "__main__":
    app()
