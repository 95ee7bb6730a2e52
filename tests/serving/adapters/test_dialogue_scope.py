"""A cache scope belongs to both adapters: which one is built when either is promoted."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cache_scope import build_scope, is_used
from serving.adapters import promotion
from serving.adapters.kinds import DIALOGUE_NAME, INTENT_NAME
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import identity
from serving.cache.types import CacheScope
from serving.errors import MissingError
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings
from tests.serving.adapters.talk import GREETINGS, bundle, judged, talking_base

Build = Callable[[Settings, str, str | int], CacheScope]


@pytest.fixture
def settings(mlruns: Path, tmp_path: Path) -> Settings:
    base = talking_base(tmp_path / "base")
    return Settings(
        home=tmp_path / "home", mlruns=mlruns, local_llm=base, llm="local", dialogue_adapter=DIALOGUE_NAME
    )


@pytest.fixture
def talking(registry: AdapterRegistry, settings: Settings, tmp_path: Path) -> AdapterRegistry:
    """Version 1 speaks, version 2 wants to."""
    assert settings.local_llm is not None
    for number in (1, 2):
        folder = bundle(tmp_path / str(number), settings.local_llm, GREETINGS[number])
        registry.register(DIALOGUE_NAME, folder, by="ci")
    judged(registry, 1)
    promotion.promote(registry, DIALOGUE_NAME, 1, by="ann", reason="the first")
    return registry


@pytest.fixture
def build(tiny_encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> Build:
    """The scope that would be filled."""
    built: list[CacheScope] = []

    def keep(_folder: Path, scope: CacheScope, *_parts: object, **_options: object) -> SimpleNamespace:
        built.append(scope)
        return SimpleNamespace(entries=0)

    monkeypatch.setattr("flows.cache_scope.build_from_knowledge", keep)
    monkeypatch.setattr("serving.call.runtime.load_encoder", lambda _folder: tiny_encoder)

    def run(settings: Settings, name: str, ref: str | int) -> CacheScope:
        build_scope(settings, name, ref, actor="test")
        return built[-1]

    return run


def named(registry: AdapterRegistry, name: str, version: int) -> str:
    found = registry.get(name, version)
    return identity(name, version, found.verify().sha256)


def test_either_promotion_fills_the_scope_that_calls_will_have_then(
    challenged: AdapterRegistry, talking: AdapterRegistry, settings: Settings, build: Build
) -> None:
    scope = build(settings, INTENT_NAME, 3)
    assert scope.intent_adapter == named(challenged, INTENT_NAME, 3)
    assert scope.dialogue_adapter == named(talking, DIALOGUE_NAME, 1)
    scope = build(settings, DIALOGUE_NAME, 2)
    assert scope.intent_adapter == named(challenged, INTENT_NAME, 2)
    assert scope.dialogue_adapter == named(talking, DIALOGUE_NAME, 2)
    silent = settings.model_copy(update={"dialogue_adapter": ""})
    assert build(silent, INTENT_NAME, 3).dialogue_adapter == "none"


def test_a_dialogue_adapter_that_nobody_speaks_with_needs_no_scope(
    challenged: AdapterRegistry, talking: AdapterRegistry, settings: Settings
) -> None:
    assert is_used(settings, INTENT_NAME, 3)
    assert is_used(settings, DIALOGUE_NAME, 2)
    assert not is_used(settings.model_copy(update={"dialogue_adapter": ""}), DIALOGUE_NAME, 2)
    assert not is_used(
        settings.model_copy(update={"dialogue_adapter": f"{DIALOGUE_NAME}@1"}), DIALOGUE_NAME, 2
    )


def test_a_promotion_s_event_builds_nothing_where_nobody_speaks_with_the_adapter(
    talking: AdapterRegistry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.build_cache_index import build_cache_index

    monkeypatch.setenv("VOICEBOT_HOME", str(settings.home))
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(settings.mlruns))
    assert build_cache_index.fn(DIALOGUE_NAME).entries == 0
    assert not (settings.home / "cache").exists()


def test_beside_no_intent_adapter_a_dialogue_adapter_has_no_scope(
    talking: AdapterRegistry, settings: Settings, build: Build
) -> None:
    assert not is_used(settings, DIALOGUE_NAME, 2)
    with pytest.raises(MissingError):
        build(settings, DIALOGUE_NAME, 2)


def test_an_intent_promotion_does_not_wait_for_the_first_dialogue_champion(
    challenged: AdapterRegistry, settings: Settings, build: Build
) -> None:
    assert build(settings, INTENT_NAME, 3).dialogue_adapter == "none"
