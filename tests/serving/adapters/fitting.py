"""A bank whose knowledge answers just what the adapters of these tests know, or something else."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import yaml

from serving.adapters.manifest import MANIFEST_FILE, read_manifest, seal
from serving.language.intent import IntentConfig, labels_sha256

KNOWN = ("card_lost", "loan_quote", "pin_blocked")
"""The labels of the tests' adapters, but for `out_of_scope`."""


def small_data(folder: Path, answered: Collection[str] = KNOWN, control: Collection[str] = ()) -> Path:
    """Write a data folder with knowledge and intents; one that is there is written anew."""
    answers = [
        {
            "id": intent,
            "intent": intent,
            "cacheability": "never",
            "questions": [f"what about {intent}"],
            "answer": f"This is about {intent}.",
            "valid_until": None,
        }
        for intent in answered
    ]
    kinds = {
        **dict.fromkeys(answered, "informational"),
        **dict.fromkeys(control, "control"),
        "out_of_scope": "out_of_scope",
    }
    for name in ("knowledge", "intents"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    knowledge = {"answers": answers, "prompts": {"greeting": "Hello."}}
    (folder / "knowledge" / "answers.yaml").write_text(yaml.safe_dump(knowledge))
    (folder / "intents" / "all.yaml").write_text(
        yaml.safe_dump({label: {"kind": kind} for label, kind in kinds.items()})
    )
    return folder


def relabelled(bundle: Path, old: str, new: str) -> Path:
    """The same bundle whose adapter was trained on another intent: one label has another name."""
    provenance = read_manifest(bundle).provenance
    (bundle / MANIFEST_FILE).unlink()
    config = IntentConfig.load(bundle)
    labels = tuple(new if label == old else label for label in config.labels)
    replace(config, labels=labels, probes=()).save(bundle)
    seal(bundle, replace(provenance, labels_sha256=labels_sha256(labels)))
    return bundle
