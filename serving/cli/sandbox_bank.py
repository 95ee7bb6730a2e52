"""`python -m serving.cli.sandbox_bank`: whom one can be when calling the sandbox bank.

Shows synthetic customers only; there is no way to list a real bank's.
"""

from typing import Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def sandbox_bank(
    most: Annotated[int, typer.Option(min=1, max=200, help="How many customers.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List customers of the sandbox bank with what verifies them: customer number and date of birth."""
    with command_errors():
        from serving.tools.sandbox_bank import SEED
        from serving.tools.sandbox_people import synthetic_customers

        people = synthetic_customers(SEED, most)
        if as_json:
            print_json(people)
            return
        rows = [
            (
                person.number,
                person.birth_date.isoformat(),
                person.name,
                ", ".join(account.kind for account in person.accounts),
                ", ".join(f"{card.kind} {card.ending}" for card in person.cards),
                f"{sum(account.overdue for account in person.accounts):,}",
            )
            for person in people
        ]
        columns = ["Number", "Date of birth", "Name", "Accounts", "Cards", "Overdue"]
        print_table("Synthetic customers", columns, rows, right=["Overdue"])


if __name__ == "__main__":
    app()
