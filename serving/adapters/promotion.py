"""Who may become champion: the rules of promotion and rollback, for commands and flows alike.

A promotion needs a stored gate decision that passed and was made against the champion of this very
moment. The rule is checked and the aliases are moved under the registry's one lock, so of two
operators who promote at once, one wins and the other is told. Nothing here judges an adapter.
"""

from dataclasses import dataclass
from datetime import datetime

from serving.adapters.audit import Act, Action
from serving.adapters.decision import GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import CHAMPION, PREVIOUS, AdapterVersion
from serving.errors import RefusedError


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
        decision_sha256: the gate decision that allowed a promotion; empty for a rollback.
        audit_hash: hash of its audit row.
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


def promote(registry: AdapterRegistry, name: str, version: int, *, by: str, reason: str) -> Transition:
    """Make a version the champion; the present champion becomes `previous`.

    Args:
        registry: where the version is registered.
        name: registered model's name.
        version: the version, usually the challenger.
        by: who promotes, for the audit.
        reason: why, for the audit.

    Raises:
        RefusedError: it is the champion already, was not judged, failed, or was judged against
            another champion than the present one.
        IntegrityError: its bundle or its decision was altered.
        MissingError: no such model or version.
        UnavailableError: the registry or its lock is not to be had; nothing changed.
    """
    with registry.writing():
        champion = registry.champion_version(name)
        candidate = registry.get(name, version)
        if version == champion:
            raise RefusedError(f"{candidate.label} is the champion already.")
        decision = _require_passing(candidate, champion)
        candidate.verify()
        evidence = {"decision": decision.sha256, "status": decision.status, "test": decision.test_sha256}
        act = Act(Action.PROMOTE, name, version, by, reason, champion, version, evidence)
        return _move(registry, act)


def rollback(registry: AdapterRegistry, name: str, *, by: str, reason: str) -> Transition:
    """Swap champion and previous; done twice, it changes nothing. Needs no new decision.

    Raises:
        RefusedError: there is no previous champion to go back to.
        IntegrityError: the previous champion's bundle was altered.
        MissingError: no such model.
        UnavailableError: the registry or its lock is not to be had; nothing changed.
    """
    with registry.writing():
        aliases = registry.aliases(name)
        champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if champion is None or previous is None or previous == champion:
            raise RefusedError(
                f"{name} has no previous champion to go back to.",
                advice="`adapter-control --disable` falls back to the frozen baseline head.",
            )
        registry.get(name, previous).verify()
        return _move(registry, Act(Action.ROLLBACK, name, previous, by, reason, champion, previous))


def _require_passing(candidate: AdapterVersion, champion: int | None) -> GateDecision:
    decision = candidate.decision()
    again = "Judge it with the flow promote-adapter (`voicebot promote`)."
    if decision is None:
        raise RefusedError(f"{candidate.label} was never judged by the gate.", advice=again)
    if not decision.passed:
        failed = "; ".join(f"{check.name}: {check.detail}" for check in decision.failures)
        raise RefusedError(f"The gate refused {candidate.label}. {failed}.", advice="Train a better one.")
    if decision.champion_version != champion:
        raise RefusedError(
            f"{candidate.label} was judged against {_champion(decision.champion_version)}, "
            f"but now there is {_champion(champion)}.",
            advice=again,
        )
    return decision


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
    )
