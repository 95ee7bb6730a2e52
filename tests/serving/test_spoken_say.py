"""What is read back is what the parser understands, and no figure reaches a voice."""

import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from serving.spoken import (
    NO_YEAR,
    Kind,
    parse,
    say_date,
    say_digits,
    say_integer,
    say_money,
    say_ordinal,
    say_rate,
    say_term,
    verbalise,
)

CURRENCIES = ["USD", "GBP", "EUR", "CAD", "INR", "CHF"]


def only(text: str, **options: object) -> tuple[Kind, object, str]:
    (value,) = parse(text, **options)  # type: ignore[arg-type]
    assert (value.start, value.end) == (0, len(text))
    return value.kind, value.value, value.unit


@given(cents=st.integers(0, 10**11), currency=st.sampled_from(CURRENCIES))
def test_a_spoken_amount_is_heard_to_the_cent(cents: int, currency: str) -> None:
    amount = Decimal(cents) / 100
    assert only(say_money(amount, currency), currency=currency) == (Kind.MONEY, amount, currency)


@given(points=st.integers(0, 10_000))
def test_a_spoken_rate_is_heard_to_the_basis_point(points: int) -> None:
    rate = Decimal(points) / 10_000
    assert only(say_rate(rate)) == (Kind.RATE, rate, "")


@pytest.mark.parametrize("months", range(1, 601))
def test_a_spoken_term_is_heard(months: int) -> None:
    assert only(say_term(months)) == (Kind.TERM, months, "months")
    assert only(say_term(months, "days")) == (Kind.TERM, months, "days")


@given(day=st.dates())
def test_a_spoken_date_is_heard(day: date) -> None:
    assert only(say_date(day)) == (Kind.DATE, day, "")


@given(day=st.dates(date(NO_YEAR, 1, 1), date(NO_YEAR, 12, 31)))
def test_a_date_without_a_year_is_spoken_without_one(day: date) -> None:
    assert only(say_date(day)) == (Kind.DATE, day, "")
    assert "," not in say_date(day)


@given(digits=st.text("0123456789", min_size=6, max_size=40))
def test_spoken_digits_are_heard_in_order(digits: str) -> None:
    kind, value, _ = only(say_digits(digits))
    assert kind in {Kind.CARD, Kind.ACCOUNT, Kind.PHONE}
    assert value == digits


@given(digits=st.text("0123456789", min_size=3, max_size=8))
def test_a_spoken_code_is_heard_with_its_zeros(digits: str) -> None:
    (value,) = parse(f"the code is {say_digits(digits)}")
    assert (value.kind, value.value) == (Kind.CODE, digits)


@given(value=st.integers(1, 10**15 - 1))
def test_a_spoken_cardinal_is_heard(value: int) -> None:
    (heard,) = parse(f"{say_integer(value)} cards")
    assert heard.value == value


def test_what_is_said_sounds_right() -> None:
    assert say_money(Decimal("1234.56"), "USD") == (
        "one thousand two hundred thirty four dollars and fifty six cents"
    )
    assert say_money(Decimal("1.01"), "GBP") == "one pound and one penny"
    assert say_money(Decimal("0.995"), "USD") == "one dollar"
    assert say_money(Decimal(500), "JPY") == "five hundred yen"
    assert say_rate(Decimal("0.0650")) == "six point five percent"
    assert (say_term(60), say_term(18), say_term(12), say_term(1)) == (
        "five years", "eighteen months", "one year", "one month",
    )  # fmt: skip
    assert say_date(date(2027, 5, 3)) == "May third, twenty twenty seven"
    assert say_date(date(2007, 12, 31)) == "December thirty first, two thousand seven"
    assert say_date(date(1905, 1, 20)) == "January twentieth, nineteen oh five"
    assert say_digits("+4111") == "plus four one one one"
    assert say_digits("41111") == "four one one one, one"
    assert [say_ordinal(number) for number in (1, 12, 20, 23, 100)] == [
        "first", "twelfth", "twentieth", "twenty third", "one hundredth",
    ]  # fmt: skip


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e15"])
def test_an_amount_that_nobody_has_is_refused(amount: str) -> None:
    with pytest.raises(InvalidInputError):
        say_money(Decimal(amount), "USD")


def test_a_currency_without_words_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="XTS"):
        say_money(Decimal(1), "XTS")


def test_a_negative_rate_or_number_is_refused() -> None:
    for refused in (lambda: say_rate(Decimal(-1)), lambda: say_rate(Decimal("NaN")), lambda: say_integer(-1)):
        with pytest.raises(InvalidInputError):
            refused()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Your payment is $1,234.56 a month at 6.99% APR over 36 months.",
            "Your payment is one thousand two hundred thirty four dollars and fifty six cents a month at "
            "six point nine nine percent APR over thirty six months.",
        ),
        ("Due 2027-05-03.", "Due May third, twenty twenty seven."),
        ("Your card ending in 4421 is blocked.", "Your card ending in four four two one is blocked."),
        ("It takes 3-5 business days.", "It takes three to five business days."),
        ("Rates from 5.5% to 7.25%", "Rates from five point five percent to seven point two five percent"),
        ("A 36-month loan of $20k", "A thirty six month loan of twenty thousand dollars"),
        ("6½% for 5yr", "six point five percent for five years"),
        ("£0.50, 99¢ or -$50", "fifty pence, ninety nine cents or minus fifty dollars"),
        ("24/7, 9:00 am, 10:30 and 11:05", "twenty four seven, nine am, ten thirty and eleven oh five"),
        ("the 21st and 3rd of them", "the twenty first and third of them"),
        ("your 401(k) and mp3", "your four oh one(k) and mp three"),
        ("1,500 points, 2.5 stars", "one thousand five hundred points, two point five stars"),
        ("code 0042", "code zero zero four two"),
        ("john42@bank.com", "john four two at bank dot com"),
        ("650 bps", "six hundred fifty basis points"),
        ("<card_2> and <name> owe $5", "<card_2> and <name> owe five dollars"),
        ("no figures here: 100 % sure", "no figures here: one hundred percent sure"),
    ],
)  # fmt: skip
def test_an_answer_is_spoken_without_figures(text: str, expected: str) -> None:
    assert verbalise(text) == expected


@given(text=st.one_of(st.text(max_size=120), st.text("0123456789 .,%$£-/:()abkmth½<card>", max_size=60)))
def test_no_digit_is_left_and_twice_is_once(text: str) -> None:
    spoken = verbalise(text)
    assert not re.search(r"[0-9]", re.sub(r"<[a-z_]+_[0-9]{1,6}>", "", spoken))
    assert verbalise(spoken) == spoken


@given(text=st.text(st.characters(exclude_categories=["Nd", "No"]), max_size=80))
def test_text_without_figures_passes_unchanged(text: str) -> None:
    assert verbalise(text) == text


@given(cents=st.integers(100, 10**9), points=st.integers(1, 3000), months=st.integers(1, 600), day=st.dates())
def test_an_answer_means_the_same_written_and_spoken(cents: int, points: int, months: int, day: date) -> None:
    text = f"You pay ${Decimal(cents) / 100:,.2f} at {Decimal(points) / 100}% for {months} months from {day}."
    canonical = [value.canonical() for value in parse(text)]
    assert [value.canonical() for value in parse(verbalise(text))] == canonical
    assert len(canonical) == 4
