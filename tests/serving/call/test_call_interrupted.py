"""What the caller did not hear was not asked: after an interruption no yes and no no answers it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, Doubt, HeardTurn, PendingTask, Reply, Step, heard_only
from serving.call.responder import Responder
from serving.language.protocols import Message
from serving.language.roles import Role
from serving.spoken import parse, verbalise
from serving.tools.sandbox_bank import SandboxBank
from serving.tools.sandbox_people import FIRST
from tests.serving.call.bank_caller import box_of, responder_of, sandbox_in
from tests.serving.call.phone import Bank, Counter, knowledge

CONFIRM = "I will block your debit card ending in <ending>. It costs $5 on May 3. Shall I do that?"


def asked(question: str = CONFIRM, step: Step | None = Step.CONFIRM) -> DialogueState:
    pending = PendingTask("block_card", question, step=step)
    said = (Message("user", "block it"), Message("assistant", question))
    return DialogueState(messages=said, pending=pending, last_answer=question)


def heard(state: DialogueState, words: str) -> bool:
    pending = heard_only(state, words).pending
    assert pending is not None
    return pending.heard


def test_what_was_heard_to_its_end_changes_nothing() -> None:
    state = asked()
    assert heard_only(state, CONFIRM) is state
    assert heard_only(state, verbalise(CONFIRM)) is state


def test_only_the_words_that_were_played_stay_said() -> None:
    state = heard_only(asked(), "I will block your debit card ending in <ending>. It costs five")
    said = "I will block your debit card ending in <ending>. It costs five"
    assert state.messages[-1] == Message("assistant", said)
    assert state.last_answer == said
    assert state.messages[0] == Message("user", "block it")


@pytest.mark.parametrize(
    ("words", "complete"),
    [
        ("", False),
        ("I will block your debit", False),
        ("I will block your debit card ending in <ending>.", False),
        ("I will block your debit card ending in <ending>. It costs five dollars on May", False),
        ("I will block your debit card ending in <ending>. It costs five dollars on May third.", True),
        ("I will block your debit card ending in <ending>. It costs $5 on May 3. Shall", True),
        ("something else entirely", False),
    ],
)
def test_a_question_was_asked_once_all_it_is_about_was_heard(words: str, complete: bool) -> None:
    assert heard(asked(), words) is complete


def test_of_a_single_sentence_only_the_last_word_may_be_missing() -> None:
    state = asked("Shall I put you through now?", None)
    assert heard(state, "Shall I put you through")
    assert not heard(state, "Shall I put you")


def test_a_question_of_an_earlier_turn_stays_asked() -> None:
    state = replace(
        asked(), messages=(Message("assistant", "You're welcome. Shall I do that?"),), last_answer="x"
    )
    assert heard(state, "You're")


def test_nothing_said_yet_can_be_cut() -> None:
    assert heard_only(DialogueState(), "anything") == DialogueState()


@given(st.text(max_size=60), st.integers(0, 60))
def test_any_beginning_of_any_answer_can_be_cut_to(answer: str, length: int) -> None:
    state = asked(answer)
    cut = heard_only(state, verbalise(answer)[:length])
    assert len(cut.messages) == len(state.messages)
    assert heard_only(cut, cut.messages[-1].content) == cut


class Talk:
    """Turns of a call given to the responder by hand."""

    def __init__(self, responder: Responder) -> None:
        self.state = DialogueState()
        self._responder = responder
        self._turn = 0

    def say(self, text: str) -> Reply:
        self._turn += 1
        clock = FileClock(Counter())
        turn = HeardTurn("call", self._turn, text, 1.0)
        reply = self._responder.answer(turn, self.state, Laps(clock, clock.now()))
        self.state = reply.state
        return reply

    def heard(self, text: str) -> None:
        self.state = heard_only(self.state, text)


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxBank:
    return sandbox_in(tmp_path)


@pytest.fixture
def talk(bank: Bank, sandbox: SandboxBank) -> Talk:
    return Talk(responder_of(box_of(bank, sandbox)))


def blocked(sandbox: SandboxBank) -> bool:
    return any(card.blocked for card in sandbox.cards("c00001"))


@pytest.mark.parametrize("answer", ["yes today please", "yes block one card", "ok 50 dollars"])
def test_no_value_in_a_yes_carries_out_what_was_not_heard(
    talk: Talk, sandbox: SandboxBank, answer: str
) -> None:
    for line in ("block my debit card", FIRST.number, "May 3 1971"):
        question = talk.say(line).answer
    talk.heard("Thank you, you are verified. I will block your")
    assert talk.say(answer).answer.endswith(question)
    assert not blocked(sandbox)


@pytest.mark.parametrize("answer", ["yes", "no", "yes please", "no don't"])
def test_a_yes_or_no_to_an_unheard_question_makes_the_bot_ask_again(
    talk: Talk, sandbox: SandboxBank, answer: str
) -> None:
    for line in ("block my debit card", FIRST.number, "May 3 1971"):
        question = talk.say(line).answer
    talk.heard("Thank you, you are verified. I will block your")
    again = talk.say(answer)
    assert again.answer == question
    assert not again.tools
    assert not blocked(sandbox)
    assert talk.say("yes").answer == knowledge().prompt("block_card_done")
    assert blocked(sandbox)


def test_verification_survives_an_interruption(talk: Talk) -> None:
    talk.say("my balance")
    talk.say(FIRST.number)
    talk.heard("Thank")
    told = talk.say("May 3 1971")
    assert told.state.verified
    talk.heard("Thank you, you")
    assert talk.state.verified
    assert talk.say("my balance").tools[0].name == "get_balance"


def test_digits_given_before_the_question_was_heard_are_taken(talk: Talk) -> None:
    talk.say("my balance")
    talk.heard("For your")
    assert talk.say(FIRST.number).answer == knowledge().prompt("verify_birth_date")


def test_an_unheard_amount_is_not_confirmed_by_a_yes(talk: Talk) -> None:
    (amount,) = parse("twenty thousand dollars")
    doubt = Doubt(amount, "twenty thousand dollars", Role.PRINCIPAL)
    question = "I understood twenty thousand dollars. Is that right?"
    pending = PendingTask("loan_payment_quote", question, (doubt,))
    talk.state = DialogueState(
        messages=(Message("user", "x"), Message("assistant", question)), pending=pending, last_answer=question
    )
    talk.heard("I understood twenty")
    again = talk.say("yes")
    assert again.answer == question
    assert again.state.pending == pending
    still = replace(pending, heard=False)
    talk.state = replace(talk.state, pending=still)
    reply = talk.say("yes over five years")
    assert "twenty thousand dollars" in reply.answer
    assert not reply.tools


def test_an_unheard_offer_of_a_person_is_offered_again(talk: Talk) -> None:
    offer = "I have no approved answer to that. Shall I put you through to a colleague?"
    talk.state = DialogueState(
        messages=(Message("assistant", offer),),
        pending=PendingTask("speak_to_agent", offer),
        last_answer=offer,
    )
    talk.heard("I have no")
    assert talk.say("yes").answer == offer


# Transfers


def test_who_takes_over_is_told_what_was_wanted_done_and_whether_the_caller_is_verified(talk: Talk) -> None:
    for line in ("block my debit card", FIRST.number, "May 3 1971", "yes"):
        assert talk.say(line).summary == ""
    summary = talk.say("an agent please").summary
    assert summary == "Wanted: block card. Done: block card. Verified: yes."
    for secret in (FIRST.number, "1971", "4821"):
        assert secret not in summary


def test_a_summary_says_when_nothing_is_known(talk: Talk) -> None:
    assert talk.say("agent").summary == "Wanted: not understood. Done: nothing. Verified: no."
