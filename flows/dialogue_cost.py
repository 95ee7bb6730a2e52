"""`voicebot measure-dialogue`: the cost of dialogue adapters on this machine, as tables or one document."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from serving.cli.console import print_json, print_table
from serving.plain import plain
from serving.settings import Settings

if TYPE_CHECKING:
    from training.dialogue.cost import CostReport

_ON_GPU, _ON_CPU = 64, 8
"""Dialogues to train on where none are named."""


def measure_dialogue(
    settings: Settings, shape: str, dialogues: int | None, adapters: int, work: Path | None, *, as_json: bool
) -> None:
    """Measure and print.

    Args:
        settings: the data.
        shape: `tiny`, `mistral-7b` or `auto`.
        dialogues: to train on; None: few on a CPU, more on a GPU.
        adapters: on one base, for their latency.
        work: where the model goes; None: a temporary folder.
        as_json: print one JSON document instead.

    Raises:
        VoicebotError: as `training.dialogue.cost.measure_cost`.
    """
    from training.dialogue.cost import CostPlan, chosen_shape, measure_cost

    chosen = chosen_shape(shape)
    plan = CostPlan(dialogues=dialogues or (_ON_CPU if chosen == "tiny" else _ON_GPU), adapters=adapters)
    with tempfile.TemporaryDirectory(prefix="voicebot-cost-") as temporary:
        found = measure_cost(
            chosen,
            settings.data,
            work or Path(temporary),
            plan,
            lambda said: typer.echo(f"… {said}", err=True),
        )
    if as_json:
        print_json(plain(found))
    else:
        _show(found)


def _show(found: "CostReport") -> None:
    title = f"{found.shape} on {found.device}, {found.training[0].parameters / 1e6:,.1f} M parameters"
    rows = [
        (
            cost.precision,
            f"{cost.tokens_per_second:,.0f}",
            f"{cost.base_bytes / 2**20:,.0f}",
            f"{cost.peak_bytes / 2**20:,.0f}" if cost.peak_bytes else "-",
            f"{cost.adapter_bytes / 2**20:,.2f}",
            f"{cost.trained_parameters:,}",
            f"{cost.first_loss:.2f} → {cost.last_loss:.2f}",
        )
        for cost in found.training
    ]
    columns = ["base", "tokens/s", "base MiB", "peak GPU MiB", "adapter MiB", "trained", "loss"]
    print_table(title, columns, rows, right=columns[1:6])
    if found.gradients is not None:
        told = found.gradients
        checked = [
            ("layers", f"{told.layers}"),
            ("smallest cosine", f"{told.smallest_cosine:.5f}"),
            ("largest difference", f"{told.largest_difference:.2%}"),
        ]
        print_table("4-bit gradients beside those of the same weights dequantised", ["", "value"], checked)
    late = found.latency
    answers = [
        ("base alone", f"{late.base_ms:,.1f} ms"),
        ("one adapter, merged", f"{late.merged_ms:,.1f} ms"),
        ("one adapter, beside the weights", f"{late.beside_ms:,.1f} ms"),
        (f"{late.adapters} adapters, each answer another", f"{late.several_ms:,.1f} ms"),
        ("putting an adapter beside the base", f"{late.load_ms:,.0f} ms"),
        ("memory of an adapter", f"{late.bytes_each / 2**20:,.2f} MiB"),
    ]
    print_table(f"An answer of {late.tokens} tokens after 256", ["", "value"], answers, right=["value"])
