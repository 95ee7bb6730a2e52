"""Both lines keep the same promises to the call; what they send differs."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import Samples
from serving.transports.browser import PIECE, BrowserLine
from serving.transports.mulaw import MULAW_SILENCE, encode_mulaw
from serving.transports.outbox import MAX_BYTES, MAX_MESSAGES, CarriedLine, Outbox
from serving.transports.twilio import FRAME_BYTES, TwilioLine

Make = Callable[[Outbox], CarriedLine]
LINES: dict[str, Make] = {"browser": BrowserLine, "twilio": lambda outbox: TwilioLine("MZ1", outbox)}


@pytest.fixture(params=LINES, ids=str)
def make(request: pytest.FixtureRequest) -> Make:
    return LINES[request.param]


def sent(outbox: Outbox) -> list[tuple[str, Any]]:
    """What left, in order: sound as its bytes, events as objects."""
    found: list[tuple[str, Any]] = []
    while (message := outbox.take()) is not None:
        event = {"event": "sound"} if isinstance(message, bytes) else json.loads(message)
        if event["event"] == "media":
            assert event["streamSid"] == "MZ1"
            found.append(("sound", base64.b64decode(event["media"]["payload"], validate=True)))
        elif isinstance(message, bytes):
            found.append(("sound", message))
        else:
            found.append((event["event"], event))
    return found


def tone(seconds: float, rate: int) -> Samples:
    return np.full(round(seconds * rate), 1_000, np.int16)


def names(outbox: Outbox) -> list[str]:
    return [
        event.get("name", event.get("mark", {}).get("name")) for kind, event in sent(outbox) if kind == "mark"
    ]


def test_sound_and_marks_leave_in_the_order_in_which_they_were_given(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    for number in range(3):
        line.play(tone(0.1, line.rate))
        line.mark(f"1:{number}")
    kinds = [kind for kind, _ in sent(outbox)]
    marks = [place for place, kind in enumerate(kinds) if kind == "mark"]
    assert len(marks) == 3
    assert kinds[-1] == "mark"
    assert all("sound" in kinds[a:b] for a, b in zip([0, *marks], marks, strict=False))


def test_all_sound_leaves_and_a_mark_waits_for_the_last_of_it(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    line.play(tone(0.333, line.rate))
    line.mark("end")
    *sounds, (last, _) = sent(outbox)
    assert last == "mark"
    width = 2 if line.transport == "browser" else 1
    assert sum(len(data) for _, data in sounds) >= 0.333 * line.rate * width


def test_clear_throws_away_what_was_not_sent_and_tells_the_far_end_to_do_so(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    line.play(tone(0.3, line.rate))
    line.mark("1:1")
    line.clear()
    line.play(tone(0.02, line.rate))
    line.mark("2:1")
    kinds = [kind for kind, _ in sent(outbox)]
    assert kinds == ["clear", "sound", "mark"]


def test_what_was_told_survives_a_clear() -> None:
    outbox = Outbox()
    line = BrowserLine(outbox)
    line.play(tone(0.3, line.rate))
    line.tell("turn", {"turn": {"index": 1}})
    line.clear()
    assert [kind for kind, _ in sent(outbox)] == ["turn", "clear"]


def test_what_was_queued_leaves_before_the_end_and_nothing_after_it(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    line.play(tone(0.02, line.rate))
    line.mark("last")
    line.end(transfer=False)
    line.play(tone(0.02, line.rate))
    line.mark("later")
    line.tell("state", {})
    line.clear()
    assert outbox.ended
    assert names(outbox) in ([], ["last"])  # a clear after the end may still take the sound away
    assert outbox.take() is None


def test_a_transfer_is_remembered_and_the_end_is_harmless_twice(make: Make) -> None:
    line = make(Outbox())
    line.end(transfer=True)
    line.end(transfer=False)
    assert line.transferred


def test_a_line_that_is_gone_takes_everything_and_does_nothing(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    outbox.close()
    outbox.close()
    line.play(tone(1, line.rate))
    line.mark("x")
    line.clear()
    line.tell("state", {"phase": "listening"})
    line.end(transfer=True)
    assert len(outbox) == 0


def test_a_far_end_that_does_not_read_fills_a_bounded_box(make: Make) -> None:
    outbox = Outbox()
    line = make(outbox)
    for _ in range(400):
        line.play(tone(1, line.rate))
        assert len(outbox) <= MAX_MESSAGES
    assert outbox.full
    assert outbox.ended
    assert len(outbox) == 0


def test_a_clear_makes_room_again() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.put(b"x" * (MAX_BYTES - 10), sound=True)
        outbox.clear()
    assert not outbox.full


def test_the_writer_is_woken_for_each_message_and_for_the_end() -> None:
    woken: list[int] = []
    outbox = Outbox(lambda: woken.append(len(outbox)))
    outbox.put("a")
    outbox.put(b"b")
    outbox.end()
    assert woken == [1, 2, 2]


# What each sends


@given(st.lists(st.integers(0, 900), max_size=12))
def test_twilio_gets_frames_of_160_bytes_and_loses_no_sample(lengths: list[int]) -> None:
    outbox = Outbox()
    line = TwilioLine("MZ1", outbox)
    given_ = [np.arange(length).astype(np.int16) * 30 for length in lengths]
    for samples in given_:
        line.play(samples)
    line.mark("end")
    frames = [data for kind, data in sent(outbox) if kind == "sound"]
    assert {len(frame) for frame in frames} <= {FRAME_BYTES}
    played, whole = b"".join(frames), b"".join(map(encode_mulaw, given_))
    assert played[: len(whole)] == whole
    assert set(played[len(whole) :]) <= {MULAW_SILENCE}
    assert len(played) - len(whole) < FRAME_BYTES


def test_twilio_is_sent_nothing_but_media_mark_and_clear() -> None:
    outbox = Outbox()
    line = TwilioLine("MZ1", outbox)
    line.tell("say", {"text": "hello"})
    line.play(tone(0.02, 8_000))
    line.mark("1:1")
    line.clear()
    line.end(transfer=True)
    assert {kind for kind, _ in sent(outbox)} <= {"sound", "mark", "clear"}


def test_the_messages_to_twilio_have_the_documented_form() -> None:
    outbox = Outbox()
    line = TwilioLine("MZ1", outbox)
    line.play(np.zeros(160, np.int16))
    line.mark("my label")
    messages = [json.loads(str(outbox.take())) for _ in range(2)]
    assert messages == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "/" * 212 + "/w=="}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "my label"}},
    ]
    line.clear()
    assert json.loads(str(outbox.take())) == {"event": "clear", "streamSid": "MZ1"}


def test_a_rest_that_was_cleared_is_not_played_with_the_next_answer() -> None:
    outbox = Outbox()
    line = TwilioLine("MZ1", outbox)
    line.play(np.full(100, 5_000, np.int16))
    line.clear()
    line.play(np.zeros(160, np.int16))
    assert [set(data) for kind, data in sent(outbox) if kind == "sound"] == [{MULAW_SILENCE}]


def test_a_browser_gets_the_samples_as_they_are_in_short_pieces() -> None:
    outbox = Outbox()
    samples = np.arange(-5_000, 5_000).astype(np.int16)
    BrowserLine(outbox).play(samples)
    pieces = [data for _, data in sent(outbox)]
    assert max(map(len, pieces)) <= 2 * PIECE
    assert np.array_equal(np.frombuffer(b"".join(pieces), "<i2"), samples)


def test_a_browser_is_told_json_that_it_can_parse_and_the_events_name_is_ours() -> None:
    outbox = Outbox()
    line = BrowserLine(outbox)
    line.tell(
        "turn",
        {"event": "clear", "nan": float("nan"), "far": [float("inf")], "lone": "\ud800", "set": {2, 1}},
    )
    raw = str(outbox.take())
    assert "NaN" not in raw
    assert "Infinity" not in raw
    raw.encode()
    told = json.loads(raw)
    assert (told["event"], told["nan"], told["far"], told["set"]) == ("turn", None, [None], [1, 2])
