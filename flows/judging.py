"""Judging a registered version against the champion of the moment, and storing the decision with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from serving.adapters.decision import GateDecision, require_waivable
from serving.adapters.fit import Needed, fit, labels_of
from serving.adapters.kinds import kind_of
from serving.adapters.manifest import Kind
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision, judged_on, looks_at, record_look
from serving.adapters.versions import AdapterVersion
from serving.errors import IntegrityError, MissingError, RefusedError
from serving.settings import Settings

if TYPE_CHECKING:
    from training.data import Dataset


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with the scores that people ask for first.

    Attributes:
        version: the version that was judged.
        champion_version: the champion that it was judged against; None where there was none.
        decision: what was checked and found.
        accuracy: of the challenger on the test set, for a dialogue adapter its share of exact calls; None
            where an earlier decision was used again.
        baseline: of the frozen head in its bundle, or of the language model alone; None likewise.
        figures: more of what was measured, by name.
    """

    version: int
    champion_version: int | None
    decision: GateDecision
    accuracy: float | None
    baseline: float | None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """What a judge is asked to judge.

    Attributes:
        candidate: the version.
        champion: what serves now; None where nothing was promoted yet.
        champion_test: test set of the decision that made it champion; None where unknown.
        looks: judgements that the test set has served so far, this one included.
        waived: written reason by name of a check that a person overrules.
    """

    candidate: AdapterVersion
    champion: AdapterVersion | None
    champion_test: str | None
    looks: int
    waived: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge hands back; see `Verdict`."""

    decision: GateDecision
    accuracy: float
    baseline: float
    figures: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Judges one kind of adapter on one test set.

    Attributes:
        test_sha256: the test set.
        checks: names of what it checks.
    """

    test_sha256: str
    checks: tuple[str, ...]

    def judge(self, case: Case) -> Judged:
        """Put a version through its gate."""
        ...


def champion_of(registry: AdapterRegistry, name: str) -> AdapterVersion | None:
    """The champion; None where nothing was promoted yet."""
    try:
        return registry.get(name)
    except MissingError:
        return None


def judge_version(
    settings: Settings,
    name: str,
    version: int,
    *,
    by: str,
    waived: Mapping[str, str] | None = None,
    keep: bool = True,
    base: Path | None = None,
) -> Verdict:
    """Put a version through the gate on the project's test split and store the decision with it.

    An intent adapter answers the test texts, a dialogue adapter the test dialogues.

    A decision that already stands is used again where it passed, was made on the same test set against the
    present champion, and waives the same checks, because every look at a test set costs some of its worth.
    A failure is judged again when asked: what failed may have been the machine.

    Args:
        settings: the installation.
        name: registered model.
        version: its number.
        by: who judges, for the audit.
        waived: written reason by name of a check that a person overrules.
        keep: False to leave the decision that stands alone; the look at the test set is journalled.
        base: model folder of a dialogue adapter; default: the setting `local_llm`.

    Raises:
        MissingError: no such version.
        RefusedError: it is the champion, or its labels are not those of the project's test split.
        InvalidInputError: a waiver is not allowed, or for a check that there is not; nothing is judged then.
    """
    registry = AdapterRegistry.from_settings(settings)
    candidate, champion = registry.get(name, version), champion_of(registry, name)
    number = champion.version if champion else None
    if version == number:  # a new decision would take the place of the one that made it champion
        raise RefusedError(f"{candidate.label} is the champion already.")
    judge = _judge_for(candidate, settings, base)
    require_waivable(waived or {}, judge.checks)
    standing = _readable_decision(candidate)
    if standing and _can_be_reused(standing, number, judge.test_sha256, waived or {}):
        return Verdict(version, number, standing, None, None)
    looks = looks_at(registry, judge.test_sha256) + 1
    before = judged_on(registry, champion) if champion else None
    judged = judge.judge(Case(candidate, champion, before, looks, waived or {}))
    decision = judged.decision
    if keep:
        decision = attach_decision(registry, name, version, decision, by=by)
    else:
        record_look(registry, name, version, decision, by=by)
    return Verdict(version, number, decision, judged.accuracy, judged.baseline, judged.figures)


def _judge_for(candidate: AdapterVersion, settings: Settings, base: Path | None) -> Judge:
    if kind_of(candidate) == Kind.DIALOGUE:
        from flows.dialogue_judging import DialogueJudge

        return DialogueJudge(settings, base)
    return IntentJudge(settings)


class IntentJudge:
    """Judges intent adapters on the project's test texts.

    Args:
        settings: the installation.

    Raises:
        MissingError: the project's intents have no test split.
    """

    def __init__(self, settings: Settings) -> None:
        from evaluation.gate import CHECK_NAMES

        self._settings, self._test = settings, _test_split(settings)
        self.test_sha256, self.checks = self._test.sha256, CHECK_NAMES

    def judge(self, case: Case) -> Judged:
        """See `Judge`.

        Raises:
            RefusedError: the version's labels are not those of the test split.
        """
        candidate, champion = case.candidate, case.champion
        _require_same_labels(candidate, self._test)
        from serving.language.encoder import load_encoder
        from training.judge import Adapter, Against, judge_adapter

        judged = judge_adapter(
            load_encoder(self._settings.encoder),
            self._test,
            Adapter(candidate.bundle, candidate.version),
            Against(Adapter(champion.bundle, champion.version), case.champion_test) if champion else None,
            looks=case.looks,
            waived=case.waived,
        )
        scores = judged.challenger.accuracy.estimate, judged.baseline.accuracy.estimate
        return Judged(judged.decision, *scores)


def _test_split(settings: Settings) -> "Dataset":
    from training.sources import load_splits

    test = load_splits(settings.data / "intents").test
    if test is None:
        raise MissingError("The project's intents have no test split to judge on.")
    return test


def _readable_decision(version: AdapterVersion) -> GateDecision | None:
    """The decision stored with a version; a damaged one counts for nothing and must not be in the way."""
    try:
        return version.decision()
    except IntegrityError:
        return None


def _can_be_reused(
    standing: GateDecision, champion: int | None, test_sha256: str, waived: Mapping[str, str]
) -> bool:
    return (
        standing.passed
        and standing.champion_version == champion
        and standing.test_sha256 == test_sha256
        and dict(standing.waived) == dict(waived)
    )


def _require_same_labels(version: AdapterVersion, test: "Dataset") -> None:
    """Refuse a version that was trained for other intents, before its weights are loaded."""
    if version.verify().provenance.kind != Kind.INTENT:
        return  # the loader says it better
    unknown = fit(labels_of(version.bundle), Needed(frozenset(test.labels))).missing
    if unknown:
        raise RefusedError(
            f"{version.label} was trained on other intents: it does not know {len(unknown)} labels of the "
            f"project's test split, {unknown[0]} for one.",
            advice="Name a version for the project's own intents with --version; see `adapter-control list`.",
        )
