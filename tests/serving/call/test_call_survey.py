"""The end of a call: settled or not, one to five, and a polite goodbye to whoever says something else."""

from collections.abc import Callable

import pytest

from serving.call.caller import Feedback
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.machine import Next
from serving.call.responder import Responder
from tests.serving.call.phone import SCOPE, Bank, Counter, KeywordTagger, knowledge, toolbox

GOODBYE = knowledge().prompt("goodbye").format(bank_name="Harbour Bank")
Talk = Callable[..., list[Reply]]


@pytest.fixture
def talk(bank: Bank) -> Talk:
    responder = Responder(toolbox(bank.cache_folder), KeywordTagger(), SCOPE, ask_survey=True)

    def say(*lines: str) -> list[Reply]:
        state, replies, clock = DialogueState(), [], FileClock(Counter())
        for index, line in enumerate(lines, start=1):
            turn = HeardTurn("call", index, line, 1.0)
            replies.append(responder.answer(turn, state, Laps(clock, clock.now())))
            state = replies[-1].state
        return replies

    return say


def test_a_goodbye_is_followed_by_two_questions_and_then_the_end(talk: Talk) -> None:
    settled, rating, end = talk("bye", "yes", "5")
    assert settled.answer == knowledge().prompt("survey_settled")
    assert rating.answer == knowledge().prompt("survey_rating")
    assert (settled.next, rating.next, end.next) == (Next.LISTEN, Next.LISTEN, Next.END)
    assert end.answer == GOODBYE
    assert [reply.feedback for reply in (settled, rating, end)] == [
        Feedback(),
        Feedback(confirmed=True),
        Feedback(confirmed=True, survey=5),
    ]


@pytest.mark.parametrize(
    ("said", "rating"),
    [("one", 1), ("2", 2), ("I would say three", 3), ("four out of five", 4), ("for", 4), ("to", 2),
     ("five", 5), ("0", None), ("six", None), ("10", None), ("two or three", None), ("great", None),
     ("3.5", None), ("what is the weather", None), ("-3", None)],
)  # fmt: skip
def test_a_rating_is_one_number_from_one_to_five_and_the_call_ends_with_any(
    talk: Talk, said: str, rating: int | None
) -> None:
    end = talk("bye", "no", said)[-1]
    assert end.feedback == Feedback(confirmed=False, survey=rating)
    assert end.next is Next.END
    assert end.answer == GOODBYE


@pytest.mark.parametrize("said", ["what is the weather", "borrow ten thousand dollars over two years", "hm"])
def test_who_says_something_else_is_let_go(talk: Talk, said: str) -> None:
    *_, end = talk("bye", said)
    assert (end.answer, end.next, end.feedback) == (GOODBYE, Next.END, Feedback())


def test_who_wants_a_person_gets_one_and_what_was_said_is_kept(talk: Talk) -> None:
    *_, transfer = talk("bye", "no", "agent")
    assert transfer.next is Next.TRANSFER
    assert transfer.state.feedback == Feedback(confirmed=False)


def test_the_question_is_repeated_on_request(talk: Talk) -> None:
    *_, repeated, rating = talk("bye", "say that again", "yes")
    assert knowledge().prompt("survey_settled") in repeated.answer
    assert rating.answer == knowledge().prompt("survey_rating")


def test_calls_that_are_not_asked_end_as_before(bank: Bank) -> None:
    (turn,) = bank.typed("bye")
    assert turn.answer == GOODBYE
