"""A live call: a turn, an interruption, attention, silence, and what is written down of them."""

import pytest

from tests.serving.live.telephone import Replies, Telephone

LONG = "This is a long answer that goes on for a while. " * 6


def test_a_spoken_turn_is_heard_answered_and_committed() -> None:
    phone = Telephone(["what is the fee"], Replies({"what is the fee": "There is no fee."}))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    (turn,) = phone.hang_up()
    assert turn.text == "what is the fee"
    assert turn.answer == turn.spoken == "There is no fee."
    assert not turn.interrupted
    assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)
    assert phone.records.turns == [turn]
    assert len(phone.records.ended) == 1
    assert phone.records.ended[0].turns == (turn,)
    assert len(phone.closed) == 1


def test_words_that_are_being_heard_are_shown_as_they_change_and_not_again() -> None:
    phone = Telephone(["what is the fee"], words_per_s=2.0)
    phone.wait_for("listening")
    phone.talk(4.0)
    phone.hang_up()
    shown = [data["text"] for name, data in phone.line.told if name == "partial"]
    assert shown == ["what", "what is", "what is the", "what is the fee"]


def test_an_interruption_stops_the_bot_and_the_record_says_what_was_heard() -> None:
    phone = Telephone(["tell me more", "stop that please"], Replies({"tell me more": LONG}))
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(1.0)
    begun = phone.time.now()
    phone.talk(1.2)
    silent = phone.line.silent_from()
    phone.wait_for("speaking")
    phone.wait_for("listening")
    first, second = phone.hang_up()
    assert first.interrupted
    assert first.spoken
    assert LONG.startswith(first.spoken)
    assert len(first.spoken) < len(first.answer)
    assert silent - begun <= 0.7
    assert first.barge_in_s == pytest.approx(silent - begun, abs=0.06)
    assert second.text == "stop that please"


@pytest.mark.parametrize("word", ["okay", "mm-hm", "", "uh huh"])
def test_attention_never_cuts_the_answer(word: str) -> None:
    phone = Telephone(["tell me more", word], Replies({"tell me more": LONG}), words_per_s=4)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(1.0)
    phone.talk(0.5)
    phone.wait_for("listening", 60)
    (turn,) = phone.hang_up()
    assert not turn.interrupted
    assert turn.spoken == turn.answer
    assert turn.resumed == 1
    assert phone.call.call.false_interruptions == 1
