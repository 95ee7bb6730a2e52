"""The reference of the drift watch: the adapter's own predictions on the data that its bundle names."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml

from evaluation.drift import Reference
from flows.drift_reference import reference_of
from serving.adapters.versions import MANIFEST_TAG, AdapterVersion
from serving.errors import IntegrityError, MissingError
from serving.language.encoder import load_encoder
from serving.settings import Settings
from tests.training.conftest import WORDS, make_encoder, make_split
from training.config import TrainConfig
from training.data import Dataset
from training.pipeline import train_adapter
from training.sources import load_splits


def write_intents(folder: Path, *parts: Dataset) -> Path:
    """Splits as the YAML folder of a data set."""
    names = {"train": "train", "validation": "validate", "test": "test"}
    entries: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        for text, label in zip(part.texts, part.labels, strict=True):
            entries.setdefault(label, {}).setdefault(names[part.split], []).append(text)
    folder.mkdir(parents=True)
    (folder / "all.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")
    return folder


Installed = tuple[Settings, AdapterVersion]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An installation with its own intents, and an adapter of them."""
    root = tmp_path_factory.mktemp("installed")
    words = ["zebra", *(word for group in WORDS.values() for word in group)]
    settings = Settings(
        home=root / "var", data_dir=root / "data", encoder=make_encoder(root / "encoder", words)
    )
    splits = (make_split("train", 12, 1), make_split("validation", 5, 2), make_split("test", 10, 3))
    source = write_intents(settings.data / "intents", *splits)
    config = TrainConfig(rank=4, epochs=1, batch_size=8, max_length=32, refit=False, patience=0)
    run = train_adapter(
        load_encoder(settings.encoder, max_length=32), load_splits(source), config, root / "bundle"
    )
    tags = {MANIFEST_TAG: run.bundle.manifest.sha256}
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return settings, AdapterVersion("banking-lora", 1, ("champion",), now, "", run.bundle.folder, tags)


@pytest.fixture
def at_home(trained: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reference]:
    settings, version = trained
    # The tiny encoder has fewer positions than the default length asks for.
    monkeypatch.setattr("serving.language.encoder.load_encoder", partial(load_encoder, max_length=32))

    def find(dataset: str = "", **changes: Path) -> Reference:
        return reference_of(settings.model_copy(update={"home": tmp_path, **changes}), version, dataset)

    return find


def test_the_reference_counts_training_texts_and_holds_the_opinion_on_unlearned_ones(
    at_home: Callable[..., Reference],
) -> None:
    found = at_home()
    assert sum(found.intents.values()) == 12 * len(WORDS)
    assert set(found.intents) <= set(WORDS)
    assert len(found.held_out) == 10 * len(WORDS)  # the test split, none of which was trained on


def test_the_kept_reference_serves_when_the_data_have_moved_on(
    at_home: Callable[..., Reference], tmp_path: Path
) -> None:
    first = at_home()
    moved = tmp_path / "later"
    write_intents(moved / "intents", make_split("train", 6, 9), make_split("test", 5, 8))
    assert at_home(data_dir=moved) == first


def test_a_damaged_kept_reference_is_made_again(at_home: Callable[..., Reference], tmp_path: Path) -> None:
    first = at_home()
    (kept,) = (tmp_path / "drift").glob("reference-*.json")
    kept.write_text('{"intents": {}, "held_out": []}', encoding="utf-8")
    assert at_home() == first


def without_energies(reference: Reference) -> Reference:
    return replace(reference, held_out=tuple(replace(item, energy=None) for item in reference.held_out))


def test_a_reference_kept_before_energies_is_made_again_while_its_data_are_here(
    at_home: Callable[..., Reference], tmp_path: Path
) -> None:
    first = at_home()
    assert first.has_energies
    (kept,) = (tmp_path / "drift").glob("reference-*.json")
    earlier = asdict(without_energies(first))
    for item in earlier["held_out"]:
        del item["energy"]
    kept.write_text(json.dumps(earlier), encoding="utf-8")
    moved = tmp_path / "later"
    write_intents(moved / "intents", make_split("train", 6, 9), make_split("test", 5, 8))
    assert at_home(data_dir=moved) == without_energies(first)
    assert at_home() == first
    assert at_home(data_dir=moved) == first


def test_other_data_than_the_bundle_names_are_refused(
    at_home: Callable[..., Reference], tmp_path: Path
) -> None:
    other = tmp_path / "later"
    write_intents(other / "intents", make_split("train", 6, 9), make_split("test", 5, 8))
    with pytest.raises(MissingError, match="was trained on data"):
        at_home(data_dir=other)
    with pytest.raises(MissingError, match="is other data"):
        at_home(str(other / "intents"))


def test_a_version_of_the_own_intents_is_found_by_its_hash(
    at_home: Callable[..., Reference], trained: Installed, tmp_path: Path
) -> None:
    other = tmp_path / "later"
    write_intents(other / "intents", make_split("train", 6, 9), make_split("test", 5, 8))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "intents-1").symlink_to(trained[0].data / "intents")
    assert sum(at_home(data_dir=other).intents.values()) == 12 * len(WORDS)


def test_an_altered_bundle_has_no_reference(trained: Installed, tmp_path: Path) -> None:
    settings, version = trained
    with pytest.raises(IntegrityError):
        reference_of(
            settings.model_copy(update={"home": tmp_path}), replace(version, tags={MANIFEST_TAG: "0" * 64})
        )
