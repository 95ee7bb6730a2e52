"""`voicebot`: the demo, the flows by hand, the data's checker, the one command that downloads weights."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_circle import add_circle_commands
from flows.dialogue_cli import register as register_dialogue_commands
from flows.entry import AsJson, entry, show
from serving.cli.console import command_errors, print_json, rich_console
from serving.errors import InvalidInputError

app = typer.Typer(
    name="voicebot",
    help="A bank's phone agent: train, judge, promote, serve, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change the recipe, such as balance=loss."),
]


@app.command()
def demo() -> None:
    """Run the whole circle once: train, promote, build the cache, take a call, evaluate, report."""
    with entry() as (settings, console):
        from flows.demo import run_demo

        run_demo(settings, console)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option(help="YAML folder, CSV or JSONL file, or hub name; default: own intents.")
    ] = "",
    test: Annotated[
        Path | None, typer.Option(help="CSV or JSONL file to report on; with it nothing is registered.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Recipe: project or banking77.")] = "project",
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Number of seeds; more than 1 make a report, too.")
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of a report; default: in home/recipes.")] = None,
    name: Annotated[
        str, typer.Option(help="Registered model; another --dataset than the own intents needs another name.")
    ] = "banking-lora",
    change: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train an adapter and register it as challenger; with --test or several seeds, report a recipe instead.

    banking-lora, which serves, takes the project's own intents only: with --dataset, give a --name too. Such
    a model is not judged by the gate. A report registers nothing; it tests on --test, or on the test split
    that the data brings. Only a hub name uses the network.
    """
    from training.config import read_changes
    from training.sources import is_hub_name

    with entry(as_json=as_json, hub=is_hub_name(dataset)) as (settings, _console):
        changes = read_changes(change or [])
        if test is not None or seeds > 1:
            from flows.recipe import report_recipe

            report_recipe(settings, dataset, test, preset, seeds, out, changes=changes, as_json=as_json)
            return
        if preset not in {"project", "banking77"}:
            raise InvalidInputError(f"There is no preset {preset!r}; there are project and banking77.")
        from flows.train_adapter import train_adapter
        from flows.training_inputs import TrainRequest

        request = TrainRequest(dataset=dataset, preset=preset, name=name, changes=changes)
        show("Trained", train_adapter(request), as_json=as_json)


@app.command()
def sweep(
    vary: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE,VALUE", help="Setting of the recipe and its values.")
    ],
    dataset: Annotated[
        str, typer.Option(help="YAML folder, CSV or JSONL file, or hub name; default: own intents.")
    ] = "",
    preset: Annotated[str, typer.Option(help="Recipe to vary: project or banking77.")] = "project",
    trials: Annotated[int, typer.Option(min=0, help="Combinations to draw; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, max=256, help="Trials at once; 0: a core each.")] = 0,
    change: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Compare recipes on validation texts: a run each in MLflow, and a page. Registers nothing."""
    from training.config import preset as recipe
    from training.config import read_changes, read_values
    from training.sources import is_hub_name

    with entry(as_json=as_json, hub=is_hub_name(dataset)):
        from flows.sweep_adapters import SweepRequest, sweep_adapters

        changes = read_changes(change or [])
        recipe(preset).with_(**changes)  # what is unknown or wrong is said before anything starts
        request = SweepRequest(
            dataset=dataset,
            preset=preset,
            changes=changes,
            space=read_values(vary),
            trials=trials,
            seed=seed,
            jobs=jobs,
        )
        show("Sweep", sweep_adapters(request), as_json=as_json)


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
    with entry(as_json=as_json):
        from flows.promote_adapter import promote_adapter

        waivers = _pairs(waive or [])
        outcome = promote_adapter(name, version, reason, waivers or None, dry_run)
        show("Promotion", outcome, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")] = "banking-lora",
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "rolled back with voicebot rollback",
    as_json: AsJson = False,
) -> None:
    """Swap champion and previous through the flow; `adapter-control rollback` does it without Prefect."""
    with entry(as_json=as_json):
        from flows.promote_adapter import rollback_adapter

        show("Rollback", {"champion": rollback_adapter(name, reason)}, as_json=as_json)


@app.command("build-cache")
def build_cache(
    name: Annotated[str, typer.Option(help="Registered model.")] = "banking-lora",
    ref: Annotated[
        str, typer.Option(help="Alias or number of the version whose scope is built.")
    ] = "champion",
    as_json: AsJson = False,
) -> None:
    """Fill the semantic cache of an adapter's scope from the approved knowledge."""
    with entry(as_json=as_json):
        from flows.build_cache_index import build_cache_index

        show("Cache", build_cache_index(name, ref), as_json=as_json)


@app.command("evaluate-speech")
def evaluate_speech(
    clips: Annotated[int, typer.Option(min=0, max=1_000, help="Most clips to score for MOS.")] = 10,
    round_trip: Annotated[
        bool, typer.Option("--round-trip", help="Also speak and recognise all clean lines.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """WER of the recorded scripted calls and predicted MOS of the bot's speech."""
    with entry(as_json=as_json):
        from flows.evaluate_speech import evaluate_speech as run

        show("Speech", run(max_clips=clips, round_trip=round_trip), as_json=as_json)


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
    with entry(as_json=as_json) as (settings, _console):
        from flows.evaluate_speech import wer_of_folder

        show("WER", wer_of_folder(settings, clips, transcripts, lm_text), as_json=as_json)


@app.command("cache-pairs")
def cache_pairs(
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least cosine; default: the cache's own rule.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the labelled question pairs through the cache's rule: right and wrong reuse by kind."""
    with entry(as_json=as_json) as (settings, _console):
        from flows.cache_pairs import report_pairs

        report_pairs(settings, threshold, as_json=as_json)


@app.command("calibrate-cache")
def calibrate_cache(
    alpha: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.5, help="Largest share of wrong answers; default: cache_alpha."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Certify from which score on the cache may answer other words; servers read it when they start."""
    with entry(as_json=as_json):
        from flows.calibrate_cache import calibrate_cache as run

        show("Cache calibration", run(alpha, dry_run=dry_run), as_json=as_json)


@app.command("report-kpis")
def report_kpis(
    window_days: Annotated[int, typer.Option(min=1, max=3_650, help="Length of the window.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Write the KPI page and CSV files from the call records."""
    with entry(as_json=as_json):
        from flows.report_kpis import report_kpis as run

        show("KPIs", run(window_days), as_json=as_json)


add_circle_commands(app)
register_dialogue_commands(app)


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


@app.command("check-labels")
def check_labels(
    dataset: Annotated[
        str, typer.Option(help="YAML folder, CSV or JSONL file, or hub name; default: own intents.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="CSV file of all doubts; default: in home/reports.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1_000, help="Doubts to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the texts whose label is probably wrong, the surest first; a person decides.

    Train and validation texts are judged by models that have not seen them. Only a hub name uses the network.
    """
    from training.sources import is_hub_name

    with entry(as_json=as_json, hub=is_hub_name(dataset)) as (settings, _console):
        from flows.label_check import check_labels as run
        from flows.label_check import show_doubts

        report = run(settings, dataset, out)
        if as_json:
            print_json(report.summary(top))
        else:
            show_doubts(report, top)


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
