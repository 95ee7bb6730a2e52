"""What leaves the registry: sealed, merged, in vLLM's layout; whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.adapters.export import HEAD_FILE, Exported, Form, export_version
from serving.adapters.loader import LocalCopy, load_tagger
from serving.adapters.manifest import Kind, Provenance, seal, verify
from serving.adapters.registry import AdapterRegistry
from serving.errors import IntegrityError, MissingError, RefusedError, UnavailableError, VoicebotError
from serving.language.encoder import SentenceEncoder, sentence_vectors
from serving.settings import Settings
from tests.serving import tiny_llm

NAME, TALK = "banking-lora", "banking-talk"
BundleMaker = Callable[..., Path]
Exporter = Callable[..., Exported]


@pytest.fixture
def encoder(tiny_encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> SentenceEncoder:
    """The encoder of the installation; it has fewer positions than the default length."""
    monkeypatch.setattr("serving.language.encoder.load_encoder", lambda _folder: tiny_encoder)
    return tiny_encoder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llm.follow(tmp_path / "base", {"[/INST]": "Good day.", "Good day.": "</s>"})


@pytest.fixture
def export(registry: AdapterRegistry, encoder: SentenceEncoder, mlruns: Path, tmp_path: Path) -> Exporter:
    def run(name: str, form: Form, folder: Path | None = None, **options: object) -> Exported:
        local = options.pop("local_llm", None)
        settings = Settings(home=tmp_path, mlruns=mlruns, local_llm=local)  # type: ignore[arg-type]
        version = registry.get(name, "challenger")
        return export_version(version, folder or tmp_path / "out", form, settings, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def intent(registry: AdapterRegistry, make_bundle: BundleMaker) -> Path:
    return registry.register(NAME, make_bundle(1), by="ci").bundle


def talk_bundle(
    folder: Path, config: dict[str, object] | None = None, tensors: dict[str, torch.Tensor] | None = None
) -> Path:
    """Seal what PEFT saved as a dialogue bundle."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **(config or {})}))
    if tensors is not None:
        weights = {**load_file(folder / "adapter_model.safetensors"), **tensors}
        save_file(weights, folder / "adapter_model.safetensors")
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "card.md").write_text("# Talk\n")
    names = tuple(load_file(folder / "adapter_model.safetensors"))
    seal(folder, Provenance(Kind.DIALOGUE, TALK, "tiny", "a" * 64, "a" * 64, 10, names, "d" * 64, "", 1))
    return folder


def register_talk(registry: AdapterRegistry, base: Path, tmp_path: Path, **changes: object) -> Path:
    lora = tiny_llm.adapter(tmp_path / "lora", base, {"[/INST]": "</s>"})
    return registry.register(TALK, talk_bundle(lora, **changes), by="ci").bundle  # type: ignore[arg-type]


def test_a_bundle_leaves_sealed_and_can_be_registered_again(
    intent: Path, export: Exporter, tmp_path: Path
) -> None:
    done = export(NAME, Form.BUNDLE)
    assert verify(done.folder) == verify(intent)
    assert done.folder.stat().st_mode & 0o777 == 0o700


def test_a_merged_intent_adapter_answers_like_the_one_that_serves(
    intent: Path, export: Exporter, tiny_encoder: SentenceEncoder
) -> None:
    from transformers import AutoModel

    done = export(NAME, Form.MERGED)
    model = AutoModel.from_pretrained(str(done.folder), add_pooling_layer=False).eval()
    head = load_file(done.folder / HEAD_FILE)
    scale = json.loads((done.folder / "intent.json").read_text())["scale"]
    texts = ["i lost my card", "tell me a joke"]
    batcher = tiny_encoder.batcher(32)
    ids, mask = batcher.pad(batcher.ids(texts))
    with torch.inference_mode():
        vectors = sentence_vectors(model(ids, mask).last_hidden_state, mask)
        logits = scale * vectors @ head["weight"].T + head["bias"]
    expected = load_tagger(LocalCopy(NAME, 1, intent), tiny_encoder).logits(texts)
    assert np.allclose(logits.numpy(), expected, atol=1e-3)


