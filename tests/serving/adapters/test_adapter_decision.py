import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from serving.adapters.decision import Check, GateDecision
from serving.errors import InvalidInputError

YES = Check("manifest", True, "all files verified", {"files": 6})
NO = Check("baseline", False, "0.91 is below the baseline's 0.93", {"delta": -0.02})
NOT_APPLICABLE = Check("non_inferior", None, "no champion yet")
WHEN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def decision(*checks: Check, passed: bool, waived: dict[str, str] | None = None) -> GateDecision:
    return GateDecision("banking-lora", 3, 2, "e" * 64, checks, passed, waived or {}, WHEN)


def test_a_decision_is_read_back_unchanged_with_the_same_hash() -> None:
    made = decision(YES, NO, NOT_APPLICABLE, passed=True, waived={"baseline": "demo data, agreed with risk"})
    read = GateDecision.from_json(made.to_json())
    assert read == made
    assert read.sha256 == made.sha256


def test_the_hash_changes_with_any_number_in_the_evidence() -> None:
    other = replace(YES, evidence={"files": 7})
    assert decision(YES, passed=True).sha256 != decision(other, passed=True).sha256


def test_the_same_moment_in_another_zone_is_the_same_decision() -> None:
    moved = replace(decision(YES, passed=True), decided_at=WHEN.astimezone(timezone(timedelta(hours=2))))
    assert moved.sha256 == decision(YES, passed=True).sha256


@pytest.mark.parametrize(
    ("checks", "waived", "status", "failures"),
    [
        ((YES, NOT_APPLICABLE), {}, "passed", ()),
        ((YES, NO), {"baseline": "agreed"}, "waived", ()),
        ((YES,), {"manifest": "needless"}, "passed", ()),
        ((YES, NO), {}, "failed", (NO,)),
    ],
)
def test_the_status_follows_from_checks_and_waivers(
    checks: tuple[Check, ...], waived: dict[str, str], status: str, failures: tuple[Check, ...]
) -> None:
    made = decision(*checks, passed=status != "failed", waived=waived)
    assert made.status == status
    assert made.failures == failures


@pytest.mark.parametrize(
    ("checks", "passed", "waived"),
    [
        ((YES, NO), True, {}),
        ((YES,), False, {}),
        ((), True, {}),
        ((NOT_APPLICABLE,), True, {}),
        ((YES, YES), True, {}),
        ((YES, NO), True, {"baseline": "  "}),
        ((YES,), True, {"unknown": "why"}),
    ],
)
def test_a_decision_that_contradicts_itself_cannot_be_made(
    checks: tuple[Check, ...], passed: bool, waived: dict[str, str]
) -> None:
    with pytest.raises(InvalidInputError):
        decision(*checks, passed=passed, waived=waived)


def test_a_stored_decision_that_was_edited_to_pass_is_refused() -> None:
    document = json.loads(decision(YES, NO, passed=False).to_json()) | {"passed": True}
    with pytest.raises(InvalidInputError, match="contradicts"):
        GateDecision.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"checks": 3}', '{"checks": [3]}', "[" * 100_000])
def test_a_text_that_is_no_decision_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        GateDecision.from_json(text)


def test_evidence_that_json_cannot_hold_is_refused_when_it_is_stored() -> None:
    with pytest.raises(InvalidInputError, match="evidence"):
        decision(replace(YES, evidence={"delta": math.nan}), passed=True).to_json()


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="time zone"):
        replace(decision(YES, passed=True), decided_at=datetime(2026, 11, 20))
