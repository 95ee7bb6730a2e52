"""Streaming resampling: faithful, prompt, and indifferent to how the stream is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import Samples
from serving.errors import InvalidInputError
from serving.speech.resample import StreamResampler
from tests.properties import examples

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]


def tone(rate: int, frequency: float, seconds: float = 1.0) -> Samples:
    return np.round(9_000 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(
        np.int16
    )


def resampled(samples: Samples, rate: int, pieces: int) -> Samples:
    stream = StreamResampler(rate)
    parts = [stream.feed(part) for part in np.array_split(samples, pieces)]
    return np.concatenate([*parts, stream.flush()])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_time_and_loudness(rate: int) -> None:
    out = resampled(tone(rate, 1_000), rate, pieces=50)
    assert len(out) == pytest.approx(16_000, abs=1)
    expected = 9_000 * np.sin(2 * np.pi * 1_000 * np.arange(len(out)) / 16_000)
    error = (out - expected)[200:-200]
    assert np.sqrt(np.mean(error**2)) < 5


def test_what_the_lower_rate_cannot_hold_is_removed_and_not_folded_back() -> None:
    out = resampled(tone(48_000, 9_500), 48_000, pieces=50)
    assert np.abs(out[200:-200]).max() < 5


@examples(40)
@given(rate=st.sampled_from(RATES), pieces=st.integers(1, 400), seed=st.integers(0, 2**16))
def test_cutting_the_stream_differently_changes_nothing(rate: int, pieces: int, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-20_000, 20_000, size=3_000).astype(np.int16)
    assert np.array_equal(resampled(samples, rate, pieces), resampled(samples, rate, 1))


@pytest.mark.parametrize("rate", RATES)
def test_no_more_than_two_milliseconds_are_held_back(rate: int) -> None:
    stream = StreamResampler(rate)
    fed = out = 0
    for frame in np.array_split(tone(rate, 300), 50):
        fed += len(frame)
        out += len(stream.feed(frame))
        assert fed / rate - out / 16_000 <= 0.0021
    assert stream.delay <= 0.002


def test_full_scale_is_limited_and_never_wraps() -> None:
    square = np.where(np.arange(8_000) // 10 % 2, 32_767, -32_768).astype(np.int16)
    out = resampled(square, 8_000, pieces=7)
    middle = out[20_000 // 10 : -400]
    jumps = np.abs(np.diff(middle.astype(int)))
    assert jumps.max() < 60_000
    assert middle.max() == 32_767


def test_a_reset_begins_a_new_stream() -> None:
    stream = StreamResampler(8_000)
    first = stream.feed(tone(8_000, 500))
    stream.reset()
    assert np.array_equal(stream.feed(tone(8_000, 500)), first)


def test_an_empty_piece_gives_nothing() -> None:
    assert len(StreamResampler(8_000).feed(np.zeros(0, np.int16))) == 0
    assert len(StreamResampler(16_000).flush()) == 0


@pytest.mark.parametrize("rate", [0, -8_000, 3_999, 10**9])
def test_a_rate_that_no_sound_has_is_refused(rate: int) -> None:
    with pytest.raises(InvalidInputError, match="Hz"):
        StreamResampler(rate)
