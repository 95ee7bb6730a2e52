"""How quickly the operators' commands answer: processor time of the command's own process, and its imports.

Wall time gates nothing here: it measures the machine's other work as well.
"""

import os
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 0.5
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
HEAVY = ("torch", "transformers", "peft", "mlflow", "pandas", "prefect", "sqlalchemy", "faiss", "numpy")
"""What no command needs before it knows what to do."""
COMMANDS = (
    ("adapter-control", "--help"),
    ("cache-manager", "--help"),
    ("start-call", "--help"),
    ("monitor-session", "--help"),
    ("replay-session", "--help"),
    ("orchestrator-health", "--help"),
    ("recording-manager", "--help"),
    ("sandbox-bank", "--help"),
    ("loan-calc", "--amount", "20000", "--interest", "0.06", "--months", "60"),
    ("payment-plan", "--amount", "20000", "--interest", "0.06", "--months", "60", "--extra", "50"),
    ("compliance-test", "--type", "KYC", "--on", "2026-11-20"),
)


def started_as_a_script(name: str, *arguments: str, afterwards: str = "") -> list[str]:
    """The command line of what the console script of this name does."""
    module, _, attribute = SCRIPTS[name].partition(":")
    code = f"""
import sys
from {module} import {attribute}
sys.argv = {[name, *arguments]!r}
try:
    {attribute}()
finally:
    sys.stdout.flush()
    {afterwards or "pass"}
"""
    return [sys.executable, "-c", code]


def processor_seconds(command: list[str]) -> float:
    """User and system time of one run of a command, children included."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_answers_within_half_a_second_of_processor_time(command: tuple[str, ...]) -> None:
    times = [processor_seconds(started_as_a_script(*command)) for _ in range(3)]
    assert statistics.median(times) < LIMIT_S, times


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    name, *arguments = command
    listing = f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        started_as_a_script(name, *arguments, afterwards=listing),
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""


def test_the_imports_would_be_noticed() -> None:
    listing = f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    command = started_as_a_script("loan-calc", "--help", afterwards=f"import numpy; {listing}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "numpy"
