"""The gate: whether a challenger may replace the champion, as a pure function of evidence.

Nine checks, each with its own verdict, numbers and, where it is a test, its power. Nothing here runs a
model, reads a registry or promotes; `judge` gets answers on a test set and returns the decision that
serving stores and promotion requires. Without a champion the comparisons do not apply.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from evaluation.gate_evidence import CRITICAL_INTENTS, Answers, BundleEvidence, GateEvidence, GatePolicy
from evaluation.intents import Mask
from evaluation.power import items_needed, non_inferiority_margin, non_inferiority_power
from evaluation.statistics import discordance, holm, mcnemar, mcnemar_worse, paired_bootstrap, wilson
from serving.adapters.decision import NEVER_WAIVED, Check, GateDecision, verdict
from serving.errors import InvalidInputError


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
    checks = tuple(check(evidence, limits) for check in CHECKS)
    return decided(evidence, checks, dict(waived or {}), now or datetime.now(UTC))


class Judged(Protocol):
    """What every gate knows of its subject, whatever kind of adapter it is."""

    @property
    def model(self) -> str:
        """Registered model's name."""

    @property
    def challenger_version(self) -> int | None:
        """None before registration."""

    @property
    def champion_version(self) -> int | None:
        """None where there is no champion."""

    @property
    def test_sha256(self) -> str:
        """The test set."""

    @property
    def looks(self) -> int:
        """Judgements that it has served, this one included."""

    @property
    def champion_test_sha256(self) -> str | None:
        """Test set of the decision that made the champion."""


def decided(
    evidence: Judged, checks: tuple[Check, ...], waivers: Mapping[str, str], now: datetime
) -> GateDecision:
    """The decision that checks and waivers come to.

    Raises:
        InvalidInputError: as for `judge`.
    """
    forbidden = sorted(NEVER_WAIVED & waivers.keys())
    if forbidden:
        raise InvalidInputError(f"The check {forbidden[0]} cannot be waived.", advice="Train again.")
    return GateDecision(
        model=evidence.model,
        challenger_version=evidence.challenger_version,
        champion_version=evidence.champion_version,
        test_sha256=evidence.test_sha256,
        checks=checks,
        passed=verdict(checks, waivers),
        waived=waivers,
        decided_at=now,
    )


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


def changed_only_adapter(bundle: BundleEvidence) -> Check:
    """The second question of every gate."""
    heads = tuple(f".{head}." for head in bundle.declared_heads)
    foreign = [n for n in bundle.changed_tensors if ".lora_" not in n and not any(h in n for h in heads)]
    same = bundle.base_before == bundle.base_after
    passed = same and not foreign and bool(bundle.changed_tensors)
    detail = (
        f"{len(bundle.changed_tensors)} tensors changed, all {' or '.join(('LoRA', *bundle.declared_heads))}."
    )
    if not passed:
        detail = "The base's weights changed." if not same else f"Also changed: {foreign[:3] or 'nothing'}."
    return Check(
        "only_adapter_changed",
        passed,
        detail,
        {
            "base_before": bundle.base_before,
            "base_after": bundle.base_after,
            "changed_tensors": len(bundle.changed_tensors),
            "foreign_tensors": foreign[:20],
        },
    )


def same_test_set(evidence: GateEvidence, _: GatePolicy) -> Check:
    """3: the test set is the one that the champion was judged on; looks at it are counted."""
    return on_same_test_set(evidence, len(evidence.gold))


def on_same_test_set(evidence: Judged, items: int) -> Check:
    """The third question of every gate."""
    shown = {"test_sha256": evidence.test_sha256, "looks": evidence.looks, "items": items}
    looks = f"{evidence.looks} looks at this test set so far" if evidence.looks > 1 else "first look"
    if evidence.champion_version is None:
        return Check("same_test_set", None, f"No champion; {looks}.", shown)
    before = evidence.champion_test_sha256
    same = before == evidence.test_sha256
    told = (
        "The champion's test set" if same else f"The champion was judged on another ({before or 'unknown'})"
    )
    return Check("same_test_set", same, f"{told}; {looks}.", shown | {"champion_test_sha256": before})


