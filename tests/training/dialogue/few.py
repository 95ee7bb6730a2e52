"""A copy of the project's data with a handful of dialogues, and a tiny base: the whole way in seconds."""

import shutil
from pathlib import Path

from evaluation.dialogues import load_dialogues, written
from training.dialogue.random_model import make_random_model

SITUATIONS = ("quote_given_rate", "greeting")


def few_dialogues(data: Path, folder: Path, *, train: int = 3, test: int = 1) -> Path:
    """The data folder with so many dialogues of each situation in train and test, and one to validate."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("cache_pairs", "intents"))
    path = folder / "tool_calls" / "dialogues.jsonl"
    counts = {"train": train, "validate": 1, "test": test}
    rows = []
    for row in load_dialogues(path):
        kept = [other for other in rows if (other.situation, other.split) == (row.situation, row.split)]
        if row.situation in SITUATIONS and len(kept) < counts[row.split]:
            rows.append(row)
    path.write_text(written(rows), encoding="utf-8")
    return folder


def tiny_base(data: Path, folder: Path) -> Path:
    """A random model of two small layers whose tokenizer knows the dialogues' words."""
    rows = load_dialogues(data / "tool_calls" / "dialogues.jsonl", "train")
    texts = [message.content for row in rows for message in row.messages]
    return make_random_model(folder, "tiny", [*texts, rows[0].system()])
