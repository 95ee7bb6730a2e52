"""ONNX Runtime beside torch: the same vectors, one choice for a home, and no vector that differs in use."""

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from evaluation.cache_pairs import load_pairs
from serving.errors import EngineError
from serving.language import encoder_backend, encoder_onnx, onnx_graph
from serving.language.encoder import SentenceEncoder, reference_of
from serving.language.encoder_backend import Measured, compare, measured_file, with_backend
from serving.language.encoder_onnx import LEAST_COSINE, in_onnx, is_supported, open_network
from serving.language.protocols import Embeddings
from serving.settings import Settings
from tests.serving.cache_world import WordEmbedder

Build = Callable[..., Settings]


@pytest.fixture(scope="module")
def onnx(encoder: SentenceEncoder) -> SentenceEncoder:
    return in_onnx(encoder)


@pytest.fixture(scope="module")
def sentences(data_dir: Path) -> list[str]:
    """Every fourth utterance of the intents: from all of them, 1,000 at least."""
    found = []
    for path in sorted((data_dir / "intents").glob("*.yaml")):
        for intent in yaml.safe_load(path.read_text(encoding="utf-8")).values():
            found += [text for split in ("train", "validate", "test") for text in intent[split]]
    chosen = list(dict.fromkeys(found))[::4]
    assert len(chosen) >= 1_000
    return chosen


@pytest.fixture(scope="module")
def both(
    encoder: SentenceEncoder, onnx: SentenceEncoder, sentences: list[str]
) -> tuple[Embeddings, Embeddings]:
    return encoder.embed(sentences), onnx.embed(sentences)


@pytest.fixture
def settings(tmp_path: Path) -> Build:
    def build(**changes: object) -> Settings:
        return Settings(home=tmp_path / "home", **changes)  # type: ignore[arg-type]  # fields by name

    return build


class TestSameVectors:
    def test_a_thousand_sentences_have_the_same_vectors(self, both: tuple[Embeddings, Embeddings]) -> None:
        cosines = np.sum(both[0].astype(np.float64) * both[1], axis=1)
        assert cosines.min() >= LEAST_COSINE
        assert np.abs(both[0] - both[1]).max() < 1e-5  # measured: 4e-7

    def test_a_thousand_sentences_have_the_same_nearest_neighbour(
        self, both: tuple[Embeddings, Embeddings]
    ) -> None:
        nearest = []
        for vectors in both:
            cosines = vectors @ vectors.T
            np.fill_diagonal(cosines, -1)
            nearest.append(cosines.argmax(axis=1))
        np.testing.assert_array_equal(*nearest)

    def test_the_cosines_of_labelled_pairs_are_the_same(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder, data_dir: Path
    ) -> None:
        pairs = load_pairs(data_dir / "cache_pairs" / "pairs.jsonl")[::12]
        cosines = []
        for one in (encoder, onnx):
            stored, probes = (
                one.embed([getattr(pair, side) for pair in pairs]) for side in ("stored", "probe")
            )
            cosines.append(np.sum(stored.astype(np.float64) * probes, axis=1))
        assert np.abs(cosines[0] - cosines[1]).max() < 2e-6  # measured on all: 8e-7

    def test_a_sentence_alone_has_the_vector_that_it_has_among_longer_ones(
        self, onnx: SentenceEncoder, sentences: list[str], both: tuple[Embeddings, Embeddings]
    ) -> None:
        alone = np.concatenate([onnx.embed([text]) for text in sentences[:20]])
        assert np.abs(alone - both[1][:20]).max() < 1e-5

    @pytest.mark.parametrize("text", ["", "\x00", "💸" * 50, "\ud83d", "न" * 300, "a" * 100_000])
    def test_hostile_text_has_the_vector_that_torch_gives(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder, text: str
    ) -> None:
        assert (encoder.embed([text]) @ onnx.embed([text]).T).item() >= LEAST_COSINE

    def test_no_text_gives_an_empty_array(self, onnx: SentenceEncoder) -> None:
        assert onnx.embed([]).shape == (0, onnx.dimension)

    def test_many_threads_share_one_network(
        self, onnx: SentenceEncoder, sentences: list[str], both: tuple[Embeddings, Embeddings]
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda text: onnx.embed([text])[0], sentences[:40]))
        assert np.abs(np.stack(together) - both[1][:40]).max() < 1e-5

    def test_shorter_reading_works_in_onnx_too(self, encoder: SentenceEncoder, onnx: SentenceEncoder) -> None:
        text = ["can i pay off my personal loan early " * 5]
        short = onnx.with_max_length(16)
        assert (encoder.with_max_length(16).embed(text) @ short.embed(text).T).item() >= LEAST_COSINE
        assert len({short.fingerprint, onnx.fingerprint, encoder.with_max_length(16).fingerprint}) == 3


class TestIdentity:
    def test_the_backend_and_the_graphs_version_are_in_the_fingerprint(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encoder_onnx.OnnxNetwork, "name", "onnxruntime, graph 2")
        later = open_network(encoder.model)
        assert len({encoder.fingerprint, onnx.fingerprint, encoder.running(later).fingerprint}) == 3

    def test_calibrations_are_bound_to_the_reference_in_torch(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder
    ) -> None:
        assert reference_of(onnx) == reference_of(encoder) == encoder.fingerprint
        assert reference_of(onnx.with_max_length(16)) == encoder.with_max_length(16).fingerprint
        assert reference_of(WordEmbedder()) == WordEmbedder.fingerprint

    def test_the_network_that_adapters_are_merged_into_stays_the_one_in_torch(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder
    ) -> None:
        assert onnx.model is encoder.model
        assert onnx.base_sha256 == encoder.base_sha256
        assert encoder.backend == "torch"

    def test_the_graph_holds_no_weight_and_is_the_same_every_time(self, encoder: SentenceEncoder) -> None:
        config = encoder.model.config
        shape = onnx_graph.BertShape(
            config.hidden_size, config.num_attention_heads, config.num_hidden_layers, config.layer_norm_eps
        )
        weights = {name: tensor.numpy() for name, tensor in encoder.model.named_parameters()}
        first, outside = onnx_graph.bert_graph(shape, weights)
        assert len(first) < 100_000
        assert first == onnx_graph.bert_graph(shape, weights)[0]
        assert sum(array.size for array in outside.values()) > 20_000_000


