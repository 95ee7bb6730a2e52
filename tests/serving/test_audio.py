"""Sound at the edges: every file is read as it sounds or refused with a reason, and none is half written."""

import contextlib
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from serving import audio
from serving.audio import (
    FRAME_SECONDS,
    AudioClip,
    add_noise,
    concatenate,
    from_floats,
    read_wav,
    read_wav_channels,
    silence,
    write_wav,
)
from serving.errors import InvalidInputError

MAX_S = 900.0
samples_of = st.lists(st.integers(-32_768, 32_767), max_size=2_000).map(lambda v: np.array(v, np.int16))


def tone(seconds: float = 1.0, rate: int = 16_000, level: float = 0.5) -> npt.NDArray[np.float64]:
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def rms(values: npt.NDArray[np.generic]) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def written(path: Path, values: npt.NDArray[np.generic], rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(str(path), values, rate, subtype=subtype)
    return path


def refusal(path: Path, max_seconds: float = MAX_S) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_wav(path, max_seconds=max_seconds)
    assert str(path) in caught.value.message
    return str(caught.value)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_a_file_is_read_at_its_own_rate(tmp_path: Path, rate: int) -> None:
    clip = read_wav(written(tmp_path / "a.wav", tone(0.5, rate), rate), max_seconds=MAX_S)
    assert clip.rate == rate
    assert clip.seconds == pytest.approx(0.5, abs=1 / rate)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_U8"), ("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "PCM_32"),
        ("a.wav", "FLOAT"), ("a.wav", "DOUBLE"), ("a.wav", "ULAW"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS"),
    ],
)  # fmt: skip
def test_the_same_sound_is_equally_loud_in_every_encoding(tmp_path: Path, name: str, subtype: str) -> None:
    clip = read_wav(written(tmp_path / name, tone(), subtype=subtype), max_seconds=MAX_S)
    assert len(clip.samples) == 16_000
    assert rms(clip.samples) == pytest.approx(rms(tone()) * 32_768, rel=0.02)


@given(samples_of.filter(len))
def test_sixteen_bit_sound_survives_a_file_unchanged(samples: npt.NDArray[np.int16]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        write_wav(path, [AudioClip(samples, 16_000)])
        assert np.array_equal(read_wav(path, max_seconds=MAX_S).samples, samples)


def test_stereo_is_the_mean_of_its_channels_and_loud_channels_do_not_wrap(tmp_path: Path) -> None:
    left, right = np.full(100, 32_767, np.int16), np.full(100, 32_765, np.int16)
    path = written(tmp_path / "a.wav", np.stack([left, right], axis=1))
    assert set(read_wav(path, max_seconds=MAX_S).samples) == {32_766}
    channels = read_wav_channels(path)
    assert [set(channel.samples) for channel in channels] == [{32_767}, {32_765}]


def test_floats_beyond_full_scale_are_limited_and_what_is_no_number_is_silence(tmp_path: Path) -> None:
    odd = np.array([0.5, np.nan, np.inf, -np.inf, 7.0, -7.0, -0.5])
    expected = [16_384, 0, 32_767, -32_768, 32_767, -32_768, -16_384]
    assert from_floats(odd, 16_000).samples.tolist() == expected
    path = written(tmp_path / "a.wav", odd, subtype="FLOAT")
    assert read_wav(path, max_seconds=MAX_S).samples.tolist() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable audio file"),
        (b"Dear bank,\nplease transfer\n" * 100, "not a readable audio file"),
        (b"RIFF", "not a readable audio file"),
        (b"RIFF\x24\x00\x00\x00WAVE", "not a readable audio file"),
        (b"\x00" * 4096, "not a readable audio file"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", "not a readable audio file"),
    ],
    ids=["empty", "text", "four_bytes", "no_format", "zeros", "mp3_tag"],
)
def test_what_is_no_sound_is_refused_whatever_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    for name in ("a.wav", "a.flac", "a.raw", "a"):
        (tmp_path / name).write_bytes(content)
        assert said in refusal(tmp_path / name)


