"""Input that nobody means well with: huge, empty, strange; the parser stays quick and calm."""

import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.spoken import Kind, entities, parse, verbalise
from tests.properties import examples

LONG = 10_000
HOSTILE = [
    "a",
    "1",
    "1 ",
    "1,",
    "1.",
    ".",
    "$",
    "-",
    "double ",
    "double double seven ",
    "point ",
    "point five ",
    "one point ",
    "and ",
    "hundred ",
    "thousand ",
    "million and ",
    "one hundred and ",
    "twenty thousand and ",
    "four one one one ",
    "four, ",
    "oh ",
    "at ",
    "at dot ",
    "a at b dot ",
    "a@",
    "a.a@a.",
    "@.",
    "my name is ",
    "this is a b c ",
    "surname a a a ",
    "account number is the ",
    "pin pin pin is ",
    "last four ",
    "gb ",
    "g b two nine ",
    "is no at it be de ",
    "may ",
    "the third of ",
    "twenty twenty ",
    "1/2 ",
    "2027-05-",
    "5/3/",
    "$1 to ",
    "five dollars and ",
    "two years and ",
    "a year and a half ",
    "401 k ",
    "<card_",
    "<card>",
    "½",
    "４",
    "é",
    "e\u0301",
    "\u0301",
    "\u200b",
    "\x00",
    "\x1b[31m",
    "🙂",
    "1\ufe0f\u20e3",
    "İ",
    "ﷺ",
    "1:",
    "uh ",
    "1 uh and then ",
    "(1) ",
    "1'1'",
    "o'o'",
    "two-hundred-",
    "three-and-a-half-",
    "uh hundred ",
    "111 ",
    "$1 111 ",
    "k a ",
    "a point five ",
    "$5 to ",
    "between 5k and ",
    "two fifty thousand ",
    "twenty odd thousand ",
]


def lines_run(function: Callable[[], object]) -> int:
    """How many lines of Python a call executes: its work, whatever the machine does meanwhile."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_linearly_with_hostile_text(piece: str) -> None:
    short, long = (lines_run(lambda size=size: parse((piece * size)[:size])) for size in (400, 1_600))
    assert long <= 4.6 * short + 2_000


@pytest.mark.parametrize("piece", HOSTILE)
def test_ten_thousand_hostile_characters_take_a_moment_and_break_nothing(piece: str) -> None:
    text = (piece * LONG)[:LONG]
    began = time.perf_counter()
    values = parse(text)
    spoken = verbalise(text)
    assert time.perf_counter() - began < 5
    end = 0
    for value in values:
        assert end <= value.start < value.end <= len(text)
        end = value.end
        value.canonical()
    assert isinstance(spoken, str)


@pytest.mark.parametrize("digits", [400, 5_000, 10_000])
def test_a_number_of_hundreds_of_digits_is_one_account(digits: int) -> None:
    (value,) = parse("7" * digits)
    assert value.kind is Kind.ACCOUNT
    assert value.value == "7" * digits
    (priced,) = parse("$" + "7" * digits)
    assert priced.kind is Kind.ACCOUNT
    (spoken,) = parse("seven " * digits)
    assert spoken.value == "7" * digits
    assert all(value.personal for value in parse("7." + "7" * digits))
    assert verbalise("7" * digits).count("seven") == digits


@pytest.mark.parametrize(
    "text",
    [
        "$" + "9" * 40 + " million",
        "9" * 40 + " million percent",
        "9" * 40 + "m dollars",
        "9" * 40 + ".5 billion years",
        "$" + "1" + ",000" * 30,
        "nine hundred ninety nine trillion percent",
        "nine hundred ninety nine trillion years",
        "$0." + "0" * 400 + "1",
        "0." + "9" * 400 + "%",
        "999999999999999 and a half dollars",
        "1e999999 dollars",
        "NaN dollars, Infinity percent",
        "twenty thousand " * 50 + "dollars",
        "one point " + "five " * 500 + "percent",
    ],
)
def test_absurd_sizes_are_no_error(text: str) -> None:
    for value in parse(text):
        assert len(value.canonical()) < 2_000
    verbalise(text)


def test_separators_of_any_length_do_not_hide_a_card() -> None:
    for separator in (
        "-------------",
        " ... ... ... ",
        " uh uh uh uh uh uh uh uh ",
        "\n\n\n\n\n\n\n\n",
        "🙂" * 20,
    ):
        (value,) = parse(separator.join(["4111", "1111", "1111", "1111"]))
        assert value.kind is Kind.CARD


@examples(300)
@given(st.text(max_size=300))
def test_any_text_parses_into_ordered_disjoint_spans(text: str) -> None:
    end = 0
    for value in parse(text):
        assert end <= value.start < value.end <= len(text)
        assert text[value.start : value.end].strip()
        end = value.end
    entities(text)


SPEECH = """
    oh zero one two five nineteen twenty fifty hundred thousand million k grand point and a half quarter
    double triple dollars pounds cents percent per cent a p r basis points year years months days of to
    or over at for may third first the march friday next my name is this john speaking at gmail dot com
    pin card account number last four ending in born on uh - , . $ £ % / : 1 20 5,000 6.99 4111 2027 05
"""
WORDS = SPEECH.split()


@examples(500)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_any_sequence_of_number_words_parses(text: str) -> None:
    end = 0
    for value in parse(text):
        assert end <= value.start < value.end <= len(text)
        end = value.end
        value.canonical()
    spoken = verbalise(text)
    assert verbalise(spoken) == spoken


FIGURES = """
    first next last the 3 \u0663 \uff19 \u0967 \u00b2 \u4e8c \u00bd 1/2 3/4 1,000 20.000 00/00/0000
    5/3/1971 9999999999999999 9999999999999999999999 999999999999999 9.99 7,5 1e9 is are one two
    double triple half quarter million billion trillion k m bn $ \u20ac \u00a3 \u20b9 % percent
    basis points a dollars cents years months over to and minus - \u2212 , . : / ( ) \u2019 \u200b
    at gmail dot com digits are card number <card> <account_2> a.m. o'clock last four
"""
PIECES = FIGURES.split()
PREFIXES = ("", "borrow $", "\u00a3 ", "-")


@examples(500)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(PIECES),
            st.integers(0, 10**45).map(str),
            st.text(st.characters(categories=["Nd", "No", "Nl"]), min_size=1, max_size=24),
        ),
        max_size=14,
    ),
    st.sampled_from(PREFIXES),
    st.sampled_from(["", " "]),
)
def test_figures_of_every_script_and_size_are_read_and_said_without_error(
    pieces: list[str], prefix: str, joint: str
) -> None:
    text = prefix + joint.join(pieces)
    for kind in (None, Kind.MONEY, Kind.ACCOUNT):
        for value in parse(text, expect=kind):
            value.canonical()
    spoken = verbalise(text)
    assert verbalise(spoken) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "first \u0663 is one double",
        "first 3 is one double",
        "borrow $9999999999999999 1/2 over 5 years",
        "You said 9999999999999999 1/2 percent.",
        "$1000000000000000 1/2 a month",
        "monthly payment over 9999999999999999 1/2 months",
    ],
)
def test_a_figure_that_has_no_words_as_a_whole_is_read_out_in_parts(text: str) -> None:
    parse(text)
    assert not any(character.isdecimal() for character in verbalise(text))


def test_importing_the_parser_imports_nothing_heavy() -> None:
    code = (
        "import sys; import serving.spoken; "
        "print(sorted({'numpy','torch','pydantic','yaml','loguru','rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
