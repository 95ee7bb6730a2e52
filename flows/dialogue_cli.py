"""The part of `voicebot` that is about dialogue adapters: their data, the judge, the trainer."""

from typing import Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `voicebot`."""
    app.command("build-dialogues")(build_dialogues)
    app.command("judge-dialogues")(judge_dialogues)


def build_dialogues(as_json: AsJson = False) -> None:
    """Compose data/tool_calls anew from its phrasings and the tools' real results; same data, same file."""
    with command_errors():
        from serving.plain import plain
        from serving.settings import Settings
        from training.dialogue.rebuild import rebuild_dialogues

        made = plain(rebuild_dialogues(Settings.load().data))
        if as_json:
            print_json(made)
        else:
            print_table("Dialogues", ["", "value"], [(key, str(value)) for key, value in made.items()])


def judge_dialogues(
    split: Annotated[str, typer.Option(help="train, validate or test.")] = "test", as_json: AsJson = False
) -> None:
    """Judge the answering engine of this home on written dialogues: calls, arguments, invented numbers."""
    with command_errors():
        from flows.dialogues import judge_dialogues as run
        from flows.environment import go_offline
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        go_offline(settings)
        configure_logs(settings)
        run(settings, split, as_json=as_json)
