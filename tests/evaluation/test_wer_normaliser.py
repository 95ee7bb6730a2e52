"""One way to write what was said, however it was spelled."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.wer_normaliser import PROFILE, normaliser

SAME = [
    ("2 0 thousand dollars", ["$20,000", "twenty thousand dollars", "20000 dollars", "twenty grand dollars"]),
    (
        "3 0 4 dollars 1 5 cents",
        [
            "$304.15",
            "three hundred four dollars and fifteen cents",
            "three hundred and four dollars fifteen cents",
        ],
    ),
    ("1 5 hundred thousand dollars", ["$1.5 million", "one point five million dollars", "1,500,000 dollars"]),
    ("5 0 cents", ["50 cents", "$0.50", "fifty cents"]),
    ("1 2 pounds 5 0 pence", ["£12.50", "twelve pounds and fifty pence"]),
    ("1 hundred dollars", ["$100", "a hundred dollars", "one hundred dollars"]),
    ("0 7 5", ["oh seven five", "075", "0 7 5", "zero seven five"]),
    ("4 1 1 1 1 1 1 1", ["4111 1111", "41111111", "4111-1111", "four one one one one one one one"]),
    ("5 5 2", ["double five two", "five five two", "552"]),
    ("1 0 3 0", ["10:30", "ten thirty", "1030"]),
    ("7 5", ["seven five", "75", "seventy five", "seventy-five"]),
    ("6 point 5 percent", ["6.5%", "6.50 %", "six point five percent", "six and a half per cent"]),
    ("1 2 5 0 point 7 5", ["1,250.75", "one thousand two hundred fifty point seven five"]),
    ("2 0 2 7", ["2027", "two thousand twenty seven", "twenty twenty seven"]),
    ("twenty first of june", ["21st of June", "twenty-first of june"]),
    ("the apr", ["the A.P.R.", "the APR", "the a p r", "the A P R"]),
    ("my pin", ["my PIN", "my p i n"]),
    ("i can not pay", ["I can't pay", "I cannot pay", "i can not pay"]),
    ("it is not here", ["It's not here.", "it isn't here", "it is not here"]),
    ("i will have", ["I'll have", "i will have"]),
    ("the cards limit", ["the card's limit", "the cards limit"]),
    (
        "check my unauthorized favorite",
        ["cheque my unauthorised favourite", "check my unauthorized favorite"],
    ),
    ("by email", ["by e-mail", "by email", "by e mail"]),
    ("the cafe", ["the café", "the cafe"]),
    ("yes please", ["Uh, yes, um, please!", "yes [noise] please", "<s> yes please </s>"]),
    ("half percent", ["½ percent", "half percent", "half %"]),
]


@pytest.mark.parametrize(
    ("expected", "text"), [(expected, text) for expected, texts in SAME for text in texts]
)
def test_spellings_of_the_same_words_are_one(expected: str, text: str) -> None:
    rules = normaliser()
    assert rules(text).replace("unauthorised", "unauthorized") == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fifteen dollars", "fifty dollars"),
        ("$20,000", "$2,000"),
        ("five years", "five months"),
        ("i can pay", "i can't pay"),
        ("oh seven five", "seven five"),
        ("6.5 percent", "65 percent"),
        ("the first", "the fifth"),
        ("five dollars", "five pounds"),
    ],
)
def test_words_that_differ_stay_different(one: str, other: str) -> None:
    rules = normaliser()
    assert rules(one) != rules(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oh no", "oh no"),
        ("oh, one more thing", "0 1 more thing"),
        ("i o u", "i o u"),
        ("h o n four o two", "h o n 4 0 2"),
        ("this one card", "this 1 card"),
        ("a year", "a year"),
        ("half a year", "half a year"),
        ("at this point two cards", "at this point 2 cards"),
        ("five and six", "5 and 6"),
        ("I paid twenty, five of it in cash", "i paid 2 5 of it in cash"),
        ("it's .5 percent", "it is 0 point 5 percent"),
        ("$ and 5 cats", "and 5 cats"),
        ("rock & roll", "rock roll"),
        ("", ""),
        ("... ?!", ""),
        ("uh um", ""),
        ("[unclear]", ""),
    ],
)
def test_what_only_looks_like_a_number_or_a_word(text: str, expected: str) -> None:
    assert normaliser()(text) == expected


def test_one_wrong_digit_of_a_card_number_is_one_wrong_word() -> None:
    rules = normaliser()
    said, heard = (
        rules.words("4111 1111 1111 1234"),
        rules.words("four one one one one one one one one one one one one two nine four"),
    )
    assert len(said) == 16
    assert sum(a != b for a, b in zip(said, heard, strict=True)) == 1


@given(st.text(max_size=200))
def test_any_text_becomes_plain_words(text: str) -> None:
    rules = normaliser()
    for word in rules.words(text):
        assert word
        assert not any(character.isspace() for character in word)
        assert word == word.lower()


@given(
    st.lists(
        st.sampled_from(["my", "card", "five", "hundred", "and", "dollars", "oh", "point", "$", "7"]),
        max_size=12,
    )
)
def test_case_and_blanks_and_punctuation_never_matter(words: list[str]) -> None:
    rules = normaliser()
    assert rules(" ".join(words)) == rules("  " + "  ".join(words).upper() + " . ")
    assert rules(" ".join(words)) == rules(" , ".join(words) + "?!")
    assert rules(" ".join(words)) == rules("; ".join(words))


def test_a_hundred_thousand_characters_are_no_problem() -> None:
    assert len(normaliser().words("five hundred dollars " * 5_000)) == 15_000


def test_the_profile_is_named_and_hashed() -> None:
    rules = normaliser()
    assert rules.name == PROFILE == "banking-en-1"
    assert len(rules.sha256) == 64


def test_the_result_is_the_same_without_whisper() -> None:
    """Reports from an installation with the extra and one without it must be comparable."""
    program = (
        "import sys; sys.modules['whisper'] = None\n"
        "from evaluation.wer_normaliser import normaliser\n"
        "rules = normaliser(); print(rules.sha256, rules('I owe $304.15, e.g.'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    rules = normaliser()
    assert done.stdout.strip() == f"{rules.sha256} {rules('I owe $304.15, e.g.')}"
