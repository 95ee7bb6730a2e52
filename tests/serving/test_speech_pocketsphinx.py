"""The embedded recogniser: what it hears, what its confidence means, what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from serving.audio import AudioClip, silence
from serving.errors import InvalidInputError, MissingError
from serving.speech.pocketsphinx_stt import PocketsphinxStt
from serving.speech.protocols import transcribe
from tests.serving.speech_fixtures import noise, speech, tiny_language_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> PocketsphinxStt:
    files = tiny_language_model(tmp_path_factory.mktemp("lm"))
    return PocketsphinxStt(files.lm, files.dictionary)


@pytest.mark.parametrize("voice", ["en-us+f5", "en-us+edward"])
@pytest.mark.parametrize(
    "text", ["my card was stolen", "i want to pay two hundred dollars", "speak to an agent"]
)
def test_a_sentence_of_its_domain_is_heard_word_for_word(
    engine: PocketsphinxStt, text: str, voice: str
) -> None:
    assert transcribe(engine, speech(text, voice)).text == text


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_the_rate_of_the_line_does_not_matter_in_its_domain(engine: PocketsphinxStt, rate: int) -> None:
    clip = speech("my card was stolen").resampled(rate)
    assert transcribe(engine, clip).text == "my card was stolen"


def test_confidence_tells_known_from_foreign_speech(engine: PocketsphinxStt) -> None:
    known = transcribe(engine, speech("five hundred dollars over three years"))
    foreign = transcribe(engine, speech("elephants juggle purple umbrellas beneath the waterfall"))
    assert known.confidence > 0.7
    assert known.confidence > foreign.confidence + 0.1


def test_a_text_carries_no_marks_of_the_decoder(engine: PocketsphinxStt) -> None:
    clip = AudioClip(
        np.concatenate([silence(1, 16_000).samples, speech("yes").resampled(16_000).samples]), 16_000
    )
    text = transcribe(engine, clip).text
    assert not set(text) & set("<>[]()+")


def test_partial_texts_grow_towards_the_final_one(engine: PocketsphinxStt) -> None:
    sound = speech("i want to pay two hundred dollars").resampled(16_000).samples
    stream = engine.stream()
    partials = []
    for start in range(0, len(sound), 1_600):
        stream.feed(sound[start : start + 1_600])
        partials.append(stream.partial())
    assert partials[0] == ""
    assert [text for text in partials if text.startswith("i want")]
    assert max(len(text.split()) for text in partials) >= 5


def test_the_general_model_needs_no_files_and_hears_plain_english() -> None:
    general = PocketsphinxStt()
    assert "general" in general.info.model
    assert "dollars" in transcribe(general, speech("two hundred dollars", "en-us+edward")).text


def test_the_name_of_the_model_is_in_its_info(engine: PocketsphinxStt) -> None:
    assert "bank-" in engine.info.model
    assert "Fallback" in engine.info.note


def test_noise_has_no_confidence(engine: PocketsphinxStt) -> None:
    assert transcribe(engine, noise(2.0)).confidence < 0.5


def test_half_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="VOICEBOT_POCKETSPHINX_DICT"):
        PocketsphinxStt(lm=tmp_path / "x.arpa")
    with pytest.raises(InvalidInputError, match="VOICEBOT_POCKETSPHINX_LM"):
        PocketsphinxStt(dictionary=tmp_path / "x.dict")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"x\.arpa"):
        PocketsphinxStt(tmp_path / "x.arpa", tmp_path / "x.dict")


@pytest.mark.parametrize("content", [b"", b"this is no language model\n", bytes(range(256)) * 40])
def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.arpa").write_bytes(content)
    (tmp_path / "x.dict").write_text("yes Y EH S\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"cannot use .*x\.arpa"):
        PocketsphinxStt(tmp_path / "x.arpa", tmp_path / "x.dict")
