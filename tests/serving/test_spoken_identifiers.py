"""Cards, accounts, phones, codes, e-mails, names and dates of birth, as callers give them."""

import os
import re
from datetime import date
from pathlib import Path

import pytest

from serving.spoken import Kind, parse

CARD = "4111111111111111"
SHARED = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data"))


def personal(text: str, **options: object) -> list[str]:
    return [value.canonical() for value in parse(text, **options) if value.personal]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4111, 1111, 1111, 1111",
        "4,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "my card is 4111 1111 1111 1111.",
        "four one one one one one one one one one one one one one one one",
        "Four, one, one, one. One one one one, one one one one, one one one one.",
        "forty one eleven eleven eleven eleven eleven eleven eleven",
        "four one one one uh one one one one um one one one one er one one one one",
        "four one one one and then one one one one and one one one one okay one one one one",
        "four one one one dash one one one one dash one one one one dash one one one one",
        "４１１１ １１１１ １１１１ １１１１",
        "٤١١١ ١١١١ ١١١١ ١١١١",
        "4111\u200b1111\u200b1111\u200b1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "four one one one <sil> one one one one [noise] one one one one ++breath++ one one one one",
        "four thousand one hundred eleven one thousand one hundred eleven one thousand one hundred eleven "
        "one thousand one hundred eleven",
        "4111\n1111\n1111\n1111",
        "4️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣1️⃣",
        "4111🙂1111🙂1111🙂1111",
        "41.11 11.11 11.11 11.11",
        "4,111,111,111,111,111",
        "card4111111111111111card",
        "4111111111111111 dollars",
        "$4111111111111111",
    ],
)
def test_a_card_number_is_found_in_every_form(text: str) -> None:
    assert personal(text) == [f"card:{CARD}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111 1111 1111 1112", "account:4111111111111112"),
        ("card number 4111 1111 1111 1112", "account:4111111111111112"),
        ("12345678", "account:12345678"),
        ("one two three four five six", "account:123456"),
        ("twelve thirty four fifty six", "account:123456"),
        ("account number 1234", "account:1234"),
        ("my account number is uh double seven triple eight one two", "account:7788812"),
        ("sort code 20-00-00", "account:200000"),
        ("sort code is twenty double zero double zero", "account:200000"),
        ("sort code 12-05-03", "account:120503"),
        ("00 - 00 - 00 - 00 - 01 - 10 - 01", "account:00000000011001"),
        ("routing number 021000021", "account:021000021"),
        ("social security number 078-05-1120", "account:078051120"),
        ("gb29 nwbk 6016 1331 9268 19", "account:GB29NWBK60161331926819"),
        ("GB29NWBK60161331926819", "account:GB29NWBK60161331926819"),
        (
            "g b two nine n w b k six oh one six one three three one nine two six eight one nine",
            "account:GB29NWBK60161331926819",
        ),
        ("reference AB-1234-X", "account:AB1234X"),
        ("my reference is a b one two three four", "account:AB1234"),
        ("national insurance number q q 12 34 56 c", "account:QQ123456C"),
        ("4111 1111 1111 1111 5 years", f"card:{CARD}"),
        ("+44 7700 900123", "phone:+447700900123"),
        ("plus four four seven seven double zero nine double zero one two three", "phone:+447700900123"),
        ("07700 900123", "phone:07700900123"),
        ("(555) 123-4567", "phone:5551234567"),
        ("1-800-555-0199", "phone:18005550199"),
        ("555-1234", "phone:5551234"),
        ("call me back on five five five one two one two", "phone:5551212"),
        ("my number is five five five one two three four five six seven", "phone:5551234567"),
        ("eight hundred five five five one two one two is my phone", "phone:8005551212"),
        ("my pin is one two three four", "code:1234"),
        ("my pin is 0420", "code:0420"),
        ("pin 1, 2, 3, 4", "code:1234"),
        ("one two three four is my pin", "code:1234"),
        ("the cvv is triple seven", "code:777"),
        ("the one time code is four eight two nine one six", "code:482916"),
        ("the one-time passcode is 482916", "code:482916"),
        ("card ending in four four two one", "code:4421"),
        ("the last four of my card are four four two one", "code:4421"),
        ("last four one two three four", "code:1234"),
        ("last 4 digits 1234", "code:1234"),
        ("block my card 4421", "code:4421"),
        ("my card is forty five thirty two", "code:4532"),
        ("my account is one two three for five six seven eight", "account:12345678"),
        ("my pin is one to three four", "code:1234"),
        (
            "four one one one won one one won one one one one one one one one",
            f"card:{CARD}",
        ),
        ("expiry date oh five twenty seven", "code:0527"),
        ("expires 05/27", "code:0527"),
        ("date of birth is the third of may nineteen eighty four", "birth_date:1984-05-03"),
        ("i was born on may 3rd 1984", "birth_date:1984-05-03"),
        ("born on the third of may eighty four", "birth_date:1984-05-03"),
        ("my dob is 05/03/84", "birth_date:1984-05-03"),
        ("my dob is 05-03-84", "birth_date:1984-05-03"),
        ("it is 05-03-84", "account:050384"),
        ("date of birth oh five oh three nineteen eighty four", "birth_date:1984-05-03"),
        ("birthday five three eighty four", "birth_date:1984-05-03"),
        ("d o b 1984-05-03", "birth_date:1984-05-03"),
        ("john.smith+1@gmail.co.uk", "email:john.smith+1@gmail.co.uk"),
        ("JOHN@EXAMPLE.COM", "email:john@example.com"),
        ("john dot smith at gmail dot com", "email:john.smith@gmail.com"),
        ("my email is j o h n underscore smith eighty two at mail dot example dot com",
         "email:john_smith82@mail.example.com"),
        ("it's john smith at outlook dot com", "email:johnsmith@outlook.com"),
    ],
)  # fmt: skip
def test_an_identifier_gets_its_kind_and_value(text: str, expected: str) -> None:
    assert personal(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my name is john smith", ["John Smith"]),
        ("my name is john smith and i want a loan", ["John Smith"]),
        ("my name's mary o'brien i need help", ["Mary O'Brien"]),
        ("hello my full name is maria de la cruz calling about my card", ["Maria De La Cruz"]),
        ("my name is jean-paul", ["Jean-Paul"]),
        ("my name is smith s m i t h", ["Smith"]),
        ("last name is s m i t h", ["Smith"]),
        ("my name is will smith", ["Will Smith"]),
        ("this is mary speaking", ["Mary"]),
        ("this is zaphod beeblebrox calling", ["Zaphod Beeblebrox"]),
        ("This is Zaphod Beeblebrox.", ["Zaphod Beeblebrox"]),
        ("i'm john calling about my card", ["John"]),
        ("it's for john smith", ["John Smith"]),
        ("i am calling on behalf of patricia jones", ["Patricia Jones"]),
        ("it is mrs henderson", ["Henderson"]),
        ("put it in the name of arthur dent please", ["Arthur Dent"]),
        ("my name is jose\u0301 garci\u0301a", ["José García"]),
        ("my name is josé garcía", ["José García"]),
    ],
)
def test_a_name_is_found_after_its_cue_and_stops_in_time(text: str, expected: list[str]) -> None:
    assert [value.value for value in parse(text) if value.kind is Kind.NAME] == expected