def non_inferior(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """4: the one-sided bound of the accuracy difference lies above -margin, planned from the test size."""
    if evidence.champion is None:
        return Check("non_inferior", None, "No champion to compare with.")
    new, old = evidence.right(evidence.challenger), evidence.right(evidence.champion)
    items, table = len(new), discordance(new, old)
    plan = {"power": policy.power, "level": policy.level}
    margin = non_inferiority_margin(items, policy.planned_discordance, **plan)
    paired = paired_bootstrap(new, old, level=policy.level)
    p_value = mcnemar(table.gained, table.lost)
    shown: dict[str, Any] = {
        "items": items,
        "accuracy": float(new.mean()),
        "champion_accuracy": float(old.mean()),
        "difference": paired.interval.estimate,
        "interval": [paired.interval.low, paired.interval.high],
        "lower_bound": paired.lower_bound,
        "margin": margin,
        "planned_discordance": policy.planned_discordance,
        "planned_power": policy.power,
        "gained": table.gained,
        "lost": table.lost,
        "power_at_seen_discordance": non_inferiority_power(items, max(table.rate, 1 / items), margin),
        "mcnemar_p": p_value,
        "better": bool(p_value < 0.05 and table.gained > table.lost),
        "looks": evidence.looks,
        "error_after_looks": min(1.0, evidence.looks * (1 - policy.level)),
    }
    if margin > policy.max_margin:
        needed = items_needed(policy.max_margin, policy.planned_discordance, **plan)
        told = f"{items} items prove too little: the margin would be {margin:.2%}; {needed} are needed."
        return Check("non_inferior", False, told, shown)
    told = (
        f"Accuracy {new.mean():.2%} against {old.mean():.2%}: the {policy.level:.0%} lower bound of the "
        f"difference is {paired.lower_bound:+.2%}, the margin {-margin:+.2%}"
        f"{'; better (McNemar p < 0.05)' if shown['better'] else ''}."
    )
    return Check("non_inferior", bool(paired.lower_bound > -margin), told, shown)


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
    detectable = non_inferiority_margin(table.items, policy.planned_discordance, level=1 - policy.group_error)
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
            "loss_found_with_80_percent_power": min(1.0, detectable),
        },
    )


def single_intents(evidence: GateEvidence, policy: GatePolicy) -> Check:
    """6: no intent with enough items is significantly worse, corrected for looking at all of them."""
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
    return Check(
        "single_intents",
        not worse,
        f"Worse: {', '.join(worse)}." if worse else f"None of {len(judged)} intents is worse (Holm).",
        {
            "judged": len(judged),
            "skipped": len(set(gold)) - len(judged),
            "smallest_adjusted_p": float(adjusted.min()),
            "worse": worse,
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
        shown |= {"champion_recall": float(before.mean()), "p_worse": p_value}
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
    table = discordance(new, frozen)
    return Check(
        "baseline",
        table.gained >= table.lost,
        f"Accuracy {new.mean():.2%}, frozen baseline {frozen.mean():.2%}.",
        {
            "accuracy": float(new.mean()),
            "baseline_accuracy": float(frozen.mean()),
            "gained": table.gained,
            "lost": table.lost,
            "mcnemar_p": mcnemar(table.gained, table.lost),
        },
    )


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


def _caught(evidence: GateEvidence, answers: Answers, outside: Mask, rejection: float) -> Mask:
    """Which out-of-scope texts are turned away at the energy that turns away `rejection` of the others.

    A text answered with the out-of-scope label is turned away at any energy.
    """
    labelled = np.array([label == evidence.out_of_scope_label for label in answers.predicted])
    effective = np.where(labelled, -np.inf, answers.energy)
    inside = np.sort(effective[~outside])
    threshold = inside[min(int(rejection * len(inside)), len(inside) - 1)]
    return np.asarray(labelled[outside] | (effective[outside] < threshold))
