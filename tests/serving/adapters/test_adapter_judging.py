"""Which decision a version gets, when one is used again, and how looks at the test set are counted.

The gate itself is replaced by one that answers as told; registry, audit, bundles and test set are real.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flows.judging import Verdict, judge_version
from serving.adapters.audit import Action
from serving.adapters.decision import Check, GateDecision
from serving.adapters.promotion import promote
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import looks_at
from serving.adapters.versions import AdapterVersion
from serving.errors import InvalidInputError, MissingError, RefusedError
from serving.settings import Settings

NAME = "banking-lora"
LABELS = ("card_lost", "loan_quote", "pin_blocked", "out_of_scope")
BundleMaker = Callable[..., Path]


@dataclass
class Gate:
    """Answers as told and remembers what it was asked."""

    passed: bool = True
    looks: list[int] = field(default_factory=list)
    champion_test: list[str | None] = field(default_factory=list)

    def __call__(
        self,
        _encoder: object,
        test: Any,
        challenger: Any,
        champion: Any = None,
        *,
        looks: int,
        waived: Mapping[str, str] | None,
    ) -> SimpleNamespace:
        self.looks.append(looks)
        self.champion_test.append(champion.test_sha256 if champion else None)
        number = champion.adapter.version if champion else None
        checks = Check("baseline", True, "Not below it."), Check("latency", self.passed, "p95 is 3 ms.")
        passed = self.passed or "latency" in (waived or {})
        decision = GateDecision(
            NAME, challenger.version, number, test.sha256, checks, passed, dict(waived or {})
        )
        report = SimpleNamespace(accuracy=SimpleNamespace(estimate=0.9))
        return SimpleNamespace(decision=decision, challenger=report, baseline=report)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr("training.judge.judge_adapter", gate)
    monkeypatch.setattr("serving.language.encoder.load_encoder", lambda _folder: None)
    return gate


def write_intents(data: Path, note: str = "") -> None:
    intents = {
        label: {
            "description": "One of four.",
            "kind": "informational",
            **{
                split: [f"{label} {split} {number}{note}" for number in range(5)]
                for split in ("train", "validate", "test")
            },
        }
        for label in LABELS
    }
    (data / "intents").mkdir(parents=True, exist_ok=True)
    (data / "intents" / "all.yaml").write_text(yaml.safe_dump(intents))


@pytest.fixture
def settings(mlruns: Path, tmp_path: Path) -> Settings:
    write_intents(tmp_path / "data")
    return Settings(home=tmp_path / "home", mlruns=mlruns, data_dir=tmp_path / "data")


@pytest.fixture
def judge(settings: Settings, gate: Gate) -> Callable[..., Verdict]:
    def judge(version: int, **options: Any) -> Verdict:
        return judge_version(settings, NAME, version, by="ann", **options)

    return judge


def damage_decision(version: AdapterVersion) -> None:
    version.decision_file(version.tags["gate.decision"]).write_text("{")


def test_a_damaged_decision_of_another_version_blocks_no_judgement(
    challenged: AdapterRegistry, judge: Callable[..., Verdict]
) -> None:
    damage_decision(challenged.get(NAME, 1))
    assert judge(3).decision.passed


def test_a_version_whose_decision_is_damaged_is_judged_again(
    challenged: AdapterRegistry, judge: Callable[..., Verdict]
) -> None:
    damage_decision(challenged.get(NAME, 3))
    decided = judge(3).decision
    assert challenged.decision(NAME, 3) == decided


def test_the_champions_test_set_is_known_even_where_its_decision_is_damaged(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    damage_decision(challenged.get(NAME, 2))
    judge(3)
    assert gate.champion_test == ["e" * 64]


def test_a_passed_decision_on_the_same_test_set_is_used_again(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    first = judge(3)
    again = judge(3)
    assert (again.decision, again.champion_version) == (first.decision, 2)
    assert gate.looks == [1]


def test_a_decision_on_another_test_set_is_not_used_again(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate, settings: Settings
) -> None:
    before = judge(3).decision
    write_intents(settings.data, note=" please")
    after = judge(3).decision
    assert after.test_sha256 != before.test_sha256
    assert len(gate.looks) == 2


def test_a_failure_can_be_measured_again(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    gate.passed = False
    assert not judge(3).decision.passed
    gate.passed = True
    assert judge(3).decision.passed
    assert gate.looks == [1, 2]
    assert challenged.get(NAME, 3).gate_status == "passed"


def test_every_look_at_the_test_set_counts_whatever_became_of_it(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate, make_bundle: BundleMaker
) -> None:
    first = judge(3).decision
    challenged.register(NAME, make_bundle(4), by="ci")
    for _ in range(3):
        judge(4, keep=False)
    judge(4)
    damage_decision(challenged.get(NAME, 3))
    judge(3)
    assert gate.looks == [1, 2, 3, 4, 5, 6]
    assert looks_at(challenged, first.test_sha256) == 6


def test_looks_are_counted_in_a_damaged_audit(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    judge(3, keep=False)
    lines = challenged.audit.path.read_text().splitlines(keepends=True)
    challenged.audit.path.write_text("".join(["garbage\n", *lines[1:]]))
    judge(3, keep=False)
    assert gate.looks == [1, 2]


def test_a_dry_run_leaves_no_verdict_but_its_look(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], make_bundle: BundleMaker
) -> None:
    challenged.register(NAME, make_bundle(4), by="ci")
    verdict = judge(4, keep=False)
    assert (verdict.decision.passed, verdict.champion_version) == (True, 2)
    assert challenged.decision(NAME, 4) is None
    assert challenged.get(NAME, 4).gate_status == "not judged"
    with pytest.raises(RefusedError, match="never judged"):
        promote(challenged, NAME, 4, by="ann", reason="it was a dry run")
    row = challenged.history()[-1]
    assert (row.act.action, row.act.version, row.act.reason) == (Action.DECIDE, 4, "gate passed, dry run")


def test_the_champion_is_not_judged_again_and_keeps_the_decision_that_made_it(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    before = challenged.decision(NAME, 2)
    with pytest.raises(RefusedError, match="champion already"):
        judge(2)
    assert challenged.decision(NAME, 2) == before
    assert gate.looks == []


def test_a_version_for_other_intents_is_refused_and_says_so(
    challenged: AdapterRegistry, gate: Gate, settings: Settings
) -> None:
    ours = settings.model_copy(update={"data_dir": None})
    with pytest.raises(RefusedError, match="trained on other intents: it does not know") as caught:
        judge_version(ours, NAME, 3, by="ann")
    assert "--version" in caught.value.advice
    assert gate.looks == []


def test_a_version_that_is_not_there_is_missing(
    challenged: AdapterRegistry, judge: Callable[..., Verdict]
) -> None:
    with pytest.raises(MissingError):
        judge(99)


def test_a_waiver_is_part_of_the_decision_that_is_used_again(
    challenged: AdapterRegistry, judge: Callable[..., Verdict], gate: Gate
) -> None:
    gate.passed = False
    waived = {"latency": "the machine was busy"}
    assert judge(3, waived=waived).decision.status == "waived"
    assert judge(3, waived=waived).decision.status == "waived"
    assert len(gate.looks) == 1
    judge(3)
    assert len(gate.looks) == 2


@pytest.mark.parametrize(
    ("waived", "told"),
    [
        ({"nosuch": "x"}, "There is no check 'nosuch'; there are bundle_sound, .*, baseline"),
        ({"latency": " "}, "latency has none"),
        ({"bundle_sound": "in a hurry"}, "cannot be waived"),
    ],
)
def test_a_waiver_that_is_not_allowed_is_refused_before_anything_is_judged(
    challenged: AdapterRegistry,
    judge: Callable[..., Verdict],
    gate: Gate,
    waived: dict[str, str],
    told: str,
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        judge(3, waived=waived)
    assert gate.looks == []
