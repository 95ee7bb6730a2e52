"""The commands of `voicebot` that close the circle: from calls back to training data."""

from typing import Annotated

import typer

from flows.entry import AsJson, entry, show


def add_circle_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command("watch-drift")(watch_drift)


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
