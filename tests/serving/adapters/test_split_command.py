"""`adapter-control split` and `load`, and what the other commands say of a split and of the cache."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.adapters.pin import read_pin
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT_TAG
from serving.adapters.splitting import halt, read_split
from serving.adapters.verdicts import attach_decision
from serving.arms.guardrail import Harm, Tally, judge
from serving.arms.sequential import Counts
from serving.arms.split import Split
from serving.call.machine import Ending
from serving.call.record import Decision
from serving.call.store import CallStore
from serving.cli.adapters import app
from tests.serving.adapters.conftest import DecisionMaker
from tests.serving.adapters.fitting import small_data
from tests.serving.adapters.talk_bundles import TALK, promote_talk, talk_bundle
from tests.serving.cache_world import SCOPE, entry, fill
from tests.serving.sessions.records import call, turn

NAME = "banking-lora"
Control = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def control(mlruns: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Run `adapter-control` in an installation of its own."""
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(mlruns))
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(small_data(home.with_name("data"))))
    monkeypatch.setenv("VOICEBOT_HOME", str(home))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "ann")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


def build_scope(registry: AdapterRegistry, home: Path, *versions: int) -> None:
    """A scope of one entry for each of these versions, in the cache of a home."""
    for number in versions:
        scope = replace(SCOPE, intent_adapter=registry.get(NAME, number).identity)
        fill(home / "cache", [entry(scope=scope)], scope)


def running(registry: AdapterRegistry) -> Split:
    split = read_split(registry, NAME)
    assert split is not None
    return split


def started(control: Control, *more: str) -> Result:
    result = control("split", "--challenger", 10, "--cold", *more)
    assert result.exit_code == 0, result.stderr
    return result


def test_an_operator_starts_alters_sees_and_stops_a_split(
    challenged: AdapterRegistry, control: Control
) -> None:
    assert control("split").exit_code == 3
    said = started(control).stdout
    assert "banking-lora/3 gets 10 % of the callers beside banking-lora/2" in said
    assert "within 2 s" in said
    assert "always-valid, error probability 0.05" in said
    said = control("split", "--challenger", 25, "--reason", "all is well", "--by", "bob").stdout
    assert "gets 25 %" in said
    assert running(challenged).percent == 25
    shown = control("split").stdout
    assert "10 % since" in shown
    assert "25 % since" in shown
    assert "transferred after a failure" in shown
    stopped = control("split", "--stop", "enough seen")
    assert stopped.exit_code == 0, stopped.stderr
    assert "is over: enough seen" in stopped.stdout
    assert "finish on their arm" in stopped.stdout
    shown = control("split").stdout
    assert "enough seen" in shown
    history = control("history", NAME).stdout
    assert "25 % of callers, against banking-lora/2" in history
    assert "all is well" in history


def test_json_holds_the_split_and_the_guardrails_findings(
    challenged: AdapterRegistry, control: Control
) -> None:
    assert json.loads(control("split", "--json").stdout)["split"] is None
    made = json.loads(started(control, "--json").stdout)
    assert (made["running"], made["percent"]) == (True, 10)
    assert made["split"]["challenger"] == "banking-lora/3"
    shown = json.loads(control("split", "--json").stdout)
    assert shown["split"] == made["split"]
    assert [item["broken"] for item in shown["findings"]] == [False, False, False]
    ended = json.loads(control("split", "--stop", "why", "--json").stdout)
    assert (ended["running"], ended["percent"], ended["split"]["ended_why"]) == (False, 0, "why")


