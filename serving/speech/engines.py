"""Which speech engine runs, and why: the one place that reads the engine settings.

`auto` takes the best engine that is usable as it stands: its package can be imported and its model
files are configured and there. Nothing is downloaded to make one usable. An engine named explicitly
that is not usable is an error, and so is a fallback that a production profile did not name.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from serving.errors import InvalidInputError, MissingError
from serving.settings import Settings
from serving.speech.protocols import EngineChoice, SttEngine, TtsEngine


def choose_stt(settings: Settings) -> EngineChoice[SttEngine]:
    """Speech-to-text of this installation, loaded.

    Raises:
        MissingError: the engine named is not usable, or `production` would fall back.
        InvalidInputError: a configured file is not what it should be.
    """
    if settings.stt == "pocketsphinx":
        return _pocketsphinx(settings, "the settings name it")
    missing = whisper_missing(settings)
    if settings.stt == "whisper":
        _require("Whisper", missing)
        return EngineChoice(_whisper(settings), "Speech-to-text is Whisper, because the settings name it.")
    if not missing:
        return EngineChoice(_whisper(settings), "Speech-to-text is Whisper, the best engine configured here.")
    _refuse_fallback(settings, "speech-to-text", "pocketsphinx", missing, "VOICEBOT_STT")
    return _pocketsphinx(settings, f"Whisper is not usable here ({missing})")


def choose_tts(settings: Settings) -> EngineChoice[TtsEngine]:
    """Text-to-speech of this installation, loaded.

    Raises:
        MissingError: the engine named is not usable, or `production` would fall back.
        InvalidInputError: a configured file or voice is not what it should be.
    """
    if settings.tts == "espeak":
        return EngineChoice(_espeak(settings), "Text-to-speech is espeak-ng, because the settings name it.")
    missing = kokoro_missing(settings)
    if settings.tts == "kokoro":
        _require("Kokoro", missing)
        return EngineChoice(_kokoro(settings), "Text-to-speech is Kokoro, because the settings name it.")
    if not missing:
        return EngineChoice(_kokoro(settings), "Text-to-speech is Kokoro, the best engine configured here.")
    _refuse_fallback(settings, "text-to-speech", "espeak", missing, "VOICEBOT_TTS")
    reason = f"Text-to-speech is espeak-ng, because Kokoro is not usable here ({missing})."
    return EngineChoice(_espeak(settings), reason)


def caller_tts(settings: Settings) -> TtsEngine:
    """The voice of synthetic callers: espeak-ng, the same sound every time, never the bot's own voice.

    Raises:
        InvalidInputError: the caller's voice is the bot's, or does not exist.
        MissingError: espeak-ng is not installed.
    """
    from serving.speech.espeak_tts import EspeakTts, EspeakVoice

    if settings.caller_voice == settings.espeak_voice:
        raise InvalidInputError(
            f"The synthetic caller has the bot's own voice {settings.caller_voice!r}.",
            advice="Set VOICEBOT_CALLER_VOICE or VOICEBOT_ESPEAK_VOICE to another one.",
        )
    return EspeakTts(EspeakVoice(settings.caller_voice, settings.caller_words_per_minute), repeatable=True)


def whisper_missing(settings: Settings) -> str:
    """What Whisper lacks to be usable here, as a phrase; empty where nothing is missing."""
    return _missing("whisper", {"VOICEBOT_WHISPER_MODEL": settings.whisper_model})


def kokoro_missing(settings: Settings) -> str:
    """What Kokoro lacks to be usable here, as a phrase; empty where nothing is missing."""
    return _missing(
        "kokoro",
        {
            "VOICEBOT_KOKORO_CONFIG": settings.kokoro_config,
            "VOICEBOT_KOKORO_WEIGHTS": settings.kokoro_weights,
            "VOICEBOT_KOKORO_VOICE": settings.kokoro_voice,
        },
    )


def _missing(package: str, files: Mapping[str, Path | None]) -> str:
    if unset := [name for name, path in files.items() if path is None]:
        return f"{' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set"
    if absent := [f"{name} names {path}" for name, path in files.items() if path and not path.is_file()]:
        return f"{' and '.join(absent)}, which does not exist"
    return "" if find_spec(package) else f"the extra voicebot[{package}] is not installed"


def _require(engine: str, missing: str) -> None:
    if missing:
        raise MissingError(
            f"{engine} was asked for, but {missing}.",
            advice="Configure it, run `voicebot fetch-models`, or choose another engine.",
        )


def _refuse_fallback(settings: Settings, stage: str, fallback: str, missing: str, name: str) -> None:
    """In production a fallback engine runs only if somebody chose it by name."""
    if settings.profile == "production":
        raise MissingError(
            f"The production profile has no {stage} engine: {missing}.",
            advice=f"Configure it, or set {name}={fallback} to accept the fallback knowingly.",
        )


def _whisper(settings: Settings) -> SttEngine:
    from serving.speech.whisper_stt import WhisperStt

    assert settings.whisper_model is not None
    return WhisperStt(settings.whisper_model)


def _kokoro(settings: Settings) -> TtsEngine:
    from serving.speech.kokoro_tts import KokoroTts

    config, weights, voice = settings.kokoro_config, settings.kokoro_weights, settings.kokoro_voice
    assert config is not None
    assert weights is not None
    assert voice is not None
    return KokoroTts(config, weights, voice)


def _espeak(settings: Settings) -> TtsEngine:
    from serving.speech.espeak_tts import EspeakTts, EspeakVoice

    return EspeakTts(EspeakVoice(settings.espeak_voice, settings.espeak_words_per_minute))


def _pocketsphinx(settings: Settings, why: str) -> EngineChoice[SttEngine]:
    """Pocketsphinx with the configured n-gram, else the one of the project's text, else the general one."""
    from serving.speech.pocketsphinx_stt import PocketsphinxStt

    lm, dictionary = settings.pocketsphinx_lm, settings.pocketsphinx_dict
    if lm is not None or dictionary is not None:
        model = "the configured language model"
    else:
        from serving.speech.language_model import build_language_model, project_text

        try:
            files = build_language_model(project_text(settings.data, settings.currency), settings.home / "lm")
            lm, dictionary = files.lm, files.dictionary
            model = f"a language model of the project's text ({files.vocabulary} words)"
        except MissingError as error:
            model = f"its general language model ({error.message.rstrip('.')})"
    reason = f"Speech-to-text is pocketsphinx with {model}, because {why}."
    return EngineChoice(PocketsphinxStt(lm, dictionary), reason)
