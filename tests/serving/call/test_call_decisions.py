"""What the bot decides in a call, read from the records that the database keeps."""

import dataclasses
from datetime import date
from decimal import Decimal

import pytest

from serving.call.dialogue import DialogueState, PendingTask
from serving.call.machine import Ending
from serving.call.policy import control_reply, task_of
from serving.call.record import Decision
from serving.language.protocols import IntentTag
from tests.serving.call.phone import Bank, KeywordTagger, knowledge, texts, toolbox, typed

QUOTE = "what is the monthly payment on twenty thousand dollars over five years"
PLAN = "a plan for twenty thousand dollars over five years with fifty dollars extra"


def test_a_cached_answer_is_served_with_its_evidence(bank: Bank) -> None:
    (turn,) = bank.typed("Can I pay off my personal loan early")
    assert turn.decision is Decision.CACHE_HIT
    assert turn.cache is not None
    assert (turn.cache.outcome, turn.cache.reason) == ("hit", "semantic")
    assert turn.cache.similarity is not None
    assert turn.cache.similarity >= 0.75
    assert turn.cache.entry_id
    assert "personal loan at any time" in turn.answer
    assert turn.llm_engine == ""


def test_a_near_miss_is_refused_by_its_signature_and_says_which_facet(bank: Bank) -> None:
    (turn,) = bank.typed("Can I pay off my business loan early")
    assert turn.cache is not None
    assert (turn.cache.outcome, turn.cache.reason) == ("miss", "signature_differs")
    assert "business_loan" in turn.cache.detail
    assert turn.cache.similarity is not None
    assert turn.cache.similarity > 0.9
    assert "personal loan" not in turn.answer


def test_a_loan_is_quoted_to_the_cent_at_the_rate_of_the_sheet(bank: Bank) -> None:
    (turn,) = bank.typed(QUOTE)
    assert turn.decision is Decision.TOOL
    rate, quote = turn.tools
    assert (rate.name, rate.value["annual_rate"]) == ("get_rate", "0.0699")
    assert quote.name == "calculate_payment"
    assert {name: Decimal(str(value)) for name, value in quote.arguments.items()} == {
        "principal": Decimal(20_000),
        "annual_rate": Decimal("0.0699"),
        "months": Decimal(60),
    }
    assert quote.value["monthly_payment"] == "395.93"
    assert "$395.93" in turn.answer
    assert turn.cache is None, "a tool's answer is never looked up"


def test_the_record_keeps_what_the_tagger_said_of_the_words(bank: Bank) -> None:
    (turn,) = bank.typed(QUOTE)
    tag = KeywordTagger().tag(QUOTE)
    assert turn.intent_energy == tag.energy
    assert (turn.intent, turn.intent_probability, turn.in_scope, turn.intent_version) == (
        tag.label,
        tag.probability,
        tag.in_scope,
        tag.version,
    )


def test_the_values_that_decided_are_read_back_in_the_answer(bank: Bank) -> None:
    for line in (QUOTE, PLAN):
        (turn,) = bank.typed(line)
        assert turn.answer.startswith("For $20,000 over 5 years at 6.99%")


def test_a_payment_plan_is_computed_with_its_extra_payment(bank: Bank) -> None:
    (turn,) = bank.typed(PLAN)
    assert turn.decision is Decision.TOOL
    assert turn.tools[-1].name == "generate_plan"
    assert Decimal(str(turn.tools[-1].arguments["extra"])) == 50
    assert "$507.60" in turn.answer
    assert "53 payments" in turn.answer


def test_a_disclosure_is_spoken_verbatim_with_its_version(bank: Bank) -> None:
    (turn,) = bank.typed("what does the law make you ask")
    (text,) = [text for text in texts().texts if text.id == "kyc_notice"]
    wording = text.text.replace("{bank_name}", "Harbour Bank")
    assert turn.decision is Decision.DISCLOSURE
    assert turn.answer.endswith(wording)
    assert turn.disclosures == (f"kyc_notice@US/{text.version}",)
    assert turn.tools[-1].value["text"] == wording


