"""What a difficult caller, a bad line or a broken engine must not be able to do to a live call."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.audio import AudioClip, read_wav_channels
from serving.call.machine import Ending, Next
from serving.errors import EngineError
from tests.serving.call.phone import HummingTts
from tests.serving.live.telephone import FRAME, POLICY, Replies, Telephone

LONG = "This is a long answer that goes on for a while. " * 6


class ChoosyTts(HummingTts):
    """Says everything but what holds a word: that breaks, or is silence."""

    def __init__(self, word: str, *, breaks: bool = True) -> None:
        super().__init__()
        self._word, self._breaks = word, breaks

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        if self._word not in text:
            yield from super().synthesise(text)
        elif self._breaks:
            raise EngineError("no voice")


def slow(seconds: float, kind: str = "answer") -> "Cost":
    return Cost(kind, seconds)


class Cost:
    def __init__(self, kind: str, seconds: float) -> None:
        self._kind, self._seconds = kind, seconds

    def __call__(self, kind: str) -> float:
        return self._seconds if kind == self._kind else 0.0


def asked(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)


@pytest.mark.parametrize("after", [Next.LISTEN, Next.TRANSFER])
def test_a_filler_that_cannot_be_spoken_keeps_no_answer_from_the_caller(after: Next) -> None:
    reply = {"answer": "Your balance is known.", "next": after}
    phone = Telephone(["balance"], Replies({"balance": reply}), cost=slow(5.0), tts=ChoosyTts("filler"))
    asked(phone)
    phone.wait_for("speaking", 20)
    phone.wait_for("listening" if after is Next.LISTEN else "ended", 20)
    (turn,) = phone.hang_up()
    assert turn.spoken == "Your balance is known."


def test_sound_that_stops_in_the_middle_of_a_word_is_a_silence() -> None:
    phone = Telephone(["hello"])
    asked(phone)
    phone.time.run_until(phone.time.now() + 10.0)  # the client sends nothing any more
    assert phone.texts() == ["hello"]
    phone.call.typed("are you there")
    phone.time.run_until(phone.time.now() + 10.0)
    phone.hang_up()
    assert phone.texts() == ["hello", "are you there"]


def test_what_a_caller_adds_before_they_were_understood_belongs_to_the_turn() -> None:
    phone = Telephone(["yes", "no wait stop"], cost=slow(1.0, "stt"))
    asked(phone)
    phone.wait(0.65)
    phone.talk(0.8)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    (turn,) = phone.hang_up()
    assert turn.text == "yes no wait stop"
    assert [heard.text for heard in phone.replies.asked] == ["yes no wait stop"]
    assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)


def test_a_sentence_without_a_sound_was_not_heard() -> None:
    phone = Telephone(
        ["hello"], Replies({"hello": "First. Then silence. Last."}), tts=ChoosyTts("silence", breaks=False)
    )
    asked(phone)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    (turn,) = phone.hang_up()
    assert turn.interrupted
    assert turn.spoken == "First."
    assert turn.error == "tts: silence"


def test_a_voice_that_breaks_while_an_answer_grows_loses_nothing_of_what_it_decides() -> None:
    growing = {
        "answer": "One moment. This breaks. Bye.",
        "stream": ["One moment.", "This breaks."],
        "next": Next.END,
    }
    phone = Telephone(["bye"], Replies({"bye": growing}), cost=slow(4.0), tts=ChoosyTts("breaks"))
    asked(phone)
    phone.wait_for("ended", 30)
    phone.time.run_until(phone.time.now() + 5.0)
    assert phone.call.call.ending is Ending.COMPLETED
    assert phone.book.turns[0].spoken == "One moment."


def test_words_that_wait_do_not_grow_without_end() -> None:
    phone = Telephone(["hello"], cost=slow(100.0))
    asked(phone)
    phone.wait_for("answering")
    for _ in range(50):
        phone.call.typed("word " * 400)
    assert phone.call.state.waiting is not None
    assert len(phone.call.state.waiting.text) <= 2_001
    phone.hang_up()


def test_a_bug_in_what_is_to_be_done_puts_the_caller_through_to_a_person() -> None:
    phone = Telephone(["hello"])
    asked(phone)
    phone.call._ACTIONS = {**phone.call._ACTIONS}  # type: ignore[misc]
    from serving.call import machine as m

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    phone.call._ACTIONS[m.Answer] = broken
    phone.wait_for("ended", 30)
    phone.time.run_until(phone.time.now() + 5.0)
    assert phone.call.call.ending is Ending.TRANSFERRED
    assert "call: ZeroDivisionError" in phone.book.turns[0].error


def test_a_radio_does_not_keep_an_answer_from_being_spoken() -> None:
    phone = Telephone(["one thing"] * 99, cost=slow(1.0))
    phone.wait_for("listening")
    phone.talk(120.0)
    assert any(turn.spoken == turn.answer for turn in phone.book.turns)
    phone.hang_up()


def test_a_call_does_not_last_for_ever() -> None:
    phone = Telephone(["hello"] * 9_999, policy=replace(POLICY, idle_s=None))
    phone.time.run_until(3_700.0)
    assert phone.call.ended
    assert phone.call.call.ending is Ending.TRANSFERRED


def test_a_lone_hash_or_a_blank_line_says_nothing() -> None:
    phone = Telephone(["hello"], Replies({"hello": LONG}))
    asked(phone)
    phone.wait_for("speaking")
    phone.call.digit("#")
    phone.call.typed("   ")
    phone.wait_for("listening", 40)
    (turn,) = phone.hang_up()
    assert not turn.interrupted


def caller_side(phone: Telephone) -> AudioClip:
    assert phone.call.call.recording is not None
    return read_wav_channels(Path(phone.call.call.recording))[0]


@pytest.mark.parametrize("seconds", [0.5, 1.0])
def test_what_was_not_understood_when_the_caller_hung_up_is_not_recorded(
    tmp_path: Path, seconds: float
) -> None:
    phone = Telephone(["my card number is four one one one"], folder=tmp_path, cost=slow(9.0, "stt"))
    phone.wait_for("listening")
    phone.talk(seconds)
    phone.wait(0.8 if seconds == 1.0 else 0.0)
    phone.hang_up()
    assert np.abs(caller_side(phone).samples).max() < 100


def test_the_second_half_of_a_number_is_not_recorded_while_the_first_is_being_answered(
    tmp_path: Path,
) -> None:
    told = ["my card number is four one one one two two", "three three four four"]
    phone = Telephone(told, folder=tmp_path, cost=slow(4.0))
    asked(phone)
    phone.wait_for("answering")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    phone.hang_up()
    assert np.abs(caller_side(phone).samples).max() < 100


def test_a_wording_that_was_never_spoken_is_not_on_record() -> None:
    notice = {"answer": LONG, "holds": True, "disclosures": ("kyc@1",)}
    phone = Telephone(["the law"], Replies({"the law": notice}), cost=slow(3.0))
    asked(phone)
    phone.wait_for("answering")

    def broken(_frames: object) -> list[object]:
        raise RuntimeError("no detector")

    phone.hearing_breaks(broken)
    phone.wait_for("ended", 30)
    phone.time.run_until(phone.time.now() + 10.0)
    (turn,) = phone.book.turns
    assert turn.disclosures == ()
    assert turn.spoken == ""


def test_a_stalled_line_does_not_shift_the_call_s_time() -> None:
    phone = Telephone(["hello", "what is the fee"])
    phone.wait_for("listening")
    for _ in range(3):
        phone.time.run_until(phone.time.now() + 4.0)
        for _ in range(200):  # all that was held back comes at once
            phone.call.sound(np.zeros(FRAME, np.int16))
    asked(phone)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    (turn, *_) = phone.hang_up()
    assert turn.voice_to_voice_s is not None
    assert 0 < turn.voice_to_voice_s < 2.0
    assert all(seconds >= 0 for seconds in turn.stages.values())


def test_a_recogniser_that_hangs_costs_fifteen_seconds_and_not_a_minute() -> None:
    phone = Telephone(["hello"], cost=slow(999.0, "stt"))
    asked(phone)
    begun = phone.time.now()
    phone.wait_for("speaking", 30)
    assert phone.time.now() - begun < 17.0
    said = [data["text"] for event, data in phone.line.told if event == "say"]
    assert "Prompt filler." in said
    phone.hang_up()
