"""The gate for dialogue adapters: each check alone, and its power in simulation at the size of our test."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evaluation.dialogue_evidence import DialogueEvidence, DialoguePolicy, Spoken
from evaluation.dialogue_gate import DIALOGUE_CHECKS, judge_dialogue
from evaluation.gate_evidence import BundleEvidence
from evaluation.tool_calls import TurnVerdict
from serving.adapters.decision import Check, GateDecision
from serving.errors import InvalidInputError

TURNS, DIALOGUES = 350, 112
"""The project's test split: 350 turns of 112 dialogues, every second of which should call."""
TEST = "e" * 64
SOUND = BundleEvidence(
    verified=True,
    finite=True,
    adapter_moved=True,
    reload_difference=1e-5,
    base_before="a" * 64,
    base_after="a" * 64,
    changed_tensors=("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",),
    declared_heads=(),
)


def turn(*, wanted: bool, **changes: Any) -> TurnVerdict:
    """A right turn: an exact call where one is wanted, words where not."""
    calls = int(wanted)
    perfect = TurnVerdict("s", wanted, wanted, True, False, calls, calls, calls, calls, (), False)
    return replace(perfect, **changes)


MISSED: dict[str, Any] = {"exact": False, "called": False, "calls": 0, "valid": 0, "matched": 0}


def spoken(right: np.ndarray | None = None) -> Spoken:
    """Turns that are right, or miss their call (call without need) where `right` is false."""
    right = np.ones(TURNS, dtype=bool) if right is None else right
    found = []
    for place, fine in enumerate(right):
        wanted = place % 2 == 0
        wrong = MISSED if wanted else {"exact": False, "called": True, "calls": 1, "valid": 1}
        found.append(turn(wanted=wanted) if fine else turn(wanted=wanted, **wrong))
    return Spoken(tuple(found))


def changed(base: Spoken, count: int, fits: Callable[[TurnVerdict], bool], **changes: Any) -> Spoken:
    """The first `count` turns that fit, changed."""
    found, left = [], count
    for verdict in base.verdicts:
        hit = left > 0 and fits(verdict)
        found.append(replace(verdict, **changes) if hit else verdict)
        left -= hit
    return Spoken(tuple(found))


def evidence(challenger: Spoken, champion: Spoken | None = None, **changes: Any) -> DialogueEvidence:
    fields: dict[str, Any] = {
        "model": "banking-dialogue-lora",
        "challenger_version": 2,
        "champion_version": 1 if champion else None,
        "bundle": SOUND,
        "reload_limit": 1e-3,
        "test_sha256": TEST,
        "looks": 1,
        "dialogues": [str(place * DIALOGUES // TURNS) for place in range(TURNS)],
        "challenger": challenger,
        "base": spoken(np.zeros(TURNS, dtype=bool)),
        "latency_p95_ms": 800.0,
        "champion": champion,
        "champion_test_sha256": TEST if champion else None,
        **changes,
    }
    return DialogueEvidence(**fields)


def checks(found: DialogueEvidence, **options: Any) -> dict[str, Check]:
    return {check.name: check for check in judge_dialogue(found, **options).checks}


def failed(found: DialogueEvidence) -> list[str]:
    return [check.name for check in judge_dialogue(found).failures]


def test_a_good_first_adapter_passes_and_the_decision_survives_storage() -> None:
    decision = judge_dialogue(evidence(spoken()))
    assert decision.status == "passed"
    assert len({check.name for check in decision.checks}) == len(DIALOGUE_CHECKS)
    skipped = {check.name for check in decision.checks if check.passed is None}
    assert skipped == {"same_test_set", "non_inferior"}
    assert GateDecision.from_json(decision.to_json()) == decision


def test_an_equal_challenger_passes_and_shows_margin_power_and_looks() -> None:
    found = checks(evidence(spoken(), spoken(), looks=3))["non_inferior"]
    assert found.passed
    assert found.evidence["items"] == TURNS // 2
    assert found.evidence["dialogues"] == DIALOGUES
    assert 0.05 < found.evidence["margin"] < DialoguePolicy().max_margin
    assert found.evidence["power_at_seen_discordance"] >= 0.8
    assert found.evidence["error_after_looks"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"bundle": replace(SOUND, finite=False)}, "bundle_sound"),
        ({"bundle": replace(SOUND, adapter_moved=False)}, "bundle_sound"),
        ({"bundle": replace(SOUND, reload_difference=0.2)}, "bundle_sound"),
        ({"bundle": replace(SOUND, reload_difference=float("nan"))}, "bundle_sound"),
        ({"bundle": replace(SOUND, base_after="b" * 64)}, "only_adapter_changed"),
        ({"bundle": replace(SOUND, changed_tensors=("lm_head.weight",))}, "only_adapter_changed"),
        (
            {"bundle": replace(SOUND, changed_tensors=("model.score.lora_A", "score.bias"))},
            "only_adapter_changed",
        ),
        ({"champion_test_sha256": "f" * 64}, "same_test_set"),
        ({"champion_test_sha256": None}, "same_test_set"),
        ({"latency_p95_ms": 5_001.0}, "latency"),
    ],
)
def test_each_fault_fails_its_own_check(changes: dict[str, Any], name: str) -> None:
    assert failed(evidence(spoken(), spoken(), **changes)) == [name]


