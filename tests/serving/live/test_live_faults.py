"""What breaks in a live call, and what the caller and the record have of it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.audio import AudioClip, Samples, read_wav_channels
from serving.call.machine import Ending
from serving.call.record import Decision, ToolRecord, Unrecorded
from serving.errors import EngineError
from serving.speech.protocols import EngineInfo
from tests.serving.call.phone import HummingTts, loud
from tests.serving.live.telephone import Replies, Telephone

LONG = "This is a long answer that goes on for a while. " * 6


class BreakingTts(HummingTts):
    """Breaks at the sentences that hold a word."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        if self._word in text:
            raise EngineError("no voice")
        yield from super().synthesise(text)


class BrokenStt:
    """Breaks as soon as it is asked."""

    info = EngineInfo("broken", "none")

    def stream(self) -> "BrokenStt":
        raise EngineError("no ears")


def turn(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")


def test_a_recogniser_that_breaks_is_an_apology() -> None:
    phone = Telephone([EngineError("broken"), "what is the fee"])
    turn(phone)
    turn(phone)
    first, second = phone.hang_up()
    assert (first.decision, first.error) == (Decision.APOLOGY, "stt: EngineError")
    assert first.spoken == "Prompt apology."
    assert second.text == "what is the fee"


def test_a_recogniser_that_cannot_even_begin_is_an_apology() -> None:
    phone = Telephone(stt=BrokenStt())  # type: ignore[arg-type]  # that is the point
    turn(phone)
    (first,) = phone.hang_up()
    assert first.decision is Decision.APOLOGY


def test_a_recogniser_that_hangs_is_given_up() -> None:
    phone = Telephone(["hello"], cost=lambda kind: 999.0 if kind == "stt" else 0.0)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking", 70)
    phone.wait_for("listening")
    (first,) = phone.hang_up()
    assert first.error == "stt: EngineTimeoutError"


def test_a_caller_who_cannot_be_heard_any_more_is_put_through() -> None:
    phone = Telephone(["hello"])
    phone.wait_for("listening")

    def broken(_frames: object) -> list[object]:
        raise RuntimeError("no detector")

    phone.hearing_breaks(broken)
    phone.wait(0.1)
    assert phone.call.state.phase.value == "speaking"
    while phone.line.over is None:
        phone.time.run_until(phone.time.now() + 0.1)
    phone.time.run_until(phone.time.now() + 5.0)
    assert phone.call.call.ending is Ending.TRANSFERRED


def test_an_answer_that_breaks_is_an_apology_and_nothing_is_half_changed() -> None:
    phone = Telephone(["break", "what is the fee"], Replies({"break": ValueError("x")}))
    turn(phone)
    turn(phone)
    first, second = phone.hang_up()
    assert first.decision is Decision.APOLOGY
    assert first.error.startswith("answer: ValueError")
    assert phone.replies.states[1] == phone.replies.states[0]
    assert second.spoken == "You said what is the fee."


def test_a_voice_that_breaks_in_the_middle_leaves_what_was_heard() -> None:
    reply = "The first sentence is fine. The second is silence. The third never comes."
    phone = Telephone(["hello"], Replies({"hello": reply}), tts=BreakingTts("silence"))
    turn(phone)
    (first,) = phone.hang_up()
    assert first.error == "tts: EngineError"
    assert first.interrupted
    assert first.spoken == "The first sentence is fine."


def test_a_bot_that_stays_without_a_voice_hands_over() -> None:
    phone = Telephone(["hello"] * 5, tts=BreakingTts(""))
    for _ in range(4):
        if phone.call.ended:
            break
        phone.wait_for("listening")
        phone.talk(1.0)
        phone.wait(1.0)
    phone.time.run_until(phone.time.now() + 5.0)
    assert phone.call.call.ending is Ending.TRANSFERRED


def test_a_far_end_that_never_tells_what_it_played_does_not_hang_the_call() -> None:
    phone = Telephone(["hello"], marks=False)
    phone.wait_for("listening", 10)
    phone.talk(1.0)
    phone.wait_for("listening", 20)
    (first,) = phone.hang_up()
    assert first.spoken == "You said hello."
    assert not first.interrupted


def test_marks_of_what_was_thrown_away_are_not_counted_as_heard() -> None:
    phone = Telephone(["tell me", "stop it now"], Replies({"tell me": LONG}), latency_s=0.15)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(0.6)
    phone.talk(1.2)
    phone.wait(0.5)
    (first, *_) = phone.book.turns
    assert first.interrupted
    reply = [(start, end) for start, end in phone.line.audible if start > 1.5]
    assert 0.01 * len(first.spoken) <= sum(end - start for start, end in reply) + 0.05
    phone.hang_up()


def test_the_far_end_never_holds_more_than_400_ms() -> None:
    phone = Telephone(["tell me"], Replies({"tell me": LONG}))
    turn(phone)
    assert max(phone.line.ahead) <= 0.4 + 1e-6


def test_hanging_up_while_a_tool_works_still_records_what_it_did() -> None:
    did = ToolRecord("block_card", {"card": "<card>"}, True, {"blocked": True})
    phone = Telephone(
        ["block it"],
        Replies({"block it": {"answer": "Done.", "tools": (did,)}}),
        cost=lambda kind: 4.0 if kind == "answer" else 0.0,
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    (first,) = phone.hang_up()
    assert first.tools == (did,)
    assert (first.spoken, first.interrupted) == ("", True)
    assert len(phone.records.turns) == len(phone.records.ended) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.2, 3.0, 3.7, 4.5, 6.0])
