"""`cache-manager`: what is in the semantic cache, why a question would or would not hit, and what goes.

    cache-manager --evict --threshold=0.6

is the short form of `cache-manager evict --threshold 0.6`.
"""

from typing import Annotated

import typer

from serving.cli import cache_changes, cache_files, cache_reading, cache_serving
from serving.cli.cache_options import AsJson, By, DryRun, MaxEntries, MaxFraction, Threshold
from serving.cli.console import command_errors
from serving.errors import InvalidInputError

Evict = Annotated[
    bool, typer.Option("--evict", help="Let go of what is wrong, expired, orphaned or too much; as `evict`.")
]
app = typer.Typer(
    name="cache-manager",
    help="Look into the semantic cache of this home, and keep it honest.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(cache_reading.stats)
app.command("list")(cache_reading.list_entries)
app.command()(cache_reading.inspect)
app.command()(cache_reading.explain)
app.command()(cache_changes.evict)
app.command()(cache_changes.feedback)
app.command()(cache_changes.release)
app.command()(cache_changes.build)
app.command()(cache_files.verify)
app.command()(cache_files.export)
app.command("import")(cache_files.import_entries)
app.command()(cache_serving.serve)


@app.callback()
def manage(
    context: typer.Context,
    evict: Evict = False,
    threshold: Threshold = 0.6,
    max_entries: MaxEntries = None,
    max_fraction: MaxFraction = 0.2,
    dry_run: DryRun = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Look into the semantic cache of this home, and keep it honest."""
    if context.invoked_subcommand is None:
        if evict:
            cache_changes.evict(threshold, max_entries, max_fraction, dry_run, by, as_json)
            return
        if not _given(context):
            typer.echo(context.get_help())
            return
    elif not _given(context):
        return
    with command_errors():
        raise InvalidInputError(
            "--threshold and the other options belong to --evict, which stands alone, without a subcommand.",
            advice="A subcommand's own options (--json, --dry-run) stand behind its name.",
        )


def _given(context: typer.Context) -> bool:
    """Whether any option stands before the subcommand."""
    sources = (context.get_parameter_source(name) for name in context.params)
    return any(source is not None and source.name == "COMMANDLINE" for source in sources)


if __name__ == "__main__":
    app()
