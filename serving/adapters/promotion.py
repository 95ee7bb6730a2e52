"""Who may become champion: the rules of promotion and rollback, for commands and flows alike.

A promotion needs a stored gate decision that passed and was made against the champion of this very
moment, or a person's written waiver. The rule is checked and the aliases are moved under the registry's
one lock, so of two operators who promote at once, one wins and the other is told. Nothing here judges
an adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from serving.adapters.audit import Act, Action
from serving.adapters.decision import NEVER_WAIVED, GateDecision
from serving.adapters.fit import missing_of, require_fit
from serving.adapters.kinds import require_model_kind
from serving.adapters.registry import AdapterRegistry
from serving.adapters.soundness import require_sound
from serving.adapters.splits import ENDED, with_ending
from serving.adapters.versions import CHAMPION, PREVIOUS, AdapterVersion
from serving.errors import InvalidInputError, RefusedError

_AGAIN = "Judge it with the flow promote-adapter (`voicebot promote`)."


@dataclass(frozen=True, slots=True)
class Transition:
    """A champion that gave way to another.

    Attributes:
        action: promotion or rollback.
        model: registered model's name.
        champion_before: version that served; None at the first promotion.
        champion_after: version that serves now.
        by: who.
        at: when it was recorded, UTC.
        reason: why.
        decision_sha256: the gate decision behind a promotion; empty for a rollback or without one.
        waived: why somebody overruled the gate; empty where nobody did.
        audit_hash: hash of its audit row.
        split_ended: id of the split that it ended; empty where none ran.
    """

    action: Action
    model: str
    champion_before: int | None
    champion_after: int
    by: str
    at: datetime
    reason: str
    decision_sha256: str
    audit_hash: str
    waived: str = ""
    split_ended: str = ""


@dataclass(frozen=True, slots=True)
class Waiver:
    """Somebody's written word that a version shall be champion although the gate does not say so.

    It overrules checks of how good an adapter is, or that it was never judged. It never overrules what the
    adapter is (`NEVER_WAIVED`, altered files, a missing signature where one is required, labels that do not
    fit what is served where the champion's do), nor a decision that was made against another champion.

    Attributes:
        reason: why, for the audit.
        against: the champion that the person has looked at; None where there was none. Without a decision
            only this tells that the champion did not change meanwhile.
    """

    reason: str
    against: int | None


def promote(
    registry: AdapterRegistry,
    name: str,
    version: int,
    *,
    by: str,
    reason: str,
    waiver: Waiver | None = None,
    evidence: Mapping[str, str] | None = None,
) -> Transition:
    """Make a version the champion; the present champion becomes `previous`.

    Args:
        registry: where the version is registered.
        name: registered model's name.
        version: the version, usually the challenger.
        by: who promotes, for the audit.
        reason: why, for the audit.
        waiver: a person's word where the gate does not let the version through.
        evidence: more for the audit, such as who approved.

    Raises:
        RefusedError: it is the champion already, was not judged, failed, or was judged against
            another champion than the present one, and no waiver covers that; or it does not know intents that
            are served and that the champion knows.
        IntegrityError: its bundle or its decision was altered, or a signature is required and not there.
        InvalidInputError: the waiver gives no reason, there is nothing to waive, or it is an adapter of
            another kind than its model's.
        MissingError: no such model or version.
        UnavailableError: the registry or its lock is not to be had; nothing changed.
    """
    with registry.writing():
        act = promotion_act(registry, name, version, by=by, reason=reason, waiver=waiver)
        return _move(registry, replace(act, evidence={**(evidence or {}), **act.evidence}))


def promotion_act(
    registry: AdapterRegistry, name: str, version: int, *, by: str, reason: str, waiver: Waiver | None = None
) -> Act:
    """What `promote` would do now, after all its checks; changes nothing. Errors as for `promote`."""
    champion = registry.champion_version(name)
    candidate = registry.get(name, version)
    if version == champion:
        raise RefusedError(f"{candidate.label} is the champion already.")
    require_model_kind(candidate)
    if waiver is None:
        evidence = _decided(_require_passing(candidate, champion))
    else:
        evidence = _waived(candidate, champion, waiver)
    candidate.verify()
    require_fit(registry, candidate, partial(missing_of, registry, name, champion))
    registry.signatures.require(candidate.bundle, candidate.label)
    return with_ending(registry, Act(Action.PROMOTE, name, version, by, reason, champion, version, evidence))


def rollback(registry: AdapterRegistry, name: str, *, by: str, reason: str) -> Transition:
    """Swap champion and previous; done twice, it changes nothing. Needs no new decision.

    It goes back also to one whose labels no longer fit what is served: at night, a person's word is enough.
    Servers follow and say so; `fit.warning_of` tells the person.

    Raises:
        RefusedError: there is no previous champion to go back to.
        IntegrityError: the previous champion's bundle was altered, or a required signature is not there.
        MissingError: no such model.
        UnavailableError: the registry or its lock is not to be had; nothing changed.
    """
    with registry.writing():
        return _move(registry, rollback_act(registry, name, by=by, reason=reason))


def rollback_act(registry: AdapterRegistry, name: str, *, by: str, reason: str) -> Act:
    """What `rollback` would do now, after all its checks; changes nothing. Errors as for `rollback`."""
    aliases = registry.aliases(name)
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None or previous == champion:
        raise RefusedError(
            f"{name} has no previous champion to go back to.",
            advice="`adapter-control --disable` falls back to the frozen baseline head.",
        )
    target = registry.get(name, previous)
    target.verify()
    registry.signatures.require(target.bundle, target.label)
    return with_ending(registry, Act(Action.ROLLBACK, name, previous, by, reason, champion, previous))


def _require_passing(candidate: AdapterVersion, champion: int | None) -> GateDecision:
    decision = candidate.decision()
    if decision is None:
        raise RefusedError(f"{candidate.label} was never judged by the gate.", advice=_AGAIN)
    if not decision.passed:
        failed = "; ".join(f"{check.name}: {check.detail.rstrip('.')}" for check in decision.failures)
        raise RefusedError(
            f"The gate refused {candidate.label}. {failed}.",
            advice="Train a better one, judge it again if the machine was at fault, or overrule the gate in "
            'writing: --waive "why".',
        )
    _require_same_champion(candidate, decision, champion)
    return decision


def _waived(candidate: AdapterVersion, champion: int | None, waiver: Waiver) -> dict[str, str]:
    """Evidence of a promotion on somebody's word, or why it cannot be given."""
    if not waiver.reason.strip() or len(waiver.reason) > 2_000 or not waiver.reason.isprintable():
        raise InvalidInputError("A waiver needs a written reason: one line of 1 to 2,000 characters.")
    decision = candidate.decision()
    if decision is None:
        if waiver.against != champion:
            raise RefusedError(
                f"Meanwhile there is {_champion(champion)}; the waiver was given against "
                f"{_champion(waiver.against)}.",
                advice="Look at `adapter-control list`, then decide again.",
            )
        require_sound(candidate.bundle, candidate.verify())
        return {"waived": waiver.reason, "overruled": "never judged"}
    if decision.passed:
        raise InvalidInputError(
            f"There is nothing to waive: the gate let {candidate.label} through.", advice="Leave --waive out."
        )
    barred = [check for check in decision.failures if check.name in NEVER_WAIVED]
    if barred:
        raise RefusedError(
            f"{barred[0].name} is never waived. {barred[0].detail}", advice="Train the adapter again."
        )
    _require_same_champion(candidate, decision, champion)
    overruled = "; ".join(f"{check.name}: {check.detail.rstrip('.')}" for check in decision.failures)
    return {**_decided(decision), "waived": waiver.reason, "overruled": overruled}


def _decided(decision: GateDecision) -> dict[str, str]:
    return {"decision": decision.sha256, "status": decision.status, "test": decision.test_sha256}


def _require_same_champion(candidate: AdapterVersion, decision: GateDecision, champion: int | None) -> None:
    if decision.champion_version != champion:
        raise RefusedError(
            f"{candidate.label} was judged against {_champion(decision.champion_version)}, "
            f"but now there is {_champion(champion)}.",
            advice=_AGAIN,
        )


def _champion(version: int | None) -> str:
    return "no champion" if version is None else f"champion {version}"


def _move(registry: AdapterRegistry, act: Act) -> Transition:
    """Flip the champion alias, the one step that decides; settling does the rest."""
    new = act.champion_after
    assert new is not None
    row = registry.carry_out(act, lambda: registry.set_alias(act.model, CHAMPION, new))
    return Transition(
        action=act.action,
        model=act.model,
        champion_before=act.champion_before,
        champion_after=new,
        by=act.by,
        at=row.at,
        reason=act.reason,
        decision_sha256=act.evidence.get("decision", ""),
        audit_hash=row.hash,
        waived=act.evidence.get("waived", ""),
        split_ended=act.evidence.get(ENDED, ""),
    )
