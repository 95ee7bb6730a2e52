"""Flow promote-adapter: judge → (approval) → warm the new cache scope → move the champion alias → event.

    python -m flows.promote_adapter

A promotion means a new cache scope; it is filled before the alias moves, so that the first caller after the
promotion finds the cache warm. Rollback is a flow of its own below.
"""

from dataclasses import dataclass

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from flows.approval import approved
from flows.judging import Verdict, judge_version
from flows.progress import report
from serving.adapters.audit import operator_name
from serving.errors import RefusedError, VoicebotError
from serving.settings import Settings

PROMOTED = "adapter.promoted"
"""Event that the cache-building deployment listens to."""


@dataclass(frozen=True, slots=True)
class PromotionOutcome:
    """What the flow did.

    Attributes:
        champion_before: the champion that the version was judged against; None where there was none.
        gate: the verdict's status.
        promoted: false after a dry run.
        cache_entries: entries in the scope of the new champion.
    """

    name: str
    version: int
    champion_before: int | None
    gate: str
    promoted: bool
    cache_entries: int


@task(cache_policy=NO_CACHE)
def judge(name: str, version: int, waive: dict[str, str], *, keep: bool = True) -> Verdict:
    """Have a passing decision against the present champion; without `keep` it is not stored."""
    settings = Settings.load()
    verdict = judge_version(
        settings, name, version, by=operator_name(settings.operator), waived=waive or None, keep=keep
    )
    for check in verdict.decision.checks:
        report(f"gate: {check.name}", int(check.passed is not False), 1, check.detail)
    if not verdict.decision.passed:
        failed = "; ".join(f"{check.name}: {check.detail.rstrip('.')}" for check in verdict.decision.failures)
        raise RefusedError(f"The gate refused {name}/{version}. {failed}.", advice="Train a better one.")
    return verdict


@task(cache_policy=NO_CACHE)
def warm_scope(name: str, version: int) -> int:
    """Fill the cache scope that calls with this version will use; returns its entries.

    A dialogue adapter that no server of this home follows, or beside which no intent adapter serves, has
    none.
    """
    from flows.cache_scope import build_scope, is_used

    settings = Settings.load()
    if not is_used(settings, name, version):
        report("cache scope", 1, 1, "none: no call of this home uses this adapter")
        return 0
    actor = operator_name(settings.operator)
    built = build_scope(settings, name, version, actor=actor)
    report("cache scope", 1, 1, f"{built.entries} entries")
    return built.entries + _answered_ahead(settings, name, version, actor)


def _answered_ahead(settings: Settings, name: str, version: int, actor: str) -> int:
    """Entries for what callers ask besides the approved questions; an engine that is down stops nothing."""
    from flows.warm_cache import warm_scope as warm

    try:
        found = warm(settings, name, version, actor=actor)
    except VoicebotError as error:
        report("questions ahead", 1, 1, f"none: {error.message}")
        return 0
    left_out = "".join(f", {count} {reason}" for reason, count in found.refused.items())
    report(
        "questions ahead",
        1,
        1,
        f"{found.entered} of {found.questions}, {found.known} known already{left_out}",
    )
    return found.entered


@task(cache_policy=NO_CACHE)
def move_champion(name: str, version: int, reason: str, evidence: dict[str, str] | None = None) -> int | None:
    """Move the alias and write the audit; returns the champion before.

    Args:
        name: registered model.
        version: the version.
        reason: written into the audit.
        evidence: likewise, such as who approved.
    """
    from serving.adapters.promotion import promote
    from serving.adapters.registry import AdapterRegistry

    settings = Settings.load()
    registry = AdapterRegistry.from_settings(settings)
    by = operator_name(settings.operator)
    done = promote(registry, name, version, by=by, reason=reason, evidence=evidence)
    report("champion", 1, 1, f"{name}/{version}")
    if done.split_ended:
        report("split of callers", 1, 1, f"{done.split_ended} ended")
    return done.champion_before


@task(cache_policy=NO_CACHE)
def announce(name: str, version: int) -> None:
    """Emit the event that other deployments may wait for."""
    emit_event(
        PROMOTED,
        resource={"prefect.resource.id": f"adapter.{name}", "name": name},
        payload={"version": version},
    )


@flow(name="promote-adapter")
def promote_adapter(
    name: str = "banking-lora",
    version: int | None = None,
    reason: str = "promoted by the flow promote-adapter",
    waive: dict[str, str] | None = None,
    dry_run: bool = False,
    approval: bool = False,
    approval_timeout_s: int = 3_600,
) -> PromotionOutcome:
    """Promote a version that passes the gate.

    Args:
        name: registered model.
        version: its number; default: the challenger.
        reason: written into the audit.
        waive: a written reason for each check of the gate that a person overrules.
        dry_run: judge and say what would happen; nothing moves and the verdict is not kept. Its look at
            the test set is counted all the same.
        approval: pause after the verdict until a person says yes (`flows/approval.py`).
        approval_timeout_s: how long an answer is waited for, in seconds; silence is no.
    """
    chosen = version if version is not None else _challenger(name)
    verdict = judge(name, chosen, waive or {}, keep=not dry_run)
    gate = verdict.decision.status
    if dry_run:
        before = verdict.champion_version
        return PromotionOutcome(name, chosen, before, gate, promoted=False, cache_entries=0)
    evidence = approved(name, verdict, approval_timeout_s) if approval else None
    entries = warm_scope(name, chosen)
    before = move_champion(name, chosen, reason, evidence)
    announce(name, chosen)
    return PromotionOutcome(name, chosen, before, gate, promoted=True, cache_entries=entries)


@task(cache_policy=NO_CACHE)
def swap_back(name: str, reason: str) -> int:
    """Swap champion and previous; returns the version that serves now."""
    from serving.adapters.promotion import rollback
    from serving.adapters.registry import AdapterRegistry

    settings = Settings.load()
    registry = AdapterRegistry.from_settings(settings)
    done = rollback(registry, name, by=operator_name(settings.operator), reason=reason)
    if done.split_ended:
        report("split of callers", 1, 1, f"{done.split_ended} ended")
    return done.champion_after


@flow(name="rollback-adapter")
def rollback_adapter(
    name: str = "banking-lora", reason: str = "rolled back by the flow rollback-adapter"
) -> int:
    """Go back to the previous champion; its cache scope is still there.

    Where the knowledge was edited since, that scope has never been filled: the event has it built.
    """
    version = swap_back(name, reason)
    announce(name, version)
    return version


def _challenger(name: str) -> int:
    from serving.adapters.registry import AdapterRegistry
    from serving.adapters.versions import CHALLENGER

    return AdapterRegistry.from_settings(Settings.load()).get(name, CHALLENGER).version


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("promote")