def test_a_disclosure_is_never_shortened_however_long_it_is(bank: Bank) -> None:
    box = toolbox(bank.cache_folder)
    long = "This is what the law wants you to hear, all of it. " * 200
    notice = next(tool for tool in box.executor._tools.values() if tool.schema.name == "get_prompt")

    def whole(**_arguments: object) -> dict[str, object]:
        return {"reference": "kyc_notice@US/9", "text": long, "sha256": "0" * 64}

    box.executor._tools["get_prompt"] = dataclasses.replace(notice, function=whole)
    (turn,) = bank.typed("what does the law make you ask", box=box)
    assert turn.answer.endswith(long)
    assert turn.spoken == turn.answer
    assert turn.disclosures == ("kyc_notice@US/9",)


def test_a_wording_that_cannot_be_had_is_an_apology_and_claims_no_disclosure(bank: Bank) -> None:
    box = toolbox(bank.cache_folder, today=date(2020, 1, 1))
    (turn,) = bank.typed("what does the law make you ask", box=box)
    assert turn.decision is Decision.APOLOGY
    assert turn.disclosures == ()
    assert turn.error.startswith("answer: EngineError")


def test_out_of_scope_is_said_twice_in_other_words_and_transferred_the_third_time(bank: Bank) -> None:
    call = bank.call(typed("weather", "football", "a joke", "never heard"))
    assert [turn.decision for turn in call.turns] == [
        Decision.OUT_OF_SCOPE,
        Decision.OUT_OF_SCOPE,
        Decision.TRANSFER,
    ]
    assert len({turn.answer for turn in call.turns}) == 3
    assert not any(turn.in_scope for turn in call.turns)
    assert call.ending is Ending.TRANSFERRED


def test_an_understood_turn_between_them_forgives_turns_out_of_scope(bank: Bank) -> None:
    lines = ["weather", "football", "hello", "weather", "football", "hello"]
    call = bank.call(typed(*lines))
    assert call.ending is Ending.CALLER_LEFT
    assert call.turns[3].answer == call.turns[0].answer


@pytest.mark.parametrize("line", ["I want to speak to an agent", "agent"])
def test_a_caller_who_asks_for_a_person_is_transferred_at_once(bank: Bank, line: str) -> None:
    call = bank.call(typed(line, "never heard"))
    assert [turn.decision for turn in call.turns] == [Decision.TRANSFER]
    assert call.ending is Ending.TRANSFERRED


def test_goodbye_ends_the_call_as_completed(bank: Bank) -> None:
    call = bank.call(typed("hello", "bye", "never heard"))
    assert [turn.decision for turn in call.turns] == [Decision.CONTROL] * 2
    assert call.turns[-1].answer == "Thank you for calling Harbour Bank. Goodbye."
    assert call.ending is Ending.COMPLETED


def test_a_caller_who_hangs_up_has_left(bank: Bank) -> None:
    assert bank.call(typed("hello")).ending is Ending.CALLER_LEFT
    assert bank.call([]).ending is Ending.CALLER_LEFT


def test_repeat_says_the_last_answer_again_however_often(bank: Bank) -> None:
    first, second, third = bank.typed(QUOTE, "say that again", "say that again")
    assert second.answer == third.answer == f"I said: {first.answer}"


def test_before_any_answer_there_is_nothing_to_repeat(bank: Bank) -> None:
    (turn,) = bank.typed("say that again")
    assert turn.answer == knowledge().prompt("repeat_nothing")


def test_a_yes_or_no_without_a_question_is_answered_with_one(bank: Bank) -> None:
    yes, no = bank.typed("yes", "no")
    assert yes.answer == knowledge().prompt("affirm_without_question")
    assert no.answer == knowledge().prompt("deny_without_question")


# Questions of the bot


def test_missing_values_are_asked_for_one_after_the_other(bank: Bank) -> None:
    turns = bank.typed("I want to borrow money", "ten thousand dollars", "four years")
    assert [turn.decision for turn in turns] == [Decision.CLARIFY, Decision.CLARIFY, Decision.TOOL]
    assert [turn.answer for turn in turns[:2]] == [
        knowledge().prompt("missing_amount_and_term"),
        knowledge().prompt("missing_term"),
    ]
    assert "$246.44" in turns[2].answer


