"""The gate: whether a challenger may replace the champion, as a pure function of evidence.

Nine checks, each with its own verdict, numbers and, where it is a test, its power. Nothing here runs a
model, reads a registry or promotes; `judge` gets answers on a test set and returns the decision that
serving stores and promotion requires. Without a champion the comparisons do not apply.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from evaluation.gate_evidence import CRITICAL_INTENTS, Answers, GateEvidence, GatePolicy
from evaluation.gate_questions import (
    Comparison,
    changed_only_adapter,
    decided,
    not_below_baseline,
    not_inferior,
    on_same_test_set,
)
from evaluation.intents import Mask
from evaluation.power import detectable_loss
from evaluation.statistics import discordance, holm, mcnemar_worse, wilson
from serving.adapters.decision import Check, GateDecision, require_waivable

_ACCURACY = Comparison("accuracy", "Accuracy")
LOSS_FOUND = "loss_found_with_80_percent_power"
"""Key of the smallest loss that a check's test finds four times in five; None where it finds none."""


def judge(
    evidence: GateEvidence,
    policy: GatePolicy | None = None,
    *,
    waived: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> GateDecision:
    """Decide.

    Args:
        evidence: what is known.
        policy: limits; the defaults where none are given.
        waived: written reason by name of a check that a person overrules, should it fail.
        now: time of the decision, UTC; default: the present.

    Raises:
        InvalidInputError: a waiver for an unknown check, without a reason, or for a check that is
            never waived.
    """
    limits = policy or GatePolicy()
    waivers = dict(waived or {})
    require_waivable(waivers, CHECK_NAMES)
    checks = tuple(check(evidence, limits) for check in CHECKS)
    return decided(evidence, checks, waivers, now or datetime.now(UTC))


def bundle_sound(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """1: files as sealed, weights finite, LoRA moved, the loaded model answers as the trained one."""
    bundle = evidence.bundle
    facts = {
        "verified": bundle.verified,
        "finite": bundle.finite,
        "adapter_moved": bundle.adapter_moved,
        "reloads_alike": bool(bundle.reload_difference <= policy.max_reload_difference),
    }
    wrong = [name for name, fine in facts.items() if not fine]
    shown = bundle.reload_difference if np.isfinite(bundle.reload_difference) else None
    return Check(
        "bundle_sound",
        not wrong,
        f"Not so: {', '.join(wrong)}." if wrong else f"Logits differ by {shown:.1e} at most after loading.",
        facts | {"reload_difference": shown, "limit": policy.max_reload_difference},
    )


def only_adapter_changed(evidence: GateEvidence, _: GatePolicy) -> Check:
    """2: the base's hash is the same before and after; nothing but LoRA and the declared head changed."""
    return changed_only_adapter(evidence.bundle)


def same_test_set(evidence: GateEvidence, _: GatePolicy) -> Check:
    """3: the test set is the one that the champion was judged on; looks at it are counted."""
    return on_same_test_set(evidence, len(evidence.gold))


def non_inferior(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """4: the one-sided bound of the accuracy difference lies above -margin, planned from the test size."""
    if evidence.champion is None:
        return Check("non_inferior", None, "No champion to compare with.")
    new, old = evidence.right(evidence.challenger), evidence.right(evidence.champion)
    return not_inferior(_ACCURACY, new, old, policy, evidence.looks)


def critical_intents(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """5: the critical intents, pooled, are not significantly worse (exact one-sided McNemar)."""
    if evidence.champion is None:
        return Check("critical_intents", None, "No champion to compare with.")
    group = np.array([label in CRITICAL_INTENTS for label in evidence.gold])
    if not group.any():
        return Check("critical_intents", None, "The test set holds no critical intent.")
    new, old = evidence.right(evidence.challenger)[group], evidence.right(evidence.champion)[group]
    table = discordance(new, old)
    p_value = mcnemar_worse(table.gained, table.lost)
    told = f"{int(new.sum())} of {table.items} right, champion {int(old.sum())}; p of being worse"
    return Check(
        "critical_intents",
        bool(p_value >= policy.group_error),
        f"{told} {p_value:.3f}.",
        {
            "items": table.items,
            "gained": table.gained,
            "lost": table.lost,
            "p_worse": p_value,
            "limit": policy.group_error,
            LOSS_FOUND: detectable_loss(table.items, policy.planned_discordance, error=policy.group_error),
        },
    )


def single_intents(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """6: no intent with enough items is significantly worse, corrected for looking at all of them.

    The power is of the first step of the correction, which one bad intent alone has to take, for the
    intents with the fewest and the most items.
    """
    if evidence.champion is None:
        return Check("single_intents", None, "No champion to compare with.")
    gold = np.array(evidence.gold, dtype=object)
    new, old = evidence.right(evidence.challenger), evidence.right(evidence.champion)
    judged = [label for label in sorted(set(gold)) if (gold == label).sum() >= policy.min_intent_items]
    if not judged:
        return Check(
            "single_intents", None, f"No intent has the {policy.min_intent_items} items that a verdict needs."
        )
    tables = [discordance(new[gold == label], old[gold == label]) for label in judged]
    adjusted = holm([mcnemar_worse(table.gained, table.lost) for table in tables])
    worse = [label for label, p in zip(judged, adjusted, strict=True) if p < policy.family_error]
    sizes, first_step = [table.items for table in tables], policy.family_error / len(judged)
    least, most = (
        detectable_loss(items, policy.planned_discordance, error=first_step)
        for items in (min(sizes), max(sizes))
    )
    return Check(
        "single_intents",
        not worse,
        f"Worse: {', '.join(worse)}." if worse else f"None of {len(judged)} intents is worse (Holm).",
        {
            "judged": len(judged),
            "skipped": len(set(gold)) - len(judged),
            "smallest_adjusted_p": float(adjusted.min()),
            "worse": worse,
            "limit": policy.family_error,
            "fewest_items": min(sizes),
            "most_items": max(sizes),
            LOSS_FOUND: least,
            f"{LOSS_FOUND}_at_most_items": most,
        },
    )


def out_of_scope(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """7: recall on out-of-scope texts where the same share of in-scope texts is turned away."""
    outside = np.array([label == evidence.out_of_scope_label for label in evidence.gold])
    if outside.sum() < policy.min_scope_items or outside.all():
        told = f"{int(outside.sum())} out-of-scope texts; {policy.min_scope_items} are needed for a verdict."
        return Check("out_of_scope", None, told)
    caught = _caught(evidence, evidence.challenger, outside, policy.in_scope_rejection)
    recall = wilson(int(caught.sum()), len(caught))
    shown: dict[str, Any] = {
        "items": recall.items,
        "recall": recall.estimate,
        "interval": [recall.low, recall.high],
        "floor": policy.min_scope_recall,
        "in_scope_rejection": policy.in_scope_rejection,
    }
    passed = recall.estimate >= policy.min_scope_recall
    told = f"{recall.estimate:.1%} of {recall.items} turned away, floor {policy.min_scope_recall:.0%}"
    if evidence.champion is not None:
        before = _caught(evidence, evidence.champion, outside, policy.in_scope_rejection)
        table = discordance(caught, before)
        p_value = mcnemar_worse(table.gained, table.lost)
        passed = passed and p_value >= policy.scope_error
        shown |= {
            "champion_recall": float(before.mean()),
            "p_worse": p_value,
            "limit": policy.scope_error,
            LOSS_FOUND: detectable_loss(table.items, policy.planned_discordance, error=policy.scope_error),
        }
        told += f", champion {before.mean():.1%} (p of being worse {p_value:.3f})"
    return Check("out_of_scope", bool(passed), told + ".", shown)


def latency(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """8: p95 of one text."""
    fast = bool(evidence.latency_p95_ms <= policy.max_latency_p95_ms)
    return Check(
        "latency",
        fast,
        f"p95 is {evidence.latency_p95_ms:.1f} ms, limit {policy.max_latency_p95_ms:.0f} ms.",
        {"p95_ms": float(evidence.latency_p95_ms), "limit_ms": policy.max_latency_p95_ms},
    )


def baseline(evidence: GateEvidence, _: GatePolicy) -> Check:
    """9: not below the frozen encoder with a linear head; LoRA must earn its place."""
    new, frozen = evidence.right(evidence.challenger), evidence.right(evidence.baseline)
    return not_below_baseline(_ACCURACY, new, frozen, "frozen baseline")


CHECKS: tuple[Callable[[GateEvidence, GatePolicy], Check], ...] = (
    bundle_sound,
    only_adapter_changed,
    same_test_set,
    non_inferior,
    critical_intents,
    single_intents,
    out_of_scope,
    latency,
    baseline,
)
"""The nine checks in the order in which they are shown."""
CHECK_NAMES = tuple(check.__name__ for check in CHECKS)
"""Each check is called as its function."""


def _caught(evidence: GateEvidence, answers: Answers, outside: Mask, rejection: float) -> Mask:
    """Which out-of-scope texts are turned away at the energy that turns away `rejection` of the others.

    A text answered with the out-of-scope label is turned away at any energy.
    """
    labelled = np.array([label == evidence.out_of_scope_label for label in answers.predicted])
    effective = np.where(labelled, -np.inf, answers.energy)
    inside = np.sort(effective[~outside])
    threshold = inside[min(int(rejection * len(inside)), len(inside) - 1)]
    return np.asarray(labelled[outside] | (effective[outside] < threshold))
