"""Grounding: a number in a tool call was said by the caller or given by a tool, or the call is refused."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.language.protocols import ToolSchema
from serving.spoken.values import Kind, TypedValue
from serving.tools.grounding import grounds, ungrounded
from serving.tools.money import decimal_of, read_number

D = Decimal
SCHEMA = ToolSchema("tool", "", {"properties": {"extra": {"default": 0}, "note": {"default": ""}}})
numbers = st.decimals(-(10**9), 10**9, places=4)


def said(value: Any, kind: Kind = Kind.MONEY, unit: str = "USD") -> TypedValue:
    return TypedValue(kind, value, unit, 0, 1)


def forms(number: Decimal) -> list[object]:
    """The ways in which an engine may write a number."""
    text = format(number, "f")
    return [number, float(number), text, f" {text} ", f"{number:E}", f"{number:,f}", [text], {"a": [number]}]


@given(numbers)
def test_a_number_that_was_said_is_grounded_in_every_way_to_write_it(number: Decimal) -> None:
    known = grounds([said(number)], [])
    for form in forms(number):
        assert ungrounded({"amount": form}, SCHEMA, known) == []


@given(numbers, numbers.filter(bool))
def test_another_number_is_not_grounded_in_any_way_to_write_it(number: Decimal, more: Decimal) -> None:
    known = grounds([said(number)], [])
    for form in forms(number + more):
        assert ungrounded({"amount": form}, SCHEMA, known) == ["amount"]


@given(st.text(max_size=12) | st.from_regex(r"[-+]?[0-9,_.eE ]{1,8}", fullmatch=True))
def test_text_that_a_tool_would_read_as_a_number_is_checked_as_that_number(text: str) -> None:
    number = read_number(text)
    refused = ungrounded({"note": text}, SCHEMA, frozenset())
    assert (refused == ["note"]) == (number is not None)
    if number is not None:
        assert decimal_of(text, "note") == number


def test_what_a_tool_gave_grounds_the_next_call_at_any_depth() -> None:
    known = grounds([], [{"annual_rate": "0.0699", "steps": [{"payment": D("202.76")}], "found": True}])
    assert known == {("rate", D("0.0699")), ("given", D("202.76"))}


def test_words_and_personal_values_ground_nothing() -> None:
    known = grounds([said("<card>", Kind.CARD), said("tomorrow", Kind.DATE)], [{"text": "about 5 percent"}])
    assert known == frozenset()


def test_a_default_needs_no_ground_and_only_for_its_own_argument() -> None:
    assert ungrounded({"extra": D(0)}, SCHEMA, frozenset()) == []
    assert ungrounded({"extra": "0.00"}, SCHEMA, frozenset()) == []
    assert ungrounded({"months": 0}, SCHEMA, frozenset()) == ["months"]
    assert ungrounded({"extra": D("0.01")}, SCHEMA, frozenset()) == ["extra"]


def test_one_invented_number_in_a_list_is_enough() -> None:
    known = grounds([said(D("0.08"), Kind.RATE, ""), said(24, Kind.TERM, "months")], [])
    assert ungrounded({"rates": [D("0.08"), D("0.06")], "terms": [24, 24]}, SCHEMA, known) == ["rates"]


KNOWN = grounds(
    [
        said(D(20_000)),
        said(60, Kind.TERM, "months"),
        said(90, Kind.TERM, "days"),
        said(D(7_000), unit="EUR"),
        said(D("0.05"), Kind.RATE, ""),
        said(720, Kind.COUNT, ""),
        said(3, Kind.COUNT, ""),
    ],
    [{"annual_rate": "0.0699", "monthly_payment": "395.93", "months": 48}],
)
"""A call in which all of this was said, and a tool gave the last line."""


@pytest.mark.parametrize(
    ("argument", "good", "bad"),
    [
        ("principal", [20_000, 720], [60, 0.05, 90, 7_000, 3, 395.93, 48]),
        ("extra", [20_000], [60, 3, 395.93]),
        ("months", [60, 3], [20_000, 90, 48, 395.93]),
        ("terms", [[60, 3]], [[60, 48]]),
        ("annual_rate", [0.05, 0.0699], [3, 60]),
        ("rates", [[0.05, 0.0699]], [[0.05, 0.06]]),
    ],
)
def test_an_argument_takes_numbers_of_its_own_kind_only(
    argument: str, good: list[object], bad: list[object]
) -> None:
    schema = ToolSchema("tool", "", {"properties": {}})
    for value in good:
        assert ungrounded({argument: value}, schema, KNOWN) == []
    for value in bad:
        assert ungrounded({argument: value}, schema, KNOWN) == [argument]


def test_an_operators_call_without_grounds_may_use_any_number() -> None:
    assert ungrounded({"amount": 77}, SCHEMA, None) == []


@pytest.mark.parametrize(
    "text", ["1e999999999", "9" * 5000, "1e-400", "NaN", "Infinity", "٣", "1_0", "12,50", "0x10", ""]
)
def test_odd_text_is_a_verdict_and_never_an_exception(text: str) -> None:
    assert ungrounded({"note": text}, SCHEMA, frozenset()) in ([], ["note"])


@pytest.mark.parametrize(
    "text", ["1250.50", "1,250.50", "1,000,000", "+5", "-5", ".5", "5.", "1e3", "1E-3", " 7 "]
)
def test_a_number_as_people_write_it_is_read(text: str) -> None:
    assert read_number(text) == D(text.strip().replace(",", ""))


@pytest.mark.parametrize(
    "value",
    [
        "12,50", "1,0,0", ",100", "1,00", "1.000,50", "1 000", "1_000", "١٢", "１２", "½", "$5", "5%", "5 %",
        "0x10", "1e", "e5", "--5", ".", "-", "", " ", "nan", "inf", "-Infinity", "1e99999", "12\n34", "1\x00",
        True, None, [5], b"5", float("nan"), float("inf"), D("NaN"), D("sNaN"), D("-Infinity"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_no_number(value: object) -> None:
    assert read_number(value) is None
