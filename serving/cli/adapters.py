"""`adapter-control`: the operator's view of adapters and the levers on them.

A command reads settings, calls one function of `serving.adapters` and shows the result; rules are there,
commands in the modules beside this one. `--disable` needs neither registry nor encoder, because it must work
when those do not.
"""

from typing import Annotated

import typer

from serving.cli import adapter_changes, adapter_exports, adapter_reading, adapter_split
from serving.cli.adapter_home import choose
from serving.cli.adapter_options import AsJson, By, DryRun, Reason
from serving.cli.console import command_errors
from serving.errors import InvalidInputError

app = typer.Typer(
    name="adapter-control",
    help="List, compare, verify, promote, split and roll back adapters; choose what the servers of this home "
    "load.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(adapter_reading.list_versions)
app.command()(adapter_reading.show)
app.command()(adapter_reading.compare)
app.command()(adapter_changes.promote)
app.command()(adapter_changes.rollback)
app.command()(adapter_split.split)
app.command()(adapter_changes.load)
app.command()(adapter_reading.history)
app.command()(adapter_reading.verify)
app.command()(adapter_exports.export)
app.command()(adapter_changes.sign)
app.command("new-key")(adapter_exports.new_key)


@app.callback()
def control(
    context: typer.Context,
    load: Annotated[
        str | None, typer.Option(metavar="NAME[@ALIAS|VERSION]", help="What the servers of this home load.")
    ] = None,
    enable: Annotated[
        bool, typer.Option("--enable", help="Serve the adapter (with or without --load).")
    ] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Serve the frozen baseline head.")] = False,
    reason: Reason = "operator's choice",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Choose what the servers of this home load; without --load and --enable they follow the champion."""
    if context.invoked_subcommand is not None:
        if load or enable or disable or dry_run or as_json:
            with command_errors():
                raise InvalidInputError(
                    "--load, --enable and --disable stand alone, without a subcommand.",
                    advice="A subcommand's own options (--json, --dry-run) stand behind its name.",
                )
        return
    if not (load or enable or disable):
        typer.echo(context.get_help())
        return
    with command_errors():
        choose(load, enable=enable, disable=disable, by=by, reason=reason, dry_run=dry_run, as_json=as_json)


if __name__ == "__main__":
    app()
