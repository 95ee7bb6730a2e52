"""Amounts that may be two amounts are left unread; ranges, signs and suffixes keep their magnitude."""

import pytest

from serving.cache.figures import unknown_figures
from serving.spoken import Kind, parse
from tests.serving.cache_world import SIGNER


def canonical(text: str, **options: object) -> list[str]:
    return [value.canonical() for value in parse(text, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "one twenty five thousand dollars", "two fifty thousand dollars", "borrow two fifty k",
        "twenty uh five dollars", "borrow twenty five five", "nineteen ninety nine dollars",
        "twelve fifty dollars", "fifteen fifty a month", "two seventy five a month",
        "my payment is two seventy five", "borrow two seventy five", "five two hundred dollars",
        "one thousand point five dollars", "two three years", "two three thousand dollars", "5-3 years",
        "two thirty years", "2 50 dollars", "12 34 dollars", "five six dollars", "nineteen-ninety dollars",
        "borrow 20.000", ",5%",
    ],
)  # fmt: skip
def test_numbers_in_a_row_that_may_mean_two_amounts_are_none(text: str) -> None:
    assert canonical(text) == []
    assert canonical(text, expect=Kind.MONEY) == []


@pytest.mark.parametrize("text", ["two seventy five", "twelve fifty", "nineteen ninety nine", "five oh five"])
def test_the_question_for_an_amount_is_asked_again_where_cents_are_possible(text: str) -> None:
    assert canonical(text, expect=Kind.MONEY) == []
    assert canonical(f"it cost me {text}") != []


@pytest.mark.parametrize(
    "text", ["500 pesos", "five hundred kronor", "rs 500", "borrow 20,000 zloty, please"]
)
def test_money_of_another_country_is_none_of_the_callers_own(text: str) -> None:
    assert all(value.kind is not Kind.MONEY for value in parse(text, expect=Kind.MONEY))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("six fifty a month", ["money:650:USD"]),
        ("two fifty five dollars", ["money:255:USD"]),
        ("two five zero dollars", ["money:250:USD"]),
        ("1'500 francs", ["money:1500:CHF"]),
        ("12 500 dollars", ["money:12500:USD"]),
        ("$12 500", ["money:12500:USD"]),
        ("€ 1 500 a month", ["money:1500:EUR"]),
        ("$6 500.50", ["money:6500.5:USD"]),
        ("half a hundred dollars", ["money:50:USD"]),
        ("1 250 500 dollars", ["money:1250500:USD"]),
        ("one twenty months", ["term:120:months"]),
        ("twelve ninety nine percent", ["rate:0.1299"]),
    ],
)
def test_numbers_in_a_row_with_one_meaning_are_read(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$10-12k", ["money:10000:USD", "money:12000:USD"]),
        ("$10 to 12 thousand", ["money:10000:USD", "money:12000:USD"]),
        ("$10 to $12 thousand", ["money:12000:USD"]),
        ("$500 to $1k", ["money:500:USD", "money:1000:USD"]),
        ("borrow ten to twelve thousand", ["money:10000:USD", "money:12000:USD"]),
        ("5, 10 or 15 thousand dollars", ["money:5000:USD", "money:10000:USD", "money:15000:USD"]),
        ("two or three hundred dollars", ["money:200:USD", "money:300:USD"]),
        ("twelve to fifteen hundred dollars", ["money:1200:USD", "money:1500:USD"]),
        ("twenty to two hundred dollars", ["money:20:USD", "money:200:USD"]),
        ("5 to 600 dollars", ["money:5:USD", "money:600:USD"]),
        ("between 5k and 10", ["money:5000:USD", "count:10"]),
        ("two-three years", ["term:24:months", "term:36:months"]),
        ("ten-twelve thousand dollars", ["money:10000:USD", "money:12000:USD"]),
        ("twenty-thirty dollars", ["money:20:USD", "money:30:USD"]),
        ("500-200 dollars", ["money:500:USD", "money:200:USD"]),
        ("transfer $500 to 4421", ["money:500:USD", "count:4421"]),
    ],
)
def test_both_ends_of_a_range_have_its_magnitude(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1.5 M", ["money:1500000:USD"]),
        ("$1.5mm", ["money:1500000:USD"]),
        ("$2b", ["money:2000000000:USD"]),
        ("$20 CAD", ["money:20:CAD"]),
        ("$20 canadian dollars", ["money:20:CAD"]),
        ("US$20 dollars", ["money:20:USD"]),
        ("€20 EUR", ["money:20:EUR"]),
        ("20€ 30$", ["money:20:EUR", "money:30:USD"]),
        ("20 EUR 20 USD", ["money:20:EUR", "money:20:USD"]),
        ("$20 EUR", []),
        ("US$20 CAD", []),
        ("R$500", []),
        ("MX$500", []),
        ("borrow $5x", []),
        ("of$500", ["money:500:USD"]),
    ],
)
def test_signs_and_suffixes_beside_figures_are_all_heeded(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a limit of a thousand five hundred daily", "money:1500:USD"),
        ("a thousand five hundred a day", "money:1500:USD"),
        ("five hundred monthly", "money:500:USD"),
        ("a half million mortgage", "money:500000:USD"),
        ("a quarter million dollars", "money:250000:USD"),
        ("a twenty thousand car loan", "money:20000:USD"),
        ("my loan of a million and a half", "money:1500000:USD"),
        ("borrow one and a quarter million", "money:1250000:USD"),
        ("i earn half a million", "money:500000:USD"),
        ("500 monthly users", "count:500"),
        ("my 2023 loan", "count:2023"),
        ("two cards a day", "count:2"),
    ],
)
def test_a_bare_number_is_an_amount_where_its_words_say_so(text: str, expected: str) -> None:
    assert canonical(text) == [expected]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("can i borrow two seventy five", "can i borrow two eighty five"),
        ("can i borrow 20,50 dollars", "can i borrow 30,50 dollars"),
        ("can i borrow two fifty thousand", "can i borrow two sixty thousand"),
        ("is it two three years", "is it three four years"),
    ],
)
def test_unread_amounts_that_differ_share_no_answer(one: str, other: str) -> None:
    assert SIGNER.sign(one).key != SIGNER.sign(other).key
    assert unknown_figures(one, [other])
    assert unknown_figures(one, [one]) == ()
