"""What a champion was trained for, in its own predictions: the side of the drift watch that never changes.

A bundle names its data by hash and keeps no predictions of them, so they are made once, of the data that the
hash names, and kept beside the reports of the installation.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.drift import Reference, Tagged
from serving.adapters.versions import AdapterVersion
from serving.errors import InvalidInputError, MissingError
from serving.files import make_folder, write_atomically, writing_to
from serving.settings import Settings

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.data import Splits

DATASETS = "datasets"
"""Folder of the home with the versions of the own intents that `voicebot import-reviewed` makes."""
_READING = ("validation_share", "shots", "shots_seed", "refit")
"""Fields of a recipe that decide which texts it reads."""


def reference_of(settings: Settings, version: AdapterVersion, dataset: str = "") -> Reference:
    """The reference of a version: kept from an earlier watch, or made now.

    One that was kept before energies were is made again; where its data are gone, it serves as it is.

    Args:
        settings: the installation.
        version: the champion.
        dataset: what it was trained on, where that is neither the own intents nor a version of them.

    Raises:
        MissingError: its data are not here as they were, and no reference was kept.
        IntegrityError: its bundle was altered.
    """
    manifest = version.verify()
    folder = settings.home / "drift"
    kept = folder / f"reference-{manifest.sha256[:12]}.json"
    earlier = _read(kept)
    if earlier is not None and earlier.has_energies:
        return earlier
    try:
        splits = _data_of(settings, version, manifest.provenance.dataset_sha256, dataset)
    except MissingError:
        if earlier is None:
            raise
        return earlier
    found = _predicted(settings, version, splits)
    with writing_to(folder):
        make_folder(folder)
        write_atomically(kept, json.dumps(asdict(found)) + "\n")
    return found


def _data_of(settings: Settings, version: AdapterVersion, sha256: str, dataset: str) -> "Splits":
    from training.sources import load_splits

    folders = sorted(path for path in (settings.home / DATASETS).glob("*") if path.is_dir())
    recipe = _recipe_of(version)
    for source in [dataset] if dataset else [settings.data / "intents", *folders]:
        splits = load_splits(source, config=recipe)
        if splits.sha256 == sha256:
            return splits
    raise MissingError(
        f"{version.label} was trained on data {sha256[:12]}…, and {dataset or 'no data set here'} "
        f"{'is other data' if dataset else 'is that'}.",
        advice="Name its data with --dataset as they were then, or train and promote on today's.",
    )


def _recipe_of(version: AdapterVersion) -> "TrainConfig":
    """A recipe that reads the version's data as its own did."""
    from training.config import TrainConfig

    kept = version.metrics().get("config")
    used = {name: kept[name] for name in _READING if name in kept} if isinstance(kept, dict) else {}
    return TrainConfig().with_(**used)


def _predicted(settings: Settings, version: AdapterVersion, splits: "Splits") -> Reference:
    """Serving's own loader tags all texts, on one thread as it serves."""
    from serving.adapters.loader import fetch, load_tagger
    from serving.language.encoder import load_encoder
    from training.model import torch_threads

    tagger = load_tagger(fetch(version, settings.home / "adapters"), load_encoder(settings.encoder))
    held = splits.test or splits.validation
    with torch_threads(1):
        learned = Counter(tag.label for tag in tagger.tag_all(splits.train.texts))
        tags = tagger.tag_all(held.texts)
    return Reference(
        dict(sorted(learned.items())),
        tuple(Tagged(tag.label, min(1.0, tag.probability), tag.in_scope, energy=tag.energy) for tag in tags),
    )


def _read(path: Path) -> Reference | None:
    """A kept reference; one that cannot be read is made again."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Reference(fields["intents"], tuple(Tagged(**item) for item in fields["held_out"]))
    except (OSError, ValueError, TypeError, KeyError, InvalidInputError):
        return None
