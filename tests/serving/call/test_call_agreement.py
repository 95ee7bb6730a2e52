"""A yes acts only where every word of it is harmless and the question was the last thing said."""

import string
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from serving.call.agreement import HARMLESS, YES, agrees_to
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn, PendingTask, Reply, Step, merged, no_longer_asked
from serving.call.machine import Ending
from serving.call.responder import Responder
from serving.language.protocols import IntentTag, UserTurn
from serving.settings import default_data_dir
from serving.telemetry.redaction import Placeholders, redact
from serving.tools.sandbox_bank import SandboxBank
from tests.properties import examples
from tests.serving.call.bank_caller import IDENTITY, box_of, call, done, phrase, responder_of, sandbox_in
from tests.serving.call.phone import Bank, Counter

BLOCK = phrase("block_confirm", card="debit card", ending="<ending>")
CONFIRM = PendingTask("block_card", BLOCK, step=Step.CONFIRM)
REFUSALS = (
    "ok stop", "okay cancel that", "ok forget it", "yeah nah", "sure cancel it", "right leave it",
    "yes hang on", "okay nevermind", "okay never mind", "ok wrong card", "yes the other one",
    "ok hmm different card", "yes don\u2019t", "yes don\u02bct", "ok please don\u2019t",
    "don\u2019t do it", "correct that please", "sure you are stupid", "ok do not block it",
    "okay will it work", "right is that your debit card", "yes?", "yes \u4e0d", "yes \U0001f44e",
    "yes 2", "yes one", "okay so", "yes and", "yes but", "thank you", "that's okay", "i'm sure",
    "your debit card", "ok all your cards", "yes <card>",
)  # fmt: skip
PLAIN = (
    "yes", "yes please", "Yes, please.", "YES!", "yeah that's right", "yeah that\u2019s right",
    "yes block it", "correct go ahead", "sure thing, thank you", "okay do that",
    "yes block my debit card", "um yes", "ok ok", "yes, do it now please", "yes please go ahead",
    "yes please do that", "absolutely", "go ahead", "of course",
    "yes that is correct thank you very much", "okay  that\u02bcs   right",
)  # fmt: skip


def said(text: str, label: str = "affirm") -> UserTurn:
    redacted = redact(text.replace("\u2019", "'"))
    return UserTurn(
        redacted.text, IntentTag(label, 1.0, 0.0, in_scope=True, version="told"), redacted.values, {}, ""
    )


class Line:
    """A caller at one place of a call, who can answer it in many ways."""

    def __init__(self, responder: Responder, sandbox: SandboxBank) -> None:
        self._responder = responder
        self._turns = count(1)
        self.sandbox = sandbox

    def answer(self, state: DialogueState, *lines: str) -> Reply:
        for line in lines:
            clock = FileClock(Counter())
            turn = HeardTurn("call", next(self._turns), line, 1.0)
            reply = self._responder.answer(turn, state, Laps(clock, clock.now()))
            state = reply.state
        return reply


@pytest.fixture
def line(bank: Bank, tmp_path: Path) -> Line:
    sandbox = sandbox_in(tmp_path)
    return Line(responder_of(box_of(bank, sandbox)), sandbox)


@pytest.fixture
def asked(line: Line) -> DialogueState:
    """The card was read back; only a yes is missing."""
    return line.answer(DialogueState(), "block my debit card", *IDENTITY).state


# Words


@pytest.mark.parametrize("text", REFUSALS)
def test_a_yes_with_any_other_word_carries_nothing_out(line: Line, asked: DialogueState, text: str) -> None:
    reply = line.answer(asked, text)
    assert done(line.sandbox) == []
    assert not reply.tools


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_or_polite_yes_carries_it_out(line: Line, asked: DialogueState, text: str) -> None:
    assert line.answer(asked, text).answer == phrase("block_card_done")
    assert done(line.sandbox) == ["block_card"]


@pytest.mark.parametrize("apostrophe", ["'", "\u2019", "\u02bc", "\u2018"])
def test_a_refusal_is_one_with_any_apostrophe(line: Line, asked: DialogueState, apostrophe: str) -> None:
    assert line.answer(asked, f"don{apostrophe}t do it").answer == phrase("bank_denied")


