"""`compliance-test`: what the bot would say, word for word, for an occasion and a jurisdiction."""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table, rich_console
from serving.errors import InvalidInputError

if TYPE_CHECKING:
    from serving.tools.compliance import ComplianceLibrary

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def compliance_test(
    type_: Annotated[str, typer.Option("--type", help="KYC, RECORDING_OPT_OUT or LEGAL_NOTICE.")] = "",
    notice: Annotated[str, typer.Option(help="A wording other than the usual one; see --list.")] = "",
    param: Annotated[list[str] | None, typer.Option(help="A parameter as name=value; repeatable.")] = None,
    jurisdiction: Annotated[
        str, typer.Option(help="US, or a state such as US-CA; default: the bank's.")
    ] = "",
    on: Annotated[str, typer.Option(help="Day of the call, YYYY-MM-DD; default: the bank's.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="List all approved wordings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show an approved compliance wording with its version and hash.

    Exit codes: 0 shown, 2 an argument makes no sense, 3 no approved wording for it.
    """
    with command_errors():
        from serving.settings import Settings
        from serving.tools.compliance import load_compliance

        settings = Settings.load()
        library = load_compliance(settings.data / "compliance")
        if list_:
            _list(library, as_json)
            return
        if not type_ and not notice:
            raise InvalidInputError("Say which wording: --type KYC, or --notice ID (see --list).")
        found = library.notice(
            type_ or library.flow_type(notice),
            _parameters(param or []),
            jurisdiction=jurisdiction or settings.jurisdiction,
            on=_day(on) if on else settings.today(),
            text_id=notice,
            house={"bank_name": settings.bank_name},
        )
        if as_json:
            print_json(found)
            return
        fallback = " (fallback: a parameter is missing)" if found.used_fallback else ""
        console = rich_console()
        console.print(
            f"{found.reference}{fallback}  sha256 {found.sha256}", style="dim", markup=False, soft_wrap=True
        )
        # Soft-wrapped, so that a copied text has the hash: the terminal breaks the line, not this program.
        console.print(found.text, markup=False, emoji=False, soft_wrap=True)


def _list(library: "ComplianceLibrary", as_json: bool) -> None:
    if as_json:
        print_json(library.texts)
        return
    rows = [
        (
            t.flow_type,
            t.id,
            t.jurisdiction,
            t.version,
            t.effective_from,
            ", ".join(t.params),
            "yes" * t.default,
        )
        for t in library.texts
    ]
    columns = ["Type", "Wording", "Jurisdiction", "Version", "From", "Parameters", "Usual"]
    print_table("Approved wordings", columns, rows)


def _parameters(pairs: list[str]) -> dict[str, object]:
    parsed: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"--param needs name=value, got {pair[:40]!r}.")
        if name in parsed:
            raise InvalidInputError(f"--param {name[:40]} is given twice.")
        parsed[name] = value
    return parsed


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"--on must be a date such as 2027-01-31, got {text[:20]!r}.") from None


if __name__ == "__main__":
    app()
