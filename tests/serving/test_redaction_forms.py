"""Nothing that a caller gives in any form survives redaction; what a bank talks about otherwise stays."""

import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.spoken import (
    Kind,
    parse,
    say_date,
    say_decimal,
    say_integer,
    say_money,
    say_rate,
    say_term,
)
from serving.spoken.card_data import holds_card
from serving.spoken.unfinished import Unfinished, unfinished
from serving.telemetry.redaction import redact
from tests.properties import examples
from tests.serving.personal_forms import (
    MONTHS,
    ONES,
    births,
    cards,
    digit_strings,
    groups,
    letter_by_letter,
    luhn_completed,
    name_words,
    one_by_one,
    said_dates,
    said_digits,
    spoken_digits,
)

NUMBER_WORDS = {*ONES, *map(say_integer, range(10, 20)), *map(say_integer, range(20, 100, 10)), "oh",
                "double", "triple", "hundred", "thousand"}  # fmt: skip
CARD_CUES = ["my card number is {}", "card number {}", "{}", "it's {} thanks",
             "the long number on my card is {}",
             "yeah so um {} is my card number", "my visa is {} and i want to block it"]  # fmt: skip
ACCOUNT_CUES = ["my account number is {}", "account number {} please check it", "customer number {}",
                "my customer number is {} and i have a question", "the reference is {}",
                "sort code and account number are {}", "my member id is uh {}"]  # fmt: skip
PHONE_CUES = ["call me on {}", "my phone number is {}", "you can reach me at {} tomorrow", "my cell is {}",
              "my mobile number is {} okay"]  # fmt: skip
BIRTH_CUES = ["my date of birth is {}", "i was born on {}", "date of birth {} please",
              "my birthday is {}", "born {}", "my dob is {}", "{} is my date of birth",
              "birth date {} and i live alone"]  # fmt: skip


def leftovers(text: str) -> set[str]:
    """Figures and number words outside placeholders."""
    bare = re.sub(r"<[a-z_]+(_\d+)?>", " ", text)
    return set(re.findall(r"\d", bare)) | (set(re.findall(r"[a-z]+", bare.lower())) & NUMBER_WORDS)


@examples(150)
@given(data=st.data(), digits=cards(), cue=st.sampled_from(CARD_CUES))
def test_no_part_of_a_card_number_survives_in_any_form(data: st.DataObject, digits: str, cue: str) -> None:
    text = cue.format(data.draw(said_digits(digits)))
    assert leftovers(redact(text).text) == set()
    assert holds_card(parse(text), text)


@examples(150)
@given(data=st.data(), digits=cards())
def test_the_value_of_a_card_number_is_what_was_said(data: st.DataObject, digits: str) -> None:
    text = f"my card number is {data.draw(spoken_digits(digits))} please"
    assert list(redact(text).placeholders.values()) == [digits]


@examples(120)
@given(data=st.data(), digits=digit_strings(6, 12), cue=st.sampled_from(ACCOUNT_CUES))
def test_no_part_of_an_account_or_customer_number_survives(
    data: st.DataObject, digits: str, cue: str
) -> None:
    redacted = redact(cue.format(data.draw(said_digits(digits))))
    assert leftovers(redacted.text) == set()


@examples(100)
@given(data=st.data(), area=st.integers(201, 989), rest=digit_strings(7, 7), cue=st.sampled_from(PHONE_CUES))
def test_no_part_of_a_phone_number_survives(data: st.DataObject, area: int, rest: str, cue: str) -> None:
    parts = [str(area), rest[:3], rest[3:]]
    spoken = [" ".join(one_by_one(data.draw, part)) for part in parts]
    a, b, c = spoken
    form = data.draw(
        st.sampled_from(
            [
                " ".join(spoken),
                f"area code {a} then {b} {c}",
                f"area code {a} {b} {c}",
                f"plus one {a} {b} {c}",
                f"one {a} {b} {c}",
                f"country code one area code {a} {b} {c}",
                f"plus forty four {a} {b} {c}",
                f"({parts[0]}) {parts[1]}-{parts[2]}",
                f"+1 {parts[0]} {parts[1]} {parts[2]}",
                f"1-{parts[0]}-{parts[1]}-{parts[2]}",
                f"{parts[0]}.{parts[1]}.{parts[2]}",
                "".join(parts),
            ]
        )
    )
    redacted = redact(cue.format(form))
    assert leftovers(redacted.text) == set()
    assert any("".join(parts) in value for value in redacted.placeholders.values())


@examples(150)
@given(data=st.data(), day=births, cue=st.sampled_from(BIRTH_CUES))
def test_no_part_of_a_date_of_birth_survives_and_its_value_is_the_day(
    data: st.DataObject, day: date, cue: str
) -> None:
    text = cue.format(data.draw(said_dates(day)))
    (value,) = parse(text)
    assert (value.kind, value.value) == (Kind.BIRTH_DATE, day)
    redacted = redact(text).text
    assert leftovers(redacted) == set()
    assert not any(month.lower() in redacted.lower() for month in MONTHS)


