"""Who asks for no recording gets none, whatever becomes of the answer to it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.call.record import Unrecorded
from tests.serving.live.telephone import POLICY, Replies, Telephone

ASKS = "please do not record this call"
ASKS_OTHERWISE = "i would rather nobody kept my voice"
OPTED_OUT = {"answer": "Nothing is recorded any more.", "stop_recording": True}


def asked(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")


def slow(seconds: float) -> Callable[[str], float]:
    """Answers take so long."""
    return lambda kind: seconds if kind == "answer" else 0.0


def kept(phone: Telephone, folder: Path) -> tuple[bool, Unrecorded | None]:
    """Whether there is a recording, and the record's reason."""
    return (folder / "call.wav").exists(), phone.call.call.unrecorded


def test_words_that_were_answered_stop_the_recording(tmp_path: Path) -> None:
    phone = Telephone(["hm"], Replies({"hm": OPTED_OUT}), folder=tmp_path, cost=slow(0.5))
    asked(phone)
    phone.wait_for("listening")
    phone.hang_up()
    assert kept(phone, tmp_path) == (False, Unrecorded.OPTED_OUT)


def test_words_whose_answer_breaks_stop_it_as_well(tmp_path: Path) -> None:
    phone = Telephone([ASKS], Replies({ASKS: RuntimeError("no tool")}), folder=tmp_path, cost=slow(0.5))
    asked(phone)
    phone.wait_for("listening")
    phone.hang_up()
    assert kept(phone, tmp_path) == (False, Unrecorded.OPTED_OUT)


def test_so_do_words_that_waited_for_a_wording_when_the_caller_left(tmp_path: Path) -> None:
    replies = Replies(
        greeting="This call is recorded, and it can be heard again by people who work here. " * 4
    )
    policy = replace(POLICY, greeting_holds=True)
    phone = Telephone([ASKS], replies, folder=tmp_path, policy=policy)
    phone.wait(0.5)
    phone.talk(1.0)
    phone.wait(1.0)
    assert phone.call.state.waiting is not None
    (turn,) = phone.hang_up()
    assert turn.text == ASKS
    assert kept(phone, tmp_path) == (False, Unrecorded.OPTED_OUT)


@pytest.mark.parametrize(
    ("words", "why"), [(ASKS, Unrecorded.OPTED_OUT), (ASKS_OTHERWISE, Unrecorded.UNANSWERED)]
)
def test_a_server_that_cannot_wait_for_the_answer_keeps_no_recording(
    tmp_path: Path, words: str, why: Unrecorded
) -> None:
    phone = Telephone([words], Replies({words: OPTED_OUT}), folder=tmp_path, cost=slow(30.0))
    asked(phone)
    phone.call.gone("the server stops")
    phone.wait(1.0)
    phone.call.abandon("the server stops")
    phone.wait(40.0)
    assert kept(phone, tmp_path) == (False, why)
    assert len(phone.records.ended) == 1


def test_a_server_that_stops_keeps_the_recording_of_a_call_that_was_answered(tmp_path: Path) -> None:
    phone = Telephone(["hello"], folder=tmp_path, cost=slow(0.5))
    asked(phone)
    phone.wait_for("listening")
    phone.call.gone("the server stops")
    phone.call.abandon("the server stops")
    phone.wait(1.0)
    assert kept(phone, tmp_path) == (True, None)
