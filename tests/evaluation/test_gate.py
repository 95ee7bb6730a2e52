"""The gate's nine checks, and its power in simulation."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.gate import CHECK_NAMES, LOSS_FOUND, judge
from evaluation.gate_evidence import CRITICAL_INTENTS, Answers, BundleEvidence, GateEvidence, GatePolicy
from evaluation.power import detectable_loss
from serving.adapters.decision import NEVER_WAIVED, Check, GateDecision
from serving.errors import InvalidInputError

LABELS = tuple(sorted(CRITICAL_INTENTS)) + tuple(f"intent_{i}" for i in range(71))
SOUND = BundleEvidence(
    verified=True,
    finite=True,
    adapter_moved=True,
    reload_difference=2e-6,
    base_before="a" * 64,
    base_after="a" * 64,
    changed_tensors=(
        "base_model.model.encoder.layer.0.query.lora_A.weight",
        "base_model.model.classifier.bias",
    ),
)


def gold_labels(items: int, outside: int = 0) -> tuple[str, ...]:
    return tuple(LABELS[i % len(LABELS)] for i in range(items)) + ("out_of_scope",) * outside


def answers(gold: tuple[str, ...], right: np.ndarray, caught: np.ndarray | None = None) -> Answers:
    """Right or wrong as told; out-of-scope texts get a low energy where `caught`."""
    following = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
    outside = [label == "out_of_scope" for label in gold]
    predicted = [
        label if fine and not out else following.get(label, LABELS[0])
        for label, fine, out in zip(gold, right, outside, strict=True)
    ]
    energy = np.linspace(10, 12, len(gold))
    if caught is not None:
        energy[np.array(outside)] = np.where(caught, 1.0, 20.0)
    return Answers(tuple(predicted), energy)


def evidence_of(
    challenger: np.ndarray,
    champion: np.ndarray | None,
    *,
    gold: tuple[str, ...] | None = None,
    baseline: np.ndarray | None = None,
    **changes: object,
) -> GateEvidence:
    gold = gold or gold_labels(len(challenger))
    evidence = GateEvidence(
        model="banking-lora",
        challenger_version=2,
        champion_version=None if champion is None else 1,
        bundle=SOUND,
        test_sha256="b" * 64,
        looks=1,
        gold=gold,
        challenger=answers(gold, challenger),
        baseline=answers(gold, np.zeros_like(challenger) if baseline is None else baseline),
        latency_p95_ms=25.0,
        champion=None if champion is None else answers(gold, champion),
        champion_test_sha256=None if champion is None else "b" * 64,
    )
    return replace(evidence, **changes)


def check_named(decision: GateDecision, name: str) -> Check:
    return next(check for check in decision.checks if check.name == name)


def right(items: int, wrong: int = 0) -> np.ndarray:
    return np.arange(items) >= wrong


# Simulation


def simulated(rng: np.random.Generator, worse: float, rate: float) -> GateEvidence:
    """3,000 in-scope and 150 out-of-scope texts; the challenger is `worse` in accuracy on average."""
    items, outside = 3_000, 150
    drawn, easy = rng.random(items), rng.random(items) < 0.95
    lost, gained = drawn < (rate + worse) / 2, drawn > 1 - (rate - worse) / 2
    new, old = (easy & ~lost) | gained, (easy & ~gained) | lost
    frozen = new & (rng.random(items) > 0.015)
    gold, none = gold_labels(items, outside), np.zeros(outside, dtype=bool)
    caught = rng.random(outside) < 0.9
    caught_before = np.where(rng.random(outside) < 0.06, rng.random(outside) < 0.9, caught)
    return replace(
        evidence_of(np.append(new, none), None, gold=gold, baseline=np.append(frozen, none)),
        challenger=answers(gold, np.append(new, none), caught),
        champion=answers(gold, np.append(old, none), caught_before),
        champion_version=1,
        champion_test_sha256="b" * 64,
    )


def passes(worse: float, rate: float, trials: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    return sum(judge(simulated(rng, worse, rate)).passed for _ in range(trials))


@pytest.mark.parametrize("rate", [0.04, 0.08])
def test_an_equal_challenger_passes_at_least_80_percent_of_the_time(rate: float) -> None:
    assert passes(0.0, rate, trials=200, seed=12) / 200 >= 0.80


@pytest.mark.parametrize("rate", [0.04, 0.08])
def test_a_challenger_that_is_three_points_worse_passes_at_most_5_percent_of_the_time(rate: float) -> None:
    assert passes(0.03, rate, trials=200, seed=13) / 200 <= 0.05


# Check by check


def test_every_decision_shows_all_nine_checks_once() -> None:
    decision = judge(evidence_of(right(3_000), right(3_000, 100)))
    assert len({check.name for check in decision.checks}) == 9
    assert tuple(check.name for check in decision.checks) == CHECK_NAMES
    assert GateDecision.from_json(decision.to_json()) == decision


def test_without_a_champion_the_comparisons_do_not_apply_and_the_rest_decides() -> None:
    decision = judge(evidence_of(right(500, 20), None, baseline=right(500, 30)))
    skipped = {check.name for check in decision.checks if check.passed is None}
    assert skipped == {"same_test_set", "non_inferior", "critical_intents", "single_intents", "out_of_scope"}
    assert decision.passed


@pytest.mark.parametrize(
    "damage",
    [
        {"verified": False},
        {"finite": False},
        {"adapter_moved": False},
        {"reload_difference": 0.5},
        {"reload_difference": float("nan")},
    ],
)
def test_a_damaged_bundle_never_passes_however_accurate(damage: dict[str, object]) -> None:
    decision = judge(evidence_of(right(500), None, bundle=replace(SOUND, **damage)))
    assert check_named(decision, "bundle_sound").passed is False
    assert not decision.passed


@pytest.mark.parametrize(
    "damage",
    [
        {"base_after": "c" * 64},
        {"changed_tensors": (*SOUND.changed_tensors, "base_model.model.encoder.embeddings.weight")},
        {"changed_tensors": ()},
    ],
)
def test_a_change_outside_lora_and_head_is_refused(damage: dict[str, object]) -> None:
    decision = judge(evidence_of(right(500), None, bundle=replace(SOUND, **damage)))
    assert check_named(decision, "only_adapter_changed").passed is False


def test_another_test_set_than_the_champions_is_refused() -> None:
    decision = judge(evidence_of(right(3_000), right(3_000), champion_test_sha256="d" * 64))
    assert [check.name for check in decision.failures] == ["same_test_set"]


def test_looks_at_the_test_set_are_shown_with_what_they_cost() -> None:
    decision = judge(evidence_of(right(3_000), right(3_000), looks=4))
    assert check_named(decision, "same_test_set").evidence["looks"] == 4
    assert "4 looks" in check_named(decision, "same_test_set").detail
    assert check_named(decision, "non_inferior").evidence["error_after_looks"] == pytest.approx(0.2)


def test_the_margin_at_3000_items_is_shown_and_about_one_and_a_half_points() -> None:
    shown = check_named(judge(evidence_of(right(3_000), right(3_000))), "non_inferior").evidence
    assert shown["margin"] == pytest.approx(0.015, abs=0.001)


def test_a_test_set_too_small_to_prove_anything_does_not_pass_and_says_how_many_items_it_needs() -> None:
    check = check_named(judge(evidence_of(right(100), right(100))), "non_inferior")
    assert check.passed is False
    assert "275 are needed" in check.detail


def test_the_accuracy_check_states_its_planned_power_and_the_power_at_what_was_seen() -> None:
    shown = check_named(judge(evidence_of(right(3_000, 120), right(3_000, 240))), "non_inferior").evidence
    assert (shown["planned_power"], shown["planned_discordance"]) == (0.90, 0.08)
    assert shown["power_at_seen_discordance"] == pytest.approx(0.994, abs=0.001)  # 4 %, not 8 %


@pytest.mark.parametrize(
    ("name", "items", "loss"),
    [("critical_intents", 234, 0.0475), ("single_intents", 38, 0.342), ("out_of_scope", 150, 0.060)],
)
def test_a_check_that_uses_a_statistic_states_the_loss_that_it_finds(
    name: str, items: int, loss: float
) -> None:
    check = check_named(judge(simulated(np.random.default_rng(3), 0.0, 0.08)), name)
    assert check.evidence.get("fewest_items", check.evidence.get("items")) == items
    assert check.evidence[LOSS_FOUND] == pytest.approx(loss, abs=0.002)


def test_the_power_on_single_intents_is_of_the_corrected_test_at_the_fewest_and_the_most_items() -> None:
    gold = ("intent_1",) * 30 + ("intent_2",) * 300
    shown = check_named(judge(evidence_of(right(330), right(330), gold=gold)), "single_intents").evidence
    assert (shown["fewest_items"], shown["most_items"]) == (30, 300)
    assert shown[LOSS_FOUND] == detectable_loss(30, 0.08, error=0.05 / 2)
    assert shown[f"{LOSS_FOUND}_at_most_items"] == detectable_loss(300, 0.08, error=0.05 / 2)


def test_better_is_only_claimed_with_significance() -> None:
    a_little = judge(evidence_of(right(3_000, 200), right(3_000, 203)))
    clearly = judge(evidence_of(right(3_000, 150), right(3_000, 203)))
    assert check_named(a_little, "non_inferior").evidence["better"] is False
    assert check_named(clearly, "non_inferior").evidence["better"] is True


def test_losing_critical_intents_is_refused_even_where_accuracy_is_equal() -> None:
    gold = gold_labels(3_000)
    critical = np.array([label in CRITICAL_INTENTS for label in gold])
    new, old = np.ones(3_000, dtype=bool), np.ones(3_000, dtype=bool)
    new[np.flatnonzero(critical)[:12]] = False
    old[np.flatnonzero(~critical)[:12]] = False
    decision = judge(evidence_of(new, old))
    assert [check.name for check in decision.failures] == ["critical_intents"]


def test_one_collapsed_intent_is_refused_and_named() -> None:
    gold = gold_labels(3_000)
    new, old = np.ones(3_000, dtype=bool), np.ones(3_000, dtype=bool)
    new[np.flatnonzero(np.array(gold) == "intent_7")[:20]] = False
    decision = judge(evidence_of(new, old))
    assert "intent_7" in check_named(decision, "single_intents").detail
    assert check_named(decision, "single_intents").passed is False


def test_intents_with_few_items_are_not_judged_one_by_one() -> None:
    assert check_named(judge(evidence_of(right(400), right(400))), "single_intents").passed is None


def test_out_of_scope_recall_is_compared_at_the_same_in_scope_rejection() -> None:
    gold = gold_labels(1_000, 40)
    fine = np.append(right(1_000), np.zeros(40, dtype=bool))
    base = evidence_of(fine, fine, gold=gold)
    blind = replace(
        base,
        challenger=answers(gold, fine, np.arange(40) < 28),
        champion=answers(gold, fine, np.ones(40, dtype=bool)),
    )
    check = check_named(judge(blind), "out_of_scope")
    assert check.evidence["recall"] == pytest.approx(0.7)
    assert check.passed is False  # above the floor, but clearly worse than the champion


def test_a_text_answered_with_the_out_of_scope_label_counts_as_caught_at_any_energy() -> None:
    gold = gold_labels(1_000, 20)
    fine = np.append(right(1_000), np.zeros(20, dtype=bool))
    base = evidence_of(fine, None, gold=gold)
    predicted = base.challenger.predicted[:1_000] + ("out_of_scope",) * 20
    labelled = Answers(predicted, np.full(1_020, 15.0))
    check = check_named(judge(replace(base, challenger=labelled)), "out_of_scope")
    assert check.evidence["recall"] == 1.0


def test_a_slow_tagger_is_refused() -> None:
    assert not judge(evidence_of(right(500), None, latency_p95_ms=151.0)).passed
    assert not judge(evidence_of(right(500), None, latency_p95_ms=float("nan"))).passed


def test_an_adapter_below_the_frozen_baseline_passes_only_with_a_written_reason() -> None:
    below = evidence_of(right(500, 30), None, baseline=right(500, 20))
    assert not judge(below).passed
    waived = judge(below, waived={"baseline": "The baseline cannot tell out of scope; agreed with risk."})
    assert (waived.passed, waived.status) == (True, "waived")


@pytest.mark.parametrize("name", sorted(NEVER_WAIVED))
def test_a_broken_bundle_cannot_be_waived(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be waived"):
        judge(evidence_of(right(500), None), waived={name: "in a hurry"})


def test_a_waiver_for_a_check_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"There is no check 'basline'; there are bundle_sound, .*baseline"
    ):
        judge(evidence_of(right(500), None), waived={"basline": "typing error"})


def test_limits_can_be_set() -> None:
    strict = GatePolicy(max_latency_p95_ms=10)
    assert not judge(evidence_of(right(500), None), strict).passed


@pytest.mark.parametrize(
    "changes",
    [{"looks": 0}, {"champion_version": 3}, {"gold": ()}, {"gold": ("intent_1",)}],
)
def test_evidence_that_contradicts_itself_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        evidence_of(right(500), None, **changes) if "gold" not in changes else replace(
            evidence_of(right(500), None), **changes
        )
