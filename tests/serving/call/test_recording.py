"""The stereo recording: every sound at its place, whatever its rate and length, in little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from serving.audio import AudioClip, Samples, read_wav_channels
from serving.call import recording as recording_module
from serving.call.record import Unrecorded
from serving.call.recording import RECORDING_RATE, Recording
from tests.properties import examples

FRAME_S = 0.02


def tone(seconds: float, rate: int, *, pitch: float = 440.0, level: float = 8_000.0) -> Samples:
    at = np.arange(round(seconds * rate)) / rate
    return np.round(level * np.sin(2 * np.pi * pitch * at)).astype(np.int16)


def written(recording: Recording, folder: Path) -> list[Samples]:
    path = recording.write(folder / "call.wav")
    assert path is not None
    return [side.samples for side in read_wav_channels(path)]


sounds = st.lists(
    st.tuples(st.booleans(), st.integers(0, 400), st.integers(1, 300), st.integers(-9_000, 9_000)),
    min_size=1,
    max_size=12,
)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=sounds)
def test_each_sound_is_at_its_sample_and_sounds_at_the_same_time_add_up(
    drawn: list[tuple[bool, int, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "_BLOCK", 7_001)  # so that sounds cross blocks
    monkeypatch.setattr(recording_module, "_PIECE_S", 0.1)
    drawn = [(bot, 100 * first, 100 * size, level) for bot, first, size, level in drawn]
    length = max(first + size for _, first, size, _ in drawn)
    expected = np.zeros((2, length), np.int32)
    recording = Recording(wanted=True)
    for bot, first, size, level in drawn:
        keep = recording.bot if bot else recording.caller
        keep(first / RECORDING_RATE, AudioClip(np.full(size, level, np.int16), RECORDING_RATE))
        expected[int(bot), first : first + size] += level
    found = np.stack(written(recording, tmp_path))
    assert np.array_equal(found, np.clip(expected, -32_768, 32_767))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_frames_of_another_rate_sound_like_the_whole_resampled_at_once(rate: int, tmp_path: Path) -> None:
    sound = tone(73.21, rate)
    recording = Recording(wanted=True)
    size = round(rate * FRAME_S)
    for first in range(0, len(sound), size):
        recording.caller(1.5 + first / rate, AudioClip(sound[first : first + size], rate))
    caller, bot = written(recording, tmp_path)
    whole = AudioClip(sound, rate).resampled(RECORDING_RATE).samples
    begin = round(1.5 * RECORDING_RATE)
    assert not caller[:begin].any()
    assert not bot.any()
    assert abs(len(caller) - begin - len(whole)) <= 1
    shared = min(len(whole), len(caller) - begin)
    assert np.abs(caller[begin : begin + shared].astype(int) - whole[:shared]).max() <= 8


def test_one_long_sound_beside_frames_is_written_like_the_frames(tmp_path: Path) -> None:
    recording = Recording(wanted=True)
    sound = tone(95.0, RECORDING_RATE)
    recording.bot(0.0, AudioClip(sound, RECORDING_RATE))
    for frame in AudioClip(sound, RECORDING_RATE).frames():
        recording.caller(frame.start, frame.clip)
    caller, bot = written(recording, tmp_path)
    assert np.array_equal(bot, sound)
    assert np.array_equal(caller, sound)


def test_the_end_of_a_long_call_takes_as_little_memory_as_that_of_a_short_one(tmp_path: Path) -> None:
    recording = Recording(wanted=True)
    frame = AudioClip(tone(FRAME_S, 8_000), 8_000)
    for index in range(round(20 * 60 / FRAME_S)):
        recording.caller(index * FRAME_S, frame)
    recording.bot(0.0, AudioClip(tone(20 * 60, RECORDING_RATE), RECORDING_RATE))
    tracemalloc.start()
    try:
        recording.write(tmp_path / "call.wav")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    whole = 20 * 60 * RECORDING_RATE * 2 * 2
    assert peak < whole / 4


def test_nothing_is_written_of_a_call_without_sound(tmp_path: Path) -> None:
    assert Recording(wanted=True).write(tmp_path / "call.wav") is None
    assert not list(tmp_path.iterdir())


def test_the_first_reason_for_keeping_nothing_counts(tmp_path: Path) -> None:
    recording = Recording(wanted=True)
    recording.bot(0.0, AudioClip(tone(0.1, RECORDING_RATE), RECORDING_RATE))
    recording.erase()
    recording.erase(Unrecorded.UNANSWERED)
    assert recording.erased is Unrecorded.OPTED_OUT
    assert recording.write(tmp_path / "call.wav") is None