@pytest.mark.parametrize(
    "text",
    [
        "i'm calling about my card",
        "my name is on the card",
        "my name is misspelled",
        "this is about my mortgage",
        "this is urgent",
        "this is ridiculous",
        "It's American Express",
        "it's for my wife",
        "it's for a car",
        "i'm still waiting here",
        "call me back tomorrow",
        "i want to change my last name after my wedding",
        "is the name on the account wrong",
        "I'm Monday",
        "i am not happy",
        "look at this dot",
        "at this point i give up. thanks",
        "i looked at chase dot com",
        "i tried three times",
        "the last four payments",
        "over the last four months",
        "i changed my pin twice",
        "promo code 1234",
        "a charge on my card for 500",
        "a five year loan of $250,000.00 at 6.99% from 2027-05-03",
        "two hundred fifty thousand dollars over three hundred sixty months",
        "one billion two hundred thirty four million five hundred sixty seven thousand dollars",
        "1,000, 2,000 or 3,000 dollars",
        "1000, 1500, 2000",
        "at 10:30:05",
        "between 12 and 24 months",
        "12, 24, 36 or 48 months",
        "the third of may twenty twenty seven",
    ],
)
def test_what_is_not_personal_is_not_taken(text: str) -> None:
    assert personal(text) == []


@pytest.mark.parametrize(
    ("text", "expect", "expected"),
    [
        ("one two three four", Kind.CODE, "code:1234"),
        ("uh one two three", Kind.CODE, "code:123"),
        ("four one one one", Kind.CARD, "code:4111"),
        ("one two three four five", Kind.ACCOUNT, "account:12345"),
        ("five five five", Kind.PHONE, "phone:555"),
        ("john smith", Kind.NAME, "name:John Smith"),
        ("yes it's john smith", Kind.NAME, "name:John Smith"),
        ("um zaphod beeblebrox", Kind.NAME, "name:Zaphod Beeblebrox"),
        ("may third eighty four", Kind.BIRTH_DATE, "birth_date:1984-05-03"),
        ("ten twelve sixty seven", Kind.BIRTH_DATE, "birth_date:1967-10-12"),
    ],
)
def test_a_bare_answer_is_what_was_asked_for(text: str, expect: Kind, expected: str) -> None:
    assert personal(text, expect=expect) == [expected]


