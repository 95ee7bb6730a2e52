"""Money, rates, terms, dates and counts in the ways people say and write them."""

from datetime import date
from decimal import Decimal

import pytest

from serving.spoken import NO_YEAR, Kind, TypedValue, entities, parse

TODAY = date(2026, 8, 12)  # a Wednesday


def canonical(text: str, **options: object) -> list[str]:
    return [value.canonical() for value in parse(text, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twenty thousand dollars", "money:20000:USD"),
        ("20k", "money:20000:USD"),
        ("$20k", "money:20000:USD"),
        ("$20,000", "money:20000:USD"),
        ("$ 20,000.00", "money:20000:USD"),
        ("20000 usd", "money:20000:USD"),
        ("USD 20,000", "money:20000:USD"),
        ("twenty grand", "money:20000:USD"),
        ("twenty k", "money:20000:USD"),
        ("$20 thousand", "money:20000:USD"),
        ("twenty thousand us dollars", "money:20000:USD"),
        ("twenty thousand canadian dollars", "money:20000:CAD"),
        ("A$500", "money:500:AUD"),
        ("$1.5 million", "money:1500000:USD"),
        ("half a million dollars", "money:500000:USD"),
        ("a quarter of a million pounds", "money:250000:GBP"),
        ("two and a half thousand euros", "money:2500:EUR"),
        ("a million and a half dollars", "money:1500000:USD"),
        ("two hundred and fifty pounds fifty", "money:250.5:GBP"),
        ("£250.50", "money:250.5:GBP"),
        ("250 pounds 50p", "money:250.5:GBP"),
        ("five dollars and ten cents", "money:5.1:USD"),
        ("five dollars ten", "money:5.1:USD"),
        ("five dollars oh five", "money:5.05:USD"),
        ("a dollar fifty", "money:1.5:USD"),
        ("fifty cents", "money:0.5:USD"),
        ("99¢", "money:0.99:USD"),
        ("20 000 euros", "money:20000:EUR"),
        ("1.234,56 €", "money:1234.56:EUR"),
        ("fifteen hundred dollars", "money:1500:USD"),
        ("two fifty dollars", "money:250:USD"),
        ("a couple of thousand dollars", "money:2000:USD"),
        ("500£", "money:500:GBP"),
        ("two million five hundred thousand and twenty dollars", "money:2500020:USD"),
    ],
)
def test_an_amount_is_one_money_value_however_it_is_said(text: str, expected: str) -> None:
    assert canonical(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("six point five percent", "rate:0.065"),
        ("6.5%", "rate:0.065"),
        ("6.5 %", "rate:0.065"),
        ("six and a half per cent", "rate:0.065"),
        ("6½ %", "rate:0.065"),
        ("6 1/2 percent", "rate:0.065"),
        ("six nine nine a p r", "rate:0.0699"),
        ("six ninety nine apr", "rate:0.0699"),
        ("twelve ninety nine percent", "rate:0.1299"),
        ("one two nine nine percent", "rate:0.1299"),
        ("6.99 APR", "rate:0.0699"),
        ("6.99 A.P.R.", "rate:0.0699"),
        ("an apr of six point nine nine", "rate:0.0699"),
        ("interest rate of 6.99", "rate:0.0699"),
        ("a quarter percent", "rate:0.0025"),
        ("a quarter of a percent", "rate:0.0025"),
        ("three quarters of one percent", "rate:0.0075"),
        ("half a percent", "rate:0.005"),
        ("650 basis points", "rate:0.065"),
        ("six hundred fifty bps", "rate:0.065"),
        ("zero percent", "rate:0"),
        ("one percent per month", "rate:0.12"),
        ("a hundred percent", "rate:1"),
        ("point five percent", "rate:0.005"),
    ],
)
def test_a_rate_is_a_fraction_per_year_however_it_is_said(text: str, expected: str) -> None:
    assert canonical(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("five years", "term:60:months"),
        ("5-year", "term:60:months"),
        ("5yr", "term:60:months"),
        ("a year and a half", "term:18:months"),
        ("one and a half years", "term:18:months"),
        ("two years and a half", "term:30:months"),
        ("eighteen months", "term:18:months"),
        ("thirty six month", "term:36:months"),
        ("thirty-six-month", "term:36:months"),
        ("three six months", "term:36:months"),
        ("two and a half years", "term:30:months"),
        ("2.5 years", "term:30:months"),
        ("two years and six months", "term:30:months"),
        ("half a year", "term:6:months"),
        ("a quarter of a year", "term:3:months"),
        ("a decade", "term:120:months"),
        ("90 days", "term:90:days"),
        ("ninety days", "term:90:days"),
        ("90d", "term:90:days"),
        ("a fortnight", "term:14:days"),
        ("two weeks", "term:14:days"),
        ("two weeks and three days", "term:17:days"),
        ("five business days", "term:5:days"),
        ("a couple of weeks", "term:14:days"),
        ("half a month", "term:15:days"),
    ],
)
def test_a_term_is_months_or_days_however_it_is_said(text: str, expected: str) -> None:
    assert canonical(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("five", ["count:5"]),
        ("one", ["count:1"]),
        ("two cards", ["count:2"]),
        ("a hundred and fifty", ["count:150"]),
        ("one point five million", ["count:1500000"]),
        ("forty two seventeen", ["count:4217"]),
        ("nineteen ninety nine", ["count:1999"]),
        ("two fifty", ["count:250"]),
        ("2.5", ["count:2.5"]),
        ("a dozen", ["count:12"]),
        ("double seven", ["count:77"]),
        ("fifteen hundred", ["count:1500"]),
        ("thirty years old", ["count:30"]),
        ("three times", ["count:3"]),
        ("oh two cards", ["count:2"]),
        ("twenty thousand", ["count:20000"]),
    ],
)
def test_a_number_without_a_unit_is_a_count(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "that one please",
        "can i get one",
        "oh i see",
        "oh",
        "may i ask something",
        "march on",
        "the third party",
        "at this point nothing works",
        "twenty third",
        "the 401k",
        "half of it",
        "what is it per year",
        "how much a month",
        "every day",
        "at 10:30 pm",
        "at ten am",
        "mp3",
        "double double double double",
        "point",
        "and a half",
        "thousands of them",
        "",
        " \n\t ",
        "<card_2> and <name>",
    ],
)
def test_words_that_only_look_like_numbers_are_no_values(text: str) -> None:
    assert parse(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it cost me nineteen ninety nine", ["money:19.99:USD"]),
        ("they charged me four ninety nine", ["money:4.99:USD"]),
        ("i paid five oh five", ["money:5.05:USD"]),
        ("i paid two fifty", ["money:250:USD"]),
        ("borrow twenty thousand over five years", ["money:20000:USD", "term:60:months"]),
        (
            "twenty thousand over five years at six point five",
            ["money:20000:USD", "term:60:months", "rate:0.065"],
        ),
        ("20000 at 6.5% for 60 months", ["money:20000:USD", "rate:0.065", "term:60:months"]),
        ("borrow 250000 over 30 years", ["money:250000:USD", "term:360:months"]),
        ("i want to withdraw 40 pounds but only 20 came out", ["money:40:GBP", "count:20"]),
        ("withdraw 30 the atm gave me 10 pounds", ["count:30", "money:10:GBP"]),
        ("an extra 50 a month", ["money:50:USD"]),
        ("pay two cards", ["count:2"]),
        ("transfer three times", ["count:3"]),
        ("at six nine nine for sixty months", ["rate:0.0699", "term:60:months"]),
        ("an apr of six nine nine", ["rate:0.0699"]),
        ("can i put fifty a month", ["money:50:USD"]),
        ("with fifty extra", ["money:50:USD"]),
        ("twenty thousand sixty months", ["money:20000:USD", "term:60:months"]),
        ("twenty thousand six percent", ["count:20000", "rate:0.06"]),
        ("two thousand dollars sixty payments", ["money:2000:USD", "count:60"]),
        ("two thousand dollars sixty months", ["money:2000:USD", "term:60:months"]),
        ("five thousand dollars at six point five percent", ["money:5000:USD", "rate:0.065"]),
    ],
)
def test_words_around_a_bare_number_decide_what_it_is(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("between five and seven years", ["term:60:months", "term:84:months"]),
        ("five to seven percent", ["rate:0.05", "rate:0.07"]),
        ("5-7%", ["rate:0.05", "rate:0.07"]),
        ("3-5 business days", ["term:3:days", "term:5:days"]),
        ("twenty to thirty thousand dollars", ["money:20000:USD", "money:30000:USD"]),
        ("36, 48, or 60 months", ["term:36:months", "term:48:months", "term:60:months"]),
        ("five or seven years", ["term:60:months", "term:84:months"]),
        ("2 cards and 5 years", ["count:2", "term:60:months"]),
    ],
)
def test_numbers_in_a_range_or_list_share_their_unit(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the third of may 2027", date(2027, 5, 3)),
        ("may third twenty twenty seven", date(2027, 5, 3)),
        ("May 3rd, 2027", date(2027, 5, 3)),
        ("May 3 2027", date(2027, 5, 3)),
        ("3 May 2027", date(2027, 5, 3)),
        ("2027-05-03", date(2027, 5, 3)),
        ("05/03/2027", date(2027, 5, 3)),
        ("5/3/27", date(2027, 5, 3)),
        ("25/12/2026", date(2026, 12, 25)),
        ("the twenty first of june two thousand and seven", date(2007, 6, 21)),
        ("december thirty first nineteen ninety nine", date(1999, 12, 31)),
        ("october tenth nineteen oh five", date(1905, 10, 10)),
        ("the third of may", date(NO_YEAR, 5, 3)),
        ("february twenty ninth", date(NO_YEAR, 2, 29)),
    ],
)
def test_a_date_is_found_however_it_is_said(text: str, expected: date) -> None:
    assert parse(text) == (TypedValue(Kind.DATE, expected, "", 0, len(text)),)