def test_a_merged_adapter_for_another_base_is_refused(
    intent: Path,
    export: Exporter,
    foreign_encoder: SentenceEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.language.encoder.load_encoder", lambda _folder: foreign_encoder)
    with pytest.raises(IntegrityError, match="trained on another base"):
        export(NAME, Form.MERGED)


def test_an_intent_adapter_has_no_layout_for_vllm_and_is_told_why(
    intent: Path, export: Exporter, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="vLLM serves causal language models"):
        export(NAME, Form.VLLM)
    assert not (tmp_path / "out").exists()


def test_vllm_gets_two_files_with_pefts_names_that_peft_reads_back(
    registry: AdapterRegistry, base: Path, tmp_path: Path, export: Exporter
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    bundle = register_talk(registry, base, tmp_path)
    done = export(TALK, Form.VLLM)
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((done.folder / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"], config["modules_to_save"]) == (
        1,
        ["lm_head", "q_proj"],
        None,
    )
    assert "--max-lora-rank 8 --lora-modules banking-talk-1=" in done.note
    weights = "adapter_model.safetensors"
    assert (done.folder / weights).read_bytes() == (bundle / weights).read_bytes()
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base)), str(done.folder))
    found = {name.replace(".default", "") for name, _ in loaded.named_parameters() if ".lora_" in name}
    assert found == set(load_file(bundle / weights))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"bias": "all"}, "biases"),
        ({"r": 2}, "not a pair of rank 2"),
        ({"r": 0}, "rank"),
    ],
)
def test_what_vllm_would_refuse_or_misread_is_refused_here(
    registry: AdapterRegistry,
    base: Path,
    tmp_path: Path,
    export: Exporter,
    config: dict[str, object],
    told: str,
) -> None:
    register_talk(registry, base, tmp_path, config=config)
    with pytest.raises(IntegrityError, match=told):
        export(TALK, Form.VLLM)


def test_a_tensor_that_is_no_lora_matrix_is_refused(
    registry: AdapterRegistry, base: Path, tmp_path: Path, export: Exporter
) -> None:
    extra = {"base_model.model.model.embed_tokens.weight": torch.zeros(2, 2)}
    register_talk(registry, base, tmp_path, tensors=extra)
    with pytest.raises(IntegrityError, match="embed_tokens"):
        export(TALK, Form.VLLM)


def test_a_merged_dialogue_adapter_is_a_model_of_its_own(
    registry: AdapterRegistry, base: Path, tmp_path: Path, export: Exporter
) -> None:
    from transformers import AutoModelForCausalLM

    bundle = register_talk(registry, base, tmp_path)
    with pytest.raises(MissingError, match="needs its base"):
        export(TALK, Form.MERGED)
    done = export(TALK, Form.MERGED, local_llm=base)
    merged = AutoModelForCausalLM.from_pretrained(str(done.folder)).lm_head.weight
    plain = AutoModelForCausalLM.from_pretrained(str(base)).lm_head.weight
    lora = load_file(bundle / "adapter_model.safetensors")
    added = lora["base_model.model.lm_head.lora_B.weight"] @ lora["base_model.model.lm_head.lora_A.weight"]
    assert torch.allclose(merged - plain, added, atol=1e-5)


def test_nothing_is_overwritten_without_force_and_only_an_export_with_it(
    intent: Path, export: Exporter, tmp_path: Path
) -> None:
    export(NAME, Form.BUNDLE)
    (tmp_path / "out" / "mine.txt").write_text("note")
    with pytest.raises(RefusedError, match="there already"):
        export(NAME, Form.BUNDLE)
    assert export(NAME, Form.BUNDLE, force=True).replaces
    assert not (tmp_path / "out" / "mine.txt").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(RefusedError, match="no earlier export"):
        export(NAME, Form.BUNDLE, precious, force=True)
    assert (precious / "thesis.txt").exists()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(RefusedError, match="no earlier export"):
        export(NAME, Form.BUNDLE, tmp_path / "link", force=True)


def test_a_dry_run_checks_everything_and_writes_nothing(
    intent: Path, export: Exporter, tmp_path: Path
) -> None:
    export(NAME, Form.BUNDLE, dry_run=True)
    assert not (tmp_path / "out").exists()
    (intent / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        export(NAME, Form.BUNDLE, dry_run=True)


def test_an_export_that_fails_half_way_leaves_the_earlier_one(
    intent: Path, export: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(NAME, Form.BUNDLE)
    before = verify(tmp_path / "out")

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.adapters.export.copy_files", full)
    with pytest.raises(UnavailableError, match="No space left"):
        export(NAME, Form.BUNDLE, force=True)
    assert verify(tmp_path / "out") == before
    assert not [path for path in tmp_path.iterdir() if ".tmp-" in path.name]


def test_an_export_that_cannot_take_the_place_of_another_puts_it_back(
    intent: Path, export: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(NAME, Form.BUNDLE)

    def fail(*_args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("serving.files._rename", fail)
    with pytest.raises(VoicebotError):
        export(NAME, Form.BUNDLE, force=True)
    assert verify(tmp_path / "out")
