"""The commands of `voicebot` that close the circle: from calls to verdicts, and back to training data."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.entry import AsJson, entry, show
from serving.cli.console import command_errors


def add_circle_commands(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    app.command("watch-drift")(watch_drift)
    app.command("compare-arms")(compare_arms)
    app.command("export-utterances")(export_utterances)
    app.command("import-reviewed")(import_reviewed)
    app.command("evict-cache")(evict_cache)
    app.command("warm-cache")(warm_cache)


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


def compare_arms(
    name: Annotated[str, typer.Option(help="Registered model whose split it is.")] = "banking-lora",
    split: Annotated[str, typer.Option(help="Id of the split; default: the newest.")] = "",
    share: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", help="Challenger's planned share, where no registry knows the split."
        ),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only callers from this time (UTC) on; default: the newest share.")
    ] = None,
    primary: Annotated[
        str, typer.Option(help="Metric that decides, with --share; else the one named with the split.")
    ] = "",
    alpha: Annotated[float, typer.Option(help="Chance of ever being wrong about it.")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="Folder of the page; default: in home/reports.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare champion and challenger on the calls of a split; one may look as often as one likes.

    Exit codes: 0 the challenger is better, or it is undecided; 1 it is worse, or callers were not split as
    planned and there is no verdict; 2 bad input; 3 no such split, or no call of it; 4 not to be had.
    """
    with command_errors():
        from flows.compare_arms import ArmsRequest, compare, show_comparison
        from serving.cli.console import print_json
        from serving.settings import Settings

        request = ArmsRequest(
            name=name,
            split=split,
            share=None if share is None else share / 100,
            since=since.replace(tzinfo=since.tzinfo or UTC) if since else None,
            primary=primary,
            alpha=alpha,
        )
        found = compare(Settings.load(), request, out)
        if as_json:
            print_json(found.summary())
        else:
            show_comparison(found)
        if found.negative:
            raise SystemExit(1)


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


def evict_cache(
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least accuracy that stays.")] = 0.6,
    max_entries: Annotated[int | None, typer.Option(min=0, help="Most entries that stay.")] = None,
    max_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of what callers are answered from that may go.")
    ] = 0.2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; nothing is written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hear what calls told of the cache's answers; let go of what is wrong, expired, orphaned or too much.

    Exit codes: 0 done, 1 refused because it would take more than --max-fraction, 3 there is no cache.
    """
    with entry(as_json=as_json):
        from flows.evict_cache import evict_cache as run

        show("Eviction", run(threshold, max_entries, max_fraction, dry_run), as_json=as_json)


def warm_cache(
    name: Annotated[str, typer.Option(help="Registered model.")] = "banking-lora",
    ref: Annotated[
        str, typer.Option(help="Alias or number of the version whose scope is warmed.")
    ] = "champion",
    as_json: AsJson = False,
) -> None:
    """Answer what callers ask most for the scope of a version, as `voicebot promote` does before the flip."""
    with command_errors():
        from flows.warm_cache import warm_scope
        from serving.adapters.audit import operator_name
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        configure_logs(settings)
        number = int(ref) if ref.isdecimal() else ref
        found = warm_scope(settings, name, number, actor=operator_name(settings.operator))
        show("Warm-up", found, as_json=as_json)