def test_a_numeric_date_is_day_first_outside_the_dollar() -> None:
    assert canonical("03/05/2027", currency="GBP") == ["date:2027-05-03"]
    assert canonical("05/13/2027", currency="GBP") == ["date:2027-05-13"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-08-12"),
        ("tomorrow", "2026-08-13"),
        ("the day after tomorrow", "2026-08-14"),
        ("yesterday", "2026-08-11"),
        ("friday", "2026-08-14"),
        ("this friday", "2026-08-14"),
        ("next friday", "2026-08-21"),
        ("last friday", "2026-08-07"),
        ("wednesday", "2026-08-19"),
        ("may third", "2027-05-03"),
        ("august twelfth", "2026-08-12"),
        ("since may third", "2026-05-03"),
        ("on the fifteenth", "2026-08-15"),
        ("by the 1st", "2026-09-01"),
        ("on the fifth of next month", "2026-09-05"),
        ("february twenty ninth", "2028-02-29"),
    ],
)
def test_relative_dates_need_today_and_use_it(text: str, expected: str) -> None:
    assert canonical(text, today=TODAY) == [f"date:{expected}"]


@pytest.mark.parametrize("text", ["tomorrow", "next friday", "on the fifteenth", "today"])
def test_relative_dates_are_no_values_without_today(text: str) -> None:
    assert parse(text) == ()