@pytest.mark.parametrize("aside", ["say that again", "do not record me", "what is the weather"])
def test_an_aside_does_not_lose_what_was_said_before(bank: Bank, aside: str) -> None:
    *_, quote = bank.typed("I want to borrow ten thousand dollars", aside, "four years")
    assert quote.decision is Decision.TOOL
    assert "$246.44" in quote.answer


def test_a_bare_number_answers_the_question_that_was_asked(bank: Bank) -> None:
    *_, quote = bank.typed("I want to borrow money over four years", "ten thousand")
    assert "$246.44" in quote.answer


def test_another_topic_in_between_closes_the_question(bank: Bank) -> None:
    *_, last = bank.typed(
        "I want to borrow ten thousand dollars", "can I pay early", "borrow over four years"
    )
    assert last.answer == knowledge().prompt("missing_amount")


def test_several_terms_without_several_rates_are_asked_again_and_never_added_up(bank: Bank) -> None:
    (turn,) = bank.typed("borrow ten thousand dollars over three years or five years")
    assert turn.tools == ()
    assert turn.answer == knowledge().prompt("missing_term")
    (turn,) = bank.typed("borrow ten thousand dollars over five years that is sixty months")
    assert turn.tools[-1].arguments["months"] == 60


def test_a_product_that_the_rate_sheet_does_not_hold_offers_a_person(bank: Bank) -> None:
    turns = bank.typed("borrow ten thousand dollars over four years as a student loan", "yes please")
    assert [tool.value["found"] for tool in turns[0].tools] == [False]
    assert "no approved rate" in turns[0].answer
    assert "$" not in turns[0].answer
    assert turns[1].decision is Decision.TRANSFER


def test_an_offer_inside_an_answer_can_be_accepted_and_declined(bank: Bank) -> None:
    answer, accepted = bank.typed("I lost my card", "yes please")
    assert "I can put you through" in answer.answer
    assert accepted.decision is Decision.TRANSFER
    _, declined = bank.typed("I lost my card", "no")
    assert declined.answer == knowledge().prompt("deny_without_question")


@pytest.mark.parametrize(
    ("line", "says", "then", "payment"),
    [
        ("borrow one million dollars over five years", "$50,000", "twenty thousand dollars", "$395.93"),
        ("borrow twenty thousand dollars over fifty years", "84 months", "five years", "$395.93"),
    ],
)
def test_an_amount_or_term_outside_the_sheet_is_told_and_asked_again(
    bank: Bank, line: str, says: str, then: str, payment: str
) -> None:
    refused, quote = bank.typed(line, then)
    assert refused.decision is Decision.CLARIFY
    assert says in refused.answer
    assert payment in quote.answer


def test_a_rate_sheet_that_has_run_out_keeps_its_promise_of_a_person(bank: Bank) -> None:
    call = bank.call(typed(QUOTE), box=toolbox(bank.cache_folder, today=date(2031, 1, 1)))
    assert call.turns[0].answer == knowledge().prompt("rate_expired")
    assert call.turns[0].decision is Decision.TRANSFER
    assert call.ending is Ending.TRANSFERRED


def test_numbers_that_no_tool_takes_are_refused_in_words_and_asked_again(bank: Bank) -> None:
    refused, quote = bank.typed(
        "borrow ten thousand dollars over four years at 300 percent",
        "ten thousand over four years at 5 percent",
    )
    assert refused.answer == knowledge().prompt("cannot_compute")
    assert refused.decision is Decision.CLARIFY
    assert not refused.tools[-1].ok
    assert quote.decision is Decision.TOOL


def test_an_amount_in_foreign_money_is_no_amount_in_ours(bank: Bank) -> None:
    turn, quote = bank.typed("borrow 20000 euros over five years", "20000")
    assert turn.answer == knowledge().prompt("other_currency").format(currency="dollars")
    assert turn.tools == ()
    assert "$395.93" in quote.answer


def test_a_yes_that_the_tagger_is_not_sure_of_accepts_nothing(bank: Bank) -> None:
    unsure = IntentTag("affirm", 0.3, -9.0, False, "t/1")
    waiting = DialogueState(pending=PendingTask("speak_to_agent"))
    assert control_reply(unsure, waiting) is None
    assert task_of(unsure, [], PendingTask("loan_payment_quote")) == ""
