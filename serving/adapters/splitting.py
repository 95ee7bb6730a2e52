"""Who may give a challenger a share of the callers, alter it, and take it back.

A split's challenger meets the rules of a promotion: a stored gate decision that passed against the present
champion, or a person's written waiver; sound files; a signature where one is required. Each change is checked
and made under the registry's one lock against what the operator has seen, so of two who act at once one wins
and the other is told. A promotion or rollback ends a split by itself (`settlement`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from serving.adapters.audit import Act, Action, Step
from serving.adapters.fit import missing_of, require_fit
from serving.adapters.pin import DEFAULT_NAME
from serving.adapters.promotion import Waiver, promotion_act
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT, SPLIT_TAG, split_in, told
from serving.arms.guardrail import Finding, Guard
from serving.arms.split import PrimaryMetric, Split, new_split
from serving.errors import IntegrityError, InvalidInputError, RefusedError

_LOOK = "See `adapter-control split`, then decide again."


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of the split that all checks allow.

    Attributes:
        act: for the audit.
        split: as it will be; None where a damaged one is cleared away.
    """

    act: Act
    split: Split | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a split from its start to its end.

    Attributes:
        guard: what the challenger must not make worse.
        cold: it may run although a cache scope of an arm holds nothing.
        waiver: a person's word where the gate does not let the challenger through.
        again: a person's word where the guardrail has taken this challenger back before; empty without.
        primary: what the comparison is decided by.
    """

    guard: Guard = field(default_factory=Guard)
    cold: bool = False
    waiver: Waiver | None = None
    again: str = ""
    primary: PrimaryMetric = PrimaryMetric.RESOLVED_CONTAINMENT


def read_split(registry: AdapterRegistry, name: str) -> Split | None:
    """The newest split of a model, running or ended; None where there was none.

    Raises:
        IntegrityError: what the registry holds is no split.
        MissingError: no such model, or no database yet.
        UnavailableError: the registry does not answer.
    """
    return split_in(registry.model_tags(name))


def start_plan(
    registry: AdapterRegistry,
    name: str,
    version: int,
    percent: int,
    *,
    by: str,
    reason: str,
    terms: Terms,
) -> Plan:
    """What starting a split would do now, after all its checks; changes nothing.

    Raises:
        RefusedError: a split runs already, there is no champion, the version may not be promoted now, or
            the guardrail took it back before.
        IntegrityError: its bundle or its decision was altered, or a signature is required and not there.
        InvalidInputError: no percentage, a model that no server splits, or a waiver without a reason.
        MissingError: no such model or version.
        UnavailableError: the registry is not to be had.
    """
    running = _running(registry, name)
    if running is not None:
        raise RefusedError(f"The split {running.id} of {name} runs: {told(running)}.", advice=_LOOK)
    champion = registry.champion_version(name)
    if champion is None:
        raise RefusedError(
            f"{name} has no champion to compare a challenger with.", advice="Promote a version first."
        )
    if name != DEFAULT_NAME:
        raise InvalidInputError(
            f"Servers split callers between versions of {DEFAULT_NAME} only, not of {name}.",
            advice=f"`adapter-control promote {name}` and `rollback` change it for all callers.",
        )
    checked = promotion_act(registry, name, version, by=by, reason=reason, waiver=terms.waiver)
    evidence = {**checked.evidence, **_again(registry, name, version, terms)}
    split = new_split(
        f"{name}/{champion}",
        f"{name}/{version}",
        percent,
        by=by,
        why=reason,
        guard=terms.guard,
        cold=terms.cold,
        primary=terms.primary,
    )
    return _plan(Action.SPLIT, split, by, reason, evidence)


def alter_plan(registry: AdapterRegistry, name: str, percent: int, *, by: str, reason: str) -> Plan:
    """What giving the challenger another share would do now; changes nothing.

    Raises:
        RefusedError: no split runs, the champion is no longer the one of the split, or the challenger does
            not know intents that are served and that the champion knows.
        IntegrityError: the challenger's bundle was altered, or a required signature is not there.
        InvalidInputError: no percentage.
        MissingError: no such model.
        UnavailableError: the registry is not to be had.
    """
    running = _running(registry, name)
    if running is None:
        raise RefusedError(f"No split of {name} runs.", advice=_LOOK)
    if registry.champion_version(name) != running.champion_version:
        raise RefusedError(
            f"The champion is no longer {running.champion}, which the split {running.id} compares with.",
            advice='End it: `adapter-control split --stop "why"`.',
        )
    challenger = registry.get(name, running.challenger_version)
    challenger.verify()
    require_fit(registry, challenger, partial(missing_of, registry, name, running.champion_version))
    registry.signatures.require(challenger.bundle, challenger.label)
    return _plan(Action.SPLIT, running.altered(percent, datetime.now(UTC)), by, reason, {})


def stop_plan(registry: AdapterRegistry, name: str, *, by: str, reason: str) -> Plan:
    """What ending the split would do now; changes nothing. A damaged split is cleared away.

    Raises:
        RefusedError: no split runs.
        MissingError: no such model.
        UnavailableError: the registry is not to be had.
    """
    try:
        running = _running(registry, name)
    except IntegrityError as error:
        evidence = {SPLIT: "", "damaged": error.message}
        return Plan(Act(Action.STOP, name, None, by, reason, evidence=evidence), None)
    if running is None:
        raise RefusedError(f"No split of {name} runs.", advice=_LOOK)
    return _plan(Action.STOP, running.ended(datetime.now(UTC), by=by, why=reason), by, reason, {})


def carry_out(
    registry: AdapterRegistry, name: str, plan: Callable[[], Plan], *, seen: Split | None
) -> Split | None:
    """Make a planned change; the registry's tag is the one step that decides.

    Args:
        registry: of this installation.
        name: registered model.
        plan: makes the plan, under the lock: one of the functions above with its arguments.
        seen: the running split that the operator has looked at; None where none ran.

    Returns:
        The split as it is now; None where a damaged one was cleared away.

    Raises:
        RefusedError: somebody else has changed the split meanwhile, or what the plan refuses.
        VoicebotError: what the plan raises; nothing changed.
    """
    with registry.writing():
        try:
            running = _running(registry, name)
        except IntegrityError:
            running = None
        if running != seen:
            raise RefusedError(f"Meanwhile {_changed(running)}.", advice=_LOOK)
        planned = plan()
        return _carry_out(registry, planned)


def halt(registry: AdapterRegistry, split: Split, findings: Sequence[Finding], *, by: str) -> Split | None:
    """End a split because its challenger does harm; the evidence goes into the same act.

    Args:
        registry: of this installation.
        split: the split that was judged.
        findings: all harms; those that are broken are the reason.
        by: which server's guardrail.

    Returns:
        The ended split; None where somebody else has ended it already.

    Raises:
        UnavailableError: the registry or its lock is not to be had; nothing changed.
    """
    broken = [str(finding) for finding in findings if finding.broken]
    why = f"guardrail: {'; '.join(broken)}"
    evidence = {f"guardrail.{finding.harm.name.lower()}": str(finding) for finding in findings}
    with registry.writing():
        running = _running(registry, split.model)
        if running is None or running.id != split.id:
            return None
        ended = running.ended(datetime.now(UTC), by=by, why=why)
        return _carry_out(registry, _plan(Action.HALT, ended, by, ended.ended_why, evidence))


def _carry_out(registry: AdapterRegistry, planned: Plan) -> Split | None:
    act = planned.act
    registry.carry_out(act, lambda: registry.set_model_tag(act.model, SPLIT_TAG, act.evidence[SPLIT]))
    return planned.split


def _plan(action: Action, split: Split, by: str, reason: str, evidence: dict[str, str]) -> Plan:
    more = {"share": f"{split.percent} %", "against": split.champion, SPLIT: split.to_json()}
    act = Act(action, split.model, split.challenger_version, by, reason, evidence={**evidence, **more})
    return Plan(act, split)


def _again(registry: AdapterRegistry, name: str, version: int, terms: Terms) -> dict[str, str]:
    """Evidence of a start after a halt; who means to alter a split must not start a harmful one anew."""
    halts = [
        row.act
        for row in registry.audit.readable()
        if (row.act.action, row.step) == (Action.HALT, Step.DONE)
        and (row.act.model, row.act.version) == (name, version)
    ]
    if not halts:
        return {}
    if not terms.again.strip():
        raise RefusedError(
            f"The guardrail took {name}/{version} back before. {halts[-1].reason}.",
            advice='Train a better one, or start it again in writing: --again "why".',
        )
    return {"again": terms.again}


def _running(registry: AdapterRegistry, name: str) -> Split | None:
    split = read_split(registry, name)
    return split if split is not None and split.running else None


def _changed(running: Split | None) -> str:
    if running is None:
        return "the split was ended"
    return f"the split {running.id} was started or altered: {told(running)}"
