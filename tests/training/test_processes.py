"""Two processes that accelerate starts train what one trains, resume together, and fail together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from serving.adapters.manifest import ADAPTER_FILE, verify
from serving.errors import InvalidInputError
from tests.training.conftest import WORDS, make_encoder, make_split
from training.launch import main
from training.processes import Alone, joined

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
"""Largest difference of a loss and a weight: the order of a few float32 sums differs."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder and a tiny data set."""
    folder = tmp_path_factory.mktemp("launch")
    make_encoder(folder / "encoder", [word for group in WORDS.values() for word in group])
    data = make_split("train", 9, 1)
    rows = "\n".join(f"{text},{label}" for text, label in zip(data.texts, data.labels, strict=True))
    (folder / "rows.csv").write_text(f"text,category\n{rows}\n", encoding="utf-8")
    return folder


RECIPE = {
    "epochs": 2,
    "batch_size": 7,
    "rank": 4,
    "max_length": 32,
    "threads": 1,
    "head_dropout": 0,
    "encoder_dropout": 0,
    "balance": "loss",
    "refit": "true",
    "validation_share": 0.2,
}
"""Batches of seven: the two processes' shares differ. No dropout: each process draws its own."""


def arguments(work: Path, out: str) -> list[str]:
    settings = [part for name, value in RECIPE.items() for part in ("--set", f"{name}={value}")]
    return ["--dataset", str(work / "rows.csv"), "--out", str(work / out), *settings]


def test_two_processes_train_what_one_trains(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEBOT_ENCODER", str(work / "encoder"))
    monkeypatch.setenv("VOICEBOT_HOME", str(work / "var"))
    main(arguments(work, "by-1"))
    one = json.loads(capsys.readouterr().out)
    launcher = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    program = ["-m", "training.launch", *arguments(work, "by-2")]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launcher, *program],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    two = json.loads(done.stdout)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["losses"] == pytest.approx(one["losses"], abs=TOLERANCE)
    verify(work / "by-2")
    ours, theirs = load_file(work / "by-1" / ADAPTER_FILE), load_file(work / "by-2" / ADAPTER_FILE)
    assert ours.keys() == theirs.keys()
    assert max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours) <= TOLERANCE


def test_all_processes_get_what_the_main_one_gets_or_the_error_that_it_meets() -> None:
    program = """
import torch
from serving.errors import UnavailableError
from training.launch import main
from training.processes import joined

def full():
    raise UnavailableError("the disk is full", advice="make room")

with joined() as group:
    assert group.from_main(lambda: {"from": group.rank}) == {"from": 0}
    assert group.gather(group.rank) == [0, 1]
    assert group.share(range(5)) == ([0, 2, 4], [1, 3])[group.rank]
    numbers = [torch.full((2, 3), float(group.rank + 1)), torch.tensor(5.0)]
    group.add_up(numbers)
    assert torch.equal(numbers[0], torch.full((2, 3), 3.0)) and float(numbers[1]) == 10
    try:
        group.from_main(full)
    except UnavailableError as error:
        print(group.rank, error)
"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=group | {"RANK": str(rank), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert said == [f"{rank} the disk is full make room\n" for rank in (0, 1)]


def test_a_process_that_was_started_by_itself_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert isinstance(processes, Alone)
        assert processes.share([3, 1, 2]) == [3, 1, 2]
        assert processes.gather("x") == ["x"]
        assert processes.from_main(lambda: 5) == 5


def test_a_half_told_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInputError, match="not RANK, MASTER_ADDR, MASTER_PORT"), joined():
        pytest.fail("there is no group")
