"""Who has the floor: interruptions, wordings that must be heard, words that wait, keys."""

from dataclasses import replace

import pytest

from serving.call.machine import Ending, Next
from tests.serving.live.telephone import POLICY, Replies, Telephone

LONG = "This is a long answer that goes on for a while. " * 6
NOTICE = {"answer": LONG, "holds": True, "disclosures": ("kyc@1",)}


def slow_answer(kind: str) -> float:
    return 0.3 if kind == "answer" else 0.0


def speaking(phone: Telephone, *, seconds: float = 1.0) -> None:
    """The caller has asked, and the bot has been speaking for a while."""
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait(seconds)


def test_feeding_stops_within_60_ms_of_the_candidate() -> None:
    phone = Telephone(["tell me", "stop it now"], Replies({"tell me": LONG}))
    speaking(phone)
    begun = phone.time.now()
    phone.talk(0.3)
    detected = begun + 0.1 + 0.032  # voice that makes a start, and the chunk it is known by
    assert phone.line.sent
    assert max(phone.line.sent) <= detected + 0.06


def test_the_line_is_cleared_within_100_ms_of_the_confirmation() -> None:
    phone = Telephone(["tell me", "stop it now"], Replies({"tell me": LONG}), words_per_s=5)
    speaking(phone)
    begun = phone.time.now()
    phone.talk(1.0)
    (cleared,) = phone.line.cleared
    assert cleared <= begun + 0.6 + 0.1
    assert phone.line.silent_from() <= begun + 0.7


def test_words_interrupt_before_their_length_would() -> None:
    slow, quick = (
        Telephone(["tell me", "no not that"], Replies({"tell me": LONG}), words_per_s=w) for w in (0, 8)
    )
    for phone in (slow, quick):
        speaking(phone)
        phone.talk(1.0)
    assert quick.line.cleared[0] < slow.line.cleared[0]


def test_a_short_word_that_means_something_interrupts_when_it_is_over() -> None:
    phone = Telephone(["tell me", "stop"], Replies({"tell me": LONG}))
    speaking(phone)
    phone.talk(0.4)
    phone.wait_for("answering" if phone.call.state.phase.value != "speaking" else "speaking")
    phone.wait(1.0)
    first, *_ = phone.book.turns
    assert first.interrupted
    phone.hang_up()
    assert phone.texts() == ["tell me", "stop"]


def test_a_noise_that_does_not_end_lets_the_bot_go_on_after_two_seconds() -> None:
    phone = Telephone(["tell me"], Replies({"tell me": LONG}))
    speaking(phone)
    phone.call.digit("5")  # a key holds the speech, and nothing comes of it
    sent = len(phone.line.sent)
    phone.wait(1.9)
    held = len(phone.line.sent) - sent
    phone.wait(0.4)
    assert held <= 1
    assert phone.texts() or len(phone.line.sent) > sent + held


def test_a_wording_is_heard_to_its_end_and_the_caller_is_answered_afterwards() -> None:
    phone = Telephone(["the law", "what is the fee"], Replies({"the law": NOTICE}), cost=slow_answer)
    speaking(phone)
    phone.talk(1.2)
    assert not phone.line.cleared
    phone.wait_for("answering", 60)
    phone.wait_for("listening", 60)
    first, second = phone.hang_up()
    assert not first.interrupted
    assert first.spoken == first.answer
    assert first.disclosures == ("kyc@1",)
    assert (second.text, second.answer) == ("what is the fee", "You said what is the fee.")


def test_a_greeting_with_notices_cannot_be_interrupted_and_the_caller_is_heard() -> None:
    phone = Telephone(
        ["i want a loan"],
        Replies(greeting=LONG),
        policy=replace(POLICY, greeting_holds=True),
        cost=slow_answer,
    )
    phone.wait(0.5)
    phone.talk(1.0)
    assert not phone.line.cleared
    phone.wait_for("answering", 60)
    assert phone.line.silent_from() >= 0.01 * len(LONG) - 0.1
    phone.wait_for("listening")
    assert [turn.text for turn in phone.hang_up()] == ["i want a loan"]


