"""Who gets which arm, and the one document that says so."""

import contextlib
import dataclasses
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from serving.arms.assignment import arm_of, caller_key, position
from serving.arms.guardrail import Guard
from serving.arms.split import MOST_SHARES, Arm, PrimaryMetric, Split, new_split, split_of
from serving.errors import IntegrityError, InvalidInputError
from serving.telemetry.scrubbing import scrub
from tests.properties import examples

KEY = b"0123456789abcdef"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
CHI_SQUARE_99_9 = 148.2
"""99.9 % quantile of chi-square with 99 degrees of freedom."""


def a_split(percent: int, name: str = "") -> Split:
    split = new_split("banking-lora/2", "banking-lora/3", percent, by="ann", why="why", guard=Guard())
    return dataclasses.replace(split, id=name) if name else split


def callers(number: int, offset: int = 0) -> list[str]:
    """Keys of telephone numbers that follow one another, the worst case for a weak hash."""
    return [caller_key(f"1555{offset + place:07d}", "", KEY) for place in range(number)]


@pytest.mark.parametrize("name", ["000000000000", "0123456789ab", "ffffffffffff"])
def test_callers_stand_uniformly_however_alike_their_numbers_are(name: str) -> None:
    cells = Counter(position(name, key) * 100 >> 64 for key in callers(20_000))
    expected = 20_000 / 100
    assert sum((cells[cell] - expected) ** 2 / expected for cell in range(100)) < CHI_SQUARE_99_9


def test_the_challengers_part_is_its_share() -> None:
    split, keys = a_split(10), callers(20_000)
    part = sum(arm_of(split, key) is Arm.CHALLENGER for key in keys)
    assert abs(part - 2_000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5


@given(st.integers(0, 100), st.integers(0, 100), st.text(max_size=20))
@examples(300)
def test_a_larger_share_moves_callers_only_to_the_challenger(one: int, other: int, caller: str) -> None:
    split = a_split(min(one, other), "0123456789ab")
    larger = split.altered(max(one, other), NOW)
    key = caller_key(caller, "call", KEY)
    assert not (arm_of(split, key) is Arm.CHALLENGER and arm_of(larger, key) is Arm.CHAMPION)


@given(st.text(min_size=1, max_size=20), st.integers(0, 100))
@examples(200)
def test_a_caller_keeps_the_arm_from_call_to_call(caller: str, percent: int) -> None:
    split = a_split(percent)
    first, second = (caller_key(caller, call, KEY) for call in ("one", "two"))
    assert first == second
    assert arm_of(split, first) is arm_of(split_of(split.to_json()), second)


def test_callers_without_an_id_are_drawn_call_by_call() -> None:
    arms = {arm_of(a_split(50, "0123456789ab"), caller_key("", f"call {n}", KEY)) for n in range(50)}
    assert arms == {Arm.CHAMPION, Arm.CHALLENGER}


def test_no_share_takes_nobody_all_takes_everybody_and_an_ended_split_nobody() -> None:
    keys = callers(500)
    assert {arm_of(a_split(0), key) for key in keys} == {Arm.CHAMPION}
    assert {arm_of(a_split(100), key) for key in keys} == {Arm.CHALLENGER}
    ended = a_split(100).ended(NOW, by="ann", why="enough")
    assert (ended.percent, ended.running) == (0, False)
    assert {arm_of(ended, key) for key in keys} == {Arm.CHAMPION}


def test_a_log_line_about_a_split_keeps_its_name() -> None:
    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        logger.configure(patcher=scrub)
        stack.callback(logger.configure, patcher=lambda _record: None)
        stack.callback(logger.remove, logger.add(lines.append, format="{message}"))
        names = [a_split(10).id for _ in range(200)]
        for name in names:
            logger.error("the split {} is halted, every new call gets banking-lora/2", name)
    assert all(name in line for name, line in zip(names, lines, strict=True))


def test_another_split_mixes_the_callers_anew() -> None:
    keys = callers(4_000)
    first, second = a_split(50, "0" * 12), a_split(50, "1" * 12)
    both = sum(arm_of(first, key) is arm_of(second, key) for key in keys)
    assert abs(both - 2_000) < 4 * 1_000**0.5


def test_without_the_key_no_number_leads_to_a_stored_key() -> None:
    stored = caller_key("15550000007", "", KEY)
    tried = {caller_key(f"1555{n:07d}", "", b"another key here") for n in range(2_000)}
    assert stored not in tried
    assert stored in callers(10)  # with it, it does: the key is what protects
    with pytest.raises(InvalidInputError, match="16 bytes"):
        caller_key("1", "", b"short")


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
moments = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(words, words, st.lists(st.integers(0, 100), max_size=MOST_SHARES - 1), moments, st.booleans())
@examples(200)
def test_a_split_survives_its_document(
    by: str, why: str, shares: list[int], at: datetime, cold: bool
) -> None:
    split = new_split("a-b/1", "a-b/12", 7, by=by, why=why, guard=Guard(slow_s=0.25), cold=cold)
    for percent in shares:
        split = split.altered(percent, at)
    assert split_of(split.to_json()) == split
    ended = split.ended(at, by=by, why=why)
    assert split_of(ended.to_json()) == ended
    assert len(ended.to_json()) < 5_000  # what the registry's column holds


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
@examples(200)
def test_what_is_no_split_is_said_to_be_none(text: str) -> None:
    with pytest.raises(IntegrityError, match="split --stop"):
        split_of(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "x"), ("shares", []), ("shares", [["2026-11-21", 5]]), ("champion", "banking-lora/three"),
     ("challenger", "other/3"), ("cold", 1), ("guard", {"alpha": 2}), ("ended_at", "2026"),
     ("primary", "revenue"), ("more", 1)],
)  # fmt: skip
def test_a_document_with_a_wrong_field_is_no_split(field: str, value: object) -> None:
    document = json.loads(a_split(10).to_json()) | {field: value}
    with pytest.raises(IntegrityError):
        split_of(json.dumps(document))


def test_a_split_from_before_its_metric_was_kept_is_decided_by_the_default() -> None:
    document = json.loads(a_split(10).to_json())
    del document["primary"]
    assert split_of(json.dumps(document)).primary is PrimaryMetric.RESOLVED_CONTAINMENT


@pytest.mark.parametrize("percent", [-1, 101, 5.5, True, "10"])
def test_a_share_is_a_whole_percentage(percent: object) -> None:
    with pytest.raises(InvalidInputError, match="0 to 100"):
        a_split(percent)  # type: ignore[arg-type]  # what a mistaken caller gives


def test_a_split_is_between_two_versions_of_one_adapter_and_not_altered_for_ever() -> None:
    for challenger in ("banking-lora/2", "other/3"):
        with pytest.raises(InvalidInputError, match="two versions"):
            new_split("banking-lora/2", challenger, 5, by="a", why="w", guard=Guard())
    split = a_split(1)
    for step in range(MOST_SHARES - 1):
        split = split.altered(step, NOW + timedelta(hours=step))
    with pytest.raises(InvalidInputError, match="shares"):
        split.altered(5, NOW)
