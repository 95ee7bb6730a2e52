"""What a person may overrule in writing, what nobody may, and two operators in two processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.adapters.decision import NEVER_WAIVED, Check, GateDecision
from serving.adapters.manifest import MANIFEST_FILE, read_manifest, seal
from serving.adapters.promotion import Waiver, promote, promotion_act, rollback_act
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.adapters.versions import CHAMPION, PREVIOUS
from serving.errors import IntegrityError, InvalidInputError, RefusedError
from tests.serving.adapters.fitting import small_data

NAME = "banking-lora"
BundleMaker = Callable[..., Path]
DecisionMaker = Callable[..., GateDecision]


def waive(registry: AdapterRegistry, version: int, reason: str = "the fraud team needs it today") -> object:
    waiver = Waiver(reason, registry.champion_version(NAME))
    return promote(registry, NAME, version, by="ann", reason="urgent", waiver=waiver)


def resealed_weights(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The same bundle with other weights, whose manifest vouches for them."""
    provenance = read_manifest(bundle).provenance
    (bundle / MANIFEST_FILE).unlink()
    tensors = load_file(bundle / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, bundle / "adapter_model.safetensors")
    seal(bundle, provenance)
    return bundle


def test_a_failed_check_is_overruled_in_writing_and_the_audit_says_which(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    failed = attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    waive(challenged, 3)
    assert challenged.aliases(NAME) == {CHAMPION: 3, PREVIOUS: 2}
    evidence = challenged.history()[-1].act.evidence
    assert evidence["waived"] == "the fraud team needs it today"
    assert evidence["overruled"].startswith("non_inferior: ")
    assert (evidence["decision"], evidence["status"]) == (failed.sha256, "failed")
    assert challenged.get(NAME, 3).tags["promoted.waived"] == "the fraud team needs it today"


@pytest.mark.parametrize("name", sorted(NEVER_WAIVED))
def test_what_an_adapter_is_cannot_be_waived(
    challenged: AdapterRegistry, make_decision: DecisionMaker, name: str
) -> None:
    broken = replace(make_decision(2, passed=False), checks=(Check(name, False, "It is broken."),))
    attach_decision(challenged, NAME, 3, broken, by="gate")
    with pytest.raises(RefusedError, match=f"{name} is never waived"):
        waive(challenged, 3)


def test_a_version_that_was_never_judged_can_be_promoted_on_somebodys_word(
    challenged: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    challenged.register(NAME, make_bundle(4), by="ci")
    waive(challenged, 4)
    row = challenged.history()[-1]
    assert row.act.evidence["overruled"] == "never judged"
    assert "decision" not in row.act.evidence


def test_altered_files_and_decisions_are_never_waived(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    version = challenged.get(NAME, 3)
    decision = version.decision_file(version.tags["gate.decision"])
    text = decision.read_text()
    decision.write_text(text.replace("0.1 pp", "9.9 pp"))
    with pytest.raises(IntegrityError, match="altered"):
        waive(challenged, 3)
    decision.write_text(text)
    (version.bundle / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        waive(challenged, 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: next(iter(tensors.values())).fill_(float("nan")), "not finite"),
        (
            lambda tensors: tensors.update({"base_model.model.encoder.embeddings": torch.ones(2)}),
            "neither LoRA",
        ),
        (lambda tensors: [t.zero_() for name, t in tensors.items() if ".lora_B." in name], "never moved"),
    ],
)
def test_an_unsound_bundle_is_refused_also_where_no_gate_has_seen_it(
    challenged: AdapterRegistry,
    make_bundle: BundleMaker,
    change: Callable[[dict[str, torch.Tensor]], object],
    told: str,
) -> None:
    challenged.register(NAME, resealed_weights(make_bundle(4), change), by="ci")
    with pytest.raises(IntegrityError, match=told):
        waive(challenged, 4)
    assert challenged.champion_version(NAME) == 2


def test_a_waiver_says_why_and_overrules_something(challenged: AdapterRegistry) -> None:
    with pytest.raises(InvalidInputError, match="nothing to waive"):
        waive(challenged, 3)
    for reason in ("", " ", "two\nlines", "x" * 2_001):
        with pytest.raises(InvalidInputError, match="written reason"):
            waive(challenged, 3, reason)


def test_a_waiver_does_not_overrule_that_the_champion_changed(
    challenged: AdapterRegistry, make_bundle: BundleMaker, make_decision: DecisionMaker
) -> None:
    attach_decision(challenged, NAME, 3, make_decision(1, passed=False), by="gate")
    with pytest.raises(RefusedError, match="judged against champion 1, but now there is champion 2"):
        waive(challenged, 3)
    challenged.register(NAME, make_bundle(4), by="ci")
    with pytest.raises(RefusedError, match="Meanwhile there is champion 2"):
        promote(challenged, NAME, 4, by="ann", reason="urgent", waiver=Waiver("why", 1))


def test_a_plan_says_what_would_be_done_and_changes_nothing(challenged: AdapterRegistry) -> None:
    rows, aliases = challenged.history(), challenged.aliases(NAME)
    forward = promotion_act(challenged, NAME, 3, by="ann", reason="better")
    back = rollback_act(challenged, NAME, by="ann", reason="worse")
    assert (forward.champion_before, forward.champion_after) == (2, 3)
    assert (back.champion_before, back.champion_after) == (2, 1)
    assert (challenged.history(), challenged.aliases(NAME)) == (rows, aliases)


OPERATOR = """
import sys
from pathlib import Path
from typer.testing import CliRunner
from serving.adapters.registry import AdapterRegistry
from serving.cli.adapters import app
from serving.settings import Settings
AdapterRegistry.from_settings(Settings.load()).champion_version("banking-lora")  # MLflow is loaded now
print("ready", flush=True)
sys.stdin.readline()
result = CliRunner().invoke(app, sys.argv[1:])
sys.stdout.write(result.stdout)
sys.stderr.write(result.stderr)
sys.exit(result.exit_code)
"""


def test_of_two_operators_in_two_processes_one_wins_and_the_other_is_told(
    challenged: AdapterRegistry,
    mlruns: Path,
    tmp_path: Path,
    make_bundle: BundleMaker,
    make_decision: DecisionMaker,
) -> None:
    challenged.register(NAME, make_bundle(4), by="ci")
    attach_decision(challenged, NAME, 4, make_decision(2), by="gate")
    environment = {
        **os.environ,
        "VOICEBOT_MLRUNS": str(mlruns),
        "VOICEBOT_HOME": str(tmp_path / "home"),
        "VOICEBOT_DATA_DIR": str(small_data(tmp_path / "data")),
    }
    operators = {
        version: subprocess.Popen(
            [sys.executable, "-c", OPERATOR, "promote", f"{NAME}@{version}", "--reason", "mine", "--json"],
            env={**environment, "VOICEBOT_OPERATOR": f"operator-{version}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in (3, 4)
    }
    for operator in operators.values():
        assert operator.stdout is not None
        assert operator.stdout.readline() == "ready\n"
    for operator in operators.values():
        assert operator.stdin is not None
        operator.stdin.write("go\n")
        operator.stdin.flush()
    ended = {version: (operator.communicate(timeout=60), operator) for version, operator in operators.items()}
    codes = {version: operator.returncode for version, (_, operator) in ended.items()}
    assert sorted(codes.values()) == [0, 1], ended
    winner = next(version for version, code in codes.items() if code == 0)
    loser = next(version for version, code in codes.items() if code == 1)
    assert json.loads(ended[winner][0][0])["champion_after"] == winner
    assert f"but now there is champion {winner}" in ended[loser][0][1]
    assert challenged.aliases(NAME)[CHAMPION] == winner
    assert challenged.aliases(NAME)[PREVIOUS] == 2
    promotions = [row for row in challenged.history() if row.act.by.startswith("operator-")]
    assert {row.act.by for row in promotions} == {f"operator-{winner}"}
