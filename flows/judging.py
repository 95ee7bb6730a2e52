"""Judging a registered version against the champion of the moment, and storing the decision with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.adapters.decision import GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import AdapterVersion
from serving.errors import MissingError
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """A stored decision with the scores that people ask for first.

    Attributes:
        accuracy: of the challenger on the test set; None where an earlier decision was used again.
        baseline: of the frozen head in its bundle; None likewise.
    """

    version: int
    decision: GateDecision
    accuracy: float | None
    baseline: float | None


def champion_of(registry: AdapterRegistry, name: str) -> AdapterVersion | None:
    """The champion; None where nothing was promoted yet."""
    try:
        return registry.get(name)
    except MissingError:
        return None


def judge_version(
    settings: Settings, name: str, version: int, *, by: str, waived: Mapping[str, str] | None = None
) -> Verdict:
    """Put a version through the gate on the project's test split and store the decision with it.

    A decision that already stands, was made against the present champion and waives the same checks is
    used again, because every look at a test set costs some of its worth.

    Raises:
        MissingError: no such version.
        InvalidInputError: a waiver is not allowed.
    """
    registry = AdapterRegistry.from_settings(settings)
    champion = champion_of(registry, name)
    number = champion.version if champion else None
    standing = registry.decision(name, version)
    if standing and standing.champion_version == number and dict(standing.waived) == dict(waived or {}):
        return Verdict(version, standing, None, None)
    from serving.language.encoder import load_encoder
    from training.judge import Adapter, Against, judge_adapter
    from training.sources import load_splits

    test = load_splits(settings.data / "intents").test
    if test is None:
        raise MissingError("The project's intents have no test split to judge on.")
    before = registry.decision(name, champion.version) if champion else None
    judged = judge_adapter(
        load_encoder(settings.encoder),
        test,
        Adapter(registry.get(name, version).bundle, version),
        Against(Adapter(champion.bundle, number), before.test_sha256 if before else None)
        if champion
        else None,
        looks=looks_at(registry, name, test.sha256) + 1,
        waived=waived,
    )
    decision = registry.attach_decision(name, version, judged.decision, by=by)
    return Verdict(version, decision, judged.challenger.accuracy.estimate, judged.baseline.accuracy.estimate)


def looks_at(registry: AdapterRegistry, name: str, test_sha256: str) -> int:
    """How many stored decisions were made on a test set."""
    decisions = (version.decision() for version in registry.versions(name))
    return sum(decision is not None and decision.test_sha256 == test_sha256 for decision in decisions)