def test_a_line_that_breaks_at_any_moment_leaves_one_complete_record(seconds: float) -> None:
    phone = Telephone(["tell me more"], Replies({"tell me more": LONG}), cost=lambda _kind: 0.3)
    if seconds:
        phone.wait(min(seconds, 2.0))
        phone.talk(max(0.0, min(seconds - 2.0, 1.2)))
        phone.wait(max(0.0, seconds - 3.2))
    phone.call.gone("reset by peer")
    phone.call.gone()
    phone.time.run_until(60.0)
    assert phone.call.call.ending is Ending.BROKEN
    assert len(phone.records.ended) == len(phone.closed) == 1
    assert phone.records.turns == list(phone.records.ended[0].turns)


def test_sound_that_comes_faster_than_it_can_be_heard_is_dropped_and_counted() -> None:
    phone = Telephone(["hello"], cost=lambda kind: 3.0 if kind == "ears" else 0.0)
    phone.wait_for("listening")
    phone.talk(5.0)
    phone.hang_up()
    assert phone.call.call.dropped_frames > 20


def test_speech_without_end_is_cut_into_turns() -> None:
    phone = Telephone(["part one", "part two"])
    phone.wait_for("listening")
    phone.talk(35.0)
    phone.wait_for("listening")
    assert phone.hang_up()[0].audio_s == pytest.approx(30.0, abs=0.5)


def test_a_jump_of_the_clock_harms_nothing() -> None:
    phone = Telephone(["hello", "what is the fee"])
    turn(phone)
    phone.time.run_until(phone.time.now() + 3.0)
    turn(phone)
    assert [t.text for t in phone.hang_up()] == ["hello", "what is the fee"]


def test_a_card_number_is_not_recorded_and_the_rest_is(tmp_path: Path) -> None:
    phone = Telephone(["my card number is four one one one two two two two", "thank you"], folder=tmp_path)
    turn(phone)
    turn(phone)
    phone.hang_up()
    assert phone.call.call.recording is not None
    caller, bot = read_wav_channels(Path(phone.call.call.recording))
    first, second = phone.book.turns
    assert not sounding(caller, first.started_s, first.audio_s).any()
    assert sounding(caller, second.started_s, second.audio_s).any()
    assert bot.samples.any()


def sounding(clip: AudioClip, start: float | None, seconds: float) -> Samples:
    assert start is not None
    return np.abs(clip.samples[round(start * clip.rate) : round((start + seconds) * clip.rate)]) > 100


def test_opting_out_removes_what_was_recorded(tmp_path: Path) -> None:
    phone = Telephone(
        ["do not record me", "hello"],
        Replies({"do not record me": {"answer": "As you wish.", "stop_recording": True}}),
        folder=tmp_path,
    )
    turn(phone)
    turn(phone)
    phone.hang_up()
    assert phone.call.call.recording is None
    assert phone.call.call.unrecorded is Unrecorded.OPTED_OUT
    assert not list(tmp_path.iterdir())


def test_what_the_bot_was_kept_from_saying_is_not_in_the_recording(tmp_path: Path) -> None:
    phone = Telephone(["tell me", "stop it now"], Replies({"tell me": LONG}), folder=tmp_path)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(1.0)
    phone.talk(1.0)
    silent = phone.line.silent_from()
    phone.hang_up()
    assert phone.call.call.recording is not None
    _, bot = read_wav_channels(Path(phone.call.call.recording))
    end = np.flatnonzero(bot.samples)[-1] / bot.rate
    assert end <= silent + 0.05


def test_the_recording_of_both_sides_is_as_it_sounded(tmp_path: Path) -> None:
    phone = Telephone(["hello"], folder=tmp_path)
    turn(phone)
    phone.hang_up()
    assert phone.call.call.recording is not None
    caller, _ = read_wav_channels(Path(phone.call.call.recording))
    (first,) = phone.book.turns
    assert first.started_s is not None
    start = round(first.started_s * caller.rate)
    heard = caller.samples[start + 1_600 : start + 12_000].astype(float)
    said = loud(1.0).samples[: len(heard)].astype(float)
    assert np.abs(heard).max() == pytest.approx(np.abs(said).max(), rel=0.02)


def test_a_recording_that_cannot_be_written_costs_the_recording_and_nothing_else(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_text("in the way")
    phone = Telephone(["hello"], folder=no_folder)
    turn(phone)
    phone.hang_up()
    assert phone.call.call.recording is None
    assert phone.call.call.unrecorded is Unrecorded.UNWRITABLE
    assert len(phone.records.ended) == len(phone.closed) == 1
    assert [turn.text for turn in phone.records.ended[0].turns] == ["hello"]


def test_a_disk_that_is_full_before_the_recording_ends_leaves_no_half_of_it(tmp_path: Path) -> None:
    phone = Telephone(["hello"], folder=tmp_path)
    turn(phone)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        phone.hang_up()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert phone.call.call.unrecorded is Unrecorded.UNWRITABLE
    assert phone.records.ended == [phone.call.call]
    assert not list(tmp_path.iterdir())


def test_a_call_without_a_recording_says_that_none_was_to_be_kept() -> None:
    phone = Telephone(["hello"])
    turn(phone)
    phone.hang_up()
    assert phone.call.call.unrecorded is Unrecorded.OFF


def test_a_call_that_lasts_too_long_is_put_through_to_a_person() -> None:
    phone = Telephone(["hello"] * 9, longest_s=20.0)
    phone.wait_for("listening")
    while not phone.closed and phone.time.now() < 60.0:
        phone.talk(1.0)
        phone.wait(3.0)
    assert phone.closed[0].ending is Ending.TRANSFERRED
    assert phone.closed[0].duration_s == pytest.approx(20.0, abs=5.0)
