"""Which engine answers: the one that the settings name, or with `auto` the best one that is usable.

The choice carries its reason, which is said once at start. The production profile never lands on the
embedded responder by accident: that would be a bank without a language model that nobody decided on.
"""

import importlib.util
from collections.abc import Callable

from pydantic import SecretStr

from serving.errors import MissingError
from serving.language.protocols import Llm
from serving.settings import Settings
from serving.speech.protocols import EngineChoice


def choose_llm(settings: Settings, embedded: Callable[[], Llm]) -> EngineChoice[Llm]:
    """The answering engine of an installation.

    Args:
        settings: `llm`, and what the engines need.
        embedded: makes the embedded responder, which needs the knowledge of the caller of this function.

    Raises:
        MissingError: the named engine is not usable, or `production` with `auto` found no language model.
        InvalidInputError, IntegrityError: an engine's own settings or files are wrong.
    """
    if settings.llm == "mistral":
        return EngineChoice(_mistral(settings), "Mistral's API: the setting llm names it.")
    if settings.llm == "vllm":
        return EngineChoice(_vllm(settings), f"The vLLM server: the setting llm names it{_with(settings)}.")
    if settings.llm == "local":
        return EngineChoice(_local(settings), "The local language model: the setting llm names it.")
    if settings.llm == "embedded":
        return EngineChoice(embedded(), "The embedded responder: the setting llm names it.")
    return _automatic(settings, embedded)


def _automatic(settings: Settings, embedded: Callable[[], Llm]) -> EngineChoice[Llm]:
    why = "no other language model is configured"
    if settings.vllm_url:
        return EngineChoice(_vllm(settings), f"The vLLM server: vllm_url is set{_with(settings)}.")
    if _mistral_is_configured(settings):
        if importlib.util.find_spec("mistralai") is not None:
            return EngineChoice(_mistral(settings), "Mistral's API: a key or a server for it is configured.")
        why = "Mistral's API is configured, but the package mistralai is not installed"
    if settings.local_llm is not None:
        return EngineChoice(_local(settings), f"The local language model: local_llm is set, and {why}.")
    if settings.profile == "production":
        raise MissingError(
            f"The production profile needs a language model, and {why}.",
            advice="Set VOICEBOT_VLLM_URL, VOICEBOT_MISTRAL_API_KEY, VOICEBOT_MISTRAL_SERVER_URL or "
            "VOICEBOT_LOCAL_LLM, or VOICEBOT_LLM=embedded to do without on purpose.",
        )
    return EngineChoice(embedded(), f"The embedded responder, which is no language model: {why}.")


def _mistral_is_configured(settings: Settings) -> bool:
    return bool(_text_of(settings.mistral_api_key) or settings.mistral_server_url)


def _text_of(key: SecretStr | None) -> str:
    return key.get_secret_value().strip() if key is not None else ""


def _mistral(settings: Settings) -> Llm:
    from serving.language.mistral_api import MistralLlm

    if not _mistral_is_configured(settings):
        raise MissingError(
            "The engine mistral needs an API key or a server.",
            advice="Set VOICEBOT_MISTRAL_API_KEY or VOICEBOT_MISTRAL_SERVER_URL.",
        )
    return MistralLlm(
        _text_of(settings.mistral_api_key),
        server_url=settings.mistral_server_url or None,
        model=settings.mistral_model,
        timeout_s=settings.mistral_timeout_s,
        max_retries=settings.mistral_max_retries,
        bank=settings.bank_name,
    )


def _with(settings: Settings) -> str:
    """What answers there, for the reason of the choice."""
    return f", with {settings.dialogue_adapter}" if settings.dialogue_adapter else ", its base model answers"


def _vllm(settings: Settings) -> Llm:
    from serving.language.chat_http import Limits
    from serving.language.vllm import VllmServer
    from serving.language.vllm_llm import VllmLlm

    if not settings.vllm_url or not settings.vllm_model:
        raise MissingError(
            "The engine vllm needs a server and the name of the base model there.",
            advice="Set VOICEBOT_VLLM_URL and VOICEBOT_VLLM_MODEL.",
        )
    server = VllmServer(settings.vllm_url, _text_of(settings.vllm_api_key))
    limits = Limits(settings.vllm_timeout_s, settings.vllm_max_retries)
    return VllmLlm(server, settings.vllm_model, limits, bank=settings.bank_name)


def _local(settings: Settings) -> Llm:
    from serving.language.local_llm import LocalLlm

    if settings.local_llm is None:
        raise MissingError(
            "The engine local needs a model folder.", advice="Set VOICEBOT_LOCAL_LLM to a model folder."
        )
    return LocalLlm(
        settings.local_llm,
        settings.local_llm_adapter,
        four_bit=settings.local_llm_4bit,
        timeout_s=settings.local_llm_timeout_s,
        bank=settings.bank_name,
    )
