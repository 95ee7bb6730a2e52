"""Amounts in every form that people give them: joined by hyphens, with `k`, in four currencies, in words."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.spoken import Kind, parse, say_integer
from serving.spoken.digit_runs import digit_runs
from tests.properties import examples

NUMBERS = st.one_of(
    st.integers(1, 999),
    st.integers(1, 999).map(lambda number: 1_000 * number),
    st.integers(1, 9_999).map(lambda number: 100 * number),
    st.integers(1, 999_999),
)


def canonical(text: str, **options: object) -> list[str]:
    return [value.canonical() for value in parse(text, **options)]  # type: ignore[arg-type]


def hyphened(spoken: str, every: int) -> str:
    """Words with a hyphen in every so manieth gap."""
    first, *others = spoken.split()
    return first + "".join(f"{' -'[at % every == 0]}{word}" for at, word in enumerate(others))


def forms(number: int) -> list[str]:
    """The ways to write one number, figures first."""
    spaced = say_integer(number)
    found = [f"{number:,}", spaced, hyphened(spaced, 1), hyphened(spaced, 2), spaced.replace(" ", "‑")]
    british = spaced.replace("hundred ", "hundred and ").replace("and thousand", "thousand")
    found += [british, hyphened(british, 1), hyphened(british, 3)]
    if number % 1_000 == 0:
        found += [f"{number // 1_000}k", f"{number // 1_000}-k", f"{say_integer(number // 1_000)} k"]
        found += [f"{number // 1_000}-thousand", f"{number // 1_000} uh thousand"]
    return found


@examples(150)
@given(number=NUMBERS)
def test_a_hyphen_or_k_changes_no_number(number: int) -> None:
    for form in forms(number):
        for period in ("a month", "a year", "p.a."):
            text = f"pay {form} dollars {period}"
            (value,) = parse(text)
            assert (value.kind, value.value, value.unit) == (Kind.MONEY, Decimal(number), "USD"), text
            assert text[value.start : value.end] == f"{form} dollars"
        assert canonical(form, expect=Kind.MONEY) == [f"money:{number}:USD"], form
    if number > 1:
        for form in forms(number):
            for text in (f"{form} a month", f"i pay {form} a year", f"borrow {form} i think"):
                assert canonical(text) == [f"money:{number}:USD"], text


@examples(60)
@given(number=NUMBERS)
def test_a_currency_is_the_same_as_a_word_a_sign_and_a_code(number: int) -> None:
    for code, sign, name in (("USD", "$", "dollars"), ("EUR", "€", "euros"), ("GBP", "£", "pounds"),
                             ("JPY", "¥", "yen")):  # fmt: skip
        for form in forms(number):
            written = [f"{sign}{form}", f"{sign} {form}", f"{form}{sign}"] if form[0].isdecimal() else []
            for text in (f"{form} {name}", f"{form} {code}", f"{code} {form}", *written):
                assert canonical(text) == [f"money:{number}:{code}"], text


@given(whole=st.integers(1, 40), unit=st.sampled_from(["percent", "year", "million", "grand"]))
def test_and_a_half_with_hyphens_is_and_a_half(whole: int, unit: str) -> None:
    spaced = f"{say_integer(whole)} and a half {unit} loan"
    joined = f"{say_integer(whole)}-and-a-half-{unit} loan"
    assert canonical(joined) == canonical(spaced)
    assert len(canonical(spaced)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two-hundred dollars", ["money:200:USD"]),
        ("five-hundred", ["count:500"]),
        ("ten-thousand dollars", ["money:10000:USD"]),
        ("one-hundred-fifty countries", ["count:150"]),
        ("a two-hundred-dollar fee", ["money:200:USD"]),
        ("a twenty-five-hundred-dollar loan", ["money:2500:USD"]),
        ("one-hundred-and-fifty dollars", ["money:150:USD"]),
        ("half-a-million dollars", ["money:500000:USD"]),
        ("a half-million dollars", ["money:500000:USD"]),
        ("ten-to-twelve thousand dollars", ["money:10000:USD", "money:12000:USD"]),
        ("three-quarters of a percent", ["rate:0.0075"]),
        ("a three-quarter percent fee", ["rate:0.0075"]),
        ("one-point-five percent", ["rate:0.015"]),
        ("a three-and-a-half-year term", ["term:42:months"]),
        ("two-and-a-half percent", ["rate:0.025"]),
        ("two uh hundred dollars", ["money:200:USD"]),
        ("twenty um thousand dollars", ["money:20000:USD"]),
        ("twenty-five dollars", ["money:25:USD"]),
        ("3-5 years", ["term:36:months", "term:60:months"]),
        ("four-oh-one-k", []),
        ("my 401-k", []),
        ("five-hundred-a-month", ["money:500:USD"]),
        ("six-point-two-five percent", ["rate:0.0625"]),
        ("twenty- to thirty-thousand dollars", ["money:20000:USD", "money:30000:USD"]),
    ],
)
def test_a_hyphen_or_a_sound_inside_of_a_number_says_nothing(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18k p.a.", ["money:18000:USD"]),
        ("5k p a", ["money:5000:USD"]),
        ("5k a month", ["money:5000:USD"]),
        ("borrow 10k i think", ["money:10000:USD"]),
        ("i owe 5k A year", ["money:5000:USD"]),
        ("your k y c for 5 k", ["money:5000:USD"]),
        ("10 k y c forms", ["count:10"]),
        ("k y c", []),
    ],
)
def test_k_behind_a_number_is_a_thousand_unless_letters_are_spelled(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a point five percent fee", ["rate:0.005"]),
        ("A POINT TWO FIVE PER CENT FEE", ["rate:0.0025"]),
        ("the point seven five a p r", ["rate:0.0075"]),
        ("the point five percent fee", ["rate:0.005"]),
        ("a point five million dollar home", ["money:500000:USD"]),
        ("at the point five people left", ["count:5"]),
        ("it went up a point five", []),
    ],
)
def test_a_point_before_decimals_is_a_decimal_point_where_a_unit_follows(
    text: str, expected: list[str]
) -> None:
    assert canonical(text) == expected


def test_decimals_that_may_be_more_than_one_are_no_answer_to_the_question_for_a_rate() -> None:
    assert canonical("a point five", expect=Kind.RATE) == []


@given(
    hour=st.integers(1, 12),
    half=st.sampled_from(["a.m.", "p.m.", "A.M.", "P.M"]),
    word=st.sampled_from(["open", "paid", "closed", "branch", "jsmith"]),
    minute=st.sampled_from(["", ".30", ":15"]),
)
def test_a_time_with_dots_is_no_email_address(hour: int, half: str, word: str, minute: str) -> None:
    for said in (f"{hour}{minute} ", f"{hour}{minute}", f"{say_integer(hour)} "):
        text = f"Are you {word} at {said}{half}?"
        assert all(value.kind is not Kind.EMAIL for value in parse(text)), text


@pytest.mark.parametrize(
    "text", ["open at 9am.Is it", "paid at 8 a.m.Then", "a rate at 3.5.What", "in at 10.Then"]
)
def test_a_number_where_a_sentence_ends_is_no_domain(text: str) -> None:
    assert all(value.kind is not Kind.EMAIL for value in parse(text))


@pytest.mark.parametrize("text", ["j dot smith at 163 dot com", "jsmith at 126.com", "p.amis@9am.media"])
def test_an_address_at_a_domain_with_figures_stays_one(text: str) -> None:
    assert [value.kind for value in parse(text)] == [Kind.EMAIL]


@pytest.mark.parametrize(
    "text",
    [
        "twenty odd thousand dollars", "twenty-something thousand dollars", "thirty some thousand dollars",
        "a few hundred dollars", "few-thousand dollars", "several thousand dollars",
        "twentyfive thousand dollars", "twentyfive hundred dollars",
        "a multi-thousand dollar loan",
    ],
)  # fmt: skip
def test_an_amount_that_is_only_about_right_or_half_understood_is_none(text: str) -> None:
    assert canonical(text) == []
    assert canonical(text, expect=Kind.MONEY) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a couple hundred dollars", ["money:200:USD"]),
        ("a couple of hundred thousand dollars", ["money:200000:USD"]),
        ("2.5 hundred dollars", ["money:250:USD"]),
        ("two and a half hundred dollars", ["money:250:USD"]),
        ("2 hundred 50 dollars", ["money:250:USD"]),
        ("2 hundred and 50 dollars", ["money:250:USD"]),
        ("borrow 20 thousands dollars", ["money:20000:USD"]),
        ("five lakh rupees", ["money:500000:INR"]),
        ("nineteen hundred dollars", ["money:1900:USD"]),
        ("another thousand dollars", ["money:1000:USD"]),
        ("yes hundred dollars please", ["money:100:USD"]),
        ("two hundred & fifty dollars", ["money:250:USD"]),
        ("six & a half percent", ["rate:0.065"]),
        ("six n a half percent", ["rate:0.065"]),
        ("six and three fourths percent", ["rate:0.0675"]),
        ("two tenths of a percent", ["rate:0.002"]),
        ("five and one sixteenth percent", ["rate:0.050625"]),
        ("a million dollars and a half", ["money:1500000:USD"]),
        ("two dollars and a half", ["money:2.5:USD"]),
        ("12-1/2%", ["rate:0.125"]),
        ("6 and 1/2 percent", ["rate:0.065"]),
        ("2-1/2 years", ["term:30:months"]),
    ],
)
def test_a_number_of_several_parts_is_one(text: str, expected: list[str]) -> None:
    assert canonical(text) == expected


def test_digits_alone_leave_hyphened_amounts_alone() -> None:
    assert digit_runs("two-hundred") == digit_runs("two hundred") == ()
    assert [run.digits for run in digit_runs("four-one-one-one")] == ["4111"]
