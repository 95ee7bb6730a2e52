"""What every gate asks, whatever the kind of adapter.

Pure functions of evidence. What only one kind can be asked stands in `evaluation.gate` and
`evaluation.dialogue_gate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from evaluation.gate_evidence import BundleEvidence
from evaluation.intents import Mask
from evaluation.power import items_needed, non_inferiority_margin, non_inferiority_power
from evaluation.statistics import discordance, mcnemar, paired_bootstrap
from serving.adapters.decision import Check, GateDecision, verdict


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
    """The decision that checks and waivers come to."""
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What challenger and champion are compared in.

    Attributes:
        key: name of the share in the evidence, such as `accuracy`.
        title: the same in a sentence.
        unit: what is counted, in the plural.
        groups: what items are drawn in, in the plural; empty where each is drawn by itself.
        digits: decimals of a percentage that the size of the test set bears.
    """

    key: str
    title: str
    unit: str = "items"
    groups: str = ""
    digits: int = 2

    def share(self, value: float) -> str:
        """A share in words."""
        return f"{value:.{self.digits}%}"

    def change(self, value: float) -> str:
        """A difference of two shares in words."""
        return f"{value:+.{self.digits}%}"


class Plan(Protocol):
    """Limits of a comparison, fixed before it; both gates' policies are such."""

    @property
    def planned_discordance(self) -> float:
        """Share of items on which two equal adapters are expected to differ."""

    @property
    def power(self) -> float:
        """Chance that an equal challenger passes."""

    @property
    def level(self) -> float:
        """Of the one-sided bound."""

    @property
    def max_margin(self) -> float:
        """A test set that would need a wider one proves too little."""


def not_inferior(
    what: Comparison,
    new: Mask,
    old: Mask,
    plan: Plan,
    looks: int,
    *,
    clusters: "Sequence[object] | np.ndarray[Any, Any] | None" = None,
    design_effect: float = 1.0,
) -> Check:
    """The fourth question: the bound of the difference lies above -margin, planned from the test's size.

    Args:
        what: is compared.
        new: which items the challenger has right.
        old: which the champion has right.
        plan: margin, power and level.
        looks: judgements that the test set has served, this one included.
        clusters: what each item belongs to, where items come in groups that are drawn together.
        design_effect: by how much such groups raise the variance.
    """
    items, table = len(new), discordance(new, old)
    spread = min(1.0, plan.planned_discordance * design_effect)
    wanted = {"power": plan.power, "level": plan.level}
    margin = non_inferiority_margin(items, spread, **wanted)
    paired = paired_bootstrap(new, old, clusters=clusters, level=plan.level)
    p_value = mcnemar(table.gained, table.lost)
    seen = min(1.0, max(table.rate, 1 / items) * design_effect)
    shown: dict[str, Any] = {
        "items": items,
        what.key: float(new.mean()),
        f"champion_{what.key}": float(old.mean()),
        "difference": paired.interval.estimate,
        "interval": [paired.interval.low, paired.interval.high],
        "lower_bound": paired.lower_bound,
        "margin": margin,
        "planned_discordance": plan.planned_discordance,
        "planned_power": plan.power,
        "gained": table.gained,
        "lost": table.lost,
        "power_at_seen_discordance": non_inferiority_power(items, seen, margin),
        "mcnemar_p": p_value,
        "better": bool(p_value < 0.05 and table.gained > table.lost),
        "looks": looks,
        "error_after_looks": min(1.0, looks * (1 - plan.level)),
    }
    if what.groups:
        shown |= {what.groups: paired.interval.items, "design_effect": design_effect}
    if margin > plan.max_margin:
        needed = items_needed(plan.max_margin, spread, **wanted)
        told = f"{items} {what.unit} prove too little: the margin would be {margin:.2%}; {needed} are needed."
        return Check("non_inferior", False, told, shown)
    told = (
        f"{what.title} {what.share(new.mean())} against {what.share(old.mean())}: the {plan.level:.0%} lower "
        f"bound of the difference is {what.change(paired.lower_bound)}, the margin {what.change(-margin)}"
        f"{'; better (McNemar p < 0.05)' if shown['better'] else ''}."
    )
    return Check("non_inferior", bool(paired.lower_bound > -margin), told, shown)


def not_below_baseline(what: Comparison, new: Mask, base: Mask, beside: str) -> Check:
    """The last question: not below what the adapter was trained from, which it must earn its place against.

    Args:
        what: is compared.
        new: which items the challenger has right.
        base: which it has right without the adapter.
        beside: what that is called.
    """
    table = discordance(new, base)
    return Check(
        "baseline",
        table.gained >= table.lost,
        f"{what.title} {what.share(new.mean())}, {beside} {what.share(base.mean())}.",
        {
            what.key: float(new.mean()),
            f"baseline_{what.key}": float(base.mean()),
            "gained": table.gained,
            "lost": table.lost,
            "mcnemar_p": mcnemar(table.gained, table.lost),
        },
    )
