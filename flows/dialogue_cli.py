"""The part of `voicebot` that is about dialogue adapters: their data, the judge, the trainer."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.entry import AsJson, entry, show
from serving.adapters.kinds import DIALOGUE_NAME
from serving.cli.console import command_errors, print_json, print_table
from serving.errors import InvalidInputError


def register(app: typer.Typer) -> None:
    """Add the commands to `voicebot`."""
    app.command("build-dialogues")(build_dialogues)
    app.command("judge-dialogues")(judge_dialogues)
    app.command("train-dialogue")(train_dialogue)
    app.command("measure-dialogue")(measure_dialogue)


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
    out: Annotated[
        Path | None,
        typer.Argument(help="Only train, into this new folder; without it the adapter is registered."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Folder or hub name of a Mistral-family model; default: local_llm.")
    ] = "",
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
    name: Annotated[str, typer.Option(help="Registered model.")] = DIALOGUE_NAME,
    as_json: AsJson = False,
) -> None:
    """Train a dialogue adapter on data/tool_calls, log it, register it as challenger and judge it.

    With OUT it only trains, and prints tokens/s, peak memory and the adapter's size. A killed run goes on
    when the same command is given again. Weights that are saved in bfloat16 stay so on a GPU; a CPU computes
    in float32. Only a hub name uses the network.
    """
    recipe: dict[str, Any] = {
        "rank": rank, "learning_rate": learning_rate, "epochs": epochs, "max_length": max_length,
        "four_bit": four_bit, "checkpointing": checkpointing,
    }  # fmt: skip
    if out is None:
        _train_registered(model, name, seed, customer_tools, limit, recipe, random_init, as_json)
        return
    with command_errors():
        from flows.dialogues import train_dialogue as run
        from flows.environment import go_offline
        from serving.settings import Settings
        from training.dialogue.base import base_folder
        from training.dialogue.bundle import Chosen
        from training.dialogue.config import changed_config
        from training.sources import is_hub_name

        if bool(model) is random_init:
            raise InvalidInputError("Give either --model FOLDER or --random-init.")
        settings = Settings.load()
        go_offline(settings, hub=bool(model) and is_hub_name(model))
        base = base_folder(model) if model else None
        chosen = Chosen(frozenset({"bank", "customer"} if customer_tools else {"bank"}), limit, name)
        run(settings, out, base, shape, changed_config({**recipe, "seed": seed}), chosen, as_json=as_json)


def measure_dialogue(
    shape: Annotated[
        str, typer.Option(help="tiny, mistral-7b (GPU), or auto: the largest that this machine can.")
    ] = "auto",
    dialogues: Annotated[int | None, typer.Option(min=1, help="Dialogues to train on.")] = None,
    adapters: Annotated[int, typer.Option(min=1, max=64, help="Adapters on one base.")] = 4,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for the model (15 GB for mistral-7b); default: a temporary one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a dialogue adapter's cost on random weights of a true shape: speed, memory, size, latency.

    On a GPU in bfloat16 and in 4 bits, with a check of the 4-bit gradients; without one a tiny shape runs.
    """
    with command_errors():
        from flows.dialogue_cost import measure_dialogue as run
        from flows.environment import go_offline
        from serving.settings import Settings

        settings = Settings.load()
        go_offline(settings)
        run(settings, shape, dialogues, adapters, work, as_json=as_json)


def _train_registered(
    model: str,
    name: str,
    seed: int,
    customer_tools: bool,
    limit: int | None,
    recipe: dict[str, Any],
    random_init: bool,
    as_json: bool,
) -> None:
    from training.sources import is_hub_name

    with entry(as_json=as_json, hub=bool(model) and is_hub_name(model)):
        if random_init:
            raise InvalidInputError(
                "An adapter on random weights has learned nothing and is not registered.",
                advice="Name a folder (OUT) to measure or to try, or a --model to train.",
            )
        from flows.train_dialogue import DialogueTrainRequest
        from flows.train_dialogue import train_dialogue as run

        request = DialogueTrainRequest(
            model=model, name=name, seed=seed, customer_tools=customer_tools, limit=limit, changes=recipe
        )
        show("Trained", run(request), as_json=as_json)
