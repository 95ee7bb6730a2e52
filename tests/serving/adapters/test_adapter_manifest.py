import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.adapters.manifest import (
    MANIFEST_FILE,
    REQUIRED_FILES,
    Kind,
    Provenance,
    check_name,
    read_manifest,
    seal,
    verify,
)
from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.language.encoder import SentenceEncoder

BundleMaker = Callable[..., Path]


@pytest.fixture
def bundle(make_bundle: BundleMaker) -> Path:
    return make_bundle()


@pytest.fixture
def origin(bundle: Path) -> Provenance:
    return read_manifest(bundle).provenance


def unsealed(bundle: Path) -> Path:
    (bundle / MANIFEST_FILE).unlink()
    return bundle


def edit_manifest(bundle: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((bundle / MANIFEST_FILE).read_text())
    change(document)
    (bundle / MANIFEST_FILE).write_text(json.dumps(document))


def test_a_sealed_bundle_verifies_and_tells_where_it_comes_from(
    bundle: Path, tiny_encoder: SentenceEncoder
) -> None:
    manifest = verify(bundle, base_sha256=tiny_encoder.base_sha256)
    assert manifest.provenance.kind == Kind.INTENT
    assert set(manifest.files) == REQUIRED_FILES[Kind.INTENT]
    assert manifest.created.tzinfo is not None
    assert manifest.adapter_sha256 == manifest.files["adapter_model.safetensors"].sha256
    assert read_manifest(bundle) == manifest


@pytest.mark.parametrize("name", sorted(REQUIRED_FILES[Kind.INTENT]))
def test_one_altered_byte_in_any_file_is_found_and_the_file_named(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name) as caught:
        verify(bundle)
    assert caught.value.advice


@pytest.mark.parametrize("name", sorted(REQUIRED_FILES[Kind.INTENT]))
def test_a_missing_file_is_found_and_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(IntegrityError, match=rf"{name} is missing"):
        verify(bundle)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "sub/deep.json"])
def test_a_file_that_the_manifest_does_not_know_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("x")
    with pytest.raises(IntegrityError, match=name):
        verify(bundle)


def test_a_link_is_refused_even_where_its_content_is_right(bundle: Path, tmp_path: Path) -> None:
    (bundle / "card.md").rename(tmp_path / "card.md")
    (bundle / "card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(IntegrityError, match=r"card\.md is a link"):
        verify(bundle)


def test_a_linked_folder_and_a_pipe_are_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "more").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(IntegrityError, match="more is a link"):
        verify(bundle)
    (bundle / "more").unlink()
    os.mkfifo(bundle / "pipe")
    with pytest.raises(IntegrityError, match="pipe is a link or a special file"):
        verify(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "weights.bin",
        "evil.pkl",
        "evil.PKL",
        "evil.joblib",
        "evil.npy",
        "code.py",
        "code.pyc",
        "evil",
        "x.JSON",
    ],
)
def test_pickles_and_code_are_never_sealed(bundle: Path, origin: Provenance, name: str) -> None:
    (unsealed(bundle) / name).write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="data only"):
        seal(bundle, origin)
    assert not (bundle / MANIFEST_FILE).exists()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "./card.md", "a//b", "a\0b"]
)
def test_a_manifest_that_lists_a_path_outside_the_bundle_is_refused(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda d: d["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(IntegrityError, match="leaves the bundle"):
        verify(bundle)


def test_an_adapter_for_another_base_is_refused(bundle: Path, foreign_encoder: SentenceEncoder) -> None:
    with pytest.raises(IntegrityError, match="another base") as caught:
        verify(bundle, base_sha256=foreign_encoder.base_sha256)
    assert "VOICEBOT_ENCODER" in caught.value.advice


def test_an_adapter_whose_base_moved_in_training_can_neither_be_sealed_nor_loaded(
    bundle: Path, origin: Provenance
) -> None:
    with pytest.raises(InvalidInputError, match="changed during training"):
        replace(origin, base_sha256_after="f" * 64)
    edit_manifest(bundle, lambda d: d["provenance"].update(base_sha256_after="f" * 64))
    with pytest.raises(IntegrityError, match="changed during training"):
        verify(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"trainable_parameters": 0},
        {"changed_tensors": ()},
        {"dataset_sha256": "abc"},
        {"name": "../banking"},
        {"name": "Banking Lora"},
    ],
)
def test_an_impossible_origin_is_refused(origin: Provenance, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        replace(origin, **changes)


def test_a_bundle_is_sealed_once(bundle: Path, origin: Provenance) -> None:
    with pytest.raises(InvalidInputError, match="sealed already"):
        seal(bundle, origin)


def test_a_folder_without_a_required_file_is_not_sealed(bundle: Path, origin: Provenance) -> None:
    (unsealed(bundle) / "baseline.safetensors").unlink()
    with pytest.raises(InvalidInputError, match=r"lacks baseline\.safetensors"):
        seal(bundle, origin)


def test_a_dialogue_bundle_needs_no_intent_files(bundle: Path, origin: Provenance) -> None:
    for name in ("intent.json", "baseline.safetensors"):
        (unsealed(bundle) if (bundle / MANIFEST_FILE).exists() else bundle).joinpath(name).unlink()
    manifest = seal(bundle, replace(origin, kind=Kind.DIALOGUE, labels_sha256=""))
    assert verify(bundle).provenance.kind == Kind.DIALOGUE
    assert "intent.json" not in manifest.files


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "[" * 100_000, '{"schema": 1}', '{"schema": 1, "files": {}, "created": 5}'],
)
def test_a_file_that_is_no_manifest_is_an_integrity_error(bundle: Path, text: str) -> None:
    (bundle / MANIFEST_FILE).write_text(text)
    with pytest.raises(IntegrityError, match=r"manifest\.json|schema"):
        verify(bundle)


def test_a_manifest_of_another_schema_says_so(bundle: Path) -> None:
    edit_manifest(bundle, lambda d: d.update(schema=99))
    with pytest.raises(IntegrityError, match="schema 99"):
        verify(bundle)


def test_a_manifest_that_forgot_a_required_file_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda d: d["files"].pop("card.md"))
    (bundle / "card.md").unlink()
    with pytest.raises(IntegrityError, match=r"does not list card\.md"):
        verify(bundle)


def test_a_folder_that_is_not_there_is_missing_and_one_without_manifest_is_damaged(
    bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingError):
        verify(tmp_path / "nothing")
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        verify(unsealed(bundle))


@pytest.mark.parametrize("name", ["", "a" * 64, "a/b", "a b", "..", "a..b", ".a", "A", "ä", "a\n", "-a"])
def test_names_that_could_become_another_path_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="no adapter name"):
        check_name(name)