class TestRefusals:
    def test_a_vector_that_differs_from_torchs_is_not_used(
        self, encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = copy.deepcopy(encoder.model)
        with torch.no_grad():
            other.get_parameter("encoder.layer.3.output.dense.weight").mul_(1.5)
        network = open_network(other)
        monkeypatch.setattr(encoder_onnx, "open_network", lambda _model: network)
        with pytest.raises(EngineError, match="cosine"):
            in_onnx(encoder)

    @pytest.mark.parametrize(
        ("name", "value"), [("model_type", "mpnet"), ("hidden_act", "relu"), ("model_type", None)]
    )
    def test_a_network_of_another_kind_stays_in_torch(
        self,
        encoder: SentenceEncoder,
        settings: Build,
        name: str,
        value: object,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(encoder.model.config, name, value)
        assert not is_supported(encoder.model)
        with pytest.raises(EngineError, match="BERT"):
            open_network(encoder.model)
        for backend in ("onnx", "auto"):
            assert with_backend(encoder, settings(encoder_backend=backend)) is encoder

    def test_a_graph_that_onnx_runtime_refuses_is_an_engine_error(self) -> None:
        with pytest.raises(EngineError, match="refuses"):
            encoder_onnx._session(b"no graph", {})


class TestChoice:
    def test_onnx_is_what_serving_uses_unless_told_otherwise(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder, settings: Build
    ) -> None:
        assert with_backend(encoder, settings()).fingerprint == onnx.fingerprint
        assert with_backend(encoder, settings(encoder_backend="torch")) is encoder
        assert not settings().home.exists()

    @pytest.mark.parametrize(("torch_ms", "backend"), [(6.0, "onnx"), (2.5, "torch")])
    def test_auto_keeps_what_it_measured_first(
        self,
        encoder: SentenceEncoder,
        settings: Build,
        torch_ms: float,
        backend: encoder_backend.Backend,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        found = Measured(backend, torch_ms, 2.0)
        monkeypatch.setattr(encoder_backend, "compare", lambda *_: found)
        chosen = with_backend(encoder, settings(encoder_backend="auto"))
        assert chosen.backend.startswith(backend)
        monkeypatch.setattr(encoder_backend, "compare", lambda *_: pytest.fail("measured again"))
        assert with_backend(encoder, settings(encoder_backend="auto")).fingerprint == chosen.fingerprint
        kept = json.loads(measured_file(settings().home, encoder).read_text(encoding="utf-8"))
        assert kept == {"backend": backend, "onnx_ms": 2.0, "torch_ms": torch_ms}

    def test_auto_follows_the_process_that_was_first(
        self, encoder: SentenceEncoder, settings: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = measured_file(settings().home, encoder)

        def meanwhile(*_: object) -> Measured:
            path.parent.mkdir()
            path.write_text('{"backend": "torch"}')
            return Measured("onnx", 6.0, 2.0)

        monkeypatch.setattr(encoder_backend, "compare", meanwhile)
        assert with_backend(encoder, settings(encoder_backend="auto")) is encoder

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"backend": "auto"}', '{"backend": 7}'])
    def test_auto_measures_again_where_the_record_cannot_be_read(
        self, encoder: SentenceEncoder, settings: Build, content: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = measured_file(settings().home, encoder)
        path.parent.mkdir()
        path.write_text(content)
        monkeypatch.setattr(encoder_backend, "compare", lambda *_: Measured("torch", 1.0, 2.0))
        assert with_backend(encoder, settings(encoder_backend="auto")) is encoder
        assert json.loads(path.read_text(encoding="utf-8"))["backend"] == "torch"

    def test_auto_needs_no_home_that_can_be_written(
        self, encoder: SentenceEncoder, settings: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings().home.write_text("a file where the folder should be")
        monkeypatch.setattr(encoder_backend, "compare", lambda *_: Measured("onnx", 6.0, 2.0))
        assert with_backend(encoder, settings(encoder_backend="auto")).backend != "torch"

    def test_auto_stays_in_torch_where_onnx_runtime_fails(
        self, encoder: SentenceEncoder, settings: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(_encoder: SentenceEncoder) -> SentenceEncoder:
            raise EngineError("no such instruction")

        monkeypatch.setattr(encoder_backend, "in_onnx", fails)
        assert with_backend(encoder, settings(encoder_backend="auto")) is encoder
        with pytest.raises(EngineError):
            with_backend(encoder, settings(encoder_backend="onnx"))

    def test_both_are_timed_in_the_same_run(
        self, encoder: SentenceEncoder, onnx: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(encoder_backend, "_ROUNDS", 2)
        found = compare(encoder, onnx)
        assert found.torch_ms > 0
        assert found.onnx_ms > 0
        assert (found.backend == "onnx") == (found.torch_ms >= 1.3 * found.onnx_ms)
