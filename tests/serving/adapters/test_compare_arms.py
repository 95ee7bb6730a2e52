"""`voicebot compare-arms` as an operator runs it: a real call database, a real registry, exit codes."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT_TAG
from serving.adapters.splitting import Terms, carry_out, read_split, start_plan, stop_plan
from serving.arms.split import PrimaryMetric, Split
from serving.settings import Settings
from tests.evaluation.arm_world import BETTER, SAME, SPLIT, a_split, kept, simulated
from tests.serving.adapters.conftest import NAME

LONG_AGO = datetime.now(UTC) - timedelta(days=60)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation that has nothing yet but a folder."""
    (tmp_path / "var").mkdir()
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(tmp_path / "mlruns"))
    return Settings.load()


@pytest.fixture
def compare_arms(home: Settings) -> Callable[..., Result]:
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["compare-arms", *arguments])


def document(result: Result, exit_code: int = 0) -> dict[str, Any]:
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def with_tag(registry: AdapterRegistry, split: Split) -> None:
    with registry.writing():
        registry.set_model_tag(NAME, SPLIT_TAG, split.to_json())


def test_the_newest_split_of_the_registry_is_compared_and_the_page_is_written(
    challenged: AdapterRegistry, home: Settings, compare_arms: Callable[..., Result], tmp_path: Path
) -> None:
    split = a_split(30, start=LONG_AGO)
    with_tag(challenged, split)
    kept(simulated(500, split), home.records_url)
    found = document(compare_arms("--json", "--out", str(tmp_path / "page")))
    assert found["verdict"] == "better"
    assert found["stretch"]["share"] == 0.3
    assert found["metrics"][0]["metric"] == "resolved_containment"
    assert sum(found["ratios"][0][arm] for arm in ("champion", "challenger")) == 500
    assert Path(found["page"]).parent == tmp_path / "page"
    assert "is better" in Path(found["page"]).read_text(encoding="utf-8")


def test_a_worse_challenger_ends_with_one_and_says_so(
    home: Settings, compare_arms: Callable[..., Result]
) -> None:
    calls = simulated(
        500, a_split(50, start=LONG_AGO), champion=BETTER, challenger=replace(SAME, settled=0.5)
    )
    kept(calls, home.records_url)
    result = compare_arms("--split", SPLIT, "--share", "50")
    assert result.exit_code == 1
    assert "worse" in result.stdout
    assert "sound: e-value" in result.stdout
    assert (home.home / "reports" / "arms" / "arms.html").is_file()


def test_callers_who_came_otherwise_than_planned_end_with_one_and_no_verdict(
    home: Settings, compare_arms: Callable[..., Result]
) -> None:
    kept(simulated(500, a_split(50, start=LONG_AGO)), home.records_url)
    found = document(compare_arms("--split", SPLIT, "--share", "20", "--json"), exit_code=1)
    assert found["verdict"] == "refused"
    assert {row["verdict"] for row in found["metrics"]} == {"refused"}


def test_an_undecided_comparison_ends_with_zero_and_may_be_about_another_metric_and_time(
    home: Settings, compare_arms: Callable[..., Result]
) -> None:
    kept(simulated(60, a_split(50, start=LONG_AGO), challenger=SAME), home.records_url)
    since = LONG_AGO + timedelta(days=10)
    asked = ("--split", SPLIT, "--share", "50", "--primary", "csat", "--since", f"{since:%Y-%m-%d}", "--json")
    found = document(compare_arms(*asked))
    assert found["verdict"] == "undecided"
    assert found["metrics"][0]["metric"] == "csat"
    assert 0 < found["metrics"][0]["champion"]["callers"] < 60


def test_an_older_split_is_found_in_the_audit(
    challenged: AdapterRegistry, home: Settings, compare_arms: Callable[..., Result]
) -> None:
    start = partial(start_plan, challenged, NAME, 3, 40, by="ops", reason="to see", terms=Terms())
    stop = partial(stop_plan, challenged, NAME, by="ops", reason="seen")
    first = carry_out(challenged, NAME, start, seen=None)
    assert first is not None
    kept(simulated(40, first, days=1e-9), home.records_url)
    carry_out(challenged, NAME, stop, seen=first)
    second = carry_out(challenged, NAME, start, seen=None)
    assert read_split(challenged, NAME) == second
    found = document(compare_arms("--split", first.id, "--json"))
    assert found["stretch"]["split"] == first.id
    assert found["stretch"]["share"] == 0.4


def test_the_metric_that_was_named_with_the_split_decides_and_no_other_takes_its_place(
    challenged: AdapterRegistry, home: Settings, compare_arms: Callable[..., Result]
) -> None:
    terms = Terms(primary=PrimaryMetric.HANDLE_TIME)
    start = partial(start_plan, challenged, NAME, 3, 40, by="ops", reason="to see", terms=terms)
    split = carry_out(challenged, NAME, start, seen=None)
    assert split is not None
    assert read_split(challenged, NAME) == split
    kept(simulated(40, split, days=1e-9), home.records_url)
    found = document(compare_arms("--json"))
    assert [metric["metric"] for metric in found["metrics"] if metric["primary"]] == ["handle_time"]
    refused = compare_arms("--primary", "csat")
    assert refused.exit_code == 2
    assert "decided by handle_time" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 3, "voicebot"),
        (("--split", "nothere", "--share", "50"), 3, "No call of split"),
        (("--share", "50"), 2, "--split"),
        (("--split", SPLIT, "--share", "100"), 2, "between 0 and 1"),
        (("--split", SPLIT, "--share", "nan"), 2, "between 0 and 1"),
        (("--split", SPLIT, "--share", "50", "--primary", "revenue"), 2, "no metric"),
        (("--split", SPLIT, "--share", "50", "--alpha", "0"), 2, "error rate"),
        (("--split", SPLIT, "--share", "50", "--since", "yesterday"), 2, "since"),
    ],
)
def test_what_cannot_be_compared_ends_with_a_code_and_a_sentence(
    compare_arms: Callable[..., Result], home: Settings, arguments: tuple[str, ...], code: int, said: str
) -> None:
    if "nothere" not in arguments:
        kept(simulated(4, a_split(50, start=LONG_AGO)), home.records_url)
    result = compare_arms(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr


def test_a_model_that_was_never_split_is_said(
    challenged: AdapterRegistry, compare_arms: Callable[..., Result]
) -> None:
    assert compare_arms().exit_code == 3
    result = compare_arms("--split", "f" * 12)
    assert result.exit_code == 3
    assert "has no split 'ffffffffffff' on record" in result.stderr


def test_looking_where_no_call_was_ever_recorded_makes_no_database(
    home: Settings, compare_arms: Callable[..., Result]
) -> None:
    result = compare_arms("--split", SPLIT, "--share", "30")
    assert result.exit_code == 3
    assert "No call of split" in result.stderr
    assert list(home.home.iterdir()) == []
