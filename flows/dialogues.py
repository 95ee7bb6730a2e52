"""The commands around dialogues with tools: judge an engine on them, train an adapter on them."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.dialogue_engine import predicted_cases
from evaluation.dialogues import load_dialogues
from evaluation.statistics import Interval
from evaluation.tool_calls import ToolCallReport, by_group, judge_turn, report
from serving.cli.console import print_json, print_table
from serving.plain import plain
from serving.settings import Settings
from training.dialogue.check import DIALOGUES_FILE
from training.dialogue.desk import ToolDesk

if TYPE_CHECKING:
    from training.dialogue.bundle import Chosen
    from training.dialogue.config import DialogueConfig

_NAMES: Mapping[str, str] = {
    "exact_call": "exact call",
    "argument_match": "argument match",
    "valid_schema": "valid schema",
    "wrong_tool": "wrong tool",
    "missed_call": "missed call",
    "no_tool_precision": "no-tool precision",
    "no_tool_recall": "no-tool recall",
    "hallucinated_number": "hallucinated number",
    "failed": "nothing readable",
}


def judge_dialogues(settings: Settings, split: str, *, as_json: bool) -> None:
    """Judge this installation's answering engine on the dialogues of the bank's tools, and print the figures.

    The customer's own tools are offered to no engine (rules carry them out), so their dialogues are left out.

    Args:
        settings: which engine, data and adapter.
        split: `train`, `validate` or `test`.
        as_json: print one JSON document instead.

    Raises:
        InvalidInputError: the dialogues cannot be used, or there is no such split.
        MissingError: no adapter serves here yet.
    """
    from serving.call.runtime import Runtime

    found = load_dialogues(settings.data / "tool_calls" / DIALOGUES_FILE, split)
    dialogues = [dialogue for dialogue in found if dialogue.tools == "bank"]
    with ToolDesk(settings.data) as desk, Runtime(settings, voice=False) as runtime:
        served = runtime.adapter.current
        engine, adapter = runtime.dialogue.current.llm, runtime.dialogue.current.version
        cases = predicted_cases(dialogues, engine, served.tagger, desk.lexicon, desk.schemas("bank"))
        verdicts = [judge_turn(case) for case in cases]
    total, groups = report(verdicts), by_group(verdicts)
    if as_json:
        print_json(
            {
                "engine": engine.info.name,
                "model": engine.info.model,
                "dialogue_adapter": adapter,
                "intent_adapter": served.version,
                "split": split,
                "dialogues": len(dialogues),
                "total": plain(total),
                "situations": plain(groups),
            }
        )
        return
    title = (
        f"{engine.info.name}, {served.version}: {total.turns} turns of {len(dialogues)} dialogues ({split})"
    )
    rows = [(_NAMES[name], *_cells(interval)) for name, interval in _shares(total)]
    print_table(title, ["", "share", "95 % (Wilson)", "of"], rows, right=["share", "of"])
    shown = [
        (name, str(item.turns), *(_cells(getattr(item, key))[0] for key in ("exact_call", "no_tool_recall")))
        for name, item in groups.items()
    ]
    print_table(
        "By situation",
        ["situation", "turns", "exact call", "no-tool recall"],
        shown,
        right=["turns", "exact call", "no-tool recall"],
    )


def train_dialogue(
    settings: Settings,
    out: Path,
    model: Path | None,
    shape: str,
    config: "DialogueConfig",
    chosen: "Chosen",
    *,
    as_json: bool,
) -> None:
    """Train a dialogue adapter into a sealed bundle, and print what it cost.

    Args:
        settings: the data.
        out: folder of the bundle; must not exist.
        model: base; None makes one of random weights beside the bundle (`<out>.base`).
        shape: of that one.
        config: the recipe.
        chosen: which dialogues, and the adapter's name.
        as_json: print one JSON document instead.

    Raises:
        VoicebotError: as `training.dialogue.bundle.train_dialogue_adapter`.
    """
    from training.code_version import code_version
    from training.dialogue.bundle import train_dialogue_adapter
    from training.dialogue.random_model import make_random_model

    base = model
    if base is None:
        base = out.with_name(f"{out.name}.base")
        if not (base / "config.json").is_file():
            rows = load_dialogues(settings.data / "tool_calls" / DIALOGUES_FILE, "train")
            texts = [message.content for row in rows for message in row.messages] + [rows[0].system()]
            make_random_model(base, shape, texts, seed=config.seed)
    run = train_dialogue_adapter(base, settings.data, out, config, chosen=chosen, code=code_version())
    trained = run.trained
    facts = {
        "base": run.manifest.provenance.base_model,
        "device": str(trained.device),
        "trained parameters": trained.parameters,
        "turns": len(run.examples.examples),
        "left out": run.examples.left_out,
        "steps": len(trained.losses),
        "first loss": round(trained.losses[0], 4),
        "last loss": round(trained.losses[-1], 4),
        "best epoch": trained.best_epoch,
        "validation loss": trained.log[trained.best_epoch - 1].validation_loss,
        "seconds": round(trained.seconds, 1),
        "tokens per second": round(trained.tokens_per_second),
        "peak GPU bytes": trained.peak_bytes,
        "peak resident bytes": _peak_resident(),
        "adapter bytes": run.adapter_bytes,
        "bundle": str(run.folder),
    }
    if as_json:
        print_json(facts)
    else:
        print_table("Dialogue adapter", ["", "value"], [(key, _cell(value)) for key, value in facts.items()])


def _peak_resident() -> int:
    """Most memory that this process held, bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shares(found: ToolCallReport) -> list[tuple[str, Interval | None]]:
    return [(item.name, getattr(found, item.name)) for item in fields(found) if item.name in _NAMES]


def _cells(share: Interval | None) -> tuple[str, str, str]:
    if share is None:
        return "-", "", "0"
    return f"{share.estimate:.1%}", f"{share.low:.1%} – {share.high:.1%}", str(share.items)
