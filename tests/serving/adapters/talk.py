"""Registered dialogue adapters on a scripted base: real LoRA weights that make it say other words."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from serving.adapters.decision import Check, GateDecision
from serving.adapters.kinds import DIALOGUE_NAME
from serving.adapters.manifest import Kind, Provenance, seal
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.language.causal_lm import load_causal_lm, precision_of
from serving.language.dialogue_adapter import BaseIdentity, DialogueFacts, measured_probes
from serving.language.protocols import LlmRequest, Message, TextDelta
from tests.serving import tiny_llm

GREETINGS = ("Good day.", "Hello there.", "Welcome back.")
"""What the base may say after a question; it says the first, an adapter one of the others."""


def talking_base(folder: Path, known: Sequence[str] = ()) -> Path:
    """A model that answers every question with `GREETINGS[0]`; known texts are one token each."""
    ends = dict.fromkeys([*GREETINGS, *known], "</s>")
    return tiny_llm.follow(folder, {"[/INST]": GREETINGS[0], **ends})


def bundle(
    folder: Path, base: Path, says: str, *, name: str = DIALOGUE_NAME, kind: Kind = Kind.DIALOGUE
) -> Path:
    """A sealed bundle whose adapter makes the base say something else, with what serving checks."""
    tiny_llm.adapter(folder, base, {"[/INST]": says})
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"says": says}))
    (folder / "card.md").write_text("# Talk\n")
    lm, identity = load_causal_lm(base, folder), BaseIdentity.of(base)
    DialogueFacts(
        base=base.name,
        weights_sha256=identity.weights_sha256,
        tokenizer_sha256=identity.tokenizer_sha256,
        prompt_sha256="c" * 64,
        tools=("bank",),
        precision=precision_of(lm),
        probes=measured_probes(lm),
    ).save(folder)
    names = tuple(load_file(folder / "adapter_model.safetensors"))
    seal(folder, Provenance(kind, name, base.name, "a" * 64, "a" * 64, 10, names, "d" * 64, "", 1))
    return folder


def judged(registry: AdapterRegistry, version: int, *, passed: bool = True) -> None:
    """Store a decision against the present champion with a version."""
    champion = registry.champion_version(DIALOGUE_NAME)
    check = Check("exact_call", passed, "Exact calls: 90 % of 174, floor 56 %.", {"share": 0.9})
    decision = GateDecision(DIALOGUE_NAME, None, champion, "e" * 64, (check,), passed)
    attach_decision(registry, DIALOGUE_NAME, version, decision, by="gate")


def said(llm: object) -> str:
    """What an engine answers to a question."""
    request = LlmRequest((Message("system", "Be brief."), Message("user", "Hello?")), (), (), (), 4)
    return "".join(event.text for event in llm.stream(request) if isinstance(event, TextDelta))  # type: ignore[attr-defined]
