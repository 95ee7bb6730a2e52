"""The part of `voicebot` that is about dialogue adapters: their data, the judge, the trainer."""

from pathlib import Path
from typing import Annotated

import typer

from flows.entry import AsJson
from serving.cli.console import command_errors, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands to `voicebot`."""
    app.command("build-dialogues")(build_dialogues)
    app.command("judge-dialogues")(judge_dialogues)
    app.command("train-dialogue")(train_dialogue)


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


def train_dialogue(
    out: Annotated[Path, typer.Argument(help="Folder of the adapter's bundle; must not exist.")],
    model: Annotated[Path | None, typer.Option(help="Transformers folder of a Mistral-family model.")] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Train on random weights instead, to measure or to try.")
    ] = False,
    shape: Annotated[str, typer.Option(help="Shape of --random-init: tiny or mistral-7b (GPU).")] = "tiny",
    four_bit: Annotated[bool, typer.Option("--four-bit", help="NF4 base (CUDA only).")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Recompute activations: less memory, slower.")
    ] = False,
    customer_tools: Annotated[
        bool, typer.Option("--customer-tools", help="Learn the customers' tools, too.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most dialogues to learn.")] = None,
    epochs: Annotated[int, typer.Option(min=1, max=50, help="Passes over the dialogues.")] = 2,
    rank: Annotated[int, typer.Option(min=1, max=512, help="Rank of LoRA.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-4,
    max_length: Annotated[int, typer.Option(min=16, help="Tokens of a packed sequence.")] = 4_096,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a dialogue adapter on data/tool_calls; prints tokens/s, peak memory and the adapter's size.

    A killed run goes on when the same command is given again. Weights that are saved in bfloat16 stay so on a
    GPU; a CPU computes in float32.
    """
    with command_errors():
        from flows.dialogues import train_dialogue as run
        from flows.environment import go_offline
        from serving.errors import InvalidInputError
        from serving.settings import Settings
        from training.dialogue.config import DialogueConfig

        if (model is None) is not random_init:
            raise InvalidInputError("Give either --model FOLDER or --random-init.")
        settings = Settings.load()
        go_offline(settings)
        config = DialogueConfig(
            rank=rank, alpha=2.0 * rank, learning_rate=learning_rate, epochs=epochs, max_length=max_length,
            four_bit=four_bit, checkpointing=checkpointing, seed=seed,
        )  # fmt: skip
        tools = frozenset({"bank", "customer"} if customer_tools else {"bank"})
        run(settings, out, model, shape, config, tools, limit, as_json=as_json)
