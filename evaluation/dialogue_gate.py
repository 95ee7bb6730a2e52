"""The gate for dialogue adapters: whether a challenger may speak for the bank, a pure function of evidence.

The same questions as the intent gate's where they apply, by the same statistics, on turns instead of texts:
is the bundle sound, did only LoRA change, is it the champion's test set, are exact calls non-inferior, are
there more invented numbers (the critical group), is any other rate worse, is it fast, and does it earn its
place against its own base and against the engine that needs no model. Nothing here runs a model, reads a
registry or promotes.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from evaluation.dialogue_evidence import DialogueEvidence, DialoguePolicy, Spoken
from evaluation.gate_questions import (
    Comparison,
    changed_only_adapter,
    decided,
    not_below_baseline,
    not_inferior,
    on_same_test_set,
)
from evaluation.intents import Mask
from evaluation.statistics import discordance, holm, mcnemar_worse, wilson
from evaluation.tool_calls import TurnVerdict
from serving.adapters.decision import Check, GateDecision, require_waivable

_EXACT = Comparison("exact_call", "Exact calls", "turns", "dialogues", digits=1)
_RIGHT = Comparison("right", "Right turns", "turns", "dialogues", digits=1)


def judge_dialogue(
    evidence: DialogueEvidence,
    policy: DialoguePolicy | None = None,
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
    limits = policy or DialoguePolicy()
    waivers = dict(waived or {})
    require_waivable(waivers, DIALOGUE_CHECK_NAMES)
    checks = tuple(check(evidence, limits) for check in DIALOGUE_CHECKS)
    return decided(evidence, checks, waivers, now or datetime.now(UTC))


def bundle_sound(evidence: DialogueEvidence, _: DialoguePolicy) -> Check:
    """1: files as sealed, weights finite, LoRA moved, known answers as likely as right after training."""
    bundle = evidence.bundle
    facts = {
        "verified": bundle.verified,
        "finite": bundle.finite,
        "adapter_moved": bundle.adapter_moved,
        "reloads_alike": bool(bundle.reload_difference <= evidence.reload_limit),
    }
    wrong = [name for name, fine in facts.items() if not fine]
    shown = bundle.reload_difference if np.isfinite(bundle.reload_difference) else None
    told = f"Known answers differ by {shown or 0:.1e} nats a token at most after loading."
    return Check(
        "bundle_sound",
        not wrong,
        f"Not so: {', '.join(wrong)}." if wrong else told,
        facts | {"reload_difference": shown, "limit": evidence.reload_limit},
    )


def only_adapter_changed(evidence: DialogueEvidence, _: DialoguePolicy) -> Check:
    """2: the frozen base's hash is the same before and after; nothing but LoRA changed."""
    return changed_only_adapter(evidence.bundle)


def same_test_set(evidence: DialogueEvidence, _: DialoguePolicy) -> Check:
    """3: the test dialogues are those that the champion was judged on; looks at them are counted."""
    return on_same_test_set(evidence, evidence.items)