@pytest.mark.parametrize(
    ("said", "day"),
    [
        ("January thirty two zero zero zero", date(2000, 1, 30)),
        ("january thirty one nine eight four", date(1984, 1, 30)),
        ("january thirty one one nine eight four", date(1984, 1, 31)),
        ("april thirty two thousand and two", date(2002, 4, 30)),
        ("may twenty two thousand", date(2000, 5, 20)),
        ("may twenty two two thousand", date(2000, 5, 22)),
        ("oh four thirty two thousand six", date(2006, 4, 30)),
        ("oh four twenty two oh oh one", date(2001, 4, 20)),
    ],
)
def test_a_day_of_twenty_or_thirty_does_not_swallow_the_first_figure_of_the_year(
    said: str, day: date
) -> None:
    (value,) = parse(f"my date of birth is {said}")
    assert (value.kind, value.value) == (Kind.BIRTH_DATE, day)


def test_the_same_words_are_an_amount_where_no_date_of_birth_is_given() -> None:
    assert [value.value for value in parse("in april it was thirty two thousand and two")] == [32_002]


@examples(100)
@given(data=st.data(), first=name_words(), last=name_words(), number=st.integers(1, 2009))
def test_no_part_of_an_address_for_mail_survives(
    data: st.DataObject, first: str, last: str, number: int
) -> None:
    figures = " ".join(ONES[int(digit)] for digit in str(number))
    local, value = data.draw(
        st.sampled_from(
            [
                (f"{first} dot {last}", f"{first}.{last}"),
                (f"{first} underscore {last}", f"{first}_{last}"),
                (f"{first} dash {last}", f"{first}-{last}"),
                (f"{first[0]} {last} {figures}", f"{first[0]}{last}{number}"),
                (f"{first} {last}", f"{first}{last}"),
                (f"{first} dot {last} all one word", f"{first}.{last}"),
                (" ".join(last), last),
                (f"{first[0]} dot {last} {figures}", f"{first[0]}.{last}{number}"),
            ]
        )
    )
    at = data.draw(st.sampled_from(["at", "at", "at sign", "uh at"]))
    domain, host = data.draw(
        st.sampled_from(
            [
                ("example dot com", "example.com"),
                ("mail dot example dot co dot uk", "mail.example.co.uk"),
                ("my dash bank dot org", "my-bank.org"),
                ("g mail dot com", "gmail.com"),
                ("example point com", "example.com"),
                ("b t internet dot com", "btinternet.com"),
            ]
        )
    )
    cue = data.draw(st.sampled_from(["my email is {}", "{}", "it's {} thanks", "please write to {}"]))
    redacted = redact(cue.format(f"{local} {at} {domain}"))
    assert dict(redacted.placeholders) == {"<email>": f"{value}@{host}"}
    assert redacted.text == cue.format("<email>")


NAME_CUES = ["my name is {name}", "{name} is my name", "this is {name} speaking", "{name} speaking",
             "i'm {name}",
             "hello my full name is {name} and i have a question", "hi this is {name} calling about my card",
             "the name's {last}, {name}", "first name {first} last name {last}", "it's {last}, {spelled}",
             "my name is {first} {last} that's {spelled}", "my surname is {spelled}", "{name} here",
             "my last name is spelled {spelled}", "yes it's {last} {spelled} thanks",
             "my name is {first} and my surname is {last}", "mrs {last} here"]  # fmt: skip


@examples(150)
@given(data=st.data(), first=name_words(), last=name_words(), cue=st.sampled_from(NAME_CUES))
def test_no_part_of_a_name_survives_nor_where_it_is_said_again(
    data: st.DataObject, first: str, last: str, cue: str
) -> None:
    spelled = data.draw(letter_by_letter(last))
    text = cue.format(name=f"{first} {last}", first=first, last=last, spelled=spelled)
    redacted = redact(text)
    later = redact(f"so {last} with a {last[0]}, is {last}'s card blocked", known=redacted.placeholders)
    for shown in (redacted.text, later.text):
        words = re.findall(r"[a-z]+", re.sub(r"<[a-z_]+(_\d+)?>", " ", shown.lower()))
        assert last not in words
        assert first == last or first not in words or "{first}" not in cue.replace("{name}", "{first}")
        assert spelled.lower() not in shown.lower()


# What is nobody's


