"""The role of a value in a loan question: clear by its words, likely and so read back, or none."""

from decimal import Decimal

import pytest

from serving.language.protocols import IntentTag, UserTurn
from serving.language.roles import loan_values
from serving.language.slots import LoanSlots, loan_slots
from serving.spoken import parse


def said(text: str, *, label: str = "loan_payment_quote", task: str = "loan_payment_quote") -> UserTurn:
    return UserTurn(text, IntentTag(label, 0.9, 9.0, True, "t/1"), parse(text), task=task)


def roles(text: str) -> list[str]:
    """Role and number of each value; one that is not clear has a question mark."""
    return [
        f"{item.role} {Decimal(str(item.value.value)).normalize():f}{'' if item.clear else '?'}"
        for item in loan_values(said(text))
    ]


def slots(*texts: str) -> LoanSlots:
    return loan_slots([said(text) for text in texts])


@pytest.mark.parametrize(
    "text",
    [
        "borrow 20000 dollars with 100 dollars extra a month",
        "20000 dollars over five years, extra 100 dollars",
        "a loan of 20000 dollars and an additional 100 dollars",
        "20000 dollars and 100 dollars more each month",
        "20000 dollars and 100 dollars a month on top", "20000 dollars plus 100 dollars a month",
        "borrow 20000 and pay 100 extra",
    ],
)  # fmt: skip
def test_an_extra_payment_is_one_that_is_called_so(text: str) -> None:
    assert slots(text).extra == 100
    assert slots(text).principal == 20_000


@pytest.mark.parametrize(
    "text",
    [
        "I earn 5000 dollars a month, what is a loan of 20000 dollars", "my rent is 900 dollars a month",
        "I can pay 400 dollars a month", "my phone bill is 50 dollars each month",
        "a down payment of 30000 dollars",
        "20000 dollars more or less", "another loan of 5000 dollars", "borrow an additional 5000 dollars",
    ],
)  # fmt: skip
def test_an_amount_that_is_not_called_extra_is_none(text: str) -> None:
    assert slots(text).extra is None


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("my car is worth 30000 dollars and I want to borrow 10000 dollars over four years", 10_000),
        ("I earn 5000 dollars a month, what would I pay each month for a loan of 20000 dollars", 20_000),
        ("a 30000 dollar car loan, I have 35000 dollars saved", None),
        ("fifteen thousand dollars instead of twenty thousand dollars", None),
        ("borrow 20000 dollars no wait 15000 dollars", None),
        ("borrow 20000 sorry I meant 15000 dollars", None),
        ("the car costs 30000 dollars and I have 12000 dollars", None),
        ("borrow 20000 dollars, yes 20000 dollars", 20_000),
        ("my rent is 900 dollars a month, a loan over five years", None),
        ("borrow 7000 euros", None),
    ],
)
def test_the_amount_is_the_one_to_borrow_and_never_a_guess_among_several(
    text: str, amount: int | None
) -> None:
    assert slots(text).principal == amount


def test_several_amounts_put_an_earlier_one_in_question() -> None:
    assert slots("borrow 20000 dollars", "30000 dollars or 25000 dollars").principal is None


@pytest.mark.parametrize(
    "text",
    [
        "I bought my car in 2019 and want a loan for five years",
        "my score is 720 and I want a loan for five years",
        "I borrowed in 2019 and want a loan for five years",
        "since 1998 I have banked here, a loan for five years",
    ],
)
def test_a_year_or_a_score_is_no_amount(text: str) -> None:
    assert slots(text).missing == ("amount",)


@pytest.mark.parametrize(
    "text",
    ["borrow 20000 over five years", "a loan of 20000", "20000 over five years", "borrow twenty thousand"],
)
def test_a_bare_number_beside_a_word_for_borrowing_is_the_amount(text: str) -> None:
    assert "principal 20000" in roles(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("borrow 20000 dollars over five years at 6 percent", ["principal 20000", "term 60", "rate 0.06"]),
        ("20000 dollars at 6 percent for five years", ["principal 20000", "rate 0.06", "term 60"]),
        (
            "plan 12000 dollars at 8 percent for two years and 6 percent for three years",
            ["principal 12000", "rate 0.08", "term 24", "rate 0.06", "term 36"],
        ),
        ("if the rate is 6 percent and I borrow 9000 dollars", ["rate 0.06", "principal 9000"]),
        (
            "my mortgage is at 4 percent, what is a personal loan of 20000 dollars over 5 years",
            ["rate 0.04?", "principal 20000", "term 60"],
        ),
        ("4 percent on my mortgage and a loan of 20000 dollars", ["rate 0.04?", "principal 20000"]),
        ("my rate is 4 percent, a loan of 9000 dollars", ["rate 0.04?", "principal 9000"]),
        ("for ten years I have been here, borrow 9000 dollars", ["term 120?", "principal 9000"]),
        ("my car is worth 30000 dollars, a loan over five years", ["principal 30000?", "term 60"]),
        ("a loan with a down payment of 30000 dollars over five years", ["principal 30000?", "term 60"]),
        ("my car is worth 30000 dollars over five years", ["principal 30000?", "term 60"]),
        ("five years", ["term 60"]),
        ("uh ten thousand dollars please", ["principal 10000"]),
    ],
)
def test_a_role_that_the_words_do_not_make_plain_is_marked(text: str, expected: list[str]) -> None:
    assert roles(text) == expected


def test_another_kind_of_plan_keeps_the_loan_but_not_the_extra_payment() -> None:
    plan = said("with 100 dollars extra a month", task="payment_plan_quote")
    first = said("borrow 20000 dollars over five years")
    both = loan_slots([first, plan])
    assert both == LoanSlots(Decimal(20_000), (60,), extra=Decimal(100))
    assert loan_slots([first, plan, said("and over four years")]).extra is None


def test_steps_are_not_carried_into_another_question() -> None:
    steps = said(
        "12000 dollars at 8 percent for two years and 6 percent for three", task="payment_plan_quote"
    )
    assert loan_slots([steps, said("borrow 9000 dollars")]).terms == ()


@pytest.mark.parametrize("label", ["thanks", "greeting", "repeat_that", "recording_opt_out"])
def test_an_aside_closes_nothing(label: str) -> None:
    turns = [said("borrow 9000 dollars"), said("well", label=label, task=""), said("over five years")]
    assert loan_slots(turns).missing == ()
