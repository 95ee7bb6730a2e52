"""The embedded voice: one C library in the process, many voices, any number of threads."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.audio import concatenate
from serving.errors import InvalidInputError, MissingError
from serving.speech.espeak_tts import EspeakLibrary, EspeakTts, EspeakVoice, espeak_library

TEXT = "your payment is five dollars"


def samples(voice: EspeakVoice, text: str = TEXT) -> np.ndarray:
    tts = EspeakTts(voice)
    return concatenate(list(tts.synthesise(text)), tts.rate).samples


@pytest.mark.parametrize("name", ["xx", "", "+f5", "../../etc/passwd", "en-us+"])
def test_an_unknown_voice_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="espeak-ng has no voice"):
        EspeakTts(EspeakVoice(name))


def test_an_unknown_variant_is_refused_though_the_library_would_take_it() -> None:
    with pytest.raises(InvalidInputError, match=r"variant 'f9'.*f5"):
        EspeakTts(EspeakVoice("en-us+f9"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"words_per_minute": 79},
        {"words_per_minute": 10_000},
        {"pitch": 101},
        {"pitch_range": -1},
        {"word_gap": -1},
    ],
)
def test_impossible_ways_to_speak_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        EspeakVoice(**wrong)


def test_a_repeatable_voice_gives_the_same_samples_whatever_was_said_before_and_whenever() -> None:
    voice = EspeakVoice("en-us+edward")
    caller, bot = EspeakTts(voice, repeatable=True), EspeakTts(EspeakVoice("en-us+f5"))

    def said(tts: EspeakTts, text: str) -> bytes:
        return concatenate(list(tts.synthesise(text)), tts.rate).samples.tobytes()

    first, second = said(caller, TEXT), int(time.time())
    while int(time.time()) < second + 2:  # the library takes its seed from the second
        said(bot, "good morning")
        said(caller, "how much is it")
        assert said(caller, TEXT) == first


def test_a_repeatable_voice_is_unloaded_when_its_text_is_given_up_half_way() -> None:
    def loaded() -> int:
        return Path("/proc/self/maps").read_text().count("espeak-")

    if not Path("/proc/self/maps").exists():
        pytest.skip("only Linux lists what a process has loaded")
    before = loaded()
    for _ in range(5):
        next(EspeakTts(repeatable=True).synthesise("One sentence. Another one."))
    assert loaded() == before


def colour(spoken: np.ndarray) -> np.ndarray:
    """Mean spectrum in 60 bands of 100 Hz, of length one: what makes a voice that voice.

    The library keeps the phase of its oscillators from one text to the next, so samples differ.
    """
    frames = spoken[: len(spoken) // 2205 * 2205].reshape(-1, 2205).astype(float)
    power = np.abs(np.fft.rfft(frames * np.hanning(2205), axis=1)).mean(axis=0)[: 60 * 10]
    bands = np.log(power.reshape(60, 10).mean(axis=1) + 1)
    return bands - bands.mean()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.mean((colour(first) - colour(second)) ** 2)))


def test_two_voices_differ_and_each_stays_itself() -> None:
    female, male = EspeakVoice("en-us+f5"), EspeakVoice("en-us+edward")
    first, other = samples(female), samples(male)
    assert distance(first, samples(female)) < 0.1
    assert distance(other, samples(male)) < 0.1
    assert distance(first, other) > 0.5


def test_speed_is_obeyed() -> None:
    slow, fast = samples(EspeakVoice(words_per_minute=100)), samples(EspeakVoice(words_per_minute=250))
    assert len(slow) > 1.5 * len(fast)


def test_voices_in_many_threads_do_not_mix() -> None:
    voices = [EspeakVoice("en-us+f5"), EspeakVoice("en-us+edward", 180), EspeakVoice("en-us", 120, pitch=30)]
    alone = [samples(voice) for voice in voices]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(samples, voices * 8))
    for index, spoken in enumerate(together):
        assert len(spoken) == pytest.approx(len(alone[index % 3]), rel=0.01)
        assert distance(spoken, alone[index % 3]) < 0.1


def test_markup_and_phoneme_brackets_are_text_and_not_commands() -> None:
    plain = samples(EspeakVoice(), "hello")
    assert len(samples(EspeakVoice(), "<prosody rate='x-slow'>hello</prosody>")) > 2 * len(plain)


def test_an_incomplete_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="incomplete"):
        EspeakLibrary(tmp_path / "libespeak-ng.so", tmp_path)


def test_a_library_of_another_machine_is_reported_not_crashed_on(tmp_path: Path) -> None:
    data = tmp_path / "espeak-ng-data"
    data.mkdir()
    (data / "phontab").touch()
    (tmp_path / "lib.so").write_bytes(b"no library")
    with pytest.raises(MissingError, match="does not load"):
        EspeakLibrary(tmp_path / "lib.so", data)


def test_a_very_deep_installation_works(tmp_path: Path) -> None:
    """The library cuts paths after 160 bytes and then silently uses another folder."""
    import espeakng_loader

    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    program = (
        "import sys; from pathlib import Path; from serving.speech.espeak_tts import *;"
        "library = EspeakLibrary(Path(sys.argv[1]), Path(sys.argv[2]));"
        "print(len(library.speak('hello', EspeakVoice())))"
    )
    command = [
        sys.executable,
        "-c",
        program,
        espeakng_loader.get_library_path(),
        str(deep / "espeak-ng-data"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 5_000


def test_phonemes_are_ipa() -> None:
    assert espeak_library().phonemes("mortgage").replace("ˈ", "") == "mɔːɹɡɪdʒ"
    assert espeak_library().phonemes("") == ""
