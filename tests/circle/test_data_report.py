"""`voicebot check-data`: every kind of broken data is named, and no problem hides another one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.data_report import data_report

Rows = list[dict[str, Any]]


@pytest.fixture
def data(tmp_path: Path, data_dir: Path) -> Path:
    return Path(shutil.copytree(data_dir, tmp_path / "data"))


def pairs_file(data: Path) -> Path:
    return data / "cache_pairs" / "pairs.jsonl"


def changed(rows: Rows, index: int, **values: Any) -> Rows:
    return [row | values if i == index else row for i, row in enumerate(rows)]


def without(rows: Rows, key: str) -> Rows:
    return [{name: value for name, value in rows[0].items() if name != key}, *rows[1:]]


def in_the_other_split(rows: Rows) -> Rows:
    other = {"train": "test", "test": "train"}[rows[0]["split"]]
    return [*rows, rows[0] | {"id": "new-001", "split": other, "stored": rows[0]["stored"].upper()}]


def test_the_projects_own_data_is_sound(data_dir: Path) -> None:
    found = data_report(data_dir)
    assert found.problems == ()
    assert found.counts["cache pairs"] == 4_375
    assert found.counts["call scripts"] >= 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_the_other_split, "stands in paraphrase-001"),
        (lambda rows: [*rows, rows[5] | {"id": "new-001"}], "new-001 repeats"),
        (lambda rows: [*rows, rows[5]], "stands 2 times"),
        (lambda rows: changed(rows, 3, probe="  "), "line 4"),
        (lambda rows: changed(rows, 3, kind="colour"), "kind 'colour' of paraphrase-004 is unknown"),
        (lambda rows: changed(rows, 0, same=False), "paraphrase-001 says same: False"),
        (lambda rows: changed(rows, 3, intent="no_such_intent"), "unknown intent 'no_such_intent'"),
        (lambda rows: without(rows, "intent"), "line 1: KeyError('intent')"),
        (lambda rows: rows[:100], "at least 1500 are needed"),
    ],
)
def test_a_broken_cache_pair_is_named(data: Path, change: Callable[[Rows], Rows], said: str) -> None:
    path = pairs_file(data)
    rows = change([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert any(said in problem for problem in data_report(data).problems)


def test_missing_parts_are_problems_and_not_tracebacks(data: Path) -> None:
    pairs_file(data).unlink()
    shutil.rmtree(data / "calls")
    told = "\n".join(data_report(data).problems)
    assert "pairs.jsonl" in told
    assert "calls: 0 scripts, at least 6 are needed" in told


def test_broken_files_hide_no_others(data: Path) -> None:
    broken = ["knowledge/answers.yaml", "knowledge/rates.yaml", "lexicons/signature.yaml", "calls/demo.yaml"]
    for name in broken:
        (data / name).write_text("[", encoding="utf-8")
    (data / "intents" / "cards.yaml").write_bytes(b"\xff")
    told = "\n".join(data_report(data).problems)
    for name in [*broken, "cards.yaml"]:
        assert Path(name).name in told
