"""Which engine is chosen, why, and what is refused instead of guessed."""

from pathlib import Path

import pytest

from serving.errors import InvalidInputError, MissingError
from serving.settings import Settings
from serving.speech import engines
from serving.speech.engines import caller_tts, choose_stt, choose_tts
from tests.serving.speech_fixtures import tiny_language_model, whisper_checkpoint


def settings(folder: Path, **values: object) -> Settings:
    data = folder / "data"
    if not data.exists():
        (data / "intents").mkdir(parents=True)
        (data / "intents" / "a.yaml").write_text(
            "a: {train: [my card is lost, yes please]}\n", encoding="utf-8"
        )
    return Settings(home=folder / "var", data_dir=data, **values)  # type: ignore[arg-type]


def test_without_a_whisper_model_auto_hears_with_pocketsphinx_and_says_why(tmp_path: Path) -> None:
    choice = choose_stt(settings(tmp_path))
    assert choice.engine.info.name == "pocketsphinx"
    assert "VOICEBOT_WHISPER_MODEL is not set" in choice.reason
    assert "the project's text" in choice.reason


def test_the_built_language_model_stays_in_the_home_folder(tmp_path: Path) -> None:
    choose_stt(settings(tmp_path))
    assert len(list((tmp_path / "var" / "lm").glob("*/bank-*.arpa"))) == 1


def test_without_the_projects_text_the_general_model_is_used_and_named(tmp_path: Path) -> None:
    choice = choose_stt(Settings(home=tmp_path, data_dir=tmp_path / "empty"))
    assert "general" in choice.engine.info.model
    assert "no text for a language model" in choice.reason


def test_a_configured_language_model_wins(tmp_path: Path) -> None:
    files = tiny_language_model(tmp_path)
    choice = choose_stt(settings(tmp_path, pocketsphinx_lm=files.lm, pocketsphinx_dict=files.dictionary))
    assert files.lm.name in choice.engine.info.model
    assert "configured" in choice.reason


def test_half_a_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Set both"):
        choose_stt(settings(tmp_path, pocketsphinx_lm=tmp_path / "x.arpa"))


def test_auto_takes_whisper_where_its_model_is_there(tmp_path: Path) -> None:
    choice = choose_stt(settings(tmp_path, whisper_model=whisper_checkpoint(tmp_path), profile="production"))
    assert choice.engine.info.name == "whisper"
    assert "best engine" in choice.reason


def test_auto_passes_over_a_whisper_model_that_does_not_exist(tmp_path: Path) -> None:
    choice = choose_stt(settings(tmp_path, whisper_model=tmp_path / "gone.pt"))
    assert choice.engine.info.name == "pocketsphinx"
    assert "gone.pt, which does not exist" in choice.reason


@pytest.mark.parametrize("model", [None, Path("gone.pt")])
def test_whisper_by_name_without_a_model_is_an_error(tmp_path: Path, model: Path | None) -> None:
    with pytest.raises(MissingError, match="VOICEBOT_WHISPER_MODEL"):
        choose_stt(settings(tmp_path, stt="whisper", whisper_model=model))


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").touch()
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match=r"voicebot\[whisper\] is not installed"):
        choose_stt(settings(tmp_path, stt="whisper", whisper_model=tmp_path / "model.pt"))


def test_production_never_falls_back_by_itself(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"VOICEBOT_WHISPER_MODEL is not set.*VOICEBOT_STT=pocketsphinx"):
        choose_stt(settings(tmp_path, profile="production"))
    with pytest.raises(MissingError, match=r"VOICEBOT_KOKORO_CONFIG.*VOICEBOT_TTS=espeak"):
        choose_tts(settings(tmp_path, profile="production"))


def test_production_takes_a_fallback_that_was_named(tmp_path: Path) -> None:
    chosen = settings(tmp_path, profile="production", stt="pocketsphinx", tts="espeak")
    assert choose_stt(chosen).engine.info.name == "pocketsphinx"
    assert choose_tts(chosen).engine.info.name == "espeak"


def test_without_kokoros_files_auto_speaks_with_espeak_and_says_why(tmp_path: Path) -> None:
    choice = choose_tts(settings(tmp_path))
    assert choice.engine.info.name == "espeak"
    assert (
        "VOICEBOT_KOKORO_CONFIG and VOICEBOT_KOKORO_WEIGHTS and VOICEBOT_KOKORO_VOICE are not set"
        in choice.reason
    )


def test_kokoro_by_name_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="Kokoro was asked for"):
        choose_tts(settings(tmp_path, tts="kokoro"))


def test_the_callers_voice_is_never_the_bots(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert caller_tts(chosen).info.model != choose_tts(chosen).engine.info.model
    with pytest.raises(InvalidInputError, match="the bot's own voice"):
        caller_tts(settings(tmp_path, caller_voice="en-us+f5", espeak_voice="en-us+f5"))


def test_a_voice_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no voice"):
        choose_tts(settings(tmp_path, espeak_voice="zz"))
