"""A script's expectations against a turn's record: what counts as met, and that nothing passes unseen."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from serving.call.expectations import expectations, unmet
from serving.call.record import CacheRecord, Decision, ToolRecord, TurnRecord
from serving.call.script import ScriptTurn

TURN = TurnRecord(
    call_id="c",
    index=1,
    started_at=datetime(2026, 11, 20, tzinfo=UTC),
    text="what is the monthly payment",
    stt_engine="typed",
    confidence=1.0,
    audio_s=0.0,
    decision=Decision.TOOL,
    answer="That costs $1,231.43 a month.",
    spoken="That costs $1,231.43 a month.",
    interrupted=False,
    stages={"intent": 0.01},
    voice_to_voice_s=0.01,
    reply_s=0.0,
    intent="loan_payment_quote",
    tools=(
        ToolRecord("calculate_payment", {"annual_rate": "0.06990", "months": 60, "terms": [24, 36]}, True),
    ),
)


def line(**expect: Any) -> ScriptTurn:
    return ScriptTurn("words", None, expect)


def with_cache(outcome: str, reason: str) -> TurnRecord:
    return replace(TURN, cache=CacheRecord(outcome, reason))


@pytest.mark.parametrize(
    "expect",
    [
        {"intent": "loan_payment_quote"},
        {"decision": "tool"},
        {"tool": "calculate_payment"},
        {"tool": "calculate_payment", "arguments": {"annual_rate": "0.0699", "months": "60"}},
        {"tool": "calculate_payment", "arguments": {"terms": ["24", 36]}},
        {"says": ["1231.43", "A MONTH"]},
        {"says": "1231.43"},
    ],
)
def test_values_are_compared_by_value_and_words_without_case_dollars_and_commas(
    expect: dict[str, Any],
) -> None:
    assert unmet(TURN, line(**expect)) == []


@pytest.mark.parametrize(
    "expect",
    [
        {"intent": "goodbye"},
        {"decision": "hit"},
        {"decision": "tol"},
        {"tool": "generate_plan"},
        {"tool": "calculate_payment", "arguments": {"months": 61}},
        {"tool": "calculate_payment", "arguments": {"extra": 50}},
        {"tool": "calculate_payment", "arguments": {"terms": [24]}},
        {"tool": "calculate_payment", "arguments": "60"},
        {"says": ["1231.44"]},
        {"intention": "loan_payment_quote"},
        {"arguments": {"months": 60}},
        {"decision": None},
    ],
)
def test_what_the_record_does_not_show_or_nobody_understands_is_unmet(expect: dict[str, Any]) -> None:
    assert len(unmet(TURN, line(**expect))) == 1


def test_a_tool_that_failed_meets_nothing() -> None:
    failed = replace(TURN, tools=(replace(TURN.tools[0], ok=False, error="no rate"),))
    (item,) = expectations(failed, line(tool="calculate_payment"))
    assert not item.met
    assert item.found.endswith("failed")


@pytest.mark.parametrize(
    ("word", "outcome", "reason", "met"),
    [
        ("refused", "miss", "signature_differs", True),
        ("refused", "miss", "below_threshold", False),
        ("refused", "hit", "semantic", False),
        ("miss", "miss", "below_threshold", True),
        ("miss", "hit", "exact", False),
    ],
)
def test_what_the_cache_did_not_serve_is_told_by_its_reason(
    word: str, outcome: str, reason: str, met: bool
) -> None:
    assert (unmet(with_cache(outcome, reason), line(decision=word)) == []) is met
    assert unmet(TURN, line(decision=word)) == [f"decision: the cache was not asked, expected {word}"]


def test_each_phrase_is_an_expectation_of_its_own() -> None:
    checked = expectations(TURN, line(says=["1231.43", "a year"]))
    assert [(item.expected, item.met) for item in checked] == [("1231.43", True), ("a year", False)]