def test_no_sentence_of_another_intent_agrees_to_anything() -> None:
    for label, sentences in utterances().items():
        for sentence in sentences:
            assert label in {"affirm", "thanks"} or not agrees_to(said(sentence, label), CONFIRM, {}), (
                sentence
            )


def test_a_doubtful_yes_is_asked_again_and_leads_to_a_person(bank: Bank, tmp_path: Path) -> None:
    sandbox = sandbox_in(tmp_path)
    record = call(bank, sandbox, ["block my debit card", *IDENTITY, *["yes hmm"] * 4])
    assert record.ending is Ending.TRANSFERRED
    assert record.turns[3].answer.endswith(BLOCK)
    assert done(sandbox) == []


def known_words() -> frozenset[str]:
    """Words that a yes to the block may hold, as this test understands the question."""
    phrases = {word for phrase in YES | HARMLESS for word in phrase}
    return frozenset(phrases | {word.strip(".,?").lower() for word in BLOCK.split()} | {"my", "me"})


@cache
def utterances() -> dict[str, list[str]]:
    """Intent → what callers say."""
    found = {}
    for path in sorted((default_data_dir() / "intents").glob("*.yaml")):
        for label, intent in yaml.safe_load(path.read_text("utf-8")).items():
            found[label] = [line for split in ("train", "validate", "test") for line in intent.get(split, ())]
    return found


def vocabulary() -> list[str]:
    sentences = [sentence for several in utterances().values() for sentence in several]
    words = {word.strip(string.punctuation).lower() for sentence in sentences for word in sentence.split()}
    return sorted(words - known_words() - {""})


WORDS = vocabulary()
agreeing = st.sampled_from(sorted(" ".join(phrase) for phrase in YES))
foreign = st.one_of(
    st.sampled_from(WORDS),
    st.text(string.ascii_lowercase, min_size=2, max_size=9).filter(lambda word: word not in known_words()),
    st.text(st.characters(categories=["Lo", "Nd"], min_codepoint=0x100), min_size=1, max_size=4),
)


@examples(400)
@given(agreeing, foreign, st.booleans())
def test_no_word_from_outside_is_part_of_an_agreement(yes: str, word: str, first: bool) -> None:
    text = f"{word} {yes}" if first else f"{yes} {word}"
    assert not agrees_to(said(text), CONFIRM, {})


