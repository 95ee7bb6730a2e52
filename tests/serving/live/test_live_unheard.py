"""Sound that nothing ever listened to is in no recording: nobody knows what was said in it."""

from pathlib import Path

import numpy as np
import pytest

from serving.audio import AudioClip, read_wav_channels
from tests.serving.live.telephone import Telephone

LOUD = 1_000
"""What no silence is as loud as."""


class Stalling:
    """Work that takes no time, but for ears that stall when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, kind: str) -> float:
        return self.seconds if kind == "ears" else 0.0


def caller_side(phone: Telephone) -> AudioClip:
    assert phone.call.call.recording is not None
    return read_wav_channels(Path(phone.call.call.recording))[0]


def voiced_s(clip: AudioClip, start: float = 0.0, end: float = 1e9) -> float:
    """Seconds of 20 ms in which there is a voice."""
    size = clip.rate // 50
    samples = clip.samples[round(start * clip.rate) : round(min(end, clip.seconds) * clip.rate)]
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return float(np.count_nonzero(np.abs(frames).max(axis=1, initial=0) > LOUD)) * 0.02


def test_what_was_dropped_while_the_ears_stalled_is_not_recorded(tmp_path: Path) -> None:
    ears = Stalling()
    phone = Telephone(["my number is", "thank you"], folder=tmp_path, cost=ears)
    phone.wait_for("listening")
    phone.talk(0.5)
    ears.seconds = 4.0
    began = phone.time.now()
    phone.talk(0.1)
    ears.seconds = 0.0
    phone.talk(4.3)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    phone.talk(0.5)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    phone.hang_up()
    assert phone.texts() == ["my number is", "thank you"]
    dropped = phone.call.call.dropped_frames
    assert dropped > 140
    kept = voiced_s(caller_side(phone), began, began + 4.5)
    assert kept <= 4.4 - 0.02 * dropped + 0.1
    assert voiced_s(caller_side(phone)) > 1.0, "what was understood is kept"


def test_a_caller_whom_ears_that_hang_never_heard_is_not_recorded(tmp_path: Path) -> None:
    ears = Stalling()
    phone = Telephone(["hello"], folder=tmp_path, cost=ears)
    phone.wait_for("listening")
    phone.talk(0.5)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    ears.seconds = 999.0
    phone.wait(0.1)
    phone.talk(9.75)
    phone.hang_up()
    assert phone.texts() == ["hello"]
    assert 0.4 < voiced_s(caller_side(phone)) < 0.6


def test_nor_is_one_whom_they_gave_up_on(tmp_path: Path) -> None:
    ears = Stalling()
    phone = Telephone(folder=tmp_path, cost=ears)
    phone.wait_for("listening")
    ears.seconds = 999.0
    phone.talk(25.0)
    phone.time.run_until(phone.time.now() + 60.0)
    assert phone.call.ended
    assert voiced_s(caller_side(phone)) == 0.0


def test_nor_one_who_talks_into_ears_that_break(tmp_path: Path) -> None:
    phone = Telephone(folder=tmp_path)
    phone.wait_for("listening")

    def broken(_frames: object) -> list[object]:
        raise RuntimeError("no detector")

    phone.hearing_breaks(broken)
    phone.talk(2.0)
    phone.time.run_until(phone.time.now() + 60.0)
    assert voiced_s(caller_side(phone)) == 0.0


def test_nor_what_was_not_understood_where_the_line_breaks_as_the_call_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = Telephone(["hello"], folder=tmp_path)
    phone.wait_for("listening")

    def broken(**_facts: object) -> None:
        raise RuntimeError("no line")

    monkeypatch.setattr(phone.line, "end", broken)
    phone.talk(2.0)
    phone.hang_up()
    assert len(phone.closed) == 1
    assert voiced_s(caller_side(phone)) == 0.0
