"""The sealed bundle of a dialogue adapter, and the way from data to it.

The same manifest as an intent adapter's, of kind `dialogue`: serving's loader of local models reads the
folder as it is. Nothing of the dialogues' words is in it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from evaluation.dialogues import BANK, Dialogue, load_dialogues
from serving.adapters.kinds import DIALOGUE_NAME
from serving.adapters.manifest import (
    ADAPTER_FILE,
    CARD_FILE,
    METRICS_FILE,
    Kind,
    Manifest,
    Provenance,
    seal,
    verify,
)
from serving.errors import IntegrityError, InvalidInputError
from serving.files import new_folder
from serving.language.causal_lm import CausalLm, load_causal_lm, precision_of
from serving.language.dialogue_adapter import BaseIdentity, DialogueFacts, measured_probes
from serving.language.prompt import prompt_sha256
from serving.plain import plain
from training.code_version import CodeVersion
from training.dialogue.check import DIALOGUES_FILE
from training.dialogue.config import DialogueConfig
from training.dialogue.desk import ToolDesk
from training.dialogue.rendering import Rendered, render
from training.dialogue.trainer import TrainedDialogue, train_dialogue
from training.model import quiet_peft, save_adapter
from training.outcome import ProgressListener

ADAPTER_NAME = DIALOGUE_NAME
METRICS_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dialogues are learned, and what the adapter is registered as.

    Attributes:
        tools: tool sets whose dialogues are learned; calls offer an engine only those of `bank`.
        limit: most dialogues of the training split (evenly spread); None takes all.
        name: registered model.
    """

    tools: frozenset[str] = frozenset({"bank"})
    limit: int | None = None
    name: str = ADAPTER_NAME

    def rows(self, data: Path) -> tuple[list[Dialogue], list[Dialogue]]:
        """Dialogues to learn and to validate with.

        Raises:
            InvalidInputError: the dialogues cannot be read.
        """
        found = load_dialogues(data / "tool_calls" / DIALOGUES_FILE)
        rows = [row for row in found if row.tools in self.tools]
        learned = [row for row in rows if row.split == "train"]
        held = [row for row in rows if row.split == "validate"]
        if self.limit is not None:
            learned = learned[:: max(1, len(learned) // self.limit)][: self.limit]
            held = held[:: max(1, 4 * len(held) // self.limit)]
        return learned, held


@dataclass(frozen=True, eq=False)
class DialogueRun:
    """A finished run.

    Attributes:
        folder: the sealed bundle.
        adapter_bytes: size of the adapter's weights.
        examples: turns learned.
    """

    folder: Path
    manifest: Manifest
    trained: TrainedDialogue
    examples: Rendered
    adapter_bytes: int


def train_dialogue_adapter(
    model: Path,
    data: Path,
    folder: Path,
    config: DialogueConfig,
    *,
    chosen: Chosen = Chosen(),
    code: CodeVersion | None = None,
    on_progress: ProgressListener | None = None,
) -> DialogueRun:
    """Train a dialogue adapter on the project's dialogues and seal it.

    While it trains, the run is saved to `<folder>.ckpt`; the same call again goes on from there.

    Args:
        model: a transformers folder of a Mistral-family model.
        data: the project's data folder.
        folder: where the bundle shall appear; must not exist.
        config: the recipe.
        chosen: which dialogues, and the adapter's name.
        code: version of the code, for the manifest.
        on_progress: called after every step and epoch.

    Raises:
        InvalidInputError: the folder exists, or no dialogue fits.
        MissingError: a folder, package or GPU is not there (4-bit training needs one).
        IntegrityError: weights are damaged, a layer gets no gradient, or the saved adapter differs.
        DivergedError: training met a number that is not finite.
    """
    if folder.exists():
        raise InvalidInputError(
            f"{folder} exists already.", advice="Name a new folder; bundles are never overwritten."
        )
    with quiet_peft():
        lm = load_causal_lm(model, four_bit=config.four_bit)
    precision = precision_of(lm)
    learned, held = chosen.rows(data)
    with ToolDesk(data) as desk:
        schemas = {tool_set: desk.schemas(tool_set) for tool_set in chosen.tools}
    examples = render(lm, learned, schemas, config.max_length)
    held_out = render(lm, held, schemas, config.max_length) if held else None
    checkpoint = folder.with_name(folder.name + ".ckpt")
    trained = train_dialogue(lm, examples, held_out, config, checkpoint=checkpoint, on_progress=on_progress)
    facts = _serving_facts(model, replace(lm, model=trained.model), precision, chosen.tools)
    manifest = write_dialogue_bundle(
        folder, trained, examples, facts.base, facts=facts, name=chosen.name, code=code
    )
    checkpoint.unlink(missing_ok=True)
    size = (folder / ADAPTER_FILE).stat().st_size
    return DialogueRun(folder, manifest, trained, examples, size)


def write_dialogue_bundle(
    folder: Path,
    trained: TrainedDialogue,
    examples: Rendered,
    base: str,
    *,
    facts: DialogueFacts | None = None,
    name: str = ADAPTER_NAME,
    code: CodeVersion | None = None,
) -> Manifest:
    """Write, seal and verify a bundle.

    Args:
        folder: must not exist.
        trained: the outcome of a run.
        examples: what was learned.
        base: the base's own name.
        facts: what serving must know; without it the bundle can be exported, but not served or judged.
        name: registered model.
        code: version of the code.

    Raises:
        InvalidInputError: the folder exists, or training changed nothing, or more than LoRA.
        IntegrityError: the saved weights are not the trained ones; nothing is left behind.
    """
    version = code or CodeVersion()
    provenance = Provenance(
        kind=Kind.DIALOGUE,
        name=name,
        base_model=base,
        base_sha256=trained.base_before,
        base_sha256_after=trained.base_after,
        trainable_parameters=trained.parameters,
        changed_tensors=trained.changed,
        dataset_sha256=examples.sha256,
        labels_sha256="",
        seed=trained.config.seed,
        git_sha=version.sha,
        git_dirty=version.dirty,
    )
    measured = _facts(trained, examples)
    try:
        with new_folder(folder) as place:
            save_adapter(trained.model, place)
            _check_saved(place, trained)
            if facts is not None:
                facts.save(place)
            text = json.dumps(measured, indent=2, ensure_ascii=False, allow_nan=False)
            (place / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
            (place / CARD_FILE).write_text(_card(provenance, measured), encoding="utf-8")
            seal(place, provenance)
    except FileExistsError as error:
        raise InvalidInputError(
            f"{folder} exists already.", advice="Name a new folder; bundles are never overwritten."
        ) from error
    return verify(folder, base_sha256=trained.base_before)


def base_name(folder: Path) -> str:
    """What people call the model in a folder: the hub's name for a snapshot of its cache."""
    cache = folder.resolve().parent.parent.name
    if folder.resolve().parent.name == "snapshots" and cache.startswith("models--"):
        return cache.removeprefix("models--").replace("--", "/")
    return folder.name


def _serving_facts(model: Path, lm: CausalLm, precision: str, tools: frozenset[str]) -> DialogueFacts:
    """What whoever loads the adapter checks; `lm` is the trained model, which answers the known questions."""
    identity = BaseIdentity.of(model)
    return DialogueFacts(
        base=base_name(model),
        weights_sha256=identity.weights_sha256,
        tokenizer_sha256=identity.tokenizer_sha256,
        prompt_sha256=prompt_sha256(BANK),
        tools=tuple(sorted(tools)),
        precision=precision,
        probes=measured_probes(lm),
    )


def _check_saved(place: Path, trained: TrainedDialogue) -> None:
    """Every changed tensor is in the file, finite, and nothing else is."""
    saved = load_file(place / ADAPTER_FILE)
    broken = [name for name, tensor in saved.items() if not bool(torch.isfinite(tensor).all())]
    missing = sorted(set(trained.changed) - set(saved))
    if broken or missing or not all(".lora_" in name for name in saved):
        first = (broken or missing or ["more than LoRA"])[0]
        raise IntegrityError(
            f"The saved adapter is not the trained one: {first}.",
            advice="This is a defect of saving; report it with the libraries' versions.",
        )


def _facts(trained: TrainedDialogue, examples: Rendered) -> dict[str, Any]:
    return {
        "schema": METRICS_SCHEMA,
        "config": trained.config.to_dict(),
        "dataset": {
            "turns": len(examples.examples),
            "tokens": sum(map(len, examples.examples)),
            "learned_tokens": sum(sum(example.learned) for example in examples.examples),
            "shortened": examples.shortened,
            "left_out": examples.left_out,
            "sha256": examples.sha256,
            "prompt_sha256": prompt_sha256(BANK),
        },
        "training": {
            "best_epoch": trained.best_epoch,
            "steps": len(trained.losses),
            "trained_parameters": trained.parameters,
            "first_loss": trained.losses[0],
            "last_loss": trained.losses[-1],
            "losses": [round(loss, 5) for loss in trained.losses],
            "seconds": trained.seconds,
            "tokens_per_second": trained.tokens_per_second,
            "peak_bytes": trained.peak_bytes,
            "log": plain(trained.log),
        },
    }


def _card(provenance: Provenance, facts: dict[str, Any]) -> str:
    lines = [
        f"# {provenance.name}",
        "",
        f"LoRA for the frozen language model `{provenance.base_model}`: tool calls and answers of a bank's "
        "phone agent. This card was generated by the training run.",
    ]
    for title, rows in (
        ("Data", facts["dataset"]),
        ("Training", facts["training"]),
        ("Recipe", facts["config"]),
    ):
        lines += ["", f"## {title}", "", "| what | value |", "| --- | --- |"]
        lines += [f"| {key} | {value} |" for key, value in rows.items() if key not in ("log", "losses")]
    lines += [
        "",
        "## Limits",
        "",
        "- English only; composed dialogues of patient callers without recognition errors.",
        "- Loss is no judgement: hold the adapter against `data/tool_calls` with the judge before it speaks.",
    ]
    return "\n".join(lines) + "\n"
