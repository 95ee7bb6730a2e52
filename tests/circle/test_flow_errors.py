"""Errors that a user can make, as a user sees them: one line and its advice, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("promote", "nosuch"), 3, "no adapter registry yet"),
        (("train", "--dataset", "/nope.csv", "--name", "nope"), 3, "no data at /nope.csv"),
        (("train", "--name", "Bad Name"), 2, "no adapter name"),
    ],
)
def test_an_expected_error_is_two_lines(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"VOICEBOT_HOME": str(tmp_path / "var"), "VOICEBOT_MLRUNS": str(tmp_path / "mlruns")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr
    error, advice = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert advice.startswith("  try: ")
