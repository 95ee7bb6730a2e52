"""A tiny real encoder, bundles whose answers tell them apart, and registries that start in milliseconds."""

import functools
import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from serving.adapters.decision import Check, GateDecision
from serving.adapters.lora import merged_classifier
from serving.adapters.manifest import Kind, Provenance, seal
from serving.adapters.promotion import promote
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.language.encoder import SentenceEncoder, load_encoder
from serving.language.intent import (
    IntentConfig,
    TorchIntentTagger,
    labels_sha256,
    probes_of,
    save_baseline,
)

NAME = "banking-lora"
LABELS = ("card_lost", "loan_quote", "pin_blocked", "out_of_scope")
TEXTS = ("i lost my card", "what would a loan cost", "my pin is blocked", "tell me a joke")
WORDS = sorted({word for text in TEXTS for word in text.split()} | {"the", "so", "um", "yes"})
RANK = 4

BundleMaker = Callable[..., Path]
DecisionMaker = Callable[..., GateDecision]


def write_tiny_encoder(folder: Path, seed: int) -> Path:
    """A random BERT of two layers with a word-piece tokenizer."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters), *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=96,
        )
        model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny", seed=1)
    return load_encoder(folder, max_length=32)


@pytest.fixture(scope="session")
def foreign_encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "foreign", seed=2)
    return load_encoder(folder, max_length=32)


def lora_config(**changes: object) -> dict[str, object]:
    """`adapter_config.json` as PEFT writes it, as far as it matters."""
    return {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "bias": "none",
        "modules_to_save": ["classifier"],
        "target_modules": r"encoder\.encoder\.layer\.\d+\..*(query|key|value|dense)",
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        **changes,
    }


def lora_tensors(encoder: SentenceEncoder, seed: int) -> dict[str, torch.Tensor]:
    """Random LoRA matrices and head, strong enough that two seeds never give similar logits."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in encoder.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            path = f"base_model.model.encoder.{name}"
            tensors[f"{path}.lora_A.weight"] = torch.randn(RANK, module.in_features, generator=generator) / 8
            tensors[f"{path}.lora_B.weight"] = torch.randn(module.out_features, RANK, generator=generator) / 8
    head = torch.randn(len(LABELS), encoder.dimension, generator=generator)
    tensors["base_model.model.classifier.weight"] = head
    tensors["base_model.model.classifier.bias"] = 10 * torch.randn(len(LABELS), generator=generator)
    return tensors


def write_parts(folder: Path, encoder: SentenceEncoder, seed: int) -> Path:
    """Every file of a bundle but the manifest."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(lora_config()))
    save_file(lora_tensors(encoder, seed), folder / "adapter_model.safetensors")
    rng = np.random.default_rng(seed)
    save_baseline(folder, rng.normal(size=(len(LABELS), encoder.dimension)), rng.normal(size=len(LABELS)))
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.9, "per_intent": {"card_lost": 1.0}}))
    (folder / "card.md").write_text("# A test adapter\n")
    IntentConfig(LABELS, encoder.base_sha256, -1e3, -1e3, 0.05, max_length=32).save(folder)
    return folder


def provenance(encoder: SentenceEncoder, **changes: object) -> Provenance:
    fields = {
        "kind": Kind.INTENT,
        "name": NAME,
        "base_model": encoder.name,
        "base_sha256": encoder.base_sha256,
        "base_sha256_after": encoder.base_sha256,
        "trainable_parameters": 1_000,
        "changed_tensors": ("base_model.model.classifier.bias",),
        "dataset_sha256": "d" * 64,
        "labels_sha256": labels_sha256(LABELS),
        "seed": 7,
        **changes,
    }
    return Provenance(**fields)


@pytest.fixture(scope="session")
def sealed(tiny_encoder: SentenceEncoder, tmp_path_factory: pytest.TempPathFactory) -> BundleMaker:
    """The sealed bundle of a seed, with probes; made once, not to be changed."""

    @functools.cache
    def make(seed: int) -> Path:
        folder = write_parts(tmp_path_factory.mktemp("sealed") / "bundle", tiny_encoder, seed)
        config = IntentConfig.load(folder)
        classifier = merged_classifier(folder, tiny_encoder, config)
        tagger = TorchIntentTagger(classifier, tiny_encoder, config, "candidate")
        replace(config, probes=probes_of(tagger, TEXTS)).save(folder)
        seal(folder, provenance(tiny_encoder))
        return folder

    return make


@pytest.fixture
def make_bundle(sealed: BundleMaker, tmp_path: Path) -> BundleMaker:
    """A sealed bundle by seed, a fresh copy each time; equal seeds give equal bytes."""

    def make(seed: int = 1) -> Path:
        return Path(shutil.copytree(sealed(seed), tmp_path / f"bundle-{seed}-{uuid.uuid4().hex}"))

    return make


def a_decision(champion: int | None = None, *, passed: bool = True, model: str = NAME) -> GateDecision:
    check = Check("non_inferior", passed, "Δ = 0.1 pp, bound −0.4 pp", {"delta": 0.001})
    when = datetime(2026, 11, 20, tzinfo=UTC)
    return GateDecision(model, None, champion, "e" * 64, (check,), passed, decided_at=when)


@pytest.fixture
def make_decision() -> DecisionMaker:
    return a_decision


def registry_in(mlruns: Path) -> AdapterRegistry:
    """A registry that waits for locks only briefly."""
    return AdapterRegistry(
        f"sqlite:///{mlruns / 'mlflow.db'}", mlruns, lock_timeout_s=0.3, busy_timeout_s=0.2
    )


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; making one takes seconds, copying it nothing."""
    folder = tmp_path_factory.mktemp("template") / "mlruns"
    with registry_in(folder).writing(create=True):
        pass
    return folder


@pytest.fixture(scope="session")
def challenged_template(
    empty_template: Path, sealed: BundleMaker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Version 1 was champion, 2 is, and 3 passed the gate against 2."""
    folder = tmp_path_factory.mktemp("challenged") / "mlruns"
    registry = registry_in(Path(shutil.copytree(empty_template, folder)))
    for version, champion in ((1, None), (2, 1), (3, 2)):
        registry.register(NAME, sealed(version), by="ci")
        attach_decision(registry, NAME, version, a_decision(champion), by="gate")
        if version < 3:
            promote(registry, NAME, version, by="ci", reason="passed the gate")
    return folder


@pytest.fixture
def mlruns(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of this test's registry: filled where the test asks for `challenged`, else empty."""
    filled = "challenged" in request.fixturenames
    template = request.getfixturevalue("challenged_template" if filled else "empty_template")
    return Path(shutil.copytree(template, tmp_path / "mlruns"))


@pytest.fixture
def open_registry(mlruns: Path) -> Callable[[], AdapterRegistry]:
    """Another operator's view of this test's registry."""
    return lambda: registry_in(mlruns)


@pytest.fixture
def registry(mlruns: Path) -> AdapterRegistry:
    return registry_in(mlruns)


@pytest.fixture
def challenged(registry: AdapterRegistry) -> AdapterRegistry:
    """Version 1 was champion, 2 is, and 3 passed the gate against 2."""
    return registry