def non_inferior(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """4: of the turns that should call, the share of exact calls lies above the champion's minus a margin."""
    if evidence.champion is None:
        return Check("non_inferior", None, "No champion to compare with.")
    wanted = evidence.challenger.mask(_wanted)
    if not wanted.any():
        return Check("non_inferior", None, "The test dialogues hold no turn that should call.")
    new, old = (spoken.mask(_exact)[wanted] for spoken in (evidence.challenger, evidence.champion))
    clusters = np.array(evidence.dialogues, dtype=object)[wanted]
    return not_inferior(
        _EXACT, new, old, policy, evidence.looks, clusters=clusters, design_effect=policy.design_effect
    )


def invented_numbers(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """5: numbers that nobody gave: under a ceiling, and not significantly more than the champion's.

    The critical group: a wrong number costs the caller money, so it has the whole error to itself.
    """
    turns = np.ones(evidence.items, dtype=bool)
    told, shown, passed = _share(evidence.challenger, turns, _clean, 1 - policy.max_invented, policy)
    if evidence.champion is not None:
        p_value = _p_worse(evidence.challenger, evidence.champion, turns, _clean)
        passed = passed and p_value >= policy.group_error
        told += f"; p of being worse than the champion {p_value:.3f}"
        shown |= {"p_worse": p_value, "error": policy.group_error}
    return Check("invented_numbers", passed, f"Turns without an invented number: {told}.", shown)


def valid_schema(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """6a: calls fit the schema of a tool on offer."""
    return _rate(evidence, policy, "valid_schema", "Calling turns whose calls all fit their schema")


def wrong_tool(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """6b: where a tool should be called and one is, it is the right one."""
    return _rate(evidence, policy, "wrong_tool", "Turns with the right tool where one is called")


def unwanted_call(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """6c: where nothing should be called (a refusal, a question, small talk), nothing is."""
    return _rate(evidence, policy, "unwanted_call", "Turns that rightly only speak")


def exact_call(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """7: exact calls above a floor, champion or not: the engine without a model does as well."""
    turns = evidence.challenger.mask(_wanted)
    told, shown, passed = _share(evidence.challenger, turns, _exact, policy.min_exact_call, policy)
    if turns.sum() < policy.min_calls:
        told = f"{int(turns.sum())} turns that should call prove too little; {policy.min_calls} are needed."
        return Check("exact_call", False, told, shown)
    return Check("exact_call", passed, f"Exact calls: {told}.", shown)


def latency(evidence: DialogueEvidence, policy: DialoguePolicy) -> Check:
    """8: p95 of a whole answer."""
    return Check(
        "latency",
        bool(evidence.latency_p95_ms <= policy.max_latency_p95_ms),
        f"p95 is {evidence.latency_p95_ms:.0f} ms, limit {policy.max_latency_p95_ms:.0f} ms.",
        {"p95_ms": float(evidence.latency_p95_ms), "limit_ms": policy.max_latency_p95_ms},
    )


def baseline(evidence: DialogueEvidence, _: DialoguePolicy) -> Check:
    """9: over all turns, not below the base without an adapter; LoRA must earn its place."""
    new, base = evidence.challenger.mask(_exact), evidence.base.mask(_exact)
    return not_below_baseline(_RIGHT, new, base, "the base without an adapter")


DIALOGUE_CHECKS: tuple[Callable[[DialogueEvidence, DialoguePolicy], Check], ...] = (
    bundle_sound,
    only_adapter_changed,
    same_test_set,
    non_inferior,
    invented_numbers,
    valid_schema,
    wrong_tool,
    unwanted_call,
    exact_call,
    latency,
    baseline,
)
"""The checks in the order in which they are shown."""
DIALOGUE_CHECK_NAMES = tuple(check.__name__ for check in DIALOGUE_CHECKS)
"""Each check is called as its function."""


def _wanted(verdict: TurnVerdict) -> bool:
    return verdict.wanted


def _exact(verdict: TurnVerdict) -> bool:
    return verdict.exact


def _clean(verdict: TurnVerdict) -> bool:
    return not verdict.invented


def _valid(verdict: TurnVerdict) -> bool:
    return verdict.valid == verdict.calls


def _right_tool(verdict: TurnVerdict) -> bool:
    return not verdict.wrong_tool


def _silent(verdict: TurnVerdict) -> bool:
    return not verdict.called and not verdict.failed


_Question = Callable[[TurnVerdict], bool]
_RATES: Mapping[str, tuple[_Question, _Question, Callable[[DialoguePolicy], float]]] = {
    "valid_schema": (lambda verdict: verdict.called, _valid, lambda policy: policy.min_valid),
    "wrong_tool": (
        lambda verdict: verdict.wanted and verdict.called,
        _right_tool,
        lambda policy: 1 - policy.max_wrong,
    ),
    "unwanted_call": (lambda verdict: not verdict.wanted, _silent, lambda policy: 1 - policy.max_unwanted),
}
"""By check: which turns are looked at, what is right of them, and the least share that must be."""


def _rate(evidence: DialogueEvidence, policy: DialoguePolicy, name: str, what: str) -> Check:
    """A share above its floor, and not significantly below the champion's, corrected for all of `_RATES`."""
    of, right, floor = _RATES[name]
    turns = evidence.challenger.mask(of)
    told, shown, passed = _share(evidence.challenger, turns, right, floor(policy), policy)
    if evidence.champion is not None:
        p_value = _adjusted(evidence, evidence.champion)[name]
        passed = passed and p_value >= policy.family_error
        told += f"; p of being worse than the champion {p_value:.3f} (Holm)"
        shown |= {"p_worse": p_value, "error": policy.family_error}
    elif not turns.any():
        return Check(name, None, f"{what}: there is none.", shown)
    return Check(name, passed, f"{what}: {told}.", shown)


def _adjusted(evidence: DialogueEvidence, champion: Spoken) -> dict[str, float]:
    """One-sided p-values of being worse for every rate, corrected for their number.

    Both are looked at on the turns that concern either: a turn without a call has none that is invalid.
    """
    raw = []
    for of, right, _ in _RATES.values():
        turns = evidence.challenger.mask(of) | champion.mask(of)
        raw.append(_p_worse(evidence.challenger, champion, turns, right))
    return dict(zip(_RATES, (float(p) for p in holm(raw)), strict=True))


def _p_worse(new: Spoken, old: Spoken, turns: Mask, right: _Question) -> float:
    if not turns.any():
        return 1.0
    table = discordance(new.mask(right)[turns], old.mask(right)[turns])
    return mcnemar_worse(table.gained, table.lost)


def _share(
    spoken: Spoken, turns: Mask, right: _Question, floor: float, policy: DialoguePolicy
) -> tuple[str, dict[str, Any], bool]:
    """A share in words and numbers, and whether it holds its floor; too few turns are held to none."""
    items = int(turns.sum())
    if not items:
        return "there is none", {"items": 0, "floor": floor}, True
    found = wilson(int(spoken.mask(right)[turns].sum()), items)
    shown: dict[str, Any] = {
        "items": items,
        "share": found.estimate,
        "interval": [found.low, found.high],
        "floor": floor,
    }
    held = items >= policy.min_calls
    told = f"{found.estimate:.1%} of {items}"
    told += f", floor {floor:.0%}" if held else f" (a floor needs {policy.min_calls})"
    return told, shown, bool(not held or found.estimate >= floor)