def test_a_question_for_a_name_answered_otherwise_is_no_name() -> None:
    assert personal("i don't want to say", expect=Kind.NAME) == []
    assert personal("why do you need that", expect=Kind.NAME) == []


def test_a_birth_date_is_in_the_past() -> None:
    assert personal("born on 5/3/30", today=date(2026, 8, 12)) == ["birth_date:1930-05-03"]
    assert personal("born on 5/3/05", today=date(2026, 8, 12)) == ["birth_date:2005-05-03"]


def test_to_between_two_account_numbers_separates_them() -> None:
    first, second = "one two three four five six seven eight", "eight seven six five four three two one"
    assert personal(f"from {first} to {second}") == ["account:12345678", "account:87654321"]
    assert personal("at six nine nine for six zero months") == []
    assert personal("between two and five to seven") == []


def test_several_identifiers_in_one_turn_stay_apart() -> None:
    text = (
        "this is mary jones speaking my card is four one one one one one one one one one one one one one one "
        "one expires oh five twenty seven cvv one two three and call me on oh seven seven double oh nine "
        "double oh one two three about the twenty thousand dollars over five years"
    )
    assert [value.canonical() for value in parse(text)] == [
        "name:Mary Jones", f"card:{CARD}", "code:0527", "code:123", "phone:07700900123", "money:20000:USD",
        "term:60:months",
    ]  # fmt: skip


@pytest.mark.shared_data
def test_digit_strings_that_people_really_said_are_all_personal_from_six_digits_on() -> None:
    path = SHARED / "speech_an4" / "train_transcripts.txt"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    digits = re.compile(r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)")
    lines = {re.sub(r"</?s>|\(.*\)", "", line).strip().lower() for line in path.read_text().splitlines()}
    spoken = [line for line in lines if len(line.split()) >= 6 and all(map(digits.fullmatch, line.split()))]
    assert len(spoken) >= 50
    for line in spoken:
        (value,) = parse(line)
        assert value.personal
        assert (value.start, value.end) == (0, len(line))
        assert len(str(value.value)) == len(line.split())


@pytest.mark.shared_data
def test_banking_questions_without_personal_data_hold_no_personal_value() -> None:
    path = SHARED / "banking77" / "train.csv"
    if not path.exists():
        pytest.skip(f"no shared data at {path}")
    text = path.read_text()
    found = [text[value.start : value.end] for value in parse(text) if value.personal]
    assert found == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("my customer number is 10482917, date of birth May 3 1971", "10482917"),
        ("customer number 10482917 born 3 may 1971", "10482917"),
        ("account number 12345678 when will it close", "12345678"),
        ("my reference is AB12 CDEF 34", "AB12CDEF34"),
        ("my reference is AB 12 34 56 C", "AB123456C"),
        ("account number ab-1234-cdef", "AB1234CDEF"),
    ],
)
def test_the_next_word_is_no_part_of_a_reference_and_its_own_letters_are(text: str, number: str) -> None:
    assert [value.value for value in parse(text) if value.kind is Kind.ACCOUNT] == [number]