def test_a_greeting_without_notices_can_be_interrupted() -> None:
    phone = Telephone(["i want a loan"], Replies(greeting=LONG))
    phone.wait(0.5)
    phone.talk(1.0)
    assert phone.line.cleared
    phone.wait_for("speaking")
    assert [turn.text for turn in phone.hang_up()] == ["i want a loan"]


def test_what_was_said_while_the_answer_was_made_replaces_it() -> None:
    phone = Telephone(["a loan", "over five years"], cost=lambda kind: 3.0 if kind == "answer" else 0.0)
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    phone.talk(0.8)
    phone.wait_for("speaking")
    phone.wait_for("listening")
    first, second = phone.hang_up()
    assert (first.text, first.spoken, first.interrupted) == ("a loan", "", True)
    assert (second.text, second.interrupted) == ("over five years", False)
    assert [turn.text for turn in phone.replies.asked] == ["a loan", "over five years"]


def test_the_outcome_of_something_done_is_told_even_so() -> None:
    done = {"answer": "Your card is blocked.", "holds": True}
    phone = Telephone(
        ["block it", "thank you very much"],
        Replies({"block it": done}),
        cost=lambda kind: 3.0 if kind == "answer" else 0.0,
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("answering")
    phone.talk(0.8)
    phone.wait_for("speaking")
    phone.wait_for("answering")
    phone.wait_for("listening")
    first, second = phone.hang_up()
    assert first.spoken == "Your card is blocked."
    assert second.text == "thank you very much"


def test_the_next_answer_knows_only_what_was_heard() -> None:
    phone = Telephone(["tell me more", "stop that please"], Replies({"tell me more": LONG}))
    speaking(phone)
    phone.talk(1.2)
    phone.wait_for("speaking")
    phone.hang_up()
    said = phone.replies.states[1].messages[-1].content
    assert said
    assert len(said) < len(LONG) / 2
    assert said.rstrip(". ") in LONG


def test_a_caller_who_never_stops_is_answered_over() -> None:
    phone = Telephone(["one thing"] * 50, cost=lambda kind: 0.2 if kind == "answer" else 0.0)
    phone.wait_for("listening")
    phone.talk(100.0)
    assert any(turn.spoken for turn in phone.book.turns) or phone.line.audible[-1][1] > 35.0
    turns = phone.hang_up()
    assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))


def test_typed_words_interrupt_at_once() -> None:
    phone = Telephone(["tell me"], Replies({"tell me": LONG}))
    speaking(phone)
    phone.call.typed("something else")
    assert phone.line.cleared == [pytest.approx(phone.time.now())]
    phone.wait_for("listening")
    first, second = phone.hang_up()
    assert first.interrupted
    assert (second.text, second.stt_engine) == ("something else", "typed")


def test_keys_are_a_turn_after_a_pause_or_a_hash() -> None:
    phone = Telephone()
    phone.wait_for("listening")
    for key in "1234#":
        phone.call.digit(key)
    phone.wait_for("listening")
    for key in "56":
        phone.call.digit(key)
        phone.wait(0.5)
    phone.wait(2.1)
    phone.wait_for("listening")
    assert [turn.text for turn in phone.hang_up()] == ["1234#", "56#"]  # the responder takes the mark off


@pytest.mark.parametrize("key", ["", "12", "a", "\0", "#" * 3])
def test_what_is_no_key_is_none(key: str) -> None:
    phone = Telephone()
    phone.wait_for("listening")
    phone.call.digit(key)
    phone.wait(3.0)
    assert phone.hang_up() == ()


@pytest.mark.parametrize(
    ("after", "ending"), [(Next.END, Ending.COMPLETED), (Next.TRANSFER, Ending.TRANSFERRED)]
)
def test_the_line_closes_only_after_the_last_sound_was_played(after: Next, ending: Ending) -> None:
    phone = Telephone(
        ["goodbye"], Replies({"goodbye": {"answer": LONG, "next": after, "summary": "Wanted: a loan."}})
    )
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    while phone.line.over is None:
        assert not phone.call.ended
        phone.wait(0.02)
    assert phone.time.now() >= phone.line.silent_from() - 0.03
    phone.time.run_until(phone.time.now() + 5)
    assert phone.line.over == (after is Next.TRANSFER)
    assert phone.call.call.ending is ending
    assert phone.call.call.transfer_summary == "Wanted: a loan."
