"""The arithmetic of the live benchmark: what counts, what is searched for, what the stub engines hear."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.live import compare, memory
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.engines import PHRASES, said, words_of
from tests.benchmarks.live.peer import NoPeerError, peer_python
from tests.benchmarks.live.search import largest

SIZES = (1, 5, 10, 20, 40)


@pytest.mark.parametrize("true", [0, 1, 4, 5, 13, 20, 37, 40])
def test_the_largest_size_that_holds_is_found_to_within_a_tenth(true: int) -> None:
    found = largest(lambda size: size <= true, SIZES)
    assert found <= true <= max(found * 1.1, found + 0.99)


def test_sizes_beyond_the_last_are_not_tried() -> None:
    tried: list[int] = []
    assert largest(lambda size: not tried.append(size), SIZES) == 40  # type: ignore[func-returns-value]
    assert max(tried) == 40


def test_one_failure_that_does_not_come_again_ends_no_search() -> None:
    failed_once: set[int] = set()

    def holds(size: int) -> bool:
        if size in failed_once:
            return True
        failed_once.add(size)
        return False

    assert largest(holds, SIZES) == 40


def test_speech_and_silence_are_whole_numbers_of_frames_and_chunks() -> None:
    for seconds in (w.SPEECH_S, w.SILENCE_S, w.CYCLE_S, w.LEAD_S):
        samples = round(seconds * w.RATE)
        assert samples % w.FRAME == 0
        assert samples % w.CHUNK == 0


def test_the_frame_after_the_last_voiced_one_is_silent() -> None:
    frames = w.cycle_frames()
    assert np.abs(frames[w.LAST_VOICED]).max() > 1_000
    assert not any(frame.any() for frame in frames[w.LAST_VOICED + 1 :])


def test_the_energy_decision_tells_the_voice_from_silence_and_hum() -> None:
    assert w.voiced(w.voice(0.032))
    assert not w.voiced(np.zeros(w.CHUNK, np.int16))
    assert not w.voiced((w.voice(0.032) // 20).astype(np.int16))


@pytest.mark.parametrize("words", PHRASES)
@pytest.mark.parametrize("seconds", [0.3, 1.6])
def test_the_stub_recogniser_hears_every_phrase_amid_silence(words: str, seconds: float) -> None:
    pause = np.zeros(4_000, np.int16)
    assert words_of(np.concatenate([pause, said(words, seconds), pause])) == words


def test_the_stub_recogniser_hears_nothing_in_silence() -> None:
    assert words_of(np.zeros(8_000, np.int16)) == ""
    assert words_of(np.zeros(0, np.int16)) == ""


def test_a_turn_without_an_answer_counts_as_missed_and_makes_the_worst_infinite() -> None:
    probe = w.Probe()
    probe.turn_ended(1.0)
    probe.turn_ended(5.0)
    assert probe.missed == [1.0]
    assert math.isinf(w.percentile(np.asarray([0.9, math.inf]), 0.95))


def test_the_percentile_is_a_value_that_was_measured() -> None:
    values = np.asarray([5.0, 1.0, 3.0, 2.0, 4.0])
    assert w.percentile(values, 0.5) == 3.0
    assert w.percentile(values, 0.95) == 5.0


def test_steady_memory_does_not_grow_and_a_leak_does() -> None:
    assert memory.growth([50, *[100.0] * 50]) == 0.0
    assert memory.growth([100.0 + second for second in range(100)]) > 0.05
    assert memory.resident_mb() > 10


def test_a_step_with_missed_turns_is_not_held() -> None:
    step = {"turns": 20, "missed": 0, "added_ms": [3.0, 19.0, 40.0]}
    assert compare.held(step)
    assert not compare.held({**step, "missed": 1})
    assert not compare.held({**step, "turns": 0})
    assert not compare.held({**step, "added_ms": [3.0, 20.0, 40.0]})


def test_a_side_that_breaks_is_told_with_what_it_said() -> None:
    broken = compare.Side("broken", (sys.executable, "-c", "raise SystemExit('no engine')"))
    with pytest.raises(RuntimeError, match="no engine"):
        broken.step(1, 0.1, 0)


def test_without_the_peer_there_is_a_sentence_instead_of_ratios() -> None:
    assert "not run" in compare.ratios({"capacity": {"ours": 10}, "latency": {}})[0]


def test_a_peer_that_cannot_be_built_is_a_reason_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.benchmarks.live.peer.REQUIREMENTS", tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("a-package-that-is-not-there @ file:///nowhere\n", encoding="utf-8")
    with pytest.raises(NoPeerError, match="cannot be made"):
        peer_python(tmp_path / "peer")


def test_the_comparison_takes_the_peers_better_setting_for_each_figure() -> None:
    def step(p50: float, p95: float, voice: float, core: float) -> compare.Step:
        return {
            "added_ms": [p50, p95, p95],
            "voice_ms": [voice, voice],
            "unavoidable_ms": 800.0,
            "core": core,
        }

    latency = {
        "ours": dict.fromkeys(("1", "10"), step(2.0, 3.0, 852.0, 0.03)),
        "pipecat shipped": dict.fromkeys(("1", "10"), step(5.0, 6.0, 805.0, 0.15)),
        "pipecat lean": dict.fromkeys(("1", "10"), step(4.0, 9.0, 804.0, 0.1)),
    }
    capacity = {"ours": 120, "pipecat shipped": 40, "pipecat lean": 60}
    told = "\n".join(compare.ratios({"latency": latency, "capacity": capacity}))
    assert "median: 2.0 ms, Pipecat 4.0 ms (ratio 0.50" in told
    assert "p95: 3.0 ms, Pipecat 6.0 ms (ratio 0.50" in told
    assert "852 ms, Pipecat 804 ms" in told
    assert "120, Pipecat 60 (ratio 2.00" in told