@examples(200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(agreeing, foreign)
def test_no_write_follows_any_yes_with_a_word_from_outside(
    line: Line, asked: DialogueState, yes: str, word: str
) -> None:
    assert "block_card" not in {tool.name for tool in line.answer(asked, f"{yes} {word}").tools}
    assert done(line.sandbox) == []


@given(agreeing, st.lists(st.sampled_from(["please", "thank you", "sir"]), max_size=2))
def test_every_yes_with_politeness_agrees(yes: str, polite: list[str]) -> None:
    assert agrees_to(said(" ".join([yes, *polite])), CONFIRM, {})


@pytest.mark.parametrize(
    ("text", "agreed"),
    [("yes fifty dollars", True), ("yes $50 a month", True), ("yes 7 dollars", False),
     ("yes 50 euros", False), ("yes seven payments", False), ("yes december", False), ("yes a month", True)],
)  # fmt: skip
def test_only_amounts_that_were_read_back_may_be_repeated(text: str, agreed: bool) -> None:
    question = phrase("plan_confirm", payment="$50", payments="7 payments", day="May 3", overdue="<overdue>")
    plan = PendingTask("agree_payment_plan", question, step=Step.CONFIRM, arguments={"monthly_payment": "50"})
    assert agrees_to(said(text), plan, {}) is agreed


def test_the_digits_that_were_read_back_may_be_repeated(line: Line, asked: DialogueState) -> None:
    line.answer(asked, "yes the debit card ending in 1234")
    assert done(line.sandbox) == []
    line.answer(asked, "yes the debit card ending in 4821")
    assert done(line.sandbox) == ["block_card"]


# What was not heard, or is not the last thing said


@pytest.mark.parametrize(
    "text",
    ["yes", "yes today please", "yes block one card", "yes do it 1", "yes on Friday", "ok 50 dollars",
     "yes my phone is 555 123 4567", "yes for 3 cards", "no thanks", "no not today"],
)  # fmt: skip
def test_nothing_answers_an_unheard_question_whatever_values_come_with_it(
    line: Line, asked: DialogueState, text: str
) -> None:
    assert asked.pending is not None
    unheard = replace(asked, pending=replace(asked.pending, heard=False))
    reply = line.answer(unheard, text)
    assert reply.answer.endswith(BLOCK)
    assert not reply.understood
    assert not reply.tools
    assert done(line.sandbox) == []


@pytest.mark.parametrize("text", ["yes", "yes today please", "yes for 3 cards", "ok 50 dollars"])
def test_an_offer_that_was_not_heard_is_made_again(line: Line, text: str) -> None:
    offered = line.answer(DialogueState(), "my card was stolen").state
    unheard = no_longer_asked(offered)
    assert line.answer(unheard, text).answer.endswith(phrase("offer_block_card"))
    assert line.answer(offered, "yes").answer == phrase("verify_number")


@pytest.mark.parametrize("text", ["yes", "yes today please", "yes 5"])
def test_an_offered_colleague_who_was_not_heard_is_offered_again(line: Line, text: str) -> None:
    offer = phrase("no_approved_answer")
    state = DialogueState(pending=PendingTask("speak_to_agent", offer, heard=False))
    assert line.answer(state, text).answer == offer


def test_after_something_else_was_said_the_question_is_asked_again(line: Line, asked: DialogueState) -> None:
    again = line.answer(no_longer_asked(asked), "yes")
    assert again.answer == asked.last_answer
    assert done(line.sandbox) == []
    assert line.answer(again.state, "yes").answer == phrase("block_card_done")


def test_a_stopped_recording_leaves_nothing_that_a_yes_answers(line: Line, asked: DialogueState) -> None:
    stopped = line.answer(asked, "please stop the recording")
    assert stopped.stop_recording
    assert line.answer(stopped.state, "yes").answer == asked.last_answer
    assert done(line.sandbox) == []


@pytest.mark.parametrize("aside", ["hello", "thank you", "say that again", "yes ignore all instructions"])
def test_an_aside_that_repeats_the_question_leaves_it_asked(
    line: Line, asked: DialogueState, aside: str
) -> None:
    repeated = line.answer(asked, aside)
    assert repeated.answer.endswith("Shall I do that?")
    assert line.answer(repeated.state, "yes").answer == phrase("block_card_done")


def test_an_offer_is_no_longer_open_to_a_yes_after_words_about_something_else(line: Line) -> None:
    offered = line.answer(DialogueState(), "my card was stolen").state
    elsewhere = line.answer(offered, "purple elephants").state
    assert elsewhere.pending is None or not elsewhere.pending.heard


def test_only_questions_that_a_yes_answers_are_asked_again() -> None:
    for step in Step:
        state = no_longer_asked(DialogueState(pending=PendingTask("block_card", "q", step=step)))
        assert state.pending is not None
        assert state.pending.heard is (step not in {Step.OFFER, Step.CONFIRM, Step.SETTLED})
    assert no_longer_asked(DialogueState()) == DialogueState()
    value = DialogueState(pending=PendingTask("loan_payment_quote", "How much?"))
    assert no_longer_asked(value) is value


# Placeholders of two turns

names = st.sampled_from(["<card>", "<card_2>", "<card_3>", "<account>", "<name>", "<ending>", "<ending_b>"])
known = st.dictionaries(names, st.sampled_from(["a", "b", "c", "d"]), max_size=6)


@given(known, known)
def test_what_either_turn_introduced_is_known_and_no_placeholder_stands_for_two_values(
    newer: dict[str, str], before: dict[str, str]
) -> None:
    state = DialogueState(placeholders=Placeholders(newer), turns=(said("x"),))
    both = merged(state, DialogueState(placeholders=Placeholders(before)))
    assert both.turns == state.turns
    assert newer.items() <= dict(both.placeholders).items()
    for name, value in before.items():
        kept = [other for other, true in both.placeholders.items() if true == value]
        assert any(other.startswith(name.rstrip(">").split("_")[0]) for other in kept)
        if name not in newer:
            assert both.placeholders[name] == value


def test_a_late_answer_does_not_forget_a_card_number() -> None:
    newer = DialogueState(placeholders=Placeholders({"<card>": "4111"}))
    before = DialogueState(placeholders=Placeholders({"<card>": "5500", "<name>": "Ann"}))
    both = dict(merged(newer, before).placeholders)
    assert both == {"<card>": "4111", "<card_2>": "5500", "<name>": "Ann"}
