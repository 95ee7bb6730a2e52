"""Which engine answers, and what is said where none can."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from serving.errors import MissingError
from serving.language.choice import choose_llm
from serving.language.protocols import Llm
from serving.settings import Settings
from serving.speech.protocols import EngineChoice
from tests.serving import tiny_llm


class Embedded:
    """Stands where the embedded responder would."""


def chosen(**settings: Any) -> EngineChoice[Llm]:
    return choose_llm(Settings(**settings), Embedded)  # type: ignore[arg-type]


def without_mistralai(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mistralai" else find(name, *rest)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm.follow(tmp_path_factory.mktemp("llm") / "tiny", {"[/INST]": "Yes."})


def test_with_nothing_configured_the_embedded_responder_answers_and_says_why() -> None:
    choice = chosen()
    assert isinstance(choice.engine, Embedded)
    assert "no language model" in choice.reason


def test_production_does_not_fall_back_to_the_embedded_responder() -> None:
    with pytest.raises(MissingError, match="production") as caught:
        chosen(profile="production")
    assert "VOICEBOT_MISTRAL_API_KEY" in caught.value.advice
    assert "VOICEBOT_LLM=embedded" in caught.value.advice


def test_production_takes_the_embedded_responder_where_it_is_named() -> None:
    assert isinstance(chosen(profile="production", llm="embedded").engine, Embedded)


@pytest.mark.parametrize("profile", ["embedded", "production"])
@pytest.mark.parametrize(
    "settings", [{"mistral_api_key": "sk-1"}, {"mistral_server_url": "http://127.0.0.1:1"}], ids=str
)
def test_a_key_or_a_server_chooses_mistral(profile: str, settings: dict[str, str]) -> None:
    pytest.importorskip("mistralai.client")
    choice = chosen(profile=profile, **settings)
    assert choice.engine.info.name == "mistral"
    assert "configured" in choice.reason
    assert "sk-1" not in repr(choice)


@pytest.mark.parametrize("key", ["", "  "])
def test_an_empty_key_counts_as_none(key: str) -> None:
    assert isinstance(chosen(mistral_api_key=key).engine, Embedded)
    with pytest.raises(MissingError, match="key or a server"):
        chosen(llm="mistral", mistral_api_key=key)


def test_a_model_folder_chooses_the_local_model(model: Path) -> None:
    choice = chosen(profile="production", local_llm=model)
    assert (choice.engine.info.name, choice.engine.info.model) == ("local", "tiny")


def test_mistral_comes_before_the_local_model(model: Path) -> None:
    pytest.importorskip("mistralai.client")
    assert chosen(mistral_api_key="sk-1", local_llm=model).engine.info.name == "mistral"


def test_without_its_package_mistral_gives_way_and_the_reason_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_mistralai(monkeypatch)
    choice = chosen(mistral_api_key="sk-1", local_llm=model)
    assert choice.engine.info.name == "local"
    assert "mistralai is not installed" in choice.reason
    assert "mistralai is not installed" in chosen(mistral_api_key="sk-1").reason
    with pytest.raises(MissingError, match="mistralai is not installed"):
        chosen(mistral_api_key="sk-1", profile="production")


def test_a_model_folder_that_is_not_there_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"config\.json"):
        chosen(local_llm=tmp_path / "typo")


@pytest.mark.parametrize("profile", ["embedded", "production"])
@pytest.mark.parametrize("llm", ["auto", "vllm"])
def test_a_vllm_server_is_chosen_before_any_other_and_the_reason_says_who_answers_there(
    llm: str, profile: str, model: Path
) -> None:
    settings = {"vllm_url": "http://llm.internal:8000", "vllm_model": "ministral-8b", "vllm_api_key": "sk-1"}
    choice = chosen(llm=llm, profile=profile, mistral_api_key="sk-2", local_llm=model, **settings)
    assert (choice.engine.info.name, choice.engine.info.model) == ("vllm", "ministral-8b")
    assert choice.engine.info.note == "language model at llm.internal"
    assert "its base model answers" in choice.reason
    assert "sk-1" not in repr(choice)
    adapted = chosen(llm=llm, dialogue_adapter="banking-dialogue-lora@champion", **settings)
    assert "with banking-dialogue-lora@champion" in adapted.reason


@pytest.mark.parametrize("llm", ["auto", "vllm"])
def test_a_vllm_server_without_the_name_of_its_model_is_an_error_and_no_fallback(llm: str) -> None:
    with pytest.raises(MissingError) as caught:
        chosen(llm=llm, vllm_url="http://llm.internal:8000", mistral_api_key="sk-2")
    assert "VOICEBOT_VLLM_MODEL" in caught.value.advice


@pytest.mark.parametrize("name", ["mistral", "local", "vllm"])
def test_an_engine_that_is_named_and_not_configured_is_missing(name: str) -> None:
    with pytest.raises(MissingError) as caught:
        chosen(llm=name)
    assert "VOICEBOT_" in caught.value.advice
