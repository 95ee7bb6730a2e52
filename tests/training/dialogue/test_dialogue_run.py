"""From the project's dialogues to a sealed adapter, as `voicebot train-dialogue` does it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from serving.adapters.manifest import Kind, verify
from serving.errors import InvalidInputError
from serving.language.local_llm import LocalLlm
from training.dialogue.bundle import ADAPTER_NAME, train_dialogue_adapter
from training.dialogue.config import DialogueConfig

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "VOICEBOT_"))
} | {"PYTHONPATH": str(Path(__file__).parents[3])}


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands work in the folder that they are called in."""
    monkeypatch.chdir(tmp_path)


def test_the_command_trains_seals_and_says_what_it_cost(tmp_path: Path, data_dir: Path) -> None:
    out = tmp_path / "adapter"
    arguments = ["train-dialogue", str(out), "--random-init", "--limit", "3", "--epochs", "1", "--json"]
    command = [sys.executable, "-m", "flows.cli", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["adapter bytes"] == (out / "adapter_model.safetensors").stat().st_size
    assert facts["tokens per second"] > 0
    assert facts["device"] == "cpu"
    manifest = verify(out)
    assert (manifest.provenance.kind, manifest.provenance.name) == (Kind.DIALOGUE, ADAPTER_NAME)
    assert not out.with_name("adapter.ckpt").exists()
    assert LocalLlm(tmp_path / "adapter.base", out).info.model == "adapter.base + adapter"
    with pytest.raises(InvalidInputError, match="exists already"):
        train_dialogue_adapter(tmp_path / "adapter.base", data_dir, out, DialogueConfig())


@pytest.mark.parametrize("options", [[], ["--random-init", "--model", "somewhere"]])
def test_a_base_is_either_given_or_random(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(app, ["train-dialogue", str(tmp_path / "a"), *options])
    assert done.exit_code != 0
    assert "either --model FOLDER or --random-init" in " ".join(done.output.split())