def test_a_split_that_was_stopped_is_not_reported_as_failed_where_the_calls_cannot_be_counted(
    challenged: AdapterRegistry, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(control)
    monkeypatch.setenv("VOICEBOT_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    result = control("split", "--stop", "why", "--json")
    assert result.exit_code == 0
    ended = json.loads(result.stdout)
    assert (ended["running"], ended["findings"]) == (False, [])
    assert "The change is made" in result.stderr
    assert not running(challenged).running


def test_a_share_too_many_says_how_to_go_on(challenged: AdapterRegistry, control: Control) -> None:
    started(control)
    altered = [control("split", "--challenger", 11 + number) for number in range(20)]
    assert [result.exit_code for result in altered] == [0] * 19 + [2]
    assert "Stop it and start another one" in altered[-1].stderr


@pytest.mark.parametrize("arguments", [("--challenger", "10", "--cold"), ("--stop", "why")])
def test_a_dry_run_checks_everything_and_changes_nothing(
    challenged: AdapterRegistry, control: Control, arguments: tuple[str, ...]
) -> None:
    if "--stop" in arguments:
        started(control)
    before = challenged.history(), challenged.model_tags(NAME).get(SPLIT_TAG)
    result = control("split", *arguments, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "Would " in result.stdout
    assert "Nothing was changed." in result.stdout
    document = json.loads(control("split", *arguments, "--dry-run", "--json").stdout)
    assert (document["dry_run"], document["by"]) == (True, "ann")
    assert (challenged.history(), challenged.model_tags(NAME).get(SPLIT_TAG)) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--challenger", "10", "--stop", "why"), 2),
        (("--challenger", "101"), 2),
        (("--challenger", "-1"), 2),
        (("--dry-run",), 2),
        (("--cold",), 2),
        (("--primary", "csat"), 2),
        (("--challenger", "10", "--cold", "--primary", "revenue"), 2),
        (("--waive", "why"), 2),
        (("--stop", "why"), 1),
        (("--stop", ""), 1),
        (("banking-lora@99", "--challenger", "10"), 3),
        (("other", "--challenger", "10"), 3),
        (("banking-lora@1", "--challenger", "10"), 1),
        (("banking-lora@2", "--challenger", "10"), 1),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_exit_code(
    challenged: AdapterRegistry, control: Control, arguments: tuple[str, ...], code: int
) -> None:
    result = control("split", *arguments)
    assert result.exit_code == code, result.stderr
    assert read_split(challenged, NAME) is None


def test_a_split_that_no_server_would_follow_is_refused(
    challenged: AdapterRegistry, control: Control, make_decision: DecisionMaker, tmp_path: Path
) -> None:
    promote_talk(challenged, make_decision, tmp_path, 1)
    challenged.register(TALK, talk_bundle(tmp_path / "next", 2), by="ci")
    attach_decision(challenged, TALK, 2, make_decision(1, model=TALK), by="gate")
    result = control("split", TALK, "--challenger", 10, "--cold")
    assert result.exit_code == 2
    assert "between versions of banking-lora only" in result.stderr
    assert read_split(challenged, TALK) is None


def test_an_altered_challenger_ends_with_5(challenged: AdapterRegistry, control: Control) -> None:
    (challenged.get(NAME, 3).bundle / "card.md").write_text("altered")
    result = control("split", "--challenger", 10, "--cold")
    assert result.exit_code == 5
    assert "card.md" in result.stderr


def test_a_cold_scope_is_refused_with_the_commands_that_warm_it(
    challenged: AdapterRegistry, control: Control, home: Path
) -> None:
    result = control("split", "--challenger", 10)
    assert result.exit_code == 1
    assert "banking-lora/2 and banking-lora/3" in result.stderr
    assert "`voicebot build-cache --ref 3`" in result.stderr
    build_scope(challenged, home, 2)
    result = control("split", "--challenger", 10)
    assert "nothing for banking-lora/3:" in result.stderr
    assert read_split(challenged, NAME) is None
    build_scope(challenged, home, 3)
    assert control("split", "--challenger", 10).exit_code == 0
    assert running(challenged).cold is False


def test_another_version_than_the_one_that_runs_is_refused(
    challenged: AdapterRegistry, control: Control
) -> None:
    started(control)
    result = control("split", "banking-lora@1", "--challenger", 20)
    assert result.exit_code == 1
    assert "runs, with banking-lora/3" in result.stderr
    assert control("split", "banking-lora@3", "--challenger", 20).exit_code == 0
    assert control("split", "--challenger", 20, "--cold").exit_code == 2


def test_what_the_guardrail_took_back_starts_again_with_a_written_reason(
    challenged: AdapterRegistry, control: Control
) -> None:
    started(control)
    split = running(challenged)
    harmed = Tally({harm: Counts(5, 100) for harm in Harm}, {harm: Counts(80, 100) for harm in Harm})
    halt(challenged, split, judge(harmed, split.guard), by="guardrail on a")
    refused = control("split", "--challenger", 30, "--cold")  # meant for the split that ran a moment ago
    assert refused.exit_code == 1
    assert "80 of 100 calls" in refused.stderr
    assert "--again" in refused.stderr
    started(control, "--again", "the database was away")
    assert "again after a halt" in control("history", NAME).stdout
    rows = json.loads(control("history", NAME, "--json").stdout)
    assert rows[-1]["act"]["evidence"]["again"] == "the database was away"


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_what_moves_the_champion_says_which_split_it_ended(
    challenged: AdapterRegistry, control: Control, command: str
) -> None:
    started(control)
    split = running(challenged)
    assert f"split.ended: {split.id}" in control(command, NAME, "--reason", "x", "--dry-run").stdout
    assert f"It ended the split {split.id}." in control(command, NAME, "--reason", "x").stdout
    assert not running(challenged).running
    assert f"ended the split {split.id}" in control("history", NAME).stdout


@pytest.mark.parametrize(
    "pin",
    [("--disable",), ("--load", "banking-lora@1", "--enable"), ("load", "banking-lora@2"),
     ("load", NAME, "--disable")],
)  # fmt: skip
def test_a_pin_ends_the_split_and_says_so(
    challenged: AdapterRegistry, control: Control, pin: tuple[str, ...]
) -> None:
    started(control)
    split = running(challenged)
    assert f"split.ended: {split.id}" in control(*pin, "--reason", "trouble", "--dry-run").stdout
    assert running(challenged) == split
    result = control(*pin, "--reason", "trouble")
    assert f"It ended the split {split.id}." in result.stdout
    ended = running(challenged)
    assert (ended.running, ended.ended_by) == (False, "ann")
    assert "trouble" in ended.ended_why


def test_following_the_champion_again_ends_nothing(challenged: AdapterRegistry, control: Control) -> None:
    started(control)
    assert "split.ended" not in control("--load", NAME, "--enable", "--dry-run").stdout
    assert control("--load", NAME, "--enable").exit_code == 0
    assert running(challenged).running


def test_switching_off_works_although_the_split_cannot_be_ended(
    challenged: AdapterRegistry, control: Control, mlruns: Path, home: Path
) -> None:
    started(control)
    (mlruns / "mlflow.db").write_bytes(b"no database" * 100)
    assert control("--disable", "--dry-run").exit_code == 0
    result = control("--disable")
    assert result.exit_code == 0
    assert "it was not ended" in result.stderr
    pin = read_pin(home / "adapters")
    assert pin is not None
    assert not pin.enabled


def test_a_home_that_takes_no_part_is_told_so(challenged: AdapterRegistry, control: Control) -> None:
    control("load", "banking-lora@1")
    assert "They take no part in the split." in started(control).stderr


def test_load_is_a_command_of_its_own_too(challenged: AdapterRegistry, control: Control, home: Path) -> None:
    result = control("load", "banking-lora@3", "--dry-run")
    assert "Would pin banking-lora/3." in result.stdout
    assert read_pin(home / "adapters") is None
    assert "load banking-lora@3 within 2 s" in control("load", "banking-lora@3").stdout
    assert "frozen baseline head" in control("load", "banking-lora@3", "--disable").stdout
    assert control("load", "banking-lora@99").exit_code == 3
    document = json.loads(control("load", NAME, "--json").stdout)
    assert (document["enabled"], document["split_ended"]) == (True, "")


def test_a_rollback_says_whether_the_old_scope_is_there(
    challenged: AdapterRegistry, control: Control, home: Path
) -> None:
    build_scope(challenged, home, 1)
    warm = control("rollback", NAME, "--reason", "complaints").stdout
    assert "cold" not in warm
    assert "Its cache scope is there already" in warm
    assert "starts cold: `voicebot build-cache`" in control("rollback", NAME, "--reason", "back").stdout


def test_the_calls_of_each_arm_are_shown_and_a_caller_counts_once(
    challenged: AdapterRegistry, control: Control, home: Path
) -> None:
    split = json.loads(started(control, "--json").stdout)["split"]["id"]
    records = CallStore(f"sqlite:///{home / 'calls.db'}")
    began = datetime.now(UTC) + timedelta(seconds=1)
    for number in range(12):
        arm = "challenger" if number % 2 else "champion"
        name = f"{number:032d}"
        failed = replace(turn(name, 1), decision=Decision.APOLOGY, error="llm: EngineError")
        record = replace(
            call(name), started_at=began, ended_at=began + timedelta(seconds=number), arm=arm, split=split,
            caller_key=f"{number // 4}-{arm}", ending=Ending.TRANSFERRED, turns=(failed,),
        )  # fmt: skip
        records.save(record)
    records.close()
    findings = json.loads(control("split", "--json").stdout)["findings"]
    counts = [(item["challenger"]["trials"], item["champion"]["trials"]) for item in findings]
    assert counts == [(3, 3)] * 3
    assert "3 of 3" in control("split").stdout
