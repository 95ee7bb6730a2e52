"""The cost of dialogue adapters: the command at a tiny shape, and a gradient check that can fail."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from typer.testing import CliRunner

from flows.cli import app
from serving.errors import InvalidInputError, MissingError
from serving.language.causal_lm import CausalLm, load_causal_lm
from tests.training.dialogue.few import few_dialogues, tiny_base
from training.dialogue.cost import check_quantised_gradients, chosen_shape
from training.dialogue.network import Batch, batch_of
from training.dialogue.rendering import Example

GPU = torch.cuda.is_available()
no_gpu = pytest.mark.skipif(GPU, reason="a GPU is here")


@pytest.fixture(scope="module")
def data(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_dialogues(data_dir, tmp_path_factory.mktemp("few") / "data", train=1)


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(data, tmp_path_factory.mktemp("base") / "tiny")


@no_gpu
def test_without_a_gpu_the_command_measures_a_tiny_shape(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(data))
    monkeypatch.setattr("flows.environment.go_offline", lambda _settings: None)  # Prefect may be imported
    done = CliRunner().invoke(app, ["measure-dialogue", "--dialogues", "2", "--adapters", "2", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (cost,) = found["training"]
    assert (found["shape"], found["device"], cost["precision"]) == ("tiny", "cpu", "float32")
    assert cost["tokens_per_second"] > 0
    assert cost["adapter_bytes"] > 4 * cost["trained_parameters"]
    assert cost["base_bytes"] == 4 * cost["parameters"]
    assert found["gradients"] is None
    late = found["latency"]
    assert late["adapters"] == 2
    assert late["bytes_each"] == 4 * cost["trained_parameters"]
    assert min(late["base_ms"], late["merged_ms"], late["beside_ms"], late["several_ms"], late["load_ms"]) > 0


@no_gpu
def test_the_large_shape_is_never_begun_without_a_gpu() -> None:
    assert chosen_shape("auto") == "tiny"
    with pytest.raises(MissingError, match="CUDA GPU"):
        chosen_shape("mistral-7b")


def quantised(base: Path) -> CausalLm:
    """A freshly loaded 4-bit model, on a CPU too: it was asked nothing yet, so it still has its gradients."""
    from dataclasses import replace

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(str(base), quantization_config=config, dtype=torch.float32)
    return replace(load_causal_lm(base), model=model)


@pytest.fixture
def batch() -> Batch:
    return batch_of([Example((1, 40, 50, 60, 70, 80), (False, False, True, True, True, True))])


@no_gpu
def test_gradients_through_four_bits_are_those_of_the_same_weights(base: Path, batch: Batch) -> None:
    pytest.importorskip("bitsandbytes")
    found = check_quantised_gradients(quantised(base), batch)
    assert found.layers == 14
    assert found.smallest_cosine > 0.999
    assert found.largest_difference < 0.02


@no_gpu
def test_a_four_bit_layer_that_loses_its_gradient_is_seen(base: Path, batch: Batch) -> None:
    pytest.importorskip("bitsandbytes")
    lm = quantised(base)
    for layer in lm.model.model.layers[1].mlp.children():
        layer.register_forward_hook(lambda _layer, _inputs, output: output.detach())
    found = check_quantised_gradients(lm, batch)
    assert found.smallest_cosine < 0.95
    assert found.largest_difference > 0.05


def test_a_model_without_four_bit_layers_has_nothing_to_compare(base: Path, batch: Batch) -> None:
    with pytest.raises(InvalidInputError, match="no 4-bit layers"):
        check_quantised_gradients(load_causal_lm(base), batch)
