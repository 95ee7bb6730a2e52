import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serving.adapters.loader import LocalCopy, load_frozen_head, load_tagger
from serving.errors import EngineError, IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import (
    FrozenHeadTagger,
    IntentClassifier,
    IntentConfig,
    Probe,
    TorchIntentTagger,
    frozen_sha256,
    load_baseline,
    log_sum_exp,
    probes_of,
    save_baseline,
)

LABELS = ("card_lost", "loan_quote", "out_of_scope")


@pytest.fixture
def config(tiny_encoder: SentenceEncoder) -> IntentConfig:
    return IntentConfig(LABELS, tiny_encoder.base_sha256, -1e3, -1e3, 0.05, max_length=32)


@pytest.fixture
def classifier(tiny_encoder: SentenceEncoder) -> IntentClassifier:
    torch.manual_seed(3)
    return IntentClassifier(tiny_encoder.model, len(LABELS))


def head_tagger(encoder: SentenceEncoder, config: IntentConfig, bias: list[float]) -> FrozenHeadTagger:
    """A tagger whose logits are exactly `bias`, whatever the text."""
    weight = np.zeros((len(LABELS), encoder.dimension), dtype=np.float32)
    return FrozenHeadTagger(encoder, weight, np.array(bias, dtype=np.float32), config)


def test_a_tag_carries_softmax_energy_runners_up_and_version(
    tiny_encoder: SentenceEncoder, config: IntentConfig
) -> None:
    tag = head_tagger(tiny_encoder, config, [1.0, 3.0, 2.0]).tag("anything")
    energy = math.log(math.exp(1) + math.exp(3) + math.exp(2))
    assert tag.label == "loan_quote"
    assert tag.version == "baseline"
    assert tag.energy == pytest.approx(energy)
    assert tag.probability == pytest.approx(math.exp(3 - energy))
    assert [label for label, _ in tag.runners_up] == ["out_of_scope", "card_lost"]
    assert tag.probability + sum(p for _, p in tag.runners_up) == pytest.approx(1)


def test_low_energy_is_out_of_scope_and_keeps_its_best_label(
    tiny_encoder: SentenceEncoder, config: IntentConfig
) -> None:
    strict = replace(config, baseline_energy_threshold=5.0)
    assert head_tagger(tiny_encoder, strict, [1.0, 3.0, 2.0]).tag("a").in_scope is False
    assert head_tagger(tiny_encoder, strict, [1.0, 6.0, 2.0]).tag("a").in_scope is True


def test_the_out_of_scope_label_is_out_of_scope_at_any_energy(
    tiny_encoder: SentenceEncoder, config: IntentConfig
) -> None:
    assert head_tagger(tiny_encoder, config, [1.0, 3.0, 90.0]).tag("a").in_scope is False


def test_a_blank_text_is_never_in_scope(tiny_encoder: SentenceEncoder, config: IntentConfig) -> None:
    tagger = head_tagger(tiny_encoder, config, [1.0, 30.0, 2.0])
    assert [tagger.tag(text).in_scope for text in ("", " \n\t", "a")] == [False, False, True]


def test_a_logit_that_is_not_finite_is_an_engine_error(
    tiny_encoder: SentenceEncoder, config: IntentConfig
) -> None:
    with pytest.raises(EngineError, match="not finite"):
        head_tagger(tiny_encoder, config, [1.0, math.nan, 2.0]).tag("a")


def test_many_texts_at_once_get_the_tags_that_each_gets_alone(
    tiny_encoder: SentenceEncoder, classifier: IntentClassifier, config: IntentConfig
) -> None:
    tagger = TorchIntentTagger(classifier, tiny_encoder, config, "banking-lora/1")
    texts = ["i lost my card", "", "a loan " * 30, "my pin is blocked so um yes"] * 30
    for text, tag in zip(texts, tagger.tag_all(texts), strict=True):
        alone = tagger.tag(text)
        assert (tag.label, tag.in_scope, tag.version) == (alone.label, alone.in_scope, "banking-lora/1")
        assert tag.energy == pytest.approx(alone.energy, abs=1e-4)


def test_logits_are_the_head_on_the_scaled_unit_vector(
    tiny_encoder: SentenceEncoder, classifier: IntentClassifier, config: IntentConfig
) -> None:
    tagger = TorchIntentTagger(classifier, tiny_encoder, config, "banking-lora/1")
    text = "what would a loan cost"
    weight, bias = (p.detach().numpy() for p in classifier.classifier.parameters())
    expected = 20.0 * tiny_encoder.embed([text]) @ weight.T + bias
    np.testing.assert_allclose(tagger.logits([text]), expected, atol=1e-4)


