"""Two versions side by side: what differs, and what can honestly be said about chance."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.adapters.comparison import Comparison, compare_versions
from serving.adapters.decision import Check, GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.errors import IntegrityError

NAME = "banking-lora"
DecisionMaker = Callable[..., GateDecision]
FIGURES = {"items": 3_000, "gained": 90, "lost": 50, "difference": 0.0133, "mcnemar_p": 0.0009}


def compared(registry: AdapterRegistry, left: int = 2, right: int = 3) -> Comparison:
    return compare_versions(registry.get(NAME, left), registry.get(NAME, right))


def decided(registry: AdapterRegistry, version: int, decision: GateDecision, **evidence: object) -> None:
    checks = (Check("non_inferior", True, "Better.", evidence),)
    attach_decision(registry, NAME, version, replace(decision, checks=checks), by="gate")


def test_values_are_put_side_by_side_by_part(challenged: AdapterRegistry) -> None:
    found = compared(challenged)
    values = {(pair.part, pair.what): (pair.left, pair.right, pair.differs) for pair in found.pairs}
    assert values["metrics", "accuracy"] == (0.9, 0.9, False)
    assert values["metrics", "per_intent.card_lost"] == (1.0, 1.0, False)
    assert values["data", "dataset_sha256"] == ("d" * 64, "d" * 64, False)
    assert values["origin", "seed"] == (7, 7, False)
    assert (found.left, found.right) == ("banking-lora/2", "banking-lora/3")


def test_the_gates_checks_stand_beside_each_other(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    found = compared(challenged)
    assert (found.left_status, found.right_status) == ("passed", "failed")
    (pair,) = found.gate
    assert pair.left is not None
    assert pair.right is not None
    assert (pair.name, pair.left.passed, pair.right.passed) == ("non_inferior", True, False)


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
@pytest.mark.parametrize(("p_value", "told"), [(0.0009, "more than chance"), (0.4, "no more than chance")])
def test_paired_figures_are_shown_where_one_was_judged_against_the_other(
    challenged: AdapterRegistry,
    make_decision: DecisionMaker,
    order: tuple[int, int],
    p_value: float,
    told: str,
) -> None:
    decided(challenged, 3, make_decision(2), **{**FIGURES, "mcnemar_p": p_value})
    found = compared(challenged, *order)
    assert found.paired is not None
    assert (found.paired.challenger, found.paired.champion) == ("banking-lora/3", "banking-lora/2")
    assert found.paired.figures["gained"] == 90
    assert f"the difference is {told}" in found.note


def test_versions_that_were_never_judged_against_each_other_are_not_said_to_differ(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    assert "neither was judged against the other" in compared(challenged, 1, 3).note
    decided(challenged, 3, replace(make_decision(2), test_sha256="f" * 64), **FIGURES)
    assert "different test sets" in compared(challenged, 1, 3).note
    version = challenged.get(NAME, 1)
    version.decision_file(version.tags["gate.decision"]).write_text("{")
    assert "not both were judged" in compared(challenged, 1, 3).note


def test_an_altered_version_is_not_compared(challenged: AdapterRegistry) -> None:
    (challenged.get(NAME, 3).bundle / "metrics.json").write_text('{"accuracy": 1.0}')
    with pytest.raises(IntegrityError, match=r"metrics\.json"):
        compared(challenged)


def test_lists_are_left_out_and_long_texts_are_cut(tmp_path: Path) -> None:
    from serving.adapters.comparison import _flat

    flat = _flat({"a": {"b": 1, "log": [1, 2]}, "text": "x" * 1_000, "none": None})
    assert flat == {"a.b": 1, "text": "x" * 80, "none": None}
