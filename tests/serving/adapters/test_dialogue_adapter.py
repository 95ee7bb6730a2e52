"""Dialogue adapters in the registry and in service: kinds kept apart, the base proven, calls undisturbed."""

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from serving.adapters import promotion
from serving.adapters.dialogue import dialogue_identity, dialogue_store, served_dialogue
from serving.adapters.kinds import DIALOGUE_NAME, INTENT_NAME
from serving.adapters.live_dialogue import LiveDialogue, PlainEngine, live_dialogue
from serving.adapters.manifest import Kind, Provenance, seal, verify
from serving.adapters.registry import AdapterRegistry
from serving.adapters.signature import Signatures, new_private_key, public_key
from serving.cli.adapters import app
from serving.errors import IntegrityError, InvalidInputError, MissingError, RefusedError
from serving.language.embedded import EmbeddedResponder
from serving.language.local_llm import LocalLlm
from serving.settings import Settings
from tests.serving import tiny_llm
from tests.serving.adapters.talk import GREETINGS, bundle, judged, said, talking_base

BundleMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_base(tmp_path_factory.mktemp("llm") / "base")


@pytest.fixture(scope="module")
def bundles(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Sealed bundles that say the second and third greeting; not to be changed."""
    folder = tmp_path_factory.mktemp("bundles")
    return tuple(bundle(folder / str(number), base, GREETINGS[number]) for number in (1, 2))


@pytest.fixture
def talking(registry: AdapterRegistry, bundles: tuple[Path, ...]) -> AdapterRegistry:
    """Version 1 is the champion, version 2 has passed the gate against it."""
    registry.register(DIALOGUE_NAME, bundles[0], by="ci")
    judged(registry, 1)
    promotion.promote(registry, DIALOGUE_NAME, 1, by="ann", reason="the first")
    registry.register(DIALOGUE_NAME, bundles[1], by="ci")
    judged(registry, 2)
    return registry


@pytest.fixture
def home(mlruns: Path, base: Path, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", mlruns=mlruns, local_llm=base, dialogue_adapter=f"{DIALOGUE_NAME}@champion"
    )


@pytest.fixture
def engine(base: Path) -> LocalLlm:
    return LocalLlm(base)


@pytest.fixture
def live(talking: AdapterRegistry, home: Settings, engine: LocalLlm) -> Iterator[LiveDialogue]:
    found = live_dialogue(home.model_copy(update={"registry_poll_s": 60.0}), engine)
    assert isinstance(found, LiveDialogue)
    yield found.start()
    found.close()


# Kinds


def test_a_dialogue_adapter_cannot_be_registered_under_the_intent_model_s_name(
    registry: AdapterRegistry, base: Path, tmp_path: Path
) -> None:
    wrong = bundle(tmp_path / "wrong", base, GREETINGS[1], name=INTENT_NAME)
    with pytest.raises(InvalidInputError, match="banking-lora holds intent adapters"):
        registry.register(INTENT_NAME, wrong, by="ci")
    with pytest.raises(MissingError):
        registry.aliases(INTENT_NAME)


def test_a_model_keeps_the_kind_of_its_first_version(
    registry: AdapterRegistry, base: Path, make_bundle: BundleMaker, tmp_path: Path
) -> None:
    registry.register("own-talk", bundle(tmp_path / "talk", base, GREETINGS[1], name="own-talk"), by="ci")
    intent = make_bundle(1)
    document = json.loads((intent / "manifest.json").read_text())["provenance"]
    (intent / "manifest.json").unlink()
    fields = {**document, "name": "own-talk", "kind": Kind.INTENT}
    seal(intent, Provenance(**{**fields, "changed_tensors": tuple(fields["changed_tensors"])}))
    with pytest.raises(InvalidInputError, match="own-talk holds dialogue adapters"):
        registry.register("own-talk", intent, by="ci")
    assert len(registry.versions("own-talk")) == 1


def test_an_older_registry_s_dialogue_version_is_never_made_intent_champion(
    registry: AdapterRegistry, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = bundle(tmp_path / "wrong", base, GREETINGS[1], name=INTENT_NAME)
    with monkeypatch.context() as patch:
        patch.setattr("serving.adapters.registry.require_kind", lambda *_: None)
        registry.register(INTENT_NAME, wrong, by="ci")
    with pytest.raises(InvalidInputError, match="holds intent adapters"):
        promotion.promote(
            registry, INTENT_NAME, 1, by="ann", reason="why not", waiver=promotion.Waiver("I said so", None)
        )


# The operator's command


@pytest.fixture
def control(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("VOICEBOT_HOME", str(home.home))
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(home.mlruns))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "ann")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    return run


def test_an_operator_lists_compares_promotes_rolls_back_and_verifies_them(
    talking: AdapterRegistry,
    control: Callable[..., str],
    home: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "banking-dialogue-lora/2 │ challenger │ passed" in control("list")
    assert "kind │ dialogue" in control("show", f"{DIALOGUE_NAME}@2")
    assert "says │ Hello there. │ Welcome back." in control("compare", DIALOGUE_NAME, DIALOGUE_NAME)
    told = control("promote", DIALOGUE_NAME, "--reason", "warmer")
    assert "banking-dialogue-lora/2 is the champion (before: banking-dialogue-lora/1)" in told
    assert "VOICEBOT_DIALOGUE_ADAPTER=banking-dialogue-lora lets them follow" in told
    monkeypatch.setenv("VOICEBOT_DIALOGUE_ADAPTER", DIALOGUE_NAME)
    assert "Running servers pick it up" in control("rollback", DIALOGUE_NAME, "--reason", "too warm")
    assert "language model speaks with banking-dialogue-lora@champion" in control("list")
    assert talking.aliases(DIALOGUE_NAME) == {"champion": 1, "previous": 2}
    assert "too warm" in control("history", DIALOGUE_NAME)
    assert "Finite; only LoRA" in control("verify", DIALOGUE_NAME)
    out = tmp_path / "out"
    assert "as vllm" in control("export", f"{DIALOGUE_NAME}@1", str(out), "--form", "vllm")
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_pin_of_the_intent_tagger_takes_no_dialogue_adapter(
    talking: AdapterRegistry, control: Callable[..., str]
) -> None:
    told = control("--load", DIALOGUE_NAME, "--enable", code=2)
    assert "a pin chooses the intent adapter" in told
    assert "VOICEBOT_DIALOGUE_ADAPTER=banking-dialogue-lora" in told


def test_a_version_that_the_gate_refused_needs_a_written_word(
    registry: AdapterRegistry, bundles: tuple[Path, ...], control: Callable[..., str]
) -> None:
    registry.register(DIALOGUE_NAME, bundles[0], by="ci")
    judged(registry, 1, passed=False)
    assert "The gate refused" in control("promote", DIALOGUE_NAME, "--reason", "hope", code=1)
    assert "is the champion" in control("promote", DIALOGUE_NAME, "--reason", "try", "--waive", "a test home")


# In service


def test_the_champion_speaks_and_a_call_keeps_what_it_started_with(
    live: LiveDialogue, talking: AdapterRegistry, engine: LocalLlm
) -> None:
    call = live.current
    assert (call.version, said(call.llm), said(engine)) == (f"{DIALOGUE_NAME}/1", GREETINGS[1], GREETINGS[0])
    assert not live.check()
    promotion.promote(talking, DIALOGUE_NAME, 2, by="ann", reason="warmer")
    assert live.check()
    assert (live.current.version, said(live.current.llm)) == (f"{DIALOGUE_NAME}/2", GREETINGS[2])
    assert (call.version, said(call.llm)) == (f"{DIALOGUE_NAME}/1", GREETINGS[1])
    promotion.rollback(talking, DIALOGUE_NAME, by="ann", reason="colder")
    assert live.check()
    assert said(live.current.llm) == GREETINGS[1]
    assert live.current.identity == call.identity
    assert live.current.names() == {"llm": "local", "dialogue": f"{DIALOGUE_NAME}/1"}


def test_an_adapter_is_held_beside_the_base_and_freed_when_no_call_keeps_it(
    live: LiveDialogue, talking: AdapterRegistry, engine: LocalLlm
) -> None:
    first = live.current.llm
    assert isinstance(first, LocalLlm)
    shared = {id(tensor) for tensor in engine.lm.model.parameters()}
    own = [name for name, tensor in first.lm.model.named_parameters() if id(tensor) not in shared]
    assert own
    assert all(".lora_" in name for name in own)
    seen = weakref.ref(first.lm.model)
    del first
    promotion.promote(talking, DIALOGUE_NAME, 2, by="ann", reason="warmer")
    assert live.check()
    gc.collect()
    assert seen() is None


def test_a_challenger_that_cannot_be_loaded_leaves_the_champion_speaking(
    live: LiveDialogue, talking: AdapterRegistry
) -> None:
    (talking.get(DIALOGUE_NAME, 2).bundle / "card.md").write_text("changed")
    talking.set_alias(DIALOGUE_NAME, "champion", 2)
    assert not live.check()
    assert not live.check()
    assert said(live.current.llm) == GREETINGS[1]


def test_without_a_registry_the_last_good_copy_speaks(
    live: LiveDialogue, home: Settings, engine: LocalLlm
) -> None:
    shutil.rmtree(home.mlruns)
    again = live_dialogue(home, engine)
    assert said(again.start().current.llm) == GREETINGS[1]
    again.close()


def test_a_home_that_names_an_adapter_does_not_start_without_one(
    registry: AdapterRegistry, home: Settings, engine: LocalLlm
) -> None:
    with pytest.raises(MissingError):
        live_dialogue(home, engine).start()
    plain = live_dialogue(home.model_copy(update={"dialogue_adapter": ""}), engine).start()
    assert isinstance(plain, PlainEngine)
    assert (plain.current.llm, plain.current.identity) == (engine, "none")
    plain.close()


def test_an_engine_without_adapters_and_a_base_with_one_merged_are_refused(
    talking: AdapterRegistry, home: Settings, base: Path, bundles: tuple[Path, ...]
) -> None:
    with pytest.raises(InvalidInputError, match="takes no adapter"):
        live_dialogue(home, EmbeddedResponder({}, "USD"))
    with pytest.raises(InvalidInputError, match="in its weights already"):
        live_dialogue(home, LocalLlm(base, bundles[0])).start()


def test_a_client_of_another_server_gets_name_folder_and_checksum(
    talking: AdapterRegistry, home: Settings
) -> None:
    found = served_dialogue(home, talking)
    assert found is not None
    assert (found.label, found.folder.parent) == (f"{DIALOGUE_NAME}/1", dialogue_store(home))
    assert verify(found.folder).sha256 == found.sha256
    assert found.identity == dialogue_identity(home, talking)
    assert served_dialogue(home.model_copy(update={"dialogue_adapter": ""}), talking) is None
    with pytest.raises(MissingError, match="nobody"):
        served_dialogue(home.model_copy(update={"dialogue_adapter": f"{DIALOGUE_NAME}@nobody"}), talking)


def test_an_intent_adapter_is_no_dialogue_adapter(challenged: AdapterRegistry, home: Settings) -> None:
    with pytest.raises(InvalidInputError, match="needs one of kind dialogue"):
        served_dialogue(home.model_copy(update={"dialogue_adapter": INTENT_NAME}), challenged)


def test_where_signatures_are_required_an_unsigned_adapter_does_not_speak(
    talking: AdapterRegistry, home: Settings, engine: LocalLlm
) -> None:
    key = public_key(new_private_key()).hex()
    strict = home.model_copy(update={"require_signed_adapters": True, "adapter_public_keys": key})
    with pytest.raises(IntegrityError, match="carries no signature"):
        live_dialogue(strict, engine).start()
    talking.signatures = Signatures(required=True, trusted=(bytes.fromhex(key),))
    with pytest.raises(IntegrityError, match="carries no signature"):
        promotion.promote(talking, DIALOGUE_NAME, 2, by="ann", reason="warmer")


# The base


def test_an_adapter_of_another_base_or_tokenizer_is_refused(
    bundles: tuple[Path, ...], base: Path, tmp_path: Path
) -> None:
    weights = Path(shutil.copytree(base, tmp_path / "weights"))
    tensors = load_file(weights / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 0.01
    save_file(tensors, weights / "model.safetensors", {"format": "pt"})
    with pytest.raises(IntegrityError, match="another base, base: its weights"):
        LocalLlm(weights).with_adapter(bundles[0], "talk/1")
    words = Path(shutil.copytree(base, tmp_path / "words"))
    tiny_llm.tokenizer([*GREETINGS, "more"]).save_pretrained(words)
    changed = json.loads((words / "tokenizer.json").read_text())
    changed["added_tokens"] = [t for t in changed["added_tokens"] if t["content"] != "more"]
    (words / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(IntegrityError, match="its tokenizer"):
        LocalLlm(words).with_adapter(bundles[0], "talk/1")


def test_weights_are_the_same_however_they_are_spread_over_files(base: Path, tmp_path: Path) -> None:
    from serving.language.dialogue_adapter import weights_sha256

    tensors = load_file(base / "model.safetensors")
    split = tmp_path / "split"
    split.mkdir()
    names = sorted(tensors)
    place = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in names if place[name] == file}, split / file)
    (split / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    assert weights_sha256(split) == weights_sha256(base)
    with (split / "model-0.safetensors").open("r+b") as handle:
        handle.truncate(60)
    with pytest.raises(IntegrityError, match=r"model-0\.safetensors cannot be read"):
        weights_sha256(split)


def test_an_adapter_that_answers_otherwise_than_after_training_is_refused(
    base: Path, engine: LocalLlm, tmp_path: Path
) -> None:
    folder = bundle(tmp_path / "moved", base, GREETINGS[1])
    facts = json.loads((folder / "dialogue.json").read_text())
    facts["probes"][0]["loss"] += 0.01
    (folder / "dialogue.json").write_text(json.dumps(facts))
    with pytest.raises(IntegrityError, match="does not answer as it did after training"):
        engine.with_adapter(folder, "talk/1")
    (folder / "dialogue.json").unlink()
    with pytest.raises(IntegrityError, match=r"dialogue\.json of the adapter cannot be used"):
        engine.with_adapter(folder, "talk/1")


def test_weights_that_are_not_finite_never_speak(base: Path, engine: LocalLlm, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "nan", base, GREETINGS[1])
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="not finite"):
        engine.with_adapter(folder, "talk/1")


def test_a_promotion_without_a_decision_is_refused(
    registry: AdapterRegistry, bundles: tuple[Path, ...]
) -> None:
    registry.register(DIALOGUE_NAME, bundles[0], by="ci")
    with pytest.raises(RefusedError, match="never judged"):
        promotion.promote(registry, DIALOGUE_NAME, 1, by="ann", reason="hope")
