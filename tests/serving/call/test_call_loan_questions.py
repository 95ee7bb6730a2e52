"""No quote rests on a value whose role is unclear, and no question is asked for ever."""

from decimal import Decimal

import pytest

from serving.call.machine import Ending
from serving.call.policy import opts_out, ungrounded_numbers
from serving.call.record import Decision, TurnRecord
from serving.call.responder import Responder
from serving.language.protocols import TextDelta, ToolCall
from serving.spoken import parse
from tests.serving.call.phone import (
    RULES,
    SCOPE,
    Bank,
    KeywordTagger,
    TellingLlm,
    Told,
    ToldStt,
    knowledge,
    spoken,
    spoken_turns,
    toolbox,
    typed,
)

UNSURE = 0.4
QUOTE = "monthly payment on a loan of twenty thousand dollars over five years"


def argument(turn: TurnRecord, name: str) -> Decimal:
    return Decimal(str(turn.tools[-1].arguments[name]))


# Values are read back by role


def test_an_extra_payment_does_not_confirm_an_unsure_principal(bank: Bank) -> None:
    _, asked, quote = spoken_turns(
        bank, [(QUOTE, UNSURE), ("borrow it but with 100 dollars extra a month", 0.9), "yes"]
    )
    assert asked.answer == "I understood twenty thousand dollars and five years. Is that right?"
    assert asked.tools == ()
    assert quote.tools[-1].name == "generate_plan"
    assert argument(quote, "principal") == 20_000
    assert argument(quote, "extra") == 100


def test_an_unsure_extra_payment_is_read_back_as_one(bank: Bank) -> None:
    asked, _ = spoken_turns(bank, [(f"{QUOTE} with 100 dollars extra", UNSURE), "yes"])
    assert "100 dollars extra a month" in asked.answer


def test_a_rate_of_something_else_is_read_back_and_not_used_after_a_no(bank: Bank) -> None:
    line = "my mortgage is at 4 percent, what is the monthly payment on a loan of 20000 dollars over 5 years"
    asked, denied, quote = bank.typed(line, "no", "borrow 20000 dollars over five years")
    assert asked.answer == "I understood 4 percent as the rate of this loan. Is that right?"
    assert asked.tools == denied.tools == ()
    assert argument(quote, "annual_rate") == Decimal("0.0699")
    _, agreed = bank.typed(line, "yes")
    assert argument(agreed, "annual_rate") == Decimal("0.04")


def test_the_price_of_a_car_is_read_back_before_it_is_a_loan(bank: Bank) -> None:
    line = "my car is worth 30000 dollars, what is the monthly payment over five years"
    asked, quote = bank.typed(line, "yes")
    assert asked.answer == "I understood 30000 dollars as the amount to borrow. Is that right?"
    assert argument(quote, "principal") == 30_000


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("I bought my car in 2019, what is the monthly payment on a loan for five years", "missing_amount"),
        ("borrow 15000 dollars instead of 20000 dollars over five years", "missing_amount"),
    ],
)
def test_what_is_not_plain_is_asked(bank: Bank, line: str, question: str) -> None:
    (turn,) = bank.typed(line)
    assert turn.tools == ()
    assert turn.answer == knowledge().prompt(question)


@pytest.mark.parametrize(
    ("answer", "read_back", "months"), [("five", "5 years", 60), ("5", "5 years", 60), ("60", "5 years", 60)]
)
def test_a_bare_term_is_read_back_with_its_unit(bank: Bank, answer: str, read_back: str, months: int) -> None:
    _, asked, quote = bank.typed("borrow 20000 dollars", answer, "yes")
    assert asked.answer == f"I understood {read_back} to pay it back. Is that right?"
    assert argument(quote, "months") == months


# Asides and other tasks while a value is unconfirmed


@pytest.mark.parametrize("aside", ["thank you", "hello"])
def test_an_aside_asks_the_open_question_again_and_a_yes_answers_it(bank: Bank, aside: str) -> None:
    asked, polite, quote = spoken_turns(bank, [(QUOTE, UNSURE), aside, "yes"])
    assert polite.decision is Decision.CONTROL
    assert polite.answer.endswith(asked.answer)
    assert "anything else" not in polite.answer
    assert "$395.93" in quote.answer


def test_after_words_out_of_scope_a_yes_answers_a_question_that_was_said_again(bank: Bank) -> None:
    asked, away, _ = spoken_turns(bank, [(QUOTE, UNSURE), "football", "yes"])
    assert away.answer.endswith(asked.answer)


def test_a_change_of_task_is_no_failure(bank: Bank) -> None:
    told: list[Told] = [(QUOTE, UNSURE), "make it a plan", "borrow it", "make it a plan", "borrow it"]
    call = bank.call([spoken(1.0) for _ in told], stt=ToldStt(told, bank.counter))
    assert call.ending is Ending.CALLER_LEFT
    assert not any(turn.tools for turn in call.turns)


