"""Commands that measure, run as users run them on a finished installation."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.environment import offline_environment
from tests.circle.fixtures import Circle
from tests.training.hub_server import hub, hub_folder


def voicebot(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    outside = ("PREFECT_", "HF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=kept | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def csv_file(path: Path, texts: int) -> str:
    rows = [f"question {i} about {('cards', 'money')[i % 2]},{i % 2}" for i in range(texts)]
    path.write_text("\n".join(["text,category", *rows]), encoding="utf-8")
    return str(path)


def test_cache_pairs_names_every_near_twin_that_would_get_a_wrong_answer(circle: Circle) -> None:
    found = document(voicebot("cache-pairs", "--threshold", "0.65", "--json"))
    assert found["threshold"] == 0.65
    assert {row["split"] for row in found["splits"]} == {"train", "calibration", "test"}
    counted = sum(round(row["wrong"]["estimate"] * row["wrong"]["items"]) for row in found["splits"])
    assert len(found["wrong"]) == counted
    assert all(outcome["served"] and not outcome["pair"]["same"] for outcome in found["wrong"])


def test_a_report_over_seeds_goes_to_the_home_and_registers_nothing(circle: Circle, tmp_path: Path) -> None:
    train, test = csv_file(tmp_path / "train.csv", 40), csv_file(tmp_path / "test.csv", 4)
    found = document(voicebot("train", "--dataset", train, "--test", test, "--seeds", "2", "--json"))
    assert [row["seed"] for row in found["seeds"]] == [0, 1]
    (report,) = (circle.settings.home / "recipes").glob("project-*/report.json")
    assert json.loads(report.read_text(encoding="utf-8"))["items"] == 4


def test_the_same_command_takes_the_name_of_a_data_set_on_the_hub(circle: Circle, tmp_path: Path) -> None:
    rows = [(f"question {i} about {('cards', 'money')[i % 2]}", ("cards", "money")[i % 2]) for i in range(40)]
    with hub("PolyAI/banking77", {"main": hub_folder(tmp_path / "repository", rows, rows[:4])}) as url:
        done = voicebot(
            "train", "--dataset", "PolyAI/banking77", "--seeds", "2", "--json",
            HF_ENDPOINT=url, HF_HOME=str(tmp_path / "home"), HF_HUB_DISABLE_TELEMETRY="1",
        )  # fmt: skip
    found = document(done)
    assert (found["source"], found["items"], len(found["seeds"])) == ("PolyAI/banking77", 4, 2)


def test_several_seeds_without_a_test_split_are_refused(circle: Circle, tmp_path: Path) -> None:
    done = voicebot("train", "--dataset", csv_file(tmp_path / "train.csv", 40), "--seeds", "2")
    assert done.returncode == 2
    assert "no test split" in done.stderr
    assert "--test" in done.stderr


@pytest.mark.parametrize(("hub", "offline"), [(False, "1"), (True, "0")])
def test_only_a_hub_name_lets_the_hub_be_asked(circle: Circle, hub: bool, offline: str) -> None:
    values = offline_environment(circle.settings, hub=hub)
    assert values["HF_HUB_OFFLINE"] == values["HF_DATASETS_OFFLINE"] == offline


def test_judge_dialogues_puts_the_engine_to_every_turn_of_the_bank_s_tools(circle: Circle) -> None:
    found = document(voicebot("judge-dialogues", "--split", "validate", "--json"))
    assert (found["engine"], found["split"]) == ("embedded", "validate")
    assert found["total"]["turns"] == sum(row["turns"] for row in found["situations"].values())
    assert found["total"]["hallucinated_number"]["estimate"] == 0
    refused = voicebot("judge-dialogues", "--split", "nowhere")
    assert refused.returncode != 0
    assert "holds no dialogue of split 'nowhere'" in refused.stderr
