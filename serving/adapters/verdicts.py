"""Keeping the gate's decisions with the versions that they judged, and counting looks at a test set.

Each judgement costs a test set some of its worth, also one whose decision is replaced or never kept; so the
looks are counted in the audit, which forgets nothing. Nothing here judges an adapter.
"""

from dataclasses import replace

from serving.adapters.audit import Act, Action, Step
from serving.adapters.decision import GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import DECISION_TAG, AdapterVersion
from serving.errors import IntegrityError, InvalidInputError
from serving.files import write_atomically, writing_to

_TEST = "test"
"""Evidence of a judgement: sha256 of the test set that was looked at."""


def attach_decision(
    registry: AdapterRegistry, name: str, version: int, decision: GateDecision, *, by: str
) -> GateDecision:
    """Store the gate's decision with the version that it judged; a later one takes its place.

    Raises:
        InvalidInputError: the decision is about another version.
        MissingError: no such version.
    """
    decision = replace(decision, challenger_version=decision.challenger_version or version)
    if (decision.model, decision.challenger_version) != (name, version):
        raise InvalidInputError(
            f"The decision is about {decision.model}/{decision.challenger_version}, not {name}/{version}."
        )
    evidence = {"decision": decision.sha256, "status": decision.status, _TEST: decision.test_sha256}
    act = Act(Action.DECIDE, name, version, by, f"gate {decision.status}", evidence=evidence)
    with registry.writing():
        found = registry.get(name, version)
        with writing_to(registry.folder):
            write_atomically(found.decision_file(decision.sha256), decision.to_json())
        registry.carry_out(act, lambda: registry.set_tags(name, version, {DECISION_TAG: decision.sha256}))
    return decision


def record_look(
    registry: AdapterRegistry, name: str, version: int, decision: GateDecision, *, by: str
) -> None:
    """Journal a judgement whose decision is not kept; no promotion can use it.

    Raises:
        MissingError: no such version.
    """
    evidence = {"status": decision.status, _TEST: decision.test_sha256}
    act = Act(Action.DECIDE, name, version, by, f"gate {decision.status}, dry run", evidence=evidence)
    with registry.writing():
        registry.get(name, version)
        registry.record(Step.DONE, act)


def judged_on(registry: AdapterRegistry, version: AdapterVersion) -> str | None:
    """Test set of the decision stored with a version, from the audit where the decision is damaged."""
    try:
        decision = version.decision()
    except IntegrityError:
        sha256 = version.tags[DECISION_TAG]
        rows = [row.act.evidence for row in registry.audit.readable() if row.act.model == version.name]
        return next((row.get(_TEST) for row in reversed(rows) if row.get("decision") == sha256), None)
    return decision.test_sha256 if decision else None


def looks_at(registry: AdapterRegistry, test_sha256: str) -> int:
    """How many judgements a test set has served so far, of whatever model; damaged rows are not counted."""
    return sum(
        (entry.act.action, entry.step) == (Action.DECIDE, Step.DONE)
        and entry.act.evidence.get(_TEST) == test_sha256
        for entry in registry.audit.readable()
    )
