import json
import os
import shutil
import stat
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.adapters.loader import (
    LocalCopy,
    fetch,
    last_good,
    load_frozen_head,
    load_tagger,
    local_copy,
    remember_good,
)
from serving.adapters.lora import TARGET_MODULES, merged_classifier
from serving.adapters.manifest import MANIFEST_FILE, read_manifest, seal
from serving.adapters.registry import AdapterRegistry
from serving.errors import IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import IntentClassifier, IntentConfig, TorchIntentTagger

NAME = "banking-lora"
TEXTS = ["i lost my card", "what would a loan cost over five years", "so um yes", ""]
QUERY = "base_model.model.encoder.encoder.layer.0.attention.self.query"

BundleMaker = Callable[..., Path]


@pytest.fixture
def bundle(make_bundle: BundleMaker) -> Path:
    return make_bundle()


def resealed(bundle: Path, *, forget: str = "", **changes: object) -> LocalCopy:
    """Seal a bundle again after a change that its maker (not an intruder) made."""
    origin = read_manifest(bundle).provenance
    (bundle / MANIFEST_FILE).unlink()
    seal(bundle, replace(origin, **changes))
    return LocalCopy(NAME, 1, bundle)


def with_tensors(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> LocalCopy:
    tensors = load_file(bundle / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, bundle / "adapter_model.safetensors")
    return resealed(bundle)


def with_lora_config(bundle: Path, **changes: object) -> LocalCopy:
    path = bundle / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return resealed(bundle)


@pytest.mark.parametrize("rank_stabilised", [False, True])
@pytest.mark.parametrize("targets", [TARGET_MODULES, ["query", "value"]])
def test_merging_equals_pefts_own_forward_pass(
    tiny_encoder: SentenceEncoder, tmp_path: Path, rank_stabilised: bool, targets: str | list[str]
) -> None:
    from peft import LoraConfig, get_peft_model

    labels = ("a", "b", "c")
    torch.manual_seed(5)
    lora = LoraConfig(
        r=4,
        lora_alpha=8,
        use_rslora=rank_stabilised,
        target_modules=targets,
        modules_to_save=["classifier"],
        init_lora_weights=False,
    )
    peft = get_peft_model(IntentClassifier(deepcopy(tiny_encoder.model), len(labels)), lora)
    peft.save_pretrained(tmp_path)
    config = IntentConfig(
        labels, tiny_encoder.base_sha256, -9.0, -9.0, 0.05, max_length=32, out_of_scope_label=None
    )
    theirs = TorchIntentTagger(peft, tiny_encoder, config, "peft")
    ours = TorchIntentTagger(merged_classifier(tmp_path, tiny_encoder, config), tiny_encoder, config, "ours")
    np.testing.assert_allclose(ours.logits(TEXTS), theirs.logits(TEXTS), atol=1e-5)


def test_loading_leaves_the_shared_encoder_untouched_and_shares_what_lora_does_not_change(
    tiny_encoder: SentenceEncoder, bundle: Path
) -> None:
    before = tiny_encoder.embed(TEXTS)
    config = IntentConfig.load(bundle)
    merged = merged_classifier(bundle, tiny_encoder, config).encoder
    np.testing.assert_array_equal(tiny_encoder.embed(TEXTS), before)
    words = "embeddings.word_embeddings.weight"
    assert merged.get_parameter(words) is tiny_encoder.model.get_parameter(words)
    query = "encoder.layer.0.attention.self.query.weight"
    assert merged.get_parameter(query) is not tiny_encoder.model.get_parameter(query)


def test_loading_draws_no_random_numbers(tiny_encoder: SentenceEncoder, bundle: Path) -> None:
    before = torch.random.get_rng_state()
    load_tagger(LocalCopy(NAME, 1, bundle), tiny_encoder)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "name",
    [f"{QUERY}.lora_A.weight", f"{QUERY}.lora_B.weight", "base_model.model.classifier.bias"],
)
def test_a_missing_tensor_is_an_error_not_a_warning(
    tiny_encoder: SentenceEncoder, bundle: Path, name: str
) -> None:
    copied = with_tensors(bundle, lambda tensors: tensors.pop(name))
    with pytest.raises(IntegrityError, match="1 weights are missing"):
        load_tagger(copied, tiny_encoder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model.model.encoder.encoder.layer.7.output.dense.lora_A.weight", "unexpected"),
        ("base_model.model.encoder.embeddings.word_embeddings.weight", "unexpected"),
        ("encoder.layer.0.lora_A.weight", "no LoRA tensor"),
    ],
)
def test_an_unexpected_tensor_is_refused(
    tiny_encoder: SentenceEncoder, bundle: Path, name: str, message: str
) -> None:
    copied = with_tensors(bundle, lambda tensors: tensors.update({name: torch.zeros(4, 4)}))
    with pytest.raises(IntegrityError, match=message):
        load_tagger(copied, tiny_encoder)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 32), "shape"),
        (torch.full((4, 32), torch.nan), "not finite"),
        (torch.zeros(4, 32, dtype=torch.int64), "no LoRA tensor"),
    ],
)
def test_a_tensor_of_wrong_shape_value_or_type_is_refused(
    tiny_encoder: SentenceEncoder, bundle: Path, tensor: torch.Tensor, message: str
) -> None:
    copied = with_tensors(bundle, lambda tensors: tensors.update({f"{QUERY}.lora_A.weight": tensor}))
    with pytest.raises(IntegrityError, match=message):
        load_tagger(copied, tiny_encoder)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"rank_pattern": {"query": 8}},
        {"peft_type": "IA3"},
        {"modules_to_save": None},
        {"modules_to_save": ["classifier", "pooler"]},
        {"r": 0},
        {"r": "many"},
        {"lora_alpha": None},
        {"target_modules": "("},
        {"target_modules": "(.*.*)*x"},
        {"target_modules": TARGET_MODULES + "?"},
        {"target_modules": []},
        {"target_modules": None},
        {"target_modules": {"query": 1}},
        {"target_modules": ["query", 3]},
        {"target_modules": ["query", ".*"]},
        {"target_modules": ["nothing_like_this"]},
        {"some_future_method": {"on": True}},
    ],
)
def test_a_variant_that_would_be_merged_wrongly_is_refused(
    tiny_encoder: SentenceEncoder, bundle: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(IntegrityError, match="LoRA adapter cannot be used"):
        load_tagger(with_lora_config(bundle, **changes), tiny_encoder)


def test_an_adapter_of_another_base_is_refused(foreign_encoder: SentenceEncoder, bundle: Path) -> None:
    with pytest.raises(IntegrityError, match="another base"):
        load_tagger(LocalCopy(NAME, 1, bundle), foreign_encoder)
    with pytest.raises(IntegrityError, match="another base"):
        load_frozen_head(LocalCopy(NAME, 1, bundle), foreign_encoder)


def test_labels_that_differ_from_the_manifest_are_refused(
    tiny_encoder: SentenceEncoder, bundle: Path
) -> None:
    config = IntentConfig.load(bundle)
    replace(config, labels=(*config.labels[1:], config.labels[0])).save(bundle)
    with pytest.raises(IntegrityError, match="different bases or labels"):
        load_tagger(resealed(bundle), tiny_encoder)


@pytest.mark.parametrize("wrong_label", [False, True])
def test_a_tagger_that_answers_a_probe_differently_is_refused(
    tiny_encoder: SentenceEncoder, bundle: Path, wrong_label: bool
) -> None:
    config = IntentConfig.load(bundle)
    assert config.probes
    probe = config.probes[0]
    other = next(label for label in config.labels if label != probe.label)
    wrong = replace(probe, label=other) if wrong_label else replace(probe, energy=probe.energy + 0.05)
    replace(config, probes=(wrong,)).save(bundle)
    with pytest.raises(IntegrityError, match="as it did after training"):
        load_tagger(resealed(bundle), tiny_encoder)


def test_a_dialogue_adapter_is_no_intent_tagger(tiny_encoder: SentenceEncoder, bundle: Path) -> None:
    from serving.adapters.manifest import Kind

    with pytest.raises(InvalidInputError, match="dialogue"):
        load_tagger(resealed(bundle, kind=Kind.DIALOGUE), tiny_encoder)


def test_a_fetched_copy_is_private_and_verified(
    registry: AdapterRegistry, bundle: Path, tmp_path: Path
) -> None:
    version = registry.register(NAME, bundle, by="ci")
    copied = fetch(version, tmp_path / "home" / "adapters")
    assert stat.S_IMODE(copied.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(copied.folder.parent.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in copied.folder.iterdir())
    assert {path.name for path in copied.folder.iterdir()} == {path.name for path in bundle.iterdir()}
    assert copied.label == "banking-lora/1"


def test_a_sound_copy_is_used_again_and_a_damaged_one_replaced(
    registry: AdapterRegistry, bundle: Path, tmp_path: Path
) -> None:
    version = registry.register(NAME, bundle, by="ci")
    first = fetch(version, tmp_path / "store")
    inode = (first.folder / "card.md").stat().st_ino
    assert (fetch(version, tmp_path / "store").folder / "card.md").stat().st_ino == inode
    (first.folder / "card.md").write_text("altered")
    again = fetch(version, tmp_path / "store")
    assert (again.folder / "card.md").read_text() == (bundle / "card.md").read_text()
    assert [path.name for path in (tmp_path / "store").iterdir()] == [again.folder.name]


def test_a_bundle_altered_in_the_registry_is_never_copied(
    registry: AdapterRegistry, bundle: Path, tmp_path: Path
) -> None:
    version = registry.register(NAME, bundle, by="ci")
    (version.bundle / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md was altered"):
        fetch(version, tmp_path / "store")
    assert list((tmp_path / "store").glob("*")) == []


def test_a_bundle_exchanged_together_with_its_manifest_is_refused(
    registry: AdapterRegistry, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    version = registry.register(NAME, make_bundle(1), by="ci")
    shutil.rmtree(version.bundle)
    shutil.copytree(make_bundle(2), version.bundle)
    with pytest.raises(IntegrityError, match="not the one that was registered"):
        fetch(version, tmp_path / "store")


def test_the_last_good_copy_is_remembered_and_old_copies_go(
    registry: AdapterRegistry, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert last_good(tmp_path / "nowhere") is None
    for seed in range(1, 7):
        copied = fetch(registry.register(NAME, make_bundle(seed), by="ci"), store)
        remember_good(copied, store)
    assert last_good(store) == copied
    assert len([path for path in store.iterdir() if path.is_dir()]) == 4
    assert local_copy(store, NAME, 6) == copied
    assert local_copy(store, NAME, 1) is None


def test_a_damaged_last_good_copy_is_not_used(
    registry: AdapterRegistry, bundle: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    copied = fetch(registry.register(NAME, bundle, by="ci"), store)
    remember_good(copied, store)
    (copied.folder / "adapter_model.safetensors").unlink()
    assert last_good(store) is None
    (store / "last-good.json").write_text("{")
    assert last_good(store) is None


def test_the_trainer_adapts_what_the_loader_accepts() -> None:
    from training.config import TARGET_MODULES as TRAINED

    assert TRAINED == TARGET_MODULES


def test_a_hostile_pattern_is_refused_before_it_is_matched(
    tiny_encoder: SentenceEncoder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.adapters.lora import LoraSpec

    monkeypatch.setattr(LoraSpec, "adapts", lambda *_: pytest.fail("the pattern was matched"))
    with pytest.raises(IntegrityError, match="trainer's own pattern"):
        load_tagger(with_lora_config(bundle, target_modules="(encoder|e|n|c|o|d|r|.)*!"), tiny_encoder)


@pytest.fixture
def remade(make_bundle: BundleMaker, empty_template: Path, tmp_path: Path) -> dict[int, LocalCopy]:
    """Two adapters that are both `banking-lora/1`, because the registry was made anew in between."""
    copies = {}
    for seed in (1, 2):
        mlruns = shutil.copytree(empty_template, tmp_path / f"mlruns-{seed}")
        registry = AdapterRegistry(f"sqlite:///{mlruns / 'mlflow.db'}", mlruns)
        copies[seed] = fetch(registry.register(NAME, make_bundle(seed), by="ci"), tmp_path / "store")
    assert copies[1].label == copies[2].label
    assert copies[1].folder != copies[2].folder
    return copies


@pytest.mark.parametrize("served", [1, 2])
def test_the_last_good_copy_is_the_one_that_served_also_where_the_registry_was_made_anew(
    remade: dict[int, LocalCopy], tmp_path: Path, served: int
) -> None:
    remember_good(remade[served], tmp_path / "store")
    assert last_good(tmp_path / "store") == remade[served]
    assert local_copy(tmp_path / "store", NAME, 1) == remade[served]


@pytest.mark.parametrize("newest", [1, 2])
def test_of_two_copies_of_a_number_the_newest_is_taken(
    remade: dict[int, LocalCopy], tmp_path: Path, newest: int
) -> None:
    for seed, copied in remade.items():
        os.utime(copied.folder, (0, 2_000 if seed == newest else 1_000))
    assert local_copy(tmp_path / "store", NAME, 1) == remade[newest]


@pytest.mark.parametrize("folder", ["../mlruns-1", "banking-lora-1-../../x", "banking-lora-10-abc", "", None])
def test_a_note_that_names_another_place_is_not_followed(
    remade: dict[int, LocalCopy], tmp_path: Path, folder: str | None
) -> None:
    note = {"name": NAME, "version": 1, "folder": folder}
    (tmp_path / "store" / "last-good.json").write_text(json.dumps(note))
    assert last_good(tmp_path / "store") is None


def test_a_copy_that_another_server_removes_meanwhile_is_no_error(
    remade: dict[int, LocalCopy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stat_of = remade[1].folder, Path.stat

    def vanishing(path: Path, **options: bool) -> os.stat_result:
        found = stat_of(path, **options)
        if path == gone / MANIFEST_FILE:
            shutil.rmtree(gone)
        return found

    monkeypatch.setattr(Path, "stat", vanishing)
    remember_good(remade[2], tmp_path / "store")
    assert not gone.exists()
    assert last_good(tmp_path / "store") == remade[2]
