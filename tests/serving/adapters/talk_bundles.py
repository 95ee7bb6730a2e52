"""Dialogue adapters without a model, told apart by their weights, and their way to the champion."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from serving.adapters.manifest import Kind, Provenance, seal
from serving.adapters.promotion import promote
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from tests.serving.adapters.conftest import DecisionMaker

TALK = "banking-dialogue-lora"


def talk_bundle(folder: Path, number: int, rank: int = 8) -> Path:
    """A sealed dialogue bundle without a model, told apart by its weights."""
    folder.mkdir()
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{module}.lora_A.weight": torch.full((rank, 16), float(number)),
        f"{module}.lora_B.weight": torch.full((16, rank), float(number)),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for name, text in (("metrics.json", "{}"), ("card.md", "# Talk\n"), ("dialogue.json", "{}")):
        (folder / name).write_text(text)
    hashes = ("a" * 64, "a" * 64)
    seal(folder, Provenance(Kind.DIALOGUE, TALK, "tiny", *hashes, 10, tuple(tensors), "d" * 64, "", 1))
    return folder


def promote_talk(
    registry: AdapterRegistry, make_decision: DecisionMaker, folder: Path, number: int, **options: int
) -> None:
    """Register version `number` and make it the champion."""
    registry.register(TALK, talk_bundle(folder / f"talk-{number}", number, **options), by="ci")
    before = registry.champion_version(TALK)
    attach_decision(registry, TALK, number, make_decision(before, model=TALK), by="gate")
    promote(registry, TALK, number, by="ann", reason="passed the gate")
