"""Values that recognition was unsure of are read back, and used only when the caller agrees (design D13)."""

from decimal import Decimal

import pytest

from serving.call.machine import Ending
from serving.call.record import Decision, TurnRecord
from serving.language.protocols import TextDelta, ToolCall
from tests.serving.call.phone import Bank, TellingLlm, Told, ToldStt, knowledge, spoken, spoken_turns

UNSURE = 0.45
"""Above the floor under which a turn is asked again, below the one under which values are read back."""
QUOTE = "borrow twenty thousand dollars over five years"


def principals(turn: TurnRecord) -> set[Decimal]:
    return {Decimal(str(tool.arguments["principal"])) for tool in turn.tools}


def test_an_unsure_amount_is_read_back_and_computed_after_a_yes(bank: Bank) -> None:
    asked, quote = spoken_turns(bank, [(QUOTE, UNSURE), "yes"])
    assert asked.decision is Decision.CLARIFY
    assert asked.tools == ()
    assert asked.answer == "I understood twenty thousand dollars and five years. Is that right?"
    assert quote.decision is Decision.TOOL
    assert "$395.93" in quote.answer


def test_a_sure_amount_is_computed_at_once(bank: Bank) -> None:
    (quote,) = spoken_turns(bank, [(QUOTE, 0.5)])
    assert quote.decision is Decision.TOOL


def test_after_a_no_the_value_is_asked_for_again_and_the_denied_one_is_never_used(bank: Bank) -> None:
    _, denied, _, quote = spoken_turns(
        bank, [(QUOTE, UNSURE), "no", "thirty thousand dollars", "over four years"]
    )
    assert denied.answer == knowledge().prompt("confirm_again")
    assert quote.decision is Decision.TOOL
    assert principals(quote) == {Decimal(30_000)}
    assert "$20,000" not in quote.answer


def test_a_no_that_says_the_right_value_is_taken_at_its_word(bank: Bank) -> None:
    _, corrected = spoken_turns(bank, [(QUOTE, UNSURE), "no thirty thousand dollars over five years"])
    assert corrected.decision is Decision.TOOL
    assert principals(corrected) == {Decimal(30_000)}


@pytest.mark.parametrize(
    "answer",
    ["yes hang on", "yes the other one", "yeah nah, maybe not", "yes five thousand years", "yes hmm"],
)
def test_a_yes_with_other_words_confirms_no_value(bank: Bank, answer: str) -> None:
    _, again, quote = spoken_turns(bank, [("borrow twenty thousand dollars", UNSURE), answer, "yes"])
    assert again.tools == ()
    assert quote.decision is not Decision.TOOL


def test_an_unsure_correction_is_read_back_as_well(bank: Bank) -> None:
    _, corrected, quote = spoken_turns(
        bank, [(QUOTE, UNSURE), ("no thirty thousand dollars over five years", UNSURE), "yes"]
    )
    assert corrected.answer == "I understood thirty thousand dollars and five years. Is that right?"
    assert principals(quote) == {Decimal(30_000)}


def test_a_value_that_was_neither_confirmed_nor_said_anew_stays_unconfirmed(bank: Bank) -> None:
    _, again, quote = spoken_turns(
        bank, [("borrow twenty thousand dollars", UNSURE), "over five years", "yes"]
    )
    assert again.decision is Decision.CLARIFY
    assert again.answer == "I understood twenty thousand dollars. Is that right?"
    assert "$395.93" in quote.answer


def test_a_value_that_is_said_anew_replaces_the_unsure_one(bank: Bank) -> None:
    _, quote = spoken_turns(bank, [(QUOTE, UNSURE), "borrow ten thousand dollars over four years"])
    assert quote.decision is Decision.TOOL
    assert principals(quote) == {Decimal(10_000)}


def test_a_question_that_avoids_the_answer_is_no_yes(bank: Bank) -> None:
    _, again, quote = spoken_turns(bank, [(QUOTE, UNSURE), "make it a car loan I borrow", "yes"])
    assert again.decision is Decision.CLARIFY
    assert again.tools == ()
    assert quote.decision is Decision.TOOL
    assert quote.tools[0].arguments["product"] == "car_loan"


def test_a_caller_who_never_confirms_is_put_through(bank: Bank) -> None:
    told: list[Told] = [(QUOTE, UNSURE), *["borrow it"] * 5]
    call = bank.call([spoken(1.0) for _ in told], stt=ToldStt(told, bank.counter))
    assert call.ending is Ending.TRANSFERRED
    assert len(call.turns) == 4
    assert not any(turn.tools for turn in call.turns)


def test_a_bare_number_that_may_be_the_amount_is_read_back_too(bank: Bank) -> None:
    asked, _ = spoken_turns(bank, [("I want to borrow about 20000", UNSURE), "yes"])
    assert asked.answer.startswith("I understood 20000")


def test_unsure_words_without_a_value_are_answered(bank: Bank) -> None:
    (turn,) = spoken_turns(bank, [("Can I pay off my personal loan early", UNSURE)])
    assert turn.decision is Decision.CACHE_HIT


@pytest.mark.parametrize(("confidence", "asked"), [(0.34, True), (0.35, False), (float("nan"), True)])
def test_below_the_floor_a_turn_is_asked_again_and_never_read(
    bank: Bank, confidence: float, asked: bool
) -> None:
    (turn,) = spoken_turns(bank, [("Can I pay off my personal loan early", confidence)])
    assert (turn.decision is Decision.REPROMPT) is asked
    assert (turn.intent == "") is asked


def test_three_turns_that_were_not_caught_end_in_a_transfer_in_changing_words(bank: Bank) -> None:
    told = [("mumble", 0.1)] * 5
    call = bank.call([spoken(1.0) for _ in told], stt=ToldStt(told, bank.counter))
    assert [turn.decision for turn in call.turns] == [
        Decision.REPROMPT,
        Decision.REPROMPT,
        Decision.TRANSFER,
    ]
    prompts = [knowledge().prompt(name) for name in ("low_confidence", "reprompt_2", "transfer")]
    assert [turn.answer for turn in call.turns] == prompts
    assert call.ending is Ending.TRANSFERRED


def test_a_language_model_may_not_use_a_denied_value_either(bank: Bank) -> None:
    stubborn = ToolCall(
        "abc123def", "calculate_payment", {"principal": 20_000, "annual_rate": 0.05, "months": 60}
    )
    llm = TellingLlm([stubborn], [TextDelta("How much would you like to borrow?")])
    told: list[Told] = [
        ("borrow twenty thousand dollars over five years at 5 percent", UNSURE),
        "no",
        "borrow thirty thousand over five years at 5 percent",
    ]
    *_, turn = spoken_turns(bank, told, llm=llm)
    assert [(tool.name, tool.ok) for tool in turn.tools] == [("calculate_payment", False)]
    assert "principal" in turn.tools[0].error
