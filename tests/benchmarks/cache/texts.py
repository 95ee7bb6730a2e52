"""What the cache's benchmarks have in common: real sentences, and a line on the screen."""

import sys
from pathlib import Path

import yaml


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def utterances(data: Path, *, at_least: int) -> list[str]:
    """Distinct utterances of data/intents, evenly from all intents.

    Raises:
        ValueError: there are fewer.
    """
    found: dict[str, None] = {}
    for path in sorted((data / "intents").glob("*.yaml")):
        for intent in yaml.safe_load(path.read_text(encoding="utf-8")).values():
            found.update(
                dict.fromkeys(text for split in ("train", "validate", "test") for text in intent[split])
            )
    if len(found) < at_least:
        raise ValueError(f"data/intents has {len(found)} utterances, {at_least} are needed")
    return list(found)[:: len(found) // at_least]