def test_a_wav_is_read_under_any_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone()).rename(tmp_path / "a.raw")
    assert read_wav(path, max_seconds=MAX_S).seconds == 1.0


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.wav")
    assert "is no file" in refusal(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.wav", tone())

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read: Permission denied" in refusal(path)


def test_a_header_without_sound_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.wav", tone()).read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[:44])
    assert "holds no sound" in refusal(tmp_path / "a.wav")
    written(tmp_path / "b.wav", np.zeros(0, np.int16))
    assert "holds no sound" in refusal(tmp_path / "b.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_refused_and_not_heard_in_part(
    tmp_path: Path, name: str, part: float
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 32_000)
    path = written(tmp_path / name, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    said = refusal(path)
    assert "cut off" in said or "not a readable audio file" in said


def wav_with_length(path: Path, claimed: int) -> Path:
    """A second of sound under a header that claims another number of bytes."""
    content = bytearray(written(path, tone()).read_bytes())
    content[4:8] = struct.pack("<I", min(claimed + 36, 0xFFFFFFFF))
    content[40:44] = struct.pack("<I", claimed)
    path.write_bytes(content)
    return path


def test_a_header_that_promises_an_hour_which_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cut off" in refusal(wav_with_length(tmp_path / "a.wav", 3_600 * 32_000))


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_which_could_not_know_its_length_is_read(tmp_path: Path, claimed: int) -> None:
    assert read_wav(wav_with_length(tmp_path / "a.wav", claimed), max_seconds=MAX_S).seconds == 1.0


def test_an_hour_of_sound_is_refused_by_its_header_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(str(path), "w", 8_000, 1, subtype="ULAW") as file:
        file.write(np.zeros(3_600 * 8_000, np.int16))

    def unpack(*args: object) -> None:
        raise AssertionError("samples were read")

    monkeypatch.setattr(audio, "_samples", unpack)
    said = refusal(path)
    assert "3600 s long; the limit is 900 s" in said
    assert "VOICEBOT_MAX_WAV_S" in said


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(2.0))
    assert read_wav(path, max_seconds=2.0).seconds == 2.0
    assert "2 s long" in refusal(path, max_seconds=1.99)


def test_a_small_file_that_would_unpack_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(str(path), np.zeros((200_000, 8), np.int16), 96_000)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(audio, "MAX_FILE_SAMPLES", 1_599_999)
    assert "would unpack to more than" in refusal(path)
    monkeypatch.setattr(audio, "MAX_FILE_SAMPLES", 1_600_000)
    assert len(read_wav_channels(path)) == 8


def test_the_longest_call_in_stereo_at_studio_rate_fits_the_limit() -> None:
    assert MAX_S * 48_000 * 2 <= audio.MAX_FILE_SAMPLES


def test_a_flac_that_does_not_say_its_length_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "a.flac", tone()).read_bytes())
    content[21] &= 0xF0  # the 36 bits of the sample count in STREAMINFO
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert "does not say how long it is" in refusal(tmp_path / "a.flac")


@pytest.mark.parametrize("rate", [4_000, 7_999, 192_001])
def test_a_rate_at_which_nobody_speaks_is_refused(tmp_path: Path, rate: int) -> None:
    assert f"has {rate} Hz" in refusal(written(tmp_path / "a.wav", tone(0.1, rate), rate))


@given(st.binary(max_size=200), st.integers(0, 60))
def test_a_damaged_header_is_refused_or_read_and_never_another_error(damage: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        content = bytearray(written(path, tone(0.05)).read_bytes())
        content[at : at + len(damage)] = damage
        path.write_bytes(content)
        with contextlib.suppress(InvalidInputError):
            read_wav(path, max_seconds=MAX_S)


def test_what_is_written_is_sixteen_bit_wav_with_short_channels_padded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.wav"
    write_wav(path, [AudioClip(np.ones(5, np.int16), 8_000), AudioClip(np.full(3, 2, np.int16), 8_000)])
    info = soundfile.info(str(path))
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 8_000, 2)
    assert [c.samples.tolist() for c in read_wav_channels(path)] == [[1] * 5, [2, 2, 2, 0, 0]]


def test_channels_of_different_rates_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    for clips in ([], [silence(1, 8_000), silence(1, 16_000)]):
        with pytest.raises(ValueError, match="one rate"):
            write_wav(tmp_path / "a.wav", clips)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 20, 44, 5_000])
