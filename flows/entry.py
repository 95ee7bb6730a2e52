"""What every command of `voicebot` begins and ends with: settings, a display, and a result shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.console import command_errors, print_json, print_table, rich_console

if TYPE_CHECKING:
    from rich.console import Console

    from serving.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextmanager
def entry(*, as_json: bool = False, hub: bool = False) -> Iterator[tuple["Settings", "Console"]]:
    """What every command that runs a flow begins with: settings, offline environment, logs, a display."""
    with command_errors():
        from flows.environment import go_offline
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        go_offline(settings, hub=hub)
        configure_logs(settings)
        console = rich_console()
        console.quiet = as_json
        from flows.display import ProgressDisplay
        from flows.progress import reporting

        with ProgressDisplay(console) as display, reporting(display):
            yield settings, console


def show(title: str, outcome: Any, *, as_json: bool) -> None:
    """Print what a flow left: a table of its fields, or one JSON document."""
    from serving.plain import plain

    facts = plain(outcome)
    if as_json:
        print_json(facts)
        return
    print_table(title, ["", "value"], [(key.replace("_", " "), _cell(value)) for key, value in facts.items()])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(item)}" for key, item in value.items())
    return "-" if value is None else str(value)
