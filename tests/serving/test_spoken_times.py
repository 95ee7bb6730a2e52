"""Times of day and lengths of time: one value for every way of saying or writing one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.spoken import Kind, parse, say_integer
from serving.spoken.lengths import find_lengths
from serving.spoken.text import read
from serving.spoken.times import DAY, HALF_DAY, find_times
from tests.properties import examples


def times(text: str) -> list[str]:
    return [time.canonical() for time in find_times(read(text))]


def lengths(text: str) -> list[str]:
    return [length.canonical() for length in find_lengths(read(text))]


def clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def said(hour: int, minute: int) -> str:
    """A time as it is read off a clock: "eight thirty", "eight oh five", "eight o'clock"."""
    rest = "o'clock" if not minute else f"oh {say_integer(minute)}" if minute < 10 else say_integer(minute)
    return f"{say_integer(hour)} {rest}"


def without_half(minute: int) -> list[str]:
    """Ways of saying a time before noon that leave the half of the day open."""
    hour, part = minute // 60 or 12, minute % 60
    after = say_integer(hour % 12 + 1)
    forms = [f"{hour}:{part:02d}", said(hour, part)]
    forms += [f"{say_integer(part)} minutes past {say_integer(hour)}", f"{part} past {hour}"] if part else []
    forms += [f"{say_integer(60 - part)} minutes to {after}"] if part else []
    named = {15: f"quarter past {say_integer(hour)}", 30: f"half past {hour}", 45: f"a quarter to {after}"}
    return forms + ([named[part]] if part in named else [])


def with_half(minute: int) -> list[str]:
    """Ways of saying a time that leave nothing open."""
    late = minute >= HALF_DAY
    part_of_day = (
        "in the afternoon" if HALF_DAY <= minute < 18 * 60 else "in the evening" if late else "in the morning"
    )
    halves = ["pm", "p.m.", "P M", part_of_day] if late else ["am", "a.m.", "A M", part_of_day]
    short = minute % HALF_DAY
    hour, part = short // 60 or 12, short % 60
    forms = [f"{form} {half}" for form in without_half(short) for half in halves]
    forms += [f"{hour}:{part:02d}{halves[0]}", f"{hour}.{part:02d} {halves[0]}"]
    forms += [f"{hour}{halves[0]}", f"{say_integer(hour)} {halves[0]}"] if not part else []
    forms += [f"{minute // 60}:{part:02d}"] if late and minute // 60 > 12 else []
    return forms + ([f"{minute // 60:02d}:{part:02d}"] if minute < 10 * 60 else [])


def test_every_minute_of_the_day_has_one_value_in_every_form() -> None:
    for minute in range(DAY):
        found = {form: times(f"is it open at {form}?") for form in with_half(minute)}
        assert all(value == [clock(minute)] for value in found.values()), found
    for minute in range(HALF_DAY):
        both = f"{clock(minute)}|{clock(minute + HALF_DAY)}"
        found = {form: times(f"until {form}") for form in without_half(minute)}
        assert all(value == [both] for value in found.values()), found


@examples(200)
@given(one=st.integers(0, DAY - 1), other=st.integers(0, DAY - 1), data=st.data())
def test_different_times_never_have_one_value(one: int, other: int, data: st.DataObject) -> None:
    assume(one != other)
    mine, theirs = (data.draw(st.sampled_from(with_half(minute))) for minute in (one, other))
    assert times(f"at {mine}") != times(f"at {theirs}")
    assert times(f"at {mine}") not in [times(f"at {form}") for form in without_half(other % HALF_DAY)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at noon", ["12:00"]),
        ("from 12 noon to midnight", ["12:00", "00:00"]),
        ("12 pm or 12 am", ["12:00", "00:00"]),
        ("24:00 or 0:30", ["00:00", "00:30"]),
        ("ten past midnight", ["00:10"]),
        ("quarter to twelve at night", ["23:45"]),
        ("at seventeen thirty", ["17:30"]),
        ("at seventeen hundred hours", ["17:00"]),
        ("at twenty thirty", ["20:30"]),
        ("at half eight", ["08:30|20:30"]),
        ("at ten to five", ["04:50|16:50"]),
        ("between eight thirty and five thirty", ["08:30|20:30", "05:30|17:30"]),
        ("from 9 to 5 pm", ["09:00|21:00", "17:00"]),
        ("five to seven thirty pm or 6-8:30", ["05:00|17:00", "19:30", "06:00|18:00", "08:30|20:30"]),
        ("from eight thirty to seventeen thirty", ["08:30|20:30", "17:30"]),
        ("at zero fifteen", ["00:15"]),
        ("8am-5pm", ["08:00", "17:00"]),
        ("8:30:15", ["08:30:15|20:30:15"]),
    ],
)
def test_ways_of_giving_a_time(text: str, expected: list[str]) -> None:
    assert times(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "five to seven years", "from five to seven", "a rate of eight thirty", "at six fifty percent",
        "at eight thirty dollars", "by twenty thirty", "card 8 30", "at 12:345", "10:7", "25:30", "24:30",
        "two of nine", "a quarter of nine cards", "I am eight", "at 8.30", "this afternoon", "half a year",
        "at five twenty thousand",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    assert times(text) == []


@pytest.mark.parametrize("form", ["8:30 pm", "5 p.m.", "half past eight", "17:00", "noon"])
@pytest.mark.parametrize("frame", ["email me at {}", "write at {} dot", "contact us @ {}"])
def test_a_time_behind_an_at_is_no_address(frame: str, form: str) -> None:
    assert Kind.EMAIL not in {value.kind for value in parse(frame.format(form))}


@examples(100)
@given(number=st.integers(1, 99), unit=st.sampled_from(["hour", "minute"]))
def test_a_length_has_one_value_in_words_and_figures(number: int, unit: str) -> None:
    plural = unit + "s" * (number > 1)
    found = {tuple(lengths(f"within {form} {plural}")) for form in (number, say_integer(number))}
    assert len(found) == 1
    assert len(found.pop()) == 1


@pytest.mark.parametrize(
    ("forms", "value"),
    [
        (
            ["half an hour", "30 minutes", "thirty minutes", "0.5 hours", "30-minute", "a half hour"],
            "30:minutes",
        ),
        (["an hour", "one hour", "1 hr", "60 mins", "per hour", "1h"], "60:minutes"),
        (["an hour and a half", "one and a half hours", "1.5 hours", "90 minutes"], "90:minutes"),
        (["a quarter of an hour", "fifteen minutes"], "15:minutes"),
        (["24 hours", "twenty four hours", "24h"], "1:days"),
        (["90 seconds", "ninety secs", "1.5 minutes"], "90:seconds"),
        (["a second card", "a min deposit", "business hours", "20 p"], ""),
    ],
)
def test_ways_of_giving_a_length(forms: list[str], value: str) -> None:
    assert {tuple(lengths(f"is it {form}")) for form in forms} == {(value,) if value else ()}
