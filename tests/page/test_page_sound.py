"""What the microphone hears is what the server gets; what the server sends is played, to the sample."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from serving.audio import SPEECH_RATE, Samples
from tests.page.conftest import TONE_S, TONES_HZ, Open
from tests.page.loopback import Loopback

if TYPE_CHECKING:
    from playwright.sync_api import Page

FRAME_S = 0.02
QUANTUM = 128
"""Frames that an audio context renders at once."""


def tone(seconds: float, hertz: float = 440.0) -> Samples:
    time = np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE
    return (8_000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def pitch(samples: npt.NDArray[Any], rate: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 17))
    return float(np.argmax(spectrum) * rate / (1 << 17))


def nearest(hertz: float) -> float:
    return min(TONES_HZ, key=lambda tone: abs(tone - hertz))


def in_call(server: Loopback, page: "Page", *, talking: bool = False) -> "Page":
    page.click("#start-talk" if talking else "#start-type")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    return page


def played(page: "Page") -> tuple[npt.NDArray[np.float64], int, float]:
    """All that went to the loudspeaker, its rate, and the time of its first sample.

    A quantum that the browser's audio thread left out, as it does under load, is silence here.
    """
    got = page.evaluate("() => ({...tapped, context: null, sounds: tapped.sounds.map((s) => Array.from(s))})")
    first, last = got["frames"][0], got["frames"][-1]
    samples = np.zeros(last - first + QUANTUM)
    for frame, sound in zip(got["frames"], got["sounds"], strict=True):
        samples[frame - first :][:QUANTUM] = sound
    return samples, int(got["rate"]), first / got["rate"]


def whole_runs(sound: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """The sound cut where the browser left quanta out."""
    silent = np.flatnonzero(np.convolve(sound != 0, np.ones(QUANTUM), "valid") == 0)
    breaks = [0, *(at + QUANTUM * edge for at in silent for edge in (0, 1)), len(sound)]
    return [sound[a:b] for a, b in pairwise(breaks) if np.any(sound[a:b])]


def sounding(samples: npt.NDArray[np.float64]) -> tuple[int, int]:
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    return int(loud[0]), int(loud[-1]) + 1


def test_the_microphone_arrives_as_20_ms_frames_of_the_sound_it_played(
    server: Loopback, open_page: Open
) -> None:
    in_call(server, open_page(), talking=True)
    seconds = 2 * TONE_S * len(TONES_HZ)
    server.wait(lambda: len(server.sounds) >= seconds / FRAME_S, f"{seconds} s of sound")
    assert {len(sound) for sound in server.sounds} == {round(2 * FRAME_S * SPEECH_RATE)}
    heard = server.heard().astype(float)
    step = SPEECH_RATE // 50
    assert np.abs(heard).max() == pytest.approx(12_000, rel=0.15)
    loudness = np.sqrt(np.mean(heard[: len(heard) // step * step].reshape(-1, step) ** 2, axis=1))
    pieces = [heard[at * step :][: 2 * step] for at in np.flatnonzero(loudness > 0.5 * loudness.max())]
    found = [nearest(pitch(piece, SPEECH_RATE)) for piece in pieces]
    order = [found[0], *(b for a, b in pairwise(found) if a != b)]
    after = dict(zip(TONES_HZ, TONES_HZ[1:] + TONES_HZ[:1], strict=True))
    assert len(order) > len(TONES_HZ)
    assert all(b == after[a] for a, b in pairwise(order))


def test_sound_is_played_whole_without_a_gap_at_its_pitch(server: Loopback, open_page: Open) -> None:
    page = in_call(server, open_page())
    server.play(tone(0.7))
    server.tell("mark", name="1:0")
    server.wait(lambda: server.sent("mark"), "the mark")
    samples, rate, _ = played(page)
    start, end = sounding(samples)
    runs = whole_runs(samples[start:end])
    left_out = QUANTUM * (len(runs) - 1)
    assert (end - start) / rate == pytest.approx(0.7, abs=0.001 + left_out / rate)
    assert len(runs) < 5
    for run in runs:
        time = np.arange(len(run)) / rate
        waves = np.stack([np.sin(2 * np.pi * 440 * time), np.cos(2 * np.pi * 440 * time)], axis=1)
        fit, rest, *_ = np.linalg.lstsq(waves, run, rcond=None)
        assert np.hypot(*fit) == pytest.approx(8_000 / 32_768, rel=0.01)
        assert rest[0] / np.sum(run**2) < 1e-3


def test_marks_come_back_in_order_and_not_before_their_sound_was_played(
    server: Loopback, open_page: Open
) -> None:
    page = in_call(server, open_page())
    server.play(tone(0.3))
    server.tell("mark", name="1:0")
    server.tell("mark", name="1:1")
    server.play(tone(0.2))
    server.tell("mark", name="1:2")
    server.wait(lambda: len(server.sent("mark")) == 3, "three marks")
    assert [event["name"] for event in server.sent("mark")] == ["1:0", "1:1", "1:2"]
    samples, rate, began = played(page)
    onset = began + sounding(samples)[0] / rate
    went = page.evaluate("tapped.marks")
    for mark, seconds in zip(went, (0.3, 0.3, 0.5), strict=True):
        assert mark - onset >= seconds - 2 * QUANTUM / rate
    assert went[2] - onset < 0.5 + 0.25


def test_clear_silences_within_a_frame_and_its_marks_never_come_back(
    server: Loopback, open_page: Open
) -> None:
    page = in_call(server, open_page())
    server.play(tone(3))
    server.tell("mark", name="1:lost")
    page.evaluate(
        """() => new Promise((done) => {
          const look = () => (tapped.sounds.some((sound) => sound[0] !== 0) ? done() : setTimeout(look, 5));
          look();
        })"""
    )
    server.tell("clear")
    server.tell("mark", name="2:empty")
    server.wait(lambda: server.sent("mark"), "the mark behind the clear")
    server.play(tone(0.2, 700))
    server.tell("mark", name="2:next")
    server.wait(lambda: len(server.sent("mark")) > 1, "the mark of what followed")
    assert [event["name"] for event in server.sent("mark")] == ["2:empty", "2:next"]
    samples, rate, began = played(page)
    assert sounding(samples)[1] / rate > 0.1
    cleared = page.evaluate("tapped.clears[0]")
    later = samples[int((cleared + FRAME_S - began) * rate) :]
    start, end = sounding(later)
    assert start > 0, "something was still played a frame after the clear"
    assert pitch(later[start:end], rate) == pytest.approx(700, abs=4)
    assert (end - start) / rate == pytest.approx(0.2, abs=0.001)


def test_a_muted_microphone_sends_silence_and_speaks_again_when_unmuted(
    server: Loopback, open_page: Open
) -> None:
    page = in_call(server, open_page(), talking=True)

    def peak(frames: int) -> int:
        samples = np.frombuffer(b"".join(server.sounds[-frames:]), "<i2").astype(int)
        return int(np.abs(samples).max(initial=0)) if len(server.sounds) > 20 else -1

    server.wait(lambda: peak(1) > 300, "sound")
    page.click("#mute")
    server.wait(lambda: peak(20) == 0, "silence")
    page.click("#mute")
    server.wait(lambda: peak(1) > 300, "sound again")


def test_typing_alone_asks_for_no_microphone_and_sends_no_sound(server: Loopback, open_page: Open) -> None:
    page = in_call(server, open_page())
    page.fill("#words", "good morning")
    page.press("#words", "Enter")
    server.wait(lambda: server.sent("text"), "the text")
    assert server.sent("text") == [{"event": "text", "text": "good morning"}]
    assert not server.sounds
    assert page.is_disabled("#mute")


@pytest.mark.parametrize(
    ("source", "target"), [(48_000, 16_000), (44_100, 16_000), (16_000, 44_100), (16_000, 48_000)]
)
def test_resampling_keeps_speech_and_lets_nothing_fold_back(
    open_page: Open, source: int, target: int
) -> None:
    page = open_page()
    gains = page.evaluate(
        """async ([source, target]) => {
          const { RateConverter } = await import("/resample.js");
          const gain = (hertz) => {
            const converter = new RateConverter(source, target, 1);
            const out = new Float32Array(Math.floor(target / 2));
            const input = Float32Array.from({ length: Math.floor(source / 2) + 400 },
                                            (_, i) => Math.sin((2 * Math.PI * hertz * i) / source));
            let filled = 0;
            for (let at = 0; at < input.length; at += 128) {
              converter.write(input.subarray(at, at + 128));
              filled = converter.read(out, filled, false);
            }
            const middle = out.slice(target / 10, 4 * target / 10);
            return Math.sqrt(2 * middle.reduce((sum, x) => sum + x * x, 0) / middle.length);
          };
          const beyond = source > target ? [10000, 15000] : [];
          return { kept: [100, 1000, 3000, 6000].map(gain), folded: beyond.map(gain) };
        }""",
        [source, target],
    )
    assert gains["kept"] == pytest.approx([1] * 4, abs=0.02)
    assert all(gain < 1e-3 for gain in gains["folded"])


def test_the_page_bounds_what_waits_to_be_played(open_page: Open) -> None:
    dropped = open_page().evaluate(
        """async () => {
          const { RateConverter } = await import("/resample.js");
          const converter = new RateConverter(16000, 48000, 1);
          const dropped = [15000, 5000].map((length) => converter.write(new Float32Array(length)));
          return [...dropped, converter.waiting];
        }"""
    )
    assert dropped == [0, 4_000, 16_000]