def test_an_adapter_below_its_own_base_is_refused_though_it_equals_the_champion() -> None:
    worse = spoken(np.arange(TURNS) % 20 > 0)
    assert failed(evidence(worse, worse, base=spoken())) == ["baseline"]
    assert failed(evidence(worse, worse, base=worse)) == []


def test_a_broken_bundle_is_never_waived_and_a_slow_one_may_be() -> None:
    slow = evidence(spoken(), latency_p95_ms=9_000.0)
    assert judge_dialogue(slow, waived={"latency": "a CPU judged it"}).status == "waived"
    broken = evidence(spoken(), bundle=replace(SOUND, finite=False))
    with pytest.raises(InvalidInputError, match="bundle_sound cannot be waived"):
        judge_dialogue(broken, waived={"bundle_sound": "please"})


def test_a_few_more_invented_numbers_than_the_champion_s_fail_under_the_ceiling_too() -> None:
    inventing = changed(spoken(), 6, lambda _: True, invented=("5",))
    found = checks(evidence(inventing, spoken()))["invented_numbers"]
    assert found.evidence["share"] > 1 - DialoguePolicy().max_invented
    assert found.evidence["p_worse"] == pytest.approx(0.5**6)
    assert failed(evidence(inventing, spoken())) == ["invented_numbers"]
    assert failed(evidence(inventing, inventing)) == []


def test_many_invented_numbers_fail_without_a_champion() -> None:
    assert failed(evidence(changed(spoken(), 8, lambda _: True, invented=("5",)))) == ["invented_numbers"]


@pytest.mark.parametrize(
    ("name", "fits", "changes"),
    [
        ("valid_schema", lambda v: v.called, {"valid": 0}),
        ("wrong_tool", lambda v: v.wanted, {"wrong_tool": True}),
        ("unwanted_call", lambda v: not v.wanted, {"called": True, "calls": 1, "valid": 1}),
        ("unwanted_call", lambda v: not v.wanted, {"failed": True}),
    ],
)
def test_every_other_rate_has_a_floor_and_is_compared_with_the_champion(
    name: str, fits: Callable[[TurnVerdict], bool], changes: dict[str, Any]
) -> None:
    assert failed(evidence(changed(spoken(), 40, fits, **changes))) == [name]
    few = changed(spoken(), 7, fits, **changes)
    assert failed(evidence(few)) == []
    assert failed(evidence(few, spoken())) == [name]
    assert failed(evidence(few, few)) == []


def test_an_adapter_that_only_speaks_is_refused_although_its_base_says_nothing_right() -> None:
    silent = changed(spoken(), TURNS, lambda v: v.wanted, **MISSED)
    assert failed(evidence(silent)) == ["exact_call"]


def test_a_handful_of_calls_makes_no_first_champion() -> None:
    few = Spoken(spoken().verdicts[:40])
    assert failed(evidence(few, base=few, dialogues=["d"] * 40)) == ["exact_call"]


def test_a_small_test_set_proves_too_little_and_says_how_much_is_needed() -> None:
    few = Spoken(spoken().verdicts[:60])
    found = evidence(few, few, base=few, dialogues=[str(place) for place in range(60)])
    check = checks(found)["non_inferior"]
    assert check.passed is False
    assert "prove too little" in check.detail


def test_evidence_that_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="number of turns"):
        evidence(Spoken(spoken().verdicts[:-1]))
    with pytest.raises(InvalidInputError, match="belong together"):
        evidence(spoken(), None, champion_version=1)
    with pytest.raises(InvalidInputError, match="at least 1"):
        evidence(spoken(), looks=0)


def simulated(rng: np.random.Generator, worse: float, rate: float) -> DialogueEvidence:
    """A champion and a challenger who differ on `rate` of the calling turns, alike within a dialogue."""
    dialogue = np.arange(TURNS) * DIALOGUES // TURNS
    own, shared = rng.random(TURNS), rng.random(DIALOGUES)[dialogue]
    drawn = np.where(rng.random(TURNS) < 0.3, shared, own)
    lost, gained = drawn < (rate + worse) / 2, drawn > 1 - (rate - worse) / 2
    easy = rng.random(TURNS) < 0.85
    calling = np.arange(TURNS) % 2 == 0
    new, old = (easy & ~lost) | gained | ~calling, (easy & ~gained) | lost | ~calling
    challenger = changed(spoken(new), int(rng.random() < 0.3), lambda _: True, invented=("5",))
    champion = changed(spoken(old), int(rng.random() < 0.3), lambda _: True, invented=("5",))
    return evidence(challenger, champion)


def passes(worse: float, rate: float, seed: int, trials: int = 120) -> float:
    rng = np.random.default_rng(seed)
    return sum(judge_dialogue(simulated(rng, worse, rate)).passed for _ in range(trials)) / trials


@pytest.mark.parametrize("rate", [0.04, 0.08])
def test_an_equal_challenger_passes_at_least_80_percent_of_the_time(rate: float) -> None:
    assert passes(0.0, rate, seed=5) >= 0.80


@pytest.mark.parametrize("rate", [0.10, 0.20])
def test_a_challenger_that_is_ten_points_worse_passes_at_most_5_percent_of_the_time(rate: float) -> None:
    assert passes(0.10, rate, seed=6) <= 0.05
