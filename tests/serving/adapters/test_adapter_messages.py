"""What an operator reads who names something that is not there, and what the commands need to say it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import CHALLENGER
from serving.cli.adapters import app
from serving.errors import MissingError
from tests.serving.adapters.conftest import DecisionMaker
from tests.serving.adapters.fitting import small_data
from tests.serving.adapters.talk_bundles import TALK, promote_talk

NAME = "banking-lora"
HEAVY = ("torch", "transformers", "peft", "prefect", "faiss")
"""What no command imports that only reads or moves aliases; MLflow it does."""
Control = Callable[..., Result]


@pytest.fixture
def control(mlruns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """Run `adapter-control` in an installation of its own."""
    for name, value in {
        "MLRUNS": mlruns, "HOME": tmp_path / "home", "DATA_DIR": small_data(tmp_path / "data")
    }.items():  # fmt: skip
        monkeypatch.setenv(f"VOICEBOT_{name}", str(value))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


def test_who_names_no_challenger_is_told_what_makes_one(
    challenged: AdapterRegistry, control: Control, make_decision: DecisionMaker, tmp_path: Path
) -> None:
    with challenged.writing():
        challenged.drop_alias(NAME, CHALLENGER)
    for arguments in (("promote", NAME, "--reason", "why"), ("split", "--challenger", 10)):
        refused = control(*arguments)
        assert refused.exit_code == 3
        assert "banking-lora has no 'challenger'; its aliases are: champion, previous." in refused.stderr
        assert "try: `voicebot train` registers a challenger." in refused.stderr
    promote_talk(challenged, make_decision, tmp_path, 1)
    refused = control("promote", TALK, "--reason", "why")
    assert "try: `voicebot train-dialogue` registers a challenger." in refused.stderr


def test_what_is_not_there_is_said_in_the_projects_words(
    challenged: AdapterRegistry, control: Control
) -> None:
    refused = control("promote", "banking-lora@7", "--reason", "why")
    assert refused.exit_code == 3
    assert "error: banking-lora has no version 7.\n" in refused.stderr
    assert "try: `adapter-control list` shows what there is." in refused.stderr
    refused = control("rollback", "other", "--reason", "why")
    assert refused.exit_code == 3
    assert "error: There is no adapter named other.\n" in refused.stderr
    with pytest.raises(MissingError, match=r"There is no adapter named other\."):
        challenged.model_tags("other")


def test_one_name_compares_the_champion_with_the_challenger(
    challenged: AdapterRegistry, control: Control
) -> None:
    document = json.loads(control("compare", NAME, "--json").stdout)
    assert (document["left"], document["right"]) == ("banking-lora/2", "banking-lora/3")
    document = json.loads(control("compare", "banking-lora@1", "--json").stdout)
    assert (document["left"], document["right"]) == ("banking-lora/1", "banking-lora/3")


def test_a_split_that_never_was_is_missing_in_both_forms(
    challenged: AdapterRegistry, control: Control
) -> None:
    said, document = control("split"), control("split", "--json")
    assert (said.exit_code, document.exit_code) == (3, 3)
    assert said.stderr == document.stderr
    assert json.loads(document.stdout)["split"] is None


@pytest.mark.parametrize("which", ["banking-lora@1", "banking-lora/1", "banking-lora@previous"])
def test_a_rollback_takes_the_name_alone(challenged: AdapterRegistry, control: Control, which: str) -> None:
    refused = control("rollback", which, "--reason", "why")
    assert refused.exit_code == 2
    assert "A rollback takes the name alone: 'banking-lora', not" in refused.stderr
    assert challenged.champion_version(NAME) == 2


def test_commands_that_read_or_move_aliases_load_no_network(
    challenged: AdapterRegistry, control: Control
) -> None:
    """One after the other in a process of their own, each to its end; torch alone would cost seconds."""
    code = f"""
import sys
from serving.cli.adapters import app
for arguments in (["list"], ["show", "{NAME}"], ["history"], ["rollback", "{NAME}", "--reason", "why"]):
    sys.argv = ["adapter-control", *arguments]
    try:
        app()
    except SystemExit as ended:
        assert not ended.code, arguments
    sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "banking-lora/1 is the champion" in done.stdout
    assert done.stderr == ""
