"""Every way in which callers say or write personal values, as hypothesis strategies.

A strategy gives the words and the true value; no list of cases.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

from hypothesis import strategies as st

from serving.spoken import say_integer, say_ordinal

ONES = [say_integer(number) for number in range(10)]
TWO_DIGITS = [f"oh {ONES[number]}" for number in range(10)] + [
    say_integer(number) for number in range(10, 100)
]
BETWEEN_DIGITS = ["", "", "", " uh", " um", ",", "...", " dash"]
BETWEEN_GROUPS = [", ", " ", " uh ", " and then ", " then ", " okay ", ". ", " next ", " and ", " - ",
                  " um so ", " and finally ", " then the next four are "]  # fmt: skip
WRITTEN_GAPS = [" ", "-", "  ", " - ", "."]


def luhn_completed(body: str) -> str:
    """The body with its check digit."""
    for check in "0123456789":
        digits = [int(digit) for digit in body + check]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0:
            return body + check
    raise AssertionError(body)


def digit_strings(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=low, max_size=high)


def cards() -> st.SearchStrategy[str]:
    """12 to 19 digits, with or without a right check digit, as cards begin."""
    bodies = st.builds(str.__add__, st.sampled_from("3456"), digit_strings(10, 17))
    return st.one_of(
        bodies.map(luhn_completed), st.builds(str.__add__, bodies, st.sampled_from("0123456789"))
    )


def one_by_one(draw: Callable[[st.SearchStrategy[Any]], Any], digits: str) -> list[str]:
    """Digit by digit; equal neighbours perhaps as "double" or "triple"; zero in its words."""
    words, at = [], 0
    while at < len(digits):
        same = 1
        while same < 3 and digits[at : at + same + 1] == digits[at] * (same + 1):
            same += 1
        repeat = draw(st.integers(1, same))
        word = draw(st.sampled_from(["zero", "oh"])) if digits[at] == "0" else ONES[int(digits[at])]
        words.append({1: "", 2: "double ", 3: "triple "}[repeat] + word)
        at += repeat
    return words


def in_pairs(digits: str) -> list[str]:
    """Two digits at a time: "forty two", "oh seven", "fifteen"."""
    pairs = [digits[at : at + 2] for at in range(0, len(digits), 2)]
    return [TWO_DIGITS[int(pair)] if len(pair) == 2 else ONES[int(pair)] for pair in pairs]


def groups(digits: str, size: int) -> list[str]:
    return [digits[at : at + size] for at in range(0, len(digits), size)]


@st.composite
def spoken_digits(draw: st.DrawFn, digits: str) -> str:
    """Digit by digit, in one go or in groups with pauses and words between."""
    if draw(st.booleans()):
        words = one_by_one(draw, digits)
        return words[0] + "".join(f"{draw(st.sampled_from(BETWEEN_DIGITS))} {word}" for word in words[1:])
    parts = groups(digits, draw(st.integers(3, 5)))
    if len(parts) > 1 and len(parts[-1]) < 2:
        parts[-2:] = ["".join(parts[-2:])]
    text = " ".join(one_by_one(draw, parts[0]))
    for part in parts[1:]:
        text += draw(st.sampled_from(BETWEEN_GROUPS)) + " ".join(one_by_one(draw, part))
    return text


@st.composite
def said_digits(draw: st.DrawFn, digits: str) -> str:
    """Any spoken or written form of a digit string."""
    how = draw(st.sampled_from(["spoken", "pairs", "written", "grouped", "capital"]))
    if how == "spoken":
        return draw(spoken_digits(digits))
    if how == "capital":
        return draw(spoken_digits(digits)).capitalize() + "."
    if how == "pairs":
        return " ".join(in_pairs(digits))
    if how == "written":
        return digits
    parts = groups(digits, draw(st.integers(2, 5)))
    gap = draw(st.sampled_from(WRITTEN_GAPS))
    amount = gap == "." and len(parts) < 4  # 1234.56 is one, nobody writes an account number like that
    return (" " if amount else gap).join(parts)


def ordinal(number: int) -> str:
    return say_ordinal(number)


MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December"]  # fmt: skip
births = st.dates(date(1925, 1, 1), date(2008, 12, 31))


@st.composite
def spoken_years(draw: st.DrawFn, year: int) -> str:
    """ "nineteen eighty four", "two thousand five", "one nine eight four"."""
    century, rest = divmod(year, 100)
    forms = [" ".join(ONES[int(digit)] for digit in str(year))]
    if rest:
        forms.append(f"{say_integer(century)} {TWO_DIGITS[rest]}")
    if century == 20:
        forms.append(f"two thousand {say_integer(rest)}" if rest else "two thousand")
        forms.append(f"two thousand and {say_integer(rest)}" if rest else "two thousand")
    else:
        forms.append(say_integer(century) + " hundred" if not rest else f"nineteen {TWO_DIGITS[rest]}")
    return draw(st.sampled_from(forms))


@st.composite
def said_dates(draw: st.DrawFn, day: date) -> str:
    """All usual orders of a date of birth; month first where figures leave it open."""
    month = MONTHS[day.month - 1]
    year = draw(spoken_years(day.year))
    number, name = say_integer(day.day), draw(st.sampled_from([month, month.lower()]))
    forms = [
        f"{name} {ordinal(day.day)} {year}",
        f"{name} the {ordinal(day.day)} {year}",
        f"the {ordinal(day.day)} of {name} {year}",
        f"{ordinal(day.day)} {name} {year}",
        f"the {ordinal(day.day)} of the {ordinal(day.month)} {year}",
        f"{year} {name} {ordinal(day.day)}",
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{day.month}/{day.day}/{day.year}",
        f"{day.month:02}-{day.day:02}-{day.year}",
        f"{day.month}.{day.day}.{day.year}",
        day.isoformat(),
        f"{day.month:02}{day.day:02}{day.year}",
        f"{TWO_DIGITS[day.month]} {TWO_DIGITS[day.day]} {year}",
        f"{name} {number} {year}",
    ]
    return draw(st.sampled_from(forms))


SYLLABLES = [
    "zan",
    "quil",
    "ther",
    "mo",
    "ra",
    "dra",
    "vel",
    "ki",
    "shu",
    "bren",
    "nok",
    "fea",
    "lod",
    "gri",
    "wu",
]


def name_words() -> st.SearchStrategy[str]:
    """Names that no list has, of two or three syllables."""
    return st.lists(st.sampled_from(SYLLABLES), min_size=2, max_size=3).map("".join)


@st.composite
def letter_by_letter(draw: st.DrawFn, word: str) -> str:
    """ "s m i t h", "S-M-I-T-H", "s as in sam m as in mary …", "s. m. i. t. h."."""
    how = draw(st.sampled_from([" ", "-", ", ", ". ", "as in"]))
    if how == "as in":
        return " ".join(f"{letter} as in {letter}{'another'}" for letter in word)
    letters = word.upper() if how in {"-", ", "} else word
    return how.join(letters)
