"""Values in figures: one form for tools, commands and answers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.language import embedded
from serving.spoken import parse
from serving.spoken.written import currency_name, dollars, months, percent
from serving.tools import money


@given(st.integers(0, 10**12), st.integers(0, 10**8), st.integers(1, 600))
def test_what_is_written_is_read_back(cents: int, points: int, count: int) -> None:
    amount, rate = Decimal(cents) / 100, Decimal(points) / 10**8
    (said,) = parse(f"{dollars(amount)} ")
    assert said.value == amount
    (said,) = parse(f"{percent(rate)}%")
    assert said.value == rate
    (said,) = parse(months(count))
    assert (said.value, said.unit) == (count, "months")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 months"), (1, "1 month"), (12, "1 year"), (18, "18 months")]
)
def test_a_term_is_in_years_where_it_is_whole_years(count: int, text: str) -> None:
    assert months(count) == text


def test_a_currency_without_a_word_is_its_code() -> None:
    assert (currency_name("USD"), currency_name("EUR"), currency_name("SEK")) == ("dollars", "euros", "SEK")


def test_answers_and_tools_write_alike() -> None:
    assert money.dollars is dollars
    assert money.percent is percent
    assert embedded.dollars("4999.99") == dollars(Decimal("4999.99")) == "$4,999.99"
    assert embedded.percent("0.0699") == f"{percent(Decimal('0.0699'))}%" == "6.99%"
