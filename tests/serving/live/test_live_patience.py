"""Time in a live call: pauses, silence, slow answers, and how long everything took."""

from dataclasses import replace

import pytest

from serving.call.machine import Ending
from tests.serving.live.telephone import HANG_OVER_S, POLICY, Replies, Telephone, turn_taking

LONG = "This is a long answer that goes on for a while. " * 6


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("yes", 0.5),
        ("No, thanks.", 0.5),
        ("", 1.0),
        ("what is the fee for a transfer", 1.0),
        ("i want to borrow twenty thousand", 2.0),
        ("my card number is four one one", 2.0),
        ("a loan of twenty thousand dollars", 1.0),
        ("i would like a loan for", 2.0),
        ("four 1 1 1", 2.0),
    ],
)
def test_the_silence_that_ends_a_turn_goes_by_what_was_said(text: str, share: float) -> None:
    assert turn_taking().silence_s(text, 0.8) == pytest.approx(0.8 * share)


def end_of_turn(text: str) -> float:
    phone = Telephone([text], words_per_s=50)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    (turn,) = phone.hang_up()
    return turn.stages["end_of_turn"]


def test_yes_ends_at_once_and_half_a_number_waits() -> None:
    usual = end_of_turn("what is the fee please")
    assert usual == pytest.approx(HANG_OVER_S, abs=0.08)
    assert end_of_turn("yes") == pytest.approx(HANG_OVER_S / 2, abs=0.08)
    assert end_of_turn("i want twenty") == pytest.approx(HANG_OVER_S * 2, abs=0.08)


def test_a_pause_within_a_number_does_not_end_the_turn() -> None:
    phone = Telephone(["my number is four one one one two two"], words_per_s=4)
    phone.wait_for("listening")
    phone.talk(1.7)
    phone.wait(0.9)
    phone.talk(1.0)
    phone.wait_for("speaking")
    (turn,) = phone.hang_up()
    assert turn.audio_s == pytest.approx(3.6, abs=0.1)


def test_a_silent_caller_is_asked_twice_and_then_left_politely() -> None:
    phone = Telephone()
    phone.wait_for("ended", 60)
    said = [data["text"] for event, data in phone.line.told if event == "say"]
    assert said == [
        "Welcome to the bank.", "Prompt still there.", "Prompt still there.", "Prompt silent goodbye.",
    ]  # fmt: skip
    assert phone.call.call.ending is Ending.CALLER_LEFT
    assert phone.call.call.turns == ()


def test_a_caller_who_speaks_again_is_not_asked_further() -> None:
    phone = Telephone(["hello", "hello"])
    for _ in range(2):
        phone.wait_for("listening")
        phone.wait(9.0)
        phone.wait_for("listening")
        phone.talk(1.0)
        phone.wait_for("speaking")
    phone.wait_for("listening")
    assert not phone.call.ended
    phone.hang_up()


def test_an_answer_that_takes_long_is_bridged_once_and_never_asked_for() -> None:
    phone = Telephone(["balance"], cost=lambda kind: 20.0 if kind == "answer" else 0.0)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking", 60)
    phone.wait_for("listening")
    said = [data["text"] for event, data in phone.line.told if event == "say"]
    assert said == ["Welcome to the bank.", "Prompt filler.", "You said balance."]
    (turn,) = phone.hang_up()
    assert (turn.answer, turn.spoken) == ("You said balance.", "You said balance.")
    assert turn.voice_to_voice_s is not None
    assert turn.voice_to_voice_s > 20.0
    assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)


def test_sentences_are_spoken_while_the_rest_of_the_answer_is_still_made() -> None:
    growing = {"answer": "First sentence. And the second one.", "stream": ["First sentence."]}
    phone = Telephone(
        ["tell me"], Replies({"tell me": growing}), cost=lambda kind: 5.0 if kind == "answer" else 0.0
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    asked = phone.wait_for("speaking")
    phone.wait_for("listening")
    (turn,) = phone.hang_up()
    assert asked < 4.0
    assert turn.voice_to_voice_s is not None
    assert turn.voice_to_voice_s < 1.5
    assert turn.spoken == "First sentence. And the second one."
    assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)


def test_an_answer_that_is_interrupted_while_it_is_made_is_recorded_once_and_whole() -> None:
    growing = {"answer": f"{LONG} And more.", "stream": [LONG]}
    phone = Telephone(
        ["tell me", "stop it now"],
        Replies({"tell me": growing}),
        cost=lambda kind: 5.0 if kind == "answer" else 0.0,
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(0.5)
    phone.talk(1.0)
    phone.wait_for("answering")
    phone.wait_for("speaking", 60)
    phone.wait_for("listening", 60)
    first, second = phone.hang_up()
    assert first.interrupted
    assert LONG.startswith(first.spoken)
    assert second.text == "stop it now"
    assert [turn.index for turn in phone.records.turns] == [1, 2]
    assert phone.replies.states[1].messages[-1].content == first.spoken.rstrip(".")


@pytest.mark.parametrize("latency_s", [0.0, 0.12, 0.3])
def test_stage_times_add_up_to_what_the_caller_waited(latency_s: float) -> None:
    costs = {"stt": 0.21, "answer": 0.33, "tts": 0.08}
    phone = Telephone(
        ["hello", "what is the fee"], cost=lambda kind: costs.get(kind, 0.0), latency_s=latency_s
    )
    for _ in range(2):
        phone.wait_for("listening")
        phone.talk(1.0)
        phone.wait_for("speaking")
        phone.wait_for("listening")
    turns = phone.hang_up()
    for turn in turns:
        assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)
        assert turn.stages["stt"] == pytest.approx(0.21, abs=0.001)
        # On the virtual clock an answer's own stages take no time; its cost comes behind them.
        assert turn.stages["waited"] == pytest.approx(0.33, abs=0.001)
        assert turn.stages["tts"] == pytest.approx(0.08, abs=0.001)
        assert turn.stages["playout"] == pytest.approx(latency_s, abs=0.03)
    reply = next(start for start, _ in phone.line.audible if start > 2.0)
    assert turns[0].started_s is not None
    end = turns[0].started_s + turns[0].audio_s
    assert turns[0].voice_to_voice_s == pytest.approx(reply - end, abs=0.03)


def test_a_sentence_that_was_made_before_is_sent_at_once() -> None:
    phone = Telephone(["hello", "hello"], cost=lambda kind: 0.5 if kind == "tts" else 0.0)
    for _ in range(2):
        phone.wait_for("listening")
        phone.talk(1.0)
        phone.wait_for("speaking")
        phone.wait_for("listening")
    first, second = phone.hang_up()
    assert first.stages["tts"] == pytest.approx(0.5, abs=0.001)
    assert second.stages["tts"] == 0.0


def test_without_a_filler_time_none_is_spoken() -> None:
    phone = Telephone(
        ["balance"],
        cost=lambda kind: 5.0 if kind == "answer" else 0.0,
        policy=replace(POLICY, filler_s=None),
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    said = [data["text"] for event, data in phone.line.told if event == "say"]
    assert "Prompt filler." not in said
    phone.hang_up()
