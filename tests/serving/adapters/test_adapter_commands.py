"""The operator's commands beyond listing and moving: waive, plan, compare, verify, sign, export."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.adapters.decision import GateDecision
from serving.adapters.pin import read_pin
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision
from serving.adapters.versions import CHAMPION
from serving.cli.adapters import app
from tests.serving.adapters.fitting import small_data

NAME = "banking-lora"
Control = Callable[..., Result]
DecisionMaker = Callable[..., GateDecision]


@pytest.fixture
def control(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Run `adapter-control` in an installation of its own."""
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(mlruns))
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(small_data(tmp_path / "data")))
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "ann")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def key(control: Control, tmp_path: Path) -> tuple[str, str]:
    """A private and a public key, made by the command."""
    made = json.loads(control("new-key", tmp_path / "signing.key", "--json").stdout)
    return (tmp_path / "signing.key").read_text().strip(), made["public_key"]


def test_a_waiver_promotes_and_stands_in_the_history(
    challenged: AdapterRegistry, control: Control, make_decision: DecisionMaker
) -> None:
    attach_decision(challenged, NAME, 3, make_decision(2, passed=False), by="gate")
    refused = control("promote", NAME, "--reason", "urgent")
    assert refused.exit_code == 1
    result = control("promote", NAME, "--reason", "urgent", "--waive", "fraud wave", "--by", "bob")
    assert result.exit_code == 0, result.stderr
    assert "The gate was overruled: fraud wave" in result.stdout
    shown = control("history", NAME).stdout
    assert "waived: fraud wave" in shown
    assert "overruled: non_inferior" in shown
    assert "fraud wave" in control("show", NAME).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("promote", NAME, "--reason", "better"), "Would promote banking-lora/3 (champion 2 → 3)."),
        (("rollback", NAME, "--reason", "worse"), "Would rollback banking-lora/1 (champion 2 → 1)."),
        (("--load", "banking-lora@3", "--enable"), "Would pin banking-lora/3."),
        (("--disable",), "Would disable banking-lora@champion."),
    ],
)
def test_a_dry_run_tells_and_changes_nothing(
    challenged: AdapterRegistry, control: Control, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    rows, aliases = challenged.history(), challenged.aliases(NAME)
    result = control(*arguments, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert told in result.stdout
    assert "Nothing was changed." in result.stdout
    document = json.loads(control(*arguments, "--dry-run", "--json").stdout)
    assert (document["dry_run"], document["by"]) == (True, "ann")
    assert (challenged.history(), challenged.aliases(NAME)) == (rows, aliases)
    assert read_pin(tmp_path / "home" / "adapters") is None


def test_a_dry_run_of_what_would_be_refused_is_refused(challenged: AdapterRegistry, control: Control) -> None:
    assert control("promote", "banking-lora@1", "--reason", "x", "--dry-run").exit_code == 1
    assert control("promote", NAME, "--reason", "x", "--waive", "y", "--dry-run").exit_code == 2
    assert control("--load", "banking-lora@99", "--enable", "--dry-run").exit_code == 3


def test_compare_shows_both_verdicts_and_what_can_be_said_of_chance(
    challenged: AdapterRegistry, control: Control
) -> None:
    shown = control("compare", NAME, NAME).stdout  # champion and challenger
    assert "banking-lora/2 and banking-lora/3: " in shown
    assert "non_inferior" in shown
    assert "judged against banking-lora/2" in shown
    document = json.loads(control("compare", "banking-lora@1", "banking-lora@3", "--json").stdout)
    assert (document["left"], document["paired"]) == ("banking-lora/1", None)
    assert control("compare", "banking-lora@1", "banking-lora@99").exit_code == 3


def test_verify_ends_with_0_where_all_is_sound_and_5_where_not(
    challenged: AdapterRegistry, control: Control
) -> None:
    result = control("verify")
    assert result.exit_code == 0, result.stdout
    assert "challenger 3, champion 2, previous 1, as the audit says." in result.stdout
    challenged.set_alias(NAME, CHAMPION, 3)
    result = control("verify", NAME, "--json")
    assert result.exit_code == 5
    document = json.loads(result.stdout)
    assert document["sound"] is False
    assert [item["question"] for item in document["findings"] if item["sound"] is False] == ["aliases"]
    (challenged.get(NAME, 2).bundle / "card.md").write_text("altered")
    assert control("verify", "banking-lora@1").exit_code == 5  # the aliases are the model's
    assert control("verify", "other").exit_code == 3


def test_keys_signing_and_requiring_go_together(
    challenged: AdapterRegistry,
    control: Control,
    key: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    private, public = key
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert control("new-key", tmp_path / "signing.key").exit_code == 1  # never overwritten
    assert control("sign", "banking-lora@3").exit_code == 2  # no key is configured
    with monkeypatch.context() as patch:
        patch.setenv("VOICEBOT_ADAPTER_SIGNING_KEY", private)
        assert "Would sign banking-lora/3." in control("sign", "banking-lora@3", "--dry-run").stdout
        result = control("sign", "banking-lora@3", "--reason", "keys are in use now")
        assert result.exit_code == 0, result.stderr
        assert private not in result.stdout + control("history").stdout
    monkeypatch.setenv("VOICEBOT_ADAPTER_PUBLIC_KEYS", public)
    monkeypatch.setenv("VOICEBOT_REQUIRE_SIGNED_ADAPTERS", "true")
    assert "valid (key " in control("show", "banking-lora@3").stdout
    for arguments in (
        ("--load", "banking-lora@2", "--enable"),
        ("export", "banking-lora@2", tmp_path / "out"),
        ("rollback", NAME, "--reason", "why"),
    ):
        refused = control(*arguments)
        assert refused.exit_code == 5
        assert "carries no signature" in refused.stderr
    assert control("--load", "banking-lora@3", "--enable").exit_code == 0
    assert control("promote", NAME, "--reason", "signed").exit_code == 0


def test_a_required_signature_without_a_key_is_a_mistake_in_the_settings(
    challenged: AdapterRegistry, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEBOT_REQUIRE_SIGNED_ADAPTERS", "true")
    assert control("list").exit_code == 2
    assert control("--disable").exit_code == 0  # works whatever else is wrong


def test_export_writes_once_and_says_how_to_go_on(
    challenged: AdapterRegistry, control: Control, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "Would write" in control("export", NAME, out, "--dry-run").stdout
    assert not out.exists()
    result = control("export", NAME, out)
    assert "banking-lora/2 as bundle" in result.stdout
    assert control("export", NAME, out).exit_code == 1
    assert control("export", NAME, out, "--force").exit_code == 0
    refused = control("export", NAME, tmp_path / "vllm", "--form", "vllm")
    assert refused.exit_code == 1
    assert "vLLM serves causal language models" in refused.stderr
    assert control("export", NAME, tmp_path / "x", "--form", "onnx").exit_code == 2
