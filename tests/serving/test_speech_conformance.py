"""What every speech engine keeps to; a new engine is one more entry of `STT`, `TTS` or `VAD`."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.audio import AudioClip, concatenate, silence
from serving.errors import InvalidInputError
from serving.speech.espeak_tts import EspeakTts
from serving.speech.kokoro_tts import KokoroTts
from serving.speech.pocketsphinx_stt import PocketsphinxStt
from serving.speech.protocols import SttEngine, Transcript, TtsEngine, Vad, transcribe
from serving.speech.vad import SileroVad
from serving.speech.whisper_stt import WhisperStt
from tests.serving.speech_fixtures import (
    kokoro_files,
    noise,
    speech,
    tiny_language_model,
    whisper_checkpoint,
)

RATE = 16_000


def _pocketsphinx(folder: Path) -> SttEngine:
    files = tiny_language_model(folder)
    return PocketsphinxStt(files.lm, files.dictionary)


STT: dict[str, Callable[[Path], SttEngine]] = {
    "pocketsphinx": _pocketsphinx,
    "whisper": lambda folder: WhisperStt(whisper_checkpoint(folder), device="cpu"),
}
TTS: dict[str, Callable[[Path], TtsEngine]] = {
    "espeak": lambda _: EspeakTts(),
    "kokoro": lambda folder: KokoroTts(*kokoro_files(folder), device="cpu"),
}
VAD: dict[str, Callable[[], Vad]] = {"silero": SileroVad}
SLOW = {"kokoro"}


def _params(names: dict[str, object]) -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


@pytest.fixture(scope="module", params=_params({**STT}))
def stt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SttEngine:
    return STT[request.param](tmp_path_factory.mktemp("stt"))


@pytest.fixture(scope="module", params=_params({**TTS}))
def tts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TtsEngine:
    return TTS[request.param](tmp_path_factory.mktemp("tts"))


@pytest.fixture(params=_params({**VAD}))
def vad(request: pytest.FixtureRequest) -> Vad:
    return VAD[request.param]()


@pytest.fixture(scope="module")
def spoken() -> AudioClip:
    return speech("two hundred dollars").resampled(RATE)


def sane(transcript: Transcript, engine: SttEngine, seconds: float) -> Transcript:
    assert transcript.engine == engine.info.name
    assert 0.0 <= transcript.confidence <= 1.0
    assert transcript.seconds == pytest.approx(seconds, abs=0.01)
    assert transcript.text == transcript.text.lower().strip()
    return transcript


# Speech-to-text


def test_an_engine_says_what_it_is(stt: SttEngine) -> None:
    assert stt.info.name
    assert stt.info.model


def test_silence_is_an_empty_text_without_confidence(stt: SttEngine) -> None:
    heard = sane(transcribe(stt, silence(1.5, RATE)), stt, 1.5)
    assert (heard.text, heard.confidence) == ("", 0.0)


def test_an_utterance_without_sound_is_an_empty_text(stt: SttEngine) -> None:
    heard = sane(stt.stream().finish(), stt, 0.0)
    assert (heard.text, heard.confidence) == ("", 0.0)


@pytest.mark.parametrize("samples", [1, 160, 400])
def test_a_blink_of_sound_is_an_empty_text(stt: SttEngine, spoken: AudioClip, samples: int) -> None:
    heard = transcribe(stt, AudioClip(spoken.samples[4000 : 4000 + samples], RATE))
    assert sane(heard, stt, samples / RATE).text == ""


def test_noise_and_clipping_give_some_result_and_no_error(stt: SttEngine) -> None:
    sane(transcribe(stt, noise(1.0)), stt, 1.0)
    square = AudioClip(np.where(np.arange(RATE) // 40 % 2, 32_767, -32_768).astype(np.int16), RATE)
    sane(transcribe(stt, square), stt, 1.0)


def test_half_a_minute_of_speech_is_recognised(stt: SttEngine, spoken: AudioClip) -> None:
    pause = silence(0.4, RATE)
    long = concatenate([spoken, pause] * (int(32 / (spoken.seconds + 0.4)) + 1), RATE)
    sane(transcribe(stt, long), stt, long.seconds)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_sound_of_any_rate_is_taken(stt: SttEngine, spoken: AudioClip, rate: int) -> None:
    sane(transcribe(stt, spoken.resampled(rate)), stt, spoken.seconds)


def test_the_pieces_in_which_sound_arrives_change_nothing(stt: SttEngine, spoken: AudioClip) -> None:
    whole = transcribe(stt, spoken)
    for size in (320, 1_001):
        stream = stt.stream()
        for start in range(0, len(spoken.samples), size):
            stream.feed(spoken.samples[start : start + size])
        assert stream.finish() == whole


def test_what_was_heard_before_changes_nothing(stt: SttEngine, spoken: AudioClip) -> None:
    first = transcribe(stt, spoken)
    transcribe(stt, noise(0.5, level=0.3))
    assert transcribe(stt, spoken) == first


def test_partial_texts_do_not_change_the_final_one(stt: SttEngine, spoken: AudioClip) -> None:
    whole = transcribe(stt, spoken)
    stream = stt.stream()
    for start in range(0, len(spoken.samples), 8_000):
        stream.feed(spoken.samples[start : start + 8_000])
        assert isinstance(stream.partial(), str)
    assert stream.finish() == whole
    assert stream.partial() == whole.text


def test_finishing_twice_gives_the_same_transcript(stt: SttEngine, spoken: AudioClip) -> None:
    stream = stt.stream()
    stream.feed(spoken.samples)
    assert stream.finish() is stream.finish()


def test_a_cancelled_utterance_is_empty_and_the_engine_goes_on(stt: SttEngine, spoken: AudioClip) -> None:
    expected = transcribe(stt, spoken)
    stream = stt.stream()
    stream.feed(spoken.samples[:16_000])
    stream.partial()
    stream.cancel()
    stream.cancel()
    stream.feed(spoken.samples)
    assert stream.finish().text == ""
    assert transcribe(stt, spoken) == expected


def test_cancelling_after_the_end_keeps_the_transcript(stt: SttEngine, spoken: AudioClip) -> None:
    stream = stt.stream()
    stream.feed(spoken.samples)
    heard = stream.finish()
    stream.cancel()
    assert stream.finish() == heard


def test_utterances_side_by_side_do_not_disturb_each_other(stt: SttEngine, spoken: AudioClip) -> None:
    expected = transcribe(stt, spoken)
    streams = [stt.stream() for _ in range(6)]
    for start in range(0, len(spoken.samples), 8_000):
        for stream in streams:
            stream.feed(spoken.samples[start : start + 8_000])
            stream.partial()
    with ThreadPoolExecutor(len(streams)) as pool:
        assert list(pool.map(lambda stream: stream.finish(), streams)) == [expected] * len(streams)


def test_the_callers_buffer_may_be_reused(stt: SttEngine, spoken: AudioClip) -> None:
    buffer = np.zeros(1_600, np.int16)
    stream = stt.stream()
    for start in range(0, len(spoken.samples) - 1_600, 1_600):
        buffer[:] = spoken.samples[start : start + 1_600]
        stream.feed(buffer)
    buffer[:] = 0
    whole = (len(spoken.samples) - 1) // 1_600 * 1_600
    assert stream.finish() == transcribe(stt, AudioClip(spoken.samples[:whole], RATE))


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 2), np.int16), np.zeros(4, np.float32), np.zeros(4, np.int32)]
)
def test_samples_of_another_form_are_refused(stt: SttEngine, wrong: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="int16"):
        stt.stream().feed(wrong)


def test_an_endless_utterance_is_refused(stt: SttEngine) -> None:
    stream = stt.stream()
    minute = np.zeros(60 * RATE, np.int16)
    for _ in range(10):
        stream.feed(minute)
    with pytest.raises(InvalidInputError, match="600 s"):
        stream.feed(minute)
    stream.cancel()


# Text-to-speech


@pytest.mark.parametrize("text", ["", "  \n", "...", "?! —", "😀🎉", "\x00\x07", "\u200b", "«»"])
def test_what_nobody_can_say_yields_nothing(tts: TtsEngine, text: str) -> None:
    assert list(tts.synthesise(text)) == []


@pytest.mark.parametrize(
    "text",
    ["Yes.", "Hello 😀 there", "A\x00B", "<b>bold</b> & [[x]] {y} [a](/b/)", "naïve café, 5 £", "y" * 300],
)
def test_any_other_text_is_spoken(tts: TtsEngine, text: str) -> None:
    clips = list(itertools.islice(tts.synthesise(text), 2))
    assert clips
    for clip in clips:
        assert clip.rate == tts.rate
        assert clip.seconds > 0.02


def test_each_sentence_is_a_clip_in_order(tts: TtsEngine) -> None:
    assert len(list(tts.synthesise("One. Two three four five six. Seven?"))) == 3


def test_a_long_text_starts_at_once(tts: TtsEngine) -> None:
    clips = tts.synthesise("This sentence is one of very many. " * 2_000)
    assert next(clips).seconds < 10
    _close(clips)


def test_a_sentence_that_never_ends_comes_in_pieces(tts: TtsEngine) -> None:
    clips = tts.synthesise("and so on " * 500)
    assert next(clips).seconds < 60
    assert next(clips).seconds > 0.1
    _close(clips)


def test_stopping_in_the_middle_leaves_the_engine_usable(tts: TtsEngine) -> None:
    clips = tts.synthesise("One. Two. Three.")
    next(clips)
    _close(clips)
    assert len(list(tts.synthesise("Four. Five."))) == 2


def test_two_texts_may_be_spoken_alternately(tts: TtsEngine) -> None:
    first, second = tts.synthesise("One. Two."), tts.synthesise("Three. Four.")
    pairs = list(zip(first, second, strict=True))
    assert len(pairs) == 2


def _close(clips: Iterator[AudioClip]) -> None:
    """What a cancelled answer does to its voice."""
    getattr(clips, "close")()  # noqa: B009 (generators have it, the protocol does not promise it)


# Voice activity


def chunks(vad: Vad, clip: AudioClip) -> list[np.ndarray]:
    size = vad.chunk_samples
    samples = clip.resampled(RATE).samples
    return [samples[i : i + size] for i in range(0, len(samples) - size + 1, size)]


def test_speech_is_likelier_than_silence_and_noise(vad: Vad, spoken: AudioClip) -> None:
    vad.reset()
    voiced = [vad.probability(chunk) for chunk in chunks(vad, spoken)]
    vad.reset()
    silent = [vad.probability(chunk) for chunk in chunks(vad, silence(1.0, RATE))]
    vad.reset()
    noisy = [vad.probability(chunk) for chunk in chunks(vad, noise(1.0))]
    assert np.mean([p > 0.5 for p in voiced]) > 0.6
    assert max(silent) < 0.2
    assert np.mean([p > 0.5 for p in noisy]) < 0.1


def test_a_reset_forgets_the_past(vad: Vad, spoken: AudioClip) -> None:
    vad.reset()
    first = [vad.probability(chunk) for chunk in chunks(vad, spoken)]
    vad.reset()
    assert [vad.probability(chunk) for chunk in chunks(vad, spoken)] == first


def test_probabilities_are_probabilities_for_any_sound(vad: Vad) -> None:
    for value in (32_767, -32_768):
        assert 0.0 <= vad.probability(np.full(vad.chunk_samples, value, np.int16)) <= 1.0


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(0, np.int16), np.zeros(511, np.int16), np.zeros(512, np.float32), np.zeros((512, 1), np.int16)],
)
def test_a_chunk_of_another_form_is_refused(vad: Vad, wrong: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="512"):
        vad.probability(wrong)
