"""Figures that could mean two things, numbers below zero, and bare answers: read soundly or not at all."""

import pytest

from serving.spoken import Kind, parse


def canonical(text: str) -> list[str]:
    return [value.canonical() for value in parse(text)]


@pytest.mark.parametrize(
    "text",
    [
        "20,50 dollars", "20000,50 dollars", "1,000,00 dollars", "$1,23", "20,50 thousand dollars",
        "20.000 dollars", "$1.500", "1,5 percent", "1.2.3 percent", "2,5 years", "1e5 dollars",
        "borrow 1000e5 dollars", "x100 dollars",
    ],
)  # fmt: skip
def test_figures_that_could_mean_two_things_are_no_value(text: str) -> None:
    assert canonical(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "minus 20000 dollars", "minus twenty thousand dollars", "-20000 dollars", "-$50", "$-50", "−$50",
        "negative six percent", "-6%", "20000 minus 5000 dollars", "minus five years",
    ],
)  # fmt: skip
def test_a_number_below_zero_is_no_value(text: str) -> None:
    assert canonical(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3-5 years", ["term:36:months", "term:60:months"]),
        ("loan-20000 dollars", ["money:20000:USD"]),
        ("the amount - 20000 dollars", ["money:20000:USD"]),
        ("5-10 percent", ["rate:0.05", "rate:0.1"]),
        ("usd50", ["money:50:USD"]),
        ("6.125 percent", ["rate:0.06125"]),
    ],
)
def test_a_hyphen_or_a_dash_is_no_sign(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("five", 60),
        ("5", 60),
        ("60", 60),
        ("12", 12),
        ("thirty", 360),
        ("seventy two", 72),
        ("make it 5", 60),
    ],
)
def test_a_bare_answer_to_the_question_for_a_term_is_one(text: str, months: int) -> None:
    (value,) = parse(text, expect=Kind.TERM)
    assert value.canonical() == f"term:{months}:months"
    (bare,) = parse(text)
    assert bare.kind is Kind.COUNT


@pytest.mark.parametrize("text", ["20000", "two and a half", "0", "601"])
def test_a_number_that_is_no_term_is_none_after_the_question_either(text: str) -> None:
    assert all(value.kind is Kind.COUNT for value in parse(text, expect=Kind.TERM))


@pytest.mark.parametrize(
    "text", ["fifteen thousand, forty eight months", "seven and a half thousand, three years"]
)
def test_an_amount_before_a_comma_takes_no_unit_that_makes_it_absurd(text: str) -> None:
    amount, term = parse(text)
    assert amount.kind is not Kind.TERM
    assert term.kind is Kind.TERM
