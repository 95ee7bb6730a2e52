"""Numbers that look like amounts and are none: somebody's account, a year, a time, another value's unit."""

import pytest

from serving.cache.figures import figures
from serving.spoken import parse
from serving.spoken.values import Kind
from serving.telemetry.redaction import redact
from tests.serving.cache_world import SIGNER


def canonical(text: str) -> list[str]:
    return [value.canonical() for value in parse(text)]


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("send from account 123 456 789 $500 to bob", "789"),
        ("my account 12 345 678 $200 was taken", "678"),
        ("account number is 123 456 789 usd", "456"),
        ("my ssn is 123 456 789 dollars", "456"),
        ("my usd account number is usd 123 456 789", "456"),
        ("my account is 12345678 k a moment please", "345"),
        ("my pin is 1234 k i wait", "1234"),
        ("my phone number is 5551234 k i wait", "5551"),
        ("my card is 4111 1111 1111 1111 k i wait", "1111"),
        ("my email is joe at 91 dot in", "joe"),
        ("email anna at 7pm dot net", "anna"),
    ],
)
def test_what_is_somebodys_is_no_amount_and_does_not_get_out(text: str, digits: str) -> None:
    assert all(value.kind is not Kind.MONEY or value.value < 1_000 for value in parse(text))
    assert digits not in redact(text).text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("transfer ten thousand five hundred 36 months", ["money:10500:USD", "term:36:months"]),
        ("six thousand four hundred 5 years", ["money:6400:USD", "term:60:months"]),
        ("usd five percent", ["rate:0.05"]),
        ("a loan in eur five years", ["term:60:months"]),
        ("how much was my income in 2022", ["count:2022"]),
        ("refinance my two thousand twenty one car loan over five years", ["count:2021", "term:60:months"]),
        ("are you open until 1900 daily", ["count:1900"]),
        ("statement for account 12345 monthly", ["count:12345"]),
        ("my score is 720 monthly", ["count:720"]),
    ],
)
def test_a_number_does_not_take_what_stands_beside_another(text: str, values: list[str]) -> None:
    assert [found for found in canonical(text) if not found.startswith("account")] == values


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("wire to account 1500k", "money:1500000:USD"),
        ("transfer to my account 5k", "money:5000:USD"),
        ("put into my account 20 000 dollars", "money:20000:USD"),
        ("a loan of 2050", "money:2050:USD"),
        ("increase my card limit to 2019 dollars", "money:2019:USD"),
        ("borrow two thousand over five years", "money:2000:USD"),
    ],
)
def test_an_amount_stays_one_beside_such_words(text: str, amount: str) -> None:
    assert amount in canonical(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("can i pay two seventy five a month", "can i pay three seventy five a month"),
        ("is the fee nineteen ninety nine a year", "is the fee twenty ninety nine a year"),
        ("can i pay two-seventy-five a month", "can i pay three-seventy-five a month"),
        ("can i take twelve-twenty-four months", "can i take twelve-thirty-six months"),
        ("is it three tenths", "is it seven tenths"),
    ],
)
def test_amounts_that_nobody_reads_still_part_questions(one: str, other: str) -> None:
    assert SIGNER.sign(one) != SIGNER.sign(other)


def test_an_amount_that_nobody_reads_is_a_figure_of_an_answer() -> None:
    assert figures("The fee is two seventy five a month.") - figures("There is a fee each month.")


def test_a_long_number_stands_hashed_in_a_signature() -> None:
    assert "2050" not in str(SIGNER.sign("how much is 20,50"))