@examples(150)
@given(
    dollars=st.integers(1, 2_000_000),
    points=st.integers(1, 3_000),
    months=st.integers(1, 480),
    count=st.integers(2, 99),
    day=st.dates(date(2024, 1, 1), date(2040, 12, 31)),
    data=st.data(),
)
def test_amounts_rates_terms_counts_and_dates_stay_as_they_were(
    dollars: int, points: int, months: int, count: int, day: date, data: st.DataObject
) -> None:
    amount, rate = Decimal(dollars), Decimal(points) / 10_000
    money = data.draw(st.sampled_from([say_money(amount, "USD"), f"${dollars:,}", f"{dollars} dollars"]))
    percent = data.draw(
        st.sampled_from([say_rate(rate), f"{rate * 100}%", f"{say_decimal(rate * 100)} percent"])
    )
    term = data.draw(st.sampled_from([say_term(months), f"{months} months", f"{say_integer(months)} months"]))
    when = data.draw(st.sampled_from([say_date(day), f"{day:%B} {day.day}, {day.year}"]))
    text = data.draw(
        st.sampled_from(
            [
                f"i want to borrow {money} over {term}",
                f"{money} at {percent} for {term}",
                f"can i pay {money} on {when}",
                f"my card was charged {money} {say_integer(count)} times",
                f"i have {say_integer(count)} payments of {money} left",
                f"what is the rate on {when}, is it {percent}",
                f"i'm paying {percent} and then {percent} after {term}",
                f"transfer {money} from my checking account to savings on {when}",
                f"the first payment was {money} and the last one {money}",
                f"my account is short by {money}",
                f"on {when} i spent {money} with my card in {say_integer(count)} shops",
            ]
        )
    )
    assert redact(text).text == text
    assert not holds_card(parse(text), text)


# Values that go on in the next turn


SIXTEEN = st.builds(luhn_completed, st.builds(str.__add__, st.sampled_from("456"), digit_strings(14, 14)))


def dialogue(*turns: str) -> tuple[list[str], list[bool], str]:
    """A call of turns: what was left of each, whether it was muted, the digits that were given in all."""
    before: Unfinished | None = None
    shown, muted, digits = [], [], ""
    for turn in turns:
        expecting = before.kind if before else None
        values = parse(turn, expect=expecting)
        muted.append(holds_card(values, turn, before))
        shown.append(redact(turn, expecting=expecting).text)
        digits += "".join(str(value.value) for value in values if value.personal)
        before = unfinished(turn, values, before)
    return shown, muted, digits


@examples(100)
@given(data=st.data(), digits=SIXTEEN, sizes=st.integers(2, 6))
def test_a_card_number_over_several_turns_leaves_nothing_and_is_muted(
    data: st.DataObject, digits: str, sizes: int
) -> None:
    parts = groups(digits, sizes)
    turns = [" ".join(one_by_one(data.draw, part)) for part in parts]
    opening = data.draw(
        st.sampled_from(["my card number is {}", "okay card number {}", "the card number is uh {}"])
    )
    turns[0] = opening.format(turns[0])
    turns[1] = data.draw(st.sampled_from(["{}", "uh {}", "and then {}", "okay {}", "{} and"])).format(
        turns[1]
    )
    shown, muted, given_digits = dialogue(*turns)
    assert set().union(*map(leftovers, shown)) == set()
    assert all(muted)
    assert given_digits == digits


@pytest.mark.parametrize(
    ("turns", "shown"),
    [
        (("my name is", "zanthia quillfeather"), ["my name is", "<name>"]),
        (("my email is uh", "john dot smith", "at example dot com"),
         ["my email is uh", "<email>", "<email>"]),
        (("my date of birth is", "third of may", "eighty four"),
         ["my date of birth is", "<birth_date>", "<account>"]),
        (("my account number is one two", "three four five"),
         ["my account number is <account>", "<account>"]),
        (("call me on five five five", "one two three four five six seven"),
         ["call me on <phone>", "<phone>"]),
        (("what is my card number", "i have three cards"), ["what is my card number", "i have three cards"]),
        (("my card number is", "borrow five thousand over two years"),
         ["my card number is", "borrow five thousand over two years"]),
    ],
)  # fmt: skip
def test_what_one_turn_begins_the_next_one_finishes(turns: tuple[str, ...], shown: list[str]) -> None:
    assert dialogue(*turns)[0] == shown


def test_values_that_were_parsed_without_the_question_are_corrected_by_what_is_expected() -> None:
    text = "and then one one please"
    assert redact(text, parse(text), expecting=Kind.CARD).text == "and then <account> please"


def test_unfinished_digits_are_not_printed() -> None:
    assert "4111" not in repr(Unfinished(Kind.CARD, "4111"))


# Muting


@examples(20)
@given(digits=SIXTEEN)
def test_a_recording_is_muted_from_the_eighth_digit_on_and_from_the_second_after_a_cue(digits: str) -> None:
    words = " ".join(ONES[int(digit)] for digit in digits).split()
    for heard in range(1, len(words) + 1):
        partial = " ".join(words[:heard])
        assert holds_card(parse(partial), partial) or heard < 8
        cued = f"my card number is {partial}"
        assert holds_card(parse(cued), cued) or heard < 2


@pytest.mark.parametrize(
    ("text", "muted"),
    [
        ("my pin is 1234", True),
        ("the cvv is one two three", True),
        ("4111 then 2222", True),
        ("my phone is 415 555 0199", False),
        ("call me on plus one four one five five five five oh one nine nine", False),
        ("i lost my card", False),
        ("my card was charged twice, 20 dollars and 30 dollars", False),
        ("twelve million three hundred forty five thousand six hundred seventy eight dollars", False),
        ("i was charged 3 times for 2000 dollars on may 3 2024", False),
        ("", False),
    ],
)
def test_what_is_muted_is_card_data_and_little_else(text: str, muted: bool) -> None:
    assert holds_card(parse(text), text) is muted
