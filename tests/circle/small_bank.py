"""A bank with five intents: the project's own data folder, cut so that an adapter is trained in seconds."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from serving.settings import default_data_dir

INTENTS = ("card_arrival", "card_delivery_estimate", "loan_rates", "age_limit", "out_of_scope")
MOST = {"train": 20, "validate": 8, "test": 8}
"""Texts of each intent and split that are kept."""


def small_bank(folder: Path) -> Path:
    """Write the data folder: five intents, the answers for them, everything else as it is."""
    shutil.copytree(default_data_dir(), folder, ignore=shutil.ignore_patterns("tool_calls", "cache_pairs"))
    for path in (folder / "intents").glob("*.yaml"):
        intents: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        kept = {name: _cut(intents[name]) for name in INTENTS if name in intents}
        path.write_text(yaml.safe_dump(kept), encoding="utf-8") if kept else path.unlink()
    answers = folder / "knowledge" / "answers.yaml"
    knowledge = yaml.safe_load(answers.read_text(encoding="utf-8"))
    knowledge["answers"] = [answer for answer in knowledge["answers"] if answer["intent"] in INTENTS]
    answers.write_text(yaml.safe_dump(knowledge, sort_keys=False), encoding="utf-8")
    return folder


def _cut(intent: dict[str, Any]) -> dict[str, Any]:
    return intent | {split: intent[split][:most] for split, most in MOST.items() if split in intent}
