"""Commands that measure, run as users run them on a finished installation."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.environment import go_offline
from tests.circle.fixtures import Circle


def run_json(*arguments: str) -> dict[str, object]:
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    document: dict[str, object] = json.loads(found.stdout)
    return document


def test_a_stricter_threshold_never_serves_more_pairs(circle: Circle) -> None:
    def served(threshold: str) -> dict[str, tuple[float, float]]:
        found = run_json("cache-pairs", "--threshold", threshold)
        return {row["split"]: (row["right"]["estimate"], row["wrong"]["estimate"]) for row in found["splits"]}  # type: ignore[attr-defined]

    strict, loose = served("0.85"), served("0.65")
    assert strict.keys() == loose.keys() == {"train", "test"}
    for split, (right, wrong) in strict.items():
        assert right <= loose[split][0]
        assert wrong <= loose[split][1]
    assert strict["test"] < loose["test"]


def test_a_report_on_own_splits_needs_no_file_and_goes_to_the_home(circle: Circle, tmp_path: Path) -> None:
    rows = ["text,category"]
    rows += [f"text number {i} about {'cards' if i % 2 else 'money'},{i % 2}" for i in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    (tmp_path / "test.csv").write_text("text,category\nmore about cards,1\nmore about money,0\n")
    found = run_json(
        "train", "--dataset", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"), "--seeds", "2"
    )
    assert len(found["seeds"]) == 2  # type: ignore[arg-type]
    (report,) = (circle.settings.home / "recipes").glob("project-*/report.json")
    assert json.loads(report.read_text())["items"] == 2


def test_several_seeds_without_a_test_split_are_refused(circle: Circle, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,category\n" + "\n".join(f"word {i},{i % 2}" for i in range(40)))
    found = CliRunner().invoke(app, ["train", "--dataset", str(tmp_path / "train.csv"), "--seeds", "2"])
    assert found.exit_code == 2
    assert "no test split" in found.output
    assert "--test" in found.output


@pytest.mark.parametrize(("hub", "expected"), [(False, "1"), (True, "0")])
def test_only_a_hub_name_lets_the_hub_be_asked(
    circle: Circle, monkeypatch: pytest.MonkeyPatch, hub: bool, expected: str
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PREFECT_HOME",):
        monkeypatch.setenv(name, str(circle.settings.home / "prefect"))
    go_offline(circle.settings, hub=hub)
    import os

    assert os.environ["HF_HUB_OFFLINE"] == expected