def test_training_mode_is_left_when_a_tagger_takes_the_classifier(
    tiny_encoder: SentenceEncoder, classifier: IntentClassifier, config: IntentConfig
) -> None:
    classifier.train()
    tagger = TorchIntentTagger(classifier, tiny_encoder, config, "banking-lora/1")
    first, second = tagger.logits(["i lost my card"]), tagger.logits(["i lost my card"])
    np.testing.assert_array_equal(first, second)
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_the_frozen_hash_ignores_heads_lora_and_wrapping_but_not_the_encoder(
    tiny_encoder: SentenceEncoder,
) -> None:
    from copy import deepcopy

    from peft import LoraConfig, get_peft_model

    classifier = IntentClassifier(deepcopy(tiny_encoder.model), len(LABELS))
    assert frozen_sha256(classifier) == tiny_encoder.base_sha256
    lora = LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    wrapped = get_peft_model(classifier, lora)
    assert frozen_sha256(wrapped) == tiny_encoder.base_sha256
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
                assert "lora_" in name or "classifier" in name
    assert frozen_sha256(wrapped) == tiny_encoder.base_sha256
    with torch.no_grad():
        wrapped.base_model.model.encoder.encoder.layer[0].attention.self.query.base_layer.weight[0, 0] += 1
    assert frozen_sha256(wrapped) != tiny_encoder.base_sha256


def test_probes_are_the_texts_that_the_tagger_is_sure_about(
    tiny_encoder: SentenceEncoder, classifier: IntentClassifier, config: IntentConfig
) -> None:
    tagger = TorchIntentTagger(classifier, tiny_encoder, config, "candidate")
    with torch.no_grad():
        classifier.classifier.bias[:] = torch.tensor([9.0, 0.0, 0.0])
    sure = probes_of(tagger, ["i lost my card"])
    assert [(probe.text, probe.label) for probe in sure] == [("i lost my card", "card_lost")]
    with torch.no_grad():
        classifier.classifier.weight.zero_()
        classifier.classifier.bias.zero_()
    assert probes_of(tagger, ["i lost my card"]) == ()


def test_a_saved_configuration_is_read_back_unchanged(config: IntentConfig, tmp_path: Path) -> None:
    saved = replace(config, probes=(Probe("ich grüße", "card_lost", 1.25),), out_of_scope_label=None)
    saved.save(tmp_path)
    assert IntentConfig.load(tmp_path) == saved


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("one",)},
        {"labels": ("a", "a")},
        {"labels": ("a", "")},
        {"energy_threshold": math.nan},
        {"baseline_energy_threshold": math.inf},
        {"scale": 0},
        {"in_scope_rejection": 1.5},
        {"max_length": 2},
        {"max_length": 64.0},
        {"out_of_scope_label": "unknown"},
        {"probes": (Probe("text", "unknown", 1.0),)},
    ],
)
def test_an_impossible_configuration_cannot_be_made(config: IntentConfig, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="intent configuration"):
        replace(config, **changes)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"labels": 3}', '{"labels": [[1], [2]]}', "[" * 100_000, "\ud800"]
)
def test_a_file_that_is_no_configuration_is_an_integrity_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "intent.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(IntegrityError, match=r"intent\.json"):
        IntentConfig.load(tmp_path)


def test_an_unknown_field_of_the_configuration_is_refused(config: IntentConfig) -> None:
    document = json.loads(config.to_json()) | {"surprise": 1}
    with pytest.raises(InvalidInputError, match="surprise"):
        IntentConfig.from_json(json.dumps(document))


def test_a_baseline_head_of_another_shape_is_refused(
    tiny_encoder: SentenceEncoder, config: IntentConfig, tmp_path: Path
) -> None:
    save_baseline(tmp_path, np.zeros((2, tiny_encoder.dimension)), np.zeros(2))
    with pytest.raises(IntegrityError, match="shapes"):
        load_baseline(tmp_path, tiny_encoder, config)


def test_a_damaged_baseline_file_is_refused(
    tiny_encoder: SentenceEncoder, config: IntentConfig, tmp_path: Path
) -> None:
    (tmp_path / "baseline.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(IntegrityError, match=r"baseline\.safetensors"):
        load_baseline(tmp_path, tiny_encoder, config)


def test_the_adapter_and_its_baseline_head_are_different_taggers(
    tiny_encoder: SentenceEncoder, make_bundle
) -> None:
    copied = LocalCopy("banking-lora", 3, make_bundle())
    tagger, head = load_tagger(copied, tiny_encoder), load_frozen_head(copied, tiny_encoder)
    assert (tagger.version, head.version) == ("banking-lora/3", "baseline:banking-lora/3")
    assert tagger.labels == head.labels
    assert not np.allclose(tagger.logits(["i lost my card"]), head.logits(["i lost my card"]), atol=0.1)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=90))
def test_the_energy_lies_between_the_best_logit_and_that_plus_log_n(row: list[float]) -> None:
    energy = log_sum_exp(np.array(row, dtype=np.float32))
    assert max(row) <= energy + 1e-6
    assert energy <= max(row) + math.log(len(row)) + 1e-6
