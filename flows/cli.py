"""`voicebot`: the demo, the flows by hand, the data's checker, the one command that downloads weights."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_circle import add_circle_commands
from flows.entry import AsJson
from flows.entry import entry as _entry
from flows.entry import show as _show
from serving.cli.console import command_errors, print_json, rich_console
from serving.errors import InvalidInputError

app = typer.Typer(
    name="voicebot",
    help="A bank's phone agent: train, judge, promote, serve, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo() -> None:
    """Run the whole circle once: train, promote, build the cache, take a call, evaluate, report."""
    with _entry() as (settings, console):
        from flows.demo import run_demo

        run_demo(settings, console)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option(help="YAML folder, CSV file or hub name; default: own intents.")
    ] = "",
    test: Annotated[
        Path | None, typer.Option(help="CSV file to report on; with it nothing is registered.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Recipe: project or banking77.")] = "project",
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Number of seeds; more than 1 make a report, too.")
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of a report; default: in home/recipes.")] = None,
    name: Annotated[
        str, typer.Option(help="Registered model; another --dataset than the own intents needs another name.")
    ] = "banking-lora",
    as_json: AsJson = False,
) -> None:
    """Train an adapter and register it as challenger; with --test or several seeds, report a recipe instead.

    banking-lora, which serves, takes the project's own intents only: with --dataset, give a --name too. Such
    a model is not judged by the gate. A report registers nothing; it tests on --test, or on the test split
    that the data brings. Only a hub name uses the network.
    """
    from training.sources import is_hub_name

    with _entry(as_json=as_json, hub=is_hub_name(dataset)) as (settings, _console):
        if test is not None or seeds > 1:
            from flows.recipe import report_recipe

            report_recipe(settings, dataset, test, preset, seeds, out, as_json=as_json)
            return
        if preset not in {"project", "banking77"}:
            raise InvalidInputError(f"There is no preset {preset!r}; there are project and banking77.")
        from flows.train_adapter import TrainRequest, train_adapter

        request = TrainRequest(dataset=dataset, preset=preset, name=name)
        _show("Trained", train_adapter(request), as_json=as_json)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Registered model.")] = "banking-lora",
    version: Annotated[int | None, typer.Option(help="Version; default: the challenger.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "promoted with voicebot promote",
    waive: Annotated[
        list[str] | None, typer.Option(help="CHECK=reason: overrule a check in writing.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge only; nothing moves.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a version, warm its cache scope and make it the champion.

    Exit codes: 0 promoted (or would be), 1 the gate refused.
    """
    with _entry(as_json=as_json):
        from flows.promote_adapter import promote_adapter

        waivers = _pairs(waive or [])
        outcome = promote_adapter(name, version, reason, waivers or None, dry_run)
        _show("Promotion", outcome, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")] = "banking-lora",
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "rolled back with voicebot rollback",
    as_json: AsJson = False,
) -> None:
    """Swap champion and previous through the flow; `adapter-control rollback` does it without Prefect."""
    with _entry(as_json=as_json):
        from flows.promote_adapter import rollback_adapter

        _show("Rollback", {"champion": rollback_adapter(name, reason)}, as_json=as_json)


@app.command("build-cache")
def build_cache(
    name: Annotated[str, typer.Option(help="Registered model.")] = "banking-lora",
    ref: Annotated[
        str, typer.Option(help="Alias or number of the version whose scope is built.")
    ] = "champion",
    as_json: AsJson = False,
) -> None:
    """Fill the semantic cache of an adapter's scope from the approved knowledge."""
    with _entry(as_json=as_json):
        from flows.build_cache_index import build_cache_index

        _show("Cache", build_cache_index(name, ref), as_json=as_json)


@app.command("evaluate-speech")
def evaluate_speech(
    clips: Annotated[int, typer.Option(min=0, max=1_000, help="Most clips to score for MOS.")] = 10,
    round_trip: Annotated[
        bool, typer.Option("--round-trip", help="Also speak and recognise all clean lines.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """WER of the recorded scripted calls and predicted MOS of the bot's speech."""
    with _entry(as_json=as_json):
        from flows.evaluate_speech import evaluate_speech as run

        _show("Speech", run(max_clips=clips, round_trip=round_trip), as_json=as_json)


@app.command()
def wer(
    clips: Annotated[Path, typer.Argument(help="Folder of audio files.")],
    transcripts: Annotated[Path, typer.Option(help="TSV: clip name, words.")],
    lm_text: Annotated[
        Path | None, typer.Option(help="Text to build an n-gram from; default: as configured.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """WER of the configured speech-to-text on recorded clips, with interval."""
    with _entry(as_json=as_json) as (settings, _console):
        from flows.evaluate_speech import wer_of_folder

        _show("WER", wer_of_folder(settings, clips, transcripts, lm_text), as_json=as_json)


@app.command("cache-pairs")
def cache_pairs(
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least cosine; default: cache_threshold.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the labelled question pairs through the cache's rule: right and wrong reuse by kind."""
    with _entry(as_json=as_json) as (settings, _console):
        from flows.cache_pairs import report_pairs

        report_pairs(settings, threshold, as_json=as_json)


@app.command("report-kpis")
def report_kpis(
    window_days: Annotated[int, typer.Option(min=1, max=3_650, help="Length of the window.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Write the KPI page and CSV files from the call records."""
    with _entry(as_json=as_json):
        from flows.report_kpis import report_kpis as run

        _show("KPIs", run(window_days), as_json=as_json)


add_circle_commands(app)


@app.command("check-data")
def check_data(as_json: AsJson = False) -> None:
    """Check the project's own data; lists every problem. Exit codes: 0 sound, 1 problems."""
    with command_errors():
        from flows.data_report import data_report, show_report
        from serving.settings import Settings

        found = data_report(Settings.load().data)
        if as_json:
            print_json(found)
        else:
            show_report(found)
        if found.problems:
            raise SystemExit(1)


@app.command("fetch-models")
def fetch_models(
    what: Annotated[
        list[str] | None, typer.Argument(help="whisper, kokoro, encoder; without any: list them.")
    ] = None,
    whisper: Annotated[str, typer.Option(help="Whisper checkpoint, such as small.en or turbo.")] = "small.en",
    voice: Annotated[str, typer.Option(help="Kokoro voice.")] = "af_heart",
    mirror: Annotated[str | None, typer.Option(help="Address of a server with the same files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how much, download nothing.")] = False,
) -> None:
    """Download model weights: the only command that does. Says how much before it begins."""
    with command_errors():
        from flows.fetching import fetch_models as run
        from serving.settings import Settings

        run(
            Settings.load(),
            what or [],
            dry_run=dry_run,
            console=rich_console(),
            whisper=whisper,
            voice=voice,
            mirror=mirror,
        )


def _pairs(items: list[str]) -> dict[str, str]:
    found = {}
    for item in items:
        name, equals, reason = item.partition("=")
        if not equals or not reason.strip():
            raise InvalidInputError(f"--waive needs CHECK=reason, got {item[:40]!r}.")
        found[name] = reason
    return found


if __name__ == "__main__":
    app()