@pytest.mark.parametrize("text", ["february thirtieth", "2027-13-40", "the thirty second of may"])
def test_a_day_that_does_not_exist_is_no_date(text: str) -> None:
    assert all(value.kind is not Kind.DATE for value in parse(text))


def test_the_last_days_of_the_calendar_are_no_error() -> None:
    for text in ("tomorrow", "next friday", "the day after tomorrow", "january first", "on the first"):
        assert isinstance(parse(text, today=date.max), tuple)
        assert isinstance(parse(f"last monday yesterday since {text}", today=date.min), tuple)


def test_spans_are_offsets_of_the_original_text_and_in_order() -> None:
    text = "I'd like  $20,000 — over FIVE years (at 6.5 %), please; first on May 3rd 2027."
    values = parse(text)
    assert [text[value.start : value.end] for value in values] == [
        "$20,000",
        "FIVE years",
        "6.5 %",
        "May 3rd 2027",
    ]
    assert [value.start for value in values] == sorted(value.start for value in values)


def test_recogniser_output_and_written_text_mean_the_same() -> None:
    written = "I'd like to borrow $20,000 over 5 years at 6.5%."
    spoken = "i'd like to borrow twenty thousand dollars over five years at six point five percent"
    assert canonical(written) == canonical(spoken)


def test_the_value_types_are_those_of_the_contract() -> None:
    money, rate, term, count, fraction = parse("$5, 6%, 5 years, 3 cards and 2.5")
    assert isinstance(money.value, Decimal)
    assert isinstance(rate.value, Decimal)
    assert type(term.value) is int
    assert type(count.value) is int
    assert isinstance(fraction.value, Decimal)


def test_a_bare_answer_takes_the_kind_that_was_asked_for() -> None:
    assert canonical("six point five", expect=Kind.RATE) == ["rate:0.065"]
    assert canonical("twenty thousand", expect=Kind.MONEY) == ["money:20000:USD"]
    assert canonical("five years", expect=Kind.MONEY) == ["term:60:months"]


def test_bare_amounts_are_in_the_callers_currency() -> None:
    assert canonical("borrow twenty thousand", currency="GBP") == ["money:20000:GBP"]
    assert canonical("twenty dollars", currency="CAD") == ["money:20:CAD"]
    assert canonical("twenty dollars", currency="GBP") == ["money:20:USD"]


def test_entities_list_values_and_digits_but_no_names() -> None:
    text = "my name is john smith pin oh four two one borrow 20k my card is 4111 1111 1111 1111"
    assert entities(text) == ("digits:0421", "money:20000:USD", "digits:4111111111111111")
