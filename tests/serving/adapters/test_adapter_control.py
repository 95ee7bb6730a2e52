import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.adapters.audit import os_user
from serving.adapters.pin import Reference, read_pin
from serving.adapters.registry import AdapterRegistry
from serving.cli.adapters import app
from tests.serving.adapters.fitting import small_data

NAME = "banking-lora"
Control = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "home" / "adapters"


@pytest.fixture
def control(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Run `adapter-control` in an installation of its own."""
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(mlruns))
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(small_data(tmp_path / "data")))
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "ann")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, arguments)


def test_without_arguments_the_help_is_shown(control: Control) -> None:
    result = control()
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("list", "promote", "rollback", "history", "--disable"))


def test_list_shows_versions_aliases_and_verdicts(challenged: AdapterRegistry, control: Control) -> None:
    shown = control("list").stdout
    assert all(text in shown for text in ("banking-lora/1", "champion", "previous", "challenger", "passed"))
    rows = json.loads(control("list", NAME, "--json").stdout)
    assert [(row["version"], row["aliases"]) for row in rows] == [
        (1, ["previous"]),
        (2, ["champion"]),
        (3, ["challenger"]),
    ]


def test_show_verifies_and_prints_origin_metrics_and_decision(
    challenged: AdapterRegistry, control: Control
) -> None:
    shown = control("show", "banking-lora@challenger").stdout
    assert all(text in shown for text in ("banking-lora/3", "files verified", "accuracy", "non_inferior"))
    document = json.loads(control("show", "banking-lora/3", "--json").stdout)
    assert document["metrics"]["accuracy"] == 0.9
    assert document["decision"]["passed"] is True
    (challenged.get(NAME, 3).bundle / "card.md").write_text("altered")
    result = control("show", "banking-lora@3")
    assert result.exit_code == 5
    assert "card.md was altered" in result.stderr


def test_promote_takes_the_challenger_and_tells_about_the_cold_cache(
    challenged: AdapterRegistry, control: Control
) -> None:
    result = control("promote", NAME, "--reason", "better on fraud")
    assert result.exit_code == 0, result.stderr
    assert "banking-lora/3 is the champion" in result.stdout
    assert "voicebot build-cache" in result.stdout
    assert challenged.champion_version(NAME) == 3
    assert challenged.history()[-1].act.by == "ann"


def test_a_refused_promotion_ends_with_exit_code_1_and_advice(
    challenged: AdapterRegistry, control: Control
) -> None:
    result = control("promote", "banking-lora@1", "--reason", "please")
    assert result.exit_code == 1
    assert "judged against no champion" in result.stderr
    assert "try: " in result.stderr


def test_rollback_is_one_command(challenged: AdapterRegistry, control: Control) -> None:
    result = control("rollback", NAME, "--reason", "complaints", "--by", "bob", "--json")
    assert result.exit_code == 0
    done = json.loads(result.stdout)
    assert (done["action"], done["champion_before"], done["champion_after"]) == ("rollback", 2, 1)
    assert done["by"] == "bob"


def test_history_shows_registry_and_pins_in_one_order(challenged: AdapterRegistry, control: Control) -> None:
    control("rollback", NAME, "--reason", "complaints from branch 7")
    control("--disable", "--reason", "strange answers")
    shown = control("history", NAME).stdout
    assert "complaints from branch 7" in shown
    assert "2 → 1" in shown
    assert "begun" not in shown
    rows = json.loads(control("history", "--json").stdout)
    assert rows[-1]["act"]["action"] == "disable"
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_load_and_enable_pin_what_this_home_serves(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    result = control("--load", "banking-lora@3", "--enable")
    assert result.exit_code == 0, result.stderr
    pin = read_pin(store)
    assert pin is not None
    assert (pin.reference, pin.enabled, pin.by) == (Reference(NAME, 3), True, "ann")
    control("--disable")
    pin = read_pin(store)
    assert pin is not None
    assert (pin.reference, pin.enabled) == (Reference(NAME, 3), False)
    control("--enable")
    pin = read_pin(store)
    assert pin is not None
    assert (pin.reference, pin.enabled) == (Reference(NAME, 3), True)


def test_a_version_that_does_not_exist_cannot_be_pinned(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    result = control("--load", "banking-lora@99", "--enable")
    assert result.exit_code == 3
    assert read_pin(store) is None


def test_disable_works_without_a_registry(mlruns: Path, control: Control, store: Path) -> None:
    (mlruns / "mlflow.db").unlink()
    assert control("--disable").exit_code == 0
    pin = read_pin(store)
    assert pin is not None
    assert pin.enabled is False
    assert control("--enable").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("--load", "banking-lora"),
        ("--enable", "--disable"),
        ("--load", "Not A Name", "--enable"),
        ("--enable", "list"),
        ("show", "banking-lora@@"),
        ("promote", "banking-lora"),
        ("promote", "banking-lora", "--reason", " "),
    ],
)
def test_a_mistake_on_the_command_line_is_exit_code_2(
    challenged: AdapterRegistry, control: Control, arguments: tuple[str, ...]
) -> None:
    assert control(*arguments).exit_code == 2


def test_without_a_registry_the_commands_say_how_to_get_one(mlruns: Path, control: Control) -> None:
    (mlruns / "mlflow.db").unlink()
    for arguments in (("list",), ("show", NAME), ("rollback", NAME, "--reason", "why")):
        result = control(*arguments)
        assert result.exit_code == 3
        assert "make demo" in result.stderr
    assert not (mlruns / "mlflow.db").exists()


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, serving.cli.adapters;"
        "heavy = {'torch', 'transformers', 'mlflow', 'peft', 'pydantic', 'rich.table', 'loguru', 'numpy'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_is_a_command_of_its_own(control: Control) -> None:
    command = [sys.executable, "-m", "serving.cli.adapters", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "rollback" in done.stdout


def test_disable_works_with_a_damaged_pin_and_writes_it_anew(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    control("--load", "banking-lora@3", "--enable")
    (store / "pin.json").write_text("{")
    assert control("--enable").exit_code == 5
    result = control("--disable")
    assert result.exit_code == 0, result.stderr
    assert "warning: " in result.stderr
    pin = read_pin(store)
    assert pin is not None
    assert (pin.reference, pin.enabled) == (Reference(NAME), False)


def test_disable_never_asks_the_registry(mlruns: Path, control: Control, store: Path) -> None:
    (mlruns / "mlflow.db").unlink()
    assert control("--load", "banking-lora@2", "--disable").exit_code == 0
    pin = read_pin(store)
    assert pin is not None
    assert (pin.reference, pin.enabled) == (Reference(NAME, 2), False)


def test_disable_warns_where_its_audit_cannot_be_written(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    (store / "pins.jsonl").mkdir(parents=True)
    result = control("--disable")
    assert result.exit_code == 0, result.stderr
    assert "the audit could not be written" in result.stderr
    assert control("--enable").exit_code == 4


def test_the_history_of_a_name_that_nobody_used_is_missing(
    challenged: AdapterRegistry, control: Control
) -> None:
    result = control("history", "nosuch")
    assert result.exit_code == 3
    assert "Nothing is recorded about nosuch" in result.stderr


def test_the_history_shows_what_is_left_of_a_shortened_audit_and_ends_with_exit_code_5(
    challenged: AdapterRegistry, control: Control
) -> None:
    lines = challenged.audit.path.read_text().splitlines(keepends=True)
    challenged.audit.path.write_text("".join(lines[:-4]))
    assert control("rollback", NAME, "--reason", "nothing to see").exit_code == 0
    result = control("history")
    assert result.exit_code == 5
    assert "nothing to see" in result.stdout
    assert "shortened" in result.stderr
    result = control("history", "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)[-1]["act"]["reason"] == "nothing to see"


def test_the_history_without_its_audit_ends_with_exit_code_5(
    challenged: AdapterRegistry, control: Control
) -> None:
    challenged.audit.path.unlink()
    for arguments in (("history",), ("history", NAME), ("history", "--json")):
        assert control(*arguments).exit_code == 5


def test_the_history_shows_the_plan_of_a_killed_writer_but_no_plan_that_was_closed(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    control("--disable", "--reason", "strange answers")
    assert "begun" not in control("history").stdout
    with (store / "pins.jsonl").open() as rows:
        begun = rows.readline()
    (store / "pins.jsonl").write_text(begun)
    assert "begun" in control("history").stdout


def test_the_history_names_the_login_beside_the_given_name(
    challenged: AdapterRegistry, control: Control
) -> None:
    control("rollback", NAME, "--reason", "why", "--by", "the auditor")
    assert f"the auditor (login {os_user()})" in control("history").stdout


@pytest.mark.parametrize(
    ("pinned", "told"),
    [
        (("--load", "banking-lora@1", "--enable"), "load banking-lora@1: pinned (ann"),
        (("--disable",), "frozen baseline head of banking-lora@champion: switched off (ann"),
    ],
)
def test_a_home_that_is_pinned_elsewhere_is_not_said_to_follow(
    challenged: AdapterRegistry, control: Control, pinned: tuple[str, ...], told: str
) -> None:
    assert "Servers of this home follow banking-lora@champion." in control("list").stdout
    control(*pinned)
    assert told in control("list").stdout
    result = control("promote", NAME, "--reason", "better")
    assert result.exit_code == 0
    assert "pick it up within" not in result.stdout
    assert told in result.stdout
    assert "adapter-control --load banking-lora --enable" in result.stdout
    result = control("rollback", NAME, "--reason", "worse", "--json")
    assert json.loads(result.stdout)["champion_after"] == 2
    assert told in result.stderr


def test_a_damaged_pin_is_no_reason_not_to_move_the_champion(
    challenged: AdapterRegistry, control: Control, store: Path
) -> None:
    store.mkdir(parents=True)
    (store / "pin.json").write_text("{")
    result = control("rollback", NAME, "--reason", "worse")
    assert result.exit_code == 0
    assert "cannot be read" in result.stdout
    assert control("list").exit_code == 0


def test_a_registry_of_another_mlflow_version_ends_with_exit_code_4_and_the_command(
    challenged: AdapterRegistry, control: Control
) -> None:
    with sqlite3.connect(challenged.folder / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef'")
    result = control("list")
    assert result.exit_code == 4
    assert "mlflow db upgrade" in result.stderr
