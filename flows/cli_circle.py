"""The commands of `voicebot` that close the circle: from calls back to training data."""

from pathlib import Path
from typing import Annotated

import typer

from flows.entry import AsJson, entry, show
from serving.cli.console import command_errors


def add_circle_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command("watch-drift")(watch_drift)
    app.command("export-utterances")(export_utterances)
    app.command("import-reviewed")(import_reviewed)


def watch_drift(
    name: Annotated[str, typer.Option(help="Registered model; its champion is watched.")] = "banking-lora",
    window_days: Annotated[int, typer.Option(min=1, max=365, help="Length of the window.")] = 7,
    dataset: Annotated[
        str, typer.Option(help="What it was trained on, where that is no version of the own intents.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare the last days' calls with what the champion was trained for.

    Drift is a finding, not a failure: the exit code is 0 whatever the verdict.
    """
    with entry(as_json=as_json):
        from flows.watch_drift import watch_drift as run

        show("Drift", run(name, window_days, dataset), as_json=as_json)


def export_utterances(
    days: Annotated[int, typer.Option(min=1, max=365, help="Length of the window.")] = 7,
    out: Annotated[
        Path | None, typer.Option(help="The reviewer's file (JSONL); default: in home/reviews.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write callers' redacted utterances for a reviewer to label, the least sure first.

    Refuses (exit code 1) until the setting training_consent says where callers consent. Callers who want no
    recording are left out.
    """
    with command_errors():
        from flows.utterances import export_for_review
        from serving.settings import Settings

        show("Export", export_for_review(Settings.load(), days, out), as_json=as_json)


def import_reviewed(
    file: Annotated[Path, typer.Argument(help="What export-utterances wrote, with labels filled in.")],
    base: Annotated[
        Path | None, typer.Option(help="Version to add to (folder); default: the own intents.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a reviewer's labels to the intents as their next version, for `voicebot train --dataset`."""
    with command_errors():
        from flows.utterances import import_review
        from serving.settings import Settings

        show("Dataset", import_review(Settings.load(), file, base), as_json=as_json)
