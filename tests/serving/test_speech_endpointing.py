"""Speech limits from probabilities, on a virtual clock, and from frames of any rate."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import AudioClip, AudioFrame, Samples, concatenate, silence
from serving.errors import InvalidInputError
from serving.speech.vad import (
    CHUNK_SECONDS,
    EndpointSettings,
    EndpointState,
    SileroVad,
    SpeechDetector,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    advance,
    close,
)
from tests.serving.speech_fixtures import noise, speech

STEP = 0.03
SETTINGS = EndpointSettings(threshold=0.5, min_speech_s=0.09, hang_over_s=0.3, release=0.15)


def run(probabilities: Sequence[float], settings: EndpointSettings = SETTINGS) -> list[SpeechEvent]:
    state, events = EndpointState(), []
    for index, probability in enumerate(probabilities):
        state, event = advance(state, settings, probability, index * STEP, (index + 1) * STEP)
        if event:
            events.append(event)
    end = close(state)
    return [*events, end] if end else events


def times(events: Sequence[SpeechEvent]) -> list[float]:
    return [round(event.time, 3) for event in events]


def test_speech_is_dated_to_its_first_and_last_voiced_chunk() -> None:
    events = run([0.1] * 10 + [0.9] * 10 + [0.1] * 20)
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]
    assert times(events) == [0.3, 0.6]


def test_the_end_waits_for_the_whole_hang_over() -> None:
    voice = [0.9] * 10
    state = EndpointState()
    fired = []
    for index, probability in enumerate(voice + [0.0] * 20):
        state, event = advance(state, SETTINGS, probability, index * STEP, (index + 1) * STEP)
        if isinstance(event, SpeechEnded):
            fired.append((index + 1) * STEP)
    assert fired == [pytest.approx(0.6)]


def test_a_pause_shorter_than_the_hang_over_does_not_cut_a_sentence() -> None:
    assert times(run([0.9] * 5 + [0.0] * 9 + [0.9] * 5 + [0.0] * 20)) == [0.0, 0.57]


def test_a_click_is_not_speech() -> None:
    assert run([0.0] * 5 + [0.99] * 2 + [0.0] * 20) == []


def test_clicks_far_apart_do_not_add_up_to_speech() -> None:
    assert run(([0.99] * 2 + [0.0] * 10) * 6) == []


def test_a_stop_consonant_does_not_break_the_onset() -> None:
    assert times(run([0.9, 0.9, 0.1, 0.9, 0.9] + [0.0] * 15)) == [0.0, 0.15]


def test_a_doubtful_chunk_prolongs_speech_but_does_not_begin_it() -> None:
    assert run([0.4] * 30) == []
    assert times(run([0.9] * 5 + [0.4] * 5 + [0.0] * 15)) == [0.0, 0.3]


def test_without_a_minimum_the_first_voiced_chunk_reports_speech() -> None:
    events = run([0.0, 0.9, 0.0, 0.0], EndpointSettings(min_speech_s=0.0, hang_over_s=10))
    assert times(events) == [0.03, 0.06]


def test_speech_that_is_still_going_is_owed_an_end() -> None:
    assert times(run([0.9] * 10)) == [0.0, 0.3]


def test_the_hang_over_may_change_while_somebody_speaks() -> None:
    state, _ = advance(EndpointState(), SETTINGS, 0.9, 0.0, 0.2)
    patient = EndpointSettings(min_speech_s=0.09, hang_over_s=2.0)
    state, event = advance(state, patient, 0.0, 0.2, 1.0)
    assert event is None
    _, event = advance(state, SETTINGS, 0.0, 1.0, 1.03)
    assert event == SpeechEnded(0.2)


@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=200),
    st.floats(0, 0.5),
    st.floats(0, 1),
)
def test_starts_and_ends_alternate_and_time_only_goes_forward(
    probabilities: list[float], minimum: float, hang_over: float
) -> None:
    events = run(probabilities, EndpointSettings(min_speech_s=minimum, hang_over_s=hang_over))
    assert [isinstance(event, SpeechStarted) for event in events] == [i % 2 == 0 for i in range(len(events))]
    assert len(events) % 2 == 0
    assert times(events) == sorted(times(events))


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"release": 0.5},
        {"release": -0.1},
        {"min_speech_s": -1},
        {"hang_over_s": -1},
    ],
)
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        EndpointSettings(**wrong)


# From frames


class LoudnessVad:
    """Voice is what is loud; stands in where the test is about chunking, not about voices."""

    chunk_samples = 512

    def __init__(self) -> None:
        self.seen = 0

    def probability(self, chunk: Samples) -> float:
        assert len(chunk) == 512
        self.seen += 1
        return float(np.abs(chunk).max() > 5_000)

    def reset(self) -> None:
        self.seen = 0


def tone(seconds: float, rate: int) -> AudioClip:
    wave = 12_000 * np.sin(2 * np.pi * 400 * np.arange(round(seconds * rate)) / rate)
    return AudioClip(wave.astype(np.int16), rate)


def feed(detector: SpeechDetector, clip: AudioClip, start: float) -> list[SpeechEvent]:
    return [event for frame in clip.frames(start) for event in detector.feed(frame)]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_limits_are_on_the_calls_clock_at_every_rate(rate: int) -> None:
    clip = concatenate([silence(0.5, rate), tone(1.0, rate), silence(1.0, rate)], rate)
    detector = SpeechDetector(LoudnessVad(), EndpointSettings(hang_over_s=0.4))
    events = feed(detector, clip, start=100.0)
    assert times(events) == [pytest.approx(100.5, abs=0.04), pytest.approx(101.5, abs=0.04)]


def test_every_sample_is_judged_exactly_once() -> None:
    vad = LoudnessVad()
    feed(SpeechDetector(vad), tone(3.2, 16_000), 0.0)
    assert vad.seen == 3.2 * 16_000 // 512


def test_lost_packets_neither_stretch_time_nor_join_what_was_apart() -> None:
    detector = SpeechDetector(LoudnessVad(), EndpointSettings(hang_over_s=0.4))
    assert times(feed(detector, tone(0.5, 8_000), 0.0)) == [0.0]
    # Two seconds of frames never arrive; the caller is silent after them.
    events = feed(detector, silence(0.2, 8_000), 2.5)
    assert times(events) == [pytest.approx(0.5, abs=0.04)]


def test_a_stream_may_change_its_rate() -> None:
    detector = SpeechDetector(LoudnessVad(), EndpointSettings(hang_over_s=0.3))
    events = feed(detector, tone(0.5, 8_000), 0.0) + feed(detector, tone(0.5, 48_000), 0.5)
    events += feed(detector, silence(0.5, 48_000), 1.0)
    assert times(events) == [0.0, pytest.approx(1.0, abs=0.04)]


def test_the_end_of_the_sound_ends_the_speech() -> None:
    detector = SpeechDetector(LoudnessVad())
    feed(detector, tone(0.64, 16_000), 0.0)
    assert times(detector.finish()) == [0.64]
    assert detector.finish() == []


def test_frames_without_samples_are_harmless() -> None:
    detector = SpeechDetector(LoudnessVad())
    assert detector.feed(AudioFrame(silence(0, 8_000), 0.0)) == []


@pytest.mark.parametrize("said_before", range(5))
def test_a_spoken_sentence_in_noise_has_limits_within_a_tenth_of_a_second(said_before: int) -> None:
    # espeak-ng's phases go on from what it said before, so the same sentence never sounds quite the same.
    speech("hello there" * said_before or "oh")
    words = speech("what would a loan cost me").resampled(16_000)
    hiss = noise(10.0, level=0.002).samples
    audible = np.flatnonzero(np.abs(words.samples) > 5 * hiss.std())
    clip = concatenate([silence(1.0, 16_000), words, silence(1.5, 16_000)], 16_000)
    noisy = AudioClip(clip.samples + hiss[: len(clip.samples)], 16_000)
    events = feed(SpeechDetector(SileroVad(), EndpointSettings(hang_over_s=0.7)), noisy, 0.0)
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]
    assert events[0].time == pytest.approx(1.0 + audible[0] / 16_000, abs=0.1)
    assert events[1].time == pytest.approx(1.0 + audible[-1] / 16_000, abs=0.1)
    assert CHUNK_SECONDS == 0.032