# Questions end


@pytest.mark.parametrize(
    "lines",
    [
        ["borrow 20000 dollars over 20 years", *["20 years"] * 5],
        ["borrow 20000 euros over five years", *["20000 euros"] * 5],
        ["borrow 20000 dollars", *["borrow it"] * 5],
    ],
    ids=["term", "currency", "no answer"],
)
def test_a_question_that_is_never_answered_ends_in_a_transfer(bank: Bank, lines: list[str]) -> None:
    call = bank.call(typed(*lines))
    assert call.ending is Ending.TRANSFERRED
    assert len(call.turns) == 4


def test_a_rate_that_no_tool_takes_does_not_stick(bank: Bank) -> None:
    refused, quote = bank.typed(
        "borrow 20000 dollars over five years at 600 percent", "20000 dollars over five years"
    )
    assert refused.answer == knowledge().prompt("cannot_compute")
    assert argument(quote, "annual_rate") == Decimal("0.0699")


def test_a_term_that_no_tool_takes_does_not_stick(bank: Bank) -> None:
    refused, asked, quote = bank.typed("borrow 20000 dollars over 80 years", "borrow it", "five years")
    assert refused.answer == knowledge().prompt("cannot_compute")
    assert asked.answer == knowledge().prompt("missing_term")
    assert "$395.93" in quote.answer


# Answers name what they rest on


def test_a_plan_names_payment_and_rate(bank: Bank) -> None:
    (turn,) = bank.typed("a plan for twenty thousand dollars over five years")
    assert "at 6.99%" in turn.answer
    assert "$395.93 a month" in turn.answer


def test_a_step_plan_names_its_extra_payment(bank: Bank) -> None:
    line = "plan 12000 dollars at 8 percent for two years and 6 percent for three years with 50 dollars extra"
    (turn,) = bank.typed(line)
    assert argument(turn, "extra") == 50
    assert "with $50 extra a month" in turn.answer
    assert "at 8%" in turn.answer
    assert "at 6%" in turn.answer


# Recording


@pytest.mark.parametrize(
    "text",
    [
        "please do not record this call and what is the payment on 20000 dollars over 5 years",
        "don't record me", "I don't want to be recorded", "stop recording", "stop the recording please",
        "I do not want you to record this", "can we talk without recording", "turn off the recording",
        "don\u2019t record my voice", "opt out of being recorded", "I don't want this call to be recorded",
    ],
)  # fmt: skip
def test_words_against_the_recording_are_found_in_any_turn(text: str) -> None:
    assert opts_out(text)


@pytest.mark.parametrize(
    "text",
    ["you do not have a record of my payment", "is this call recorded", "why don't you record my transfers",
     "you did not record my payment", "my credit record", "stop my card I have a record of it"],
)  # fmt: skip
def test_other_words_about_records_are_no_opting_out(text: str) -> None:
    assert not opts_out(text)


def test_opting_out_wins_over_the_rest_of_the_turn(bank: Bank) -> None:
    deaf = KeywordTagger(rules=[rule for rule in RULES if rule[0] != "record"])
    line = "please do not record this call and what is the monthly payment on 20000 dollars over 5 years"
    told: list[Told] = [(line, UNSURE), "yes", "borrow twenty thousand dollars over five years"]
    responder = Responder(toolbox(bank.cache_folder), deaf, SCOPE)
    first, second, third = spoken_turns(bank, told, responder=responder)
    assert first.intent == "loan_payment_quote"
    assert first.decision is Decision.DISCLOSURE
    assert first.disclosures
    assert second.tools == (), "nothing rests on what was said beside it"
    assert "$395.93" in third.answer


# Language models


def test_a_language_model_may_not_use_a_term_as_an_amount(bank: Bank) -> None:
    wrong = ToolCall("abc123def", "calculate_payment", {"principal": 60, "annual_rate": 0.05, "months": 60})
    llm = TellingLlm([wrong], [TextDelta("How much would you like to borrow?")])
    (turn,) = bank.typed("borrow 20000 dollars over 60 months at 5 percent", llm=llm)
    assert "principal" in turn.tools[0].error


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("You pay $395.93 a month for $20,000 over 5 years at 5%.", []),
        ("You pay $20,000 over 5 years.", ["money:20000:USD"]),
        ("You pay $60 a month.", ["money:60:USD"]),
        ("The term is 48 months.", ["term:48:months"]),
        ("The rate is 60%.", ["rate:0.6"]),
        ("With $50 extra a month you are done sooner.", []),
    ],
)
def test_an_answer_states_a_number_only_as_what_it_is(answer: str, refused: list[str]) -> None:
    values = parse("borrow 20000 dollars over 60 months at 5 percent with 50 dollars extra")
    results = [{"monthly_payment": "395.93", "months": 60, "principal": Decimal(20_000)}]
    assert list(ungrounded_numbers(answer, [], values, results)) == refused