def test_on_a_full_disk_the_old_recording_stays_and_nothing_is_left_behind(tmp_path: Path, room: int) -> None:
    """The kernel refuses to let any file of the process grow beyond `room` bytes."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        from serving.audio import silence, write_wav
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
        try:
            write_wav(Path({str(path)!r}), [silence(1, 16_000)])
        except OSError as error:
            sys.exit(7 if error.strerror else 8)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=60)
    assert done.returncode == 7
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_the_old_recording_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")

    def refuse(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        write_wav(path, [silence(1, 16_000)])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("target", [8_000, 16_000, 24_000, 48_000])
def test_resampling_keeps_the_length_and_the_loudness(rate: int, target: int) -> None:
    clip = from_floats(tone(2.0, rate), rate).resampled(target)
    assert clip.rate == target
    assert clip.seconds == pytest.approx(2.0, abs=0.001)
    assert rms(clip.samples) == pytest.approx(rms(tone()) * 32_768, rel=0.01)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    high = np.sin(2 * np.pi * 7_000 * np.arange(16_000) / 16_000) * 0.5
    assert rms(from_floats(high, 16_000).resampled(8_000).samples) < 50  # aliased, it would be 11,585


def test_resampling_full_scale_sound_never_wraps() -> None:
    loud = np.where(np.arange(16_000) // 20 % 2, 32_767, -32_768).astype(np.int16)
    out = AudioClip(loud, 16_000).resampled(48_000).samples.astype(np.int32)
    wanted = np.repeat(loud, 3).astype(np.int32)
    away_from_edges = np.abs(np.arange(len(wanted)) % 60 - 30) < 15
    assert np.all(np.sign(out[away_from_edges]) == np.sign(wanted[away_from_edges]))


def test_nothing_resampled_is_nothing() -> None:
    assert len(silence(0, 8_000).resampled(16_000).samples) == 0


@given(samples_of, st.sampled_from([8_000, 11_025, 16_000, 48_000]), st.floats(0, 1000))
def test_frames_cover_every_sample_once_in_order_and_are_all_of_one_length(
    samples: npt.NDArray[np.int16], rate: int, start: float
) -> None:
    frames = list(AudioClip(samples, rate).frames(start))
    size = round(rate * FRAME_SECONDS)
    assert all(len(frame.clip.samples) == size for frame in frames)
    joined = np.concatenate([frame.clip.samples for frame in frames]) if frames else samples
    assert np.array_equal(joined[: len(samples)], samples)
    assert not joined[len(samples) :].any()
    assert len(joined) - len(samples) < size
    for index, frame in enumerate(frames):
        assert frame.start == pytest.approx(start + index * size / rate)
        assert frame.end == pytest.approx(frame.start + size / rate)


@pytest.mark.parametrize("snr_db", [0, 5, 10, 20, 30])
def test_noise_has_the_ratio_that_was_asked_for(snr_db: float) -> None:
    clip = from_floats(tone(5.0, level=0.1), 16_000)
    noisy = add_noise(clip, snr_db, seed=3)
    noise = noisy.samples.astype(np.float64) - clip.samples
    assert 20 * np.log10(rms(clip.samples) / rms(noise)) == pytest.approx(snr_db, abs=0.2)


def test_noise_is_the_same_for_the_same_seed_and_leaves_silence_silent() -> None:
    clip = from_floats(tone(0.1), 16_000)
    assert np.array_equal(add_noise(clip, 10, 1).samples, add_noise(clip, 10, 1).samples)
    assert not np.array_equal(add_noise(clip, 10, 1).samples, add_noise(clip, 10, 2).samples)
    assert not add_noise(silence(0.1, 16_000), 10, 1).samples.any()
    assert len(add_noise(silence(0, 16_000), 10, 1).samples) == 0


def test_joined_clips_have_the_sum_of_their_lengths_at_the_rate_asked_for() -> None:
    joined = concatenate([silence(0.5, 8_000), from_floats(tone(0.25, 24_000), 24_000)], 16_000)
    assert joined.rate == 16_000
    assert joined.seconds == pytest.approx(0.75, abs=0.001)
    assert len(concatenate([], 16_000).samples) == 0


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((2, 2), np.int16), 16_000),
        (np.zeros(2, np.float32), 16_000),
        (np.zeros(2, np.int16), 0),
        (np.zeros(2, np.int16), -8_000),
    ],
)
def test_a_clip_of_another_kind_of_numbers_or_without_a_rate_cannot_be_made(
    samples: npt.NDArray[np.int16], rate: int
) -> None:
    with pytest.raises(ValueError, match="AudioClip needs"):
        AudioClip(samples, rate)


def test_floats_of_a_clip_are_within_full_scale_and_lead_back_to_it() -> None:
    clip = AudioClip(np.array([-32_768, -1, 0, 1, 32_767], np.int16), 16_000)
    assert clip.floats().dtype == np.float32
    assert clip.floats().min() == -1.0
    assert clip.floats().max() < 1.0
    assert np.array_equal(from_floats(clip.floats(), 16_000).samples, clip.samples)
