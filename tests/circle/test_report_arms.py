"""The daily comparison of a split: quiet without one, a page and a run with one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT_TAG
from tests.circle.fixtures import Circle
from tests.evaluation.arm_world import SPLIT, a_split, kept, simulated


@pytest.fixture
def split_calls(circle: Circle, tmp_path: Path) -> Iterator[str]:
    """The model of a finished circle, split for the time of a test, with calls of its own database."""
    registry = AdapterRegistry.from_settings(circle.settings)
    name = circle.promoted.name
    split = a_split(30, start=datetime.now(UTC) - timedelta(days=45))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEBOT_DATABASE_URL", f"sqlite:///{tmp_path / 'calls.db'}")
        kept(simulated(400, split), f"sqlite:///{tmp_path / 'calls.db'}")
        with registry.writing():
            registry.set_model_tag(name, SPLIT_TAG, split.to_json())
        yield name
        with registry.writing():
            registry.set_model_tag(name, SPLIT_TAG, "")


def test_without_a_split_the_day_ends_quietly(circle: Circle) -> None:
    from flows.report_arms import report_arms

    found = report_arms()
    assert (found.split, found.page) == ("", None)
    assert "no split" in found.verdict


def test_the_newest_split_leaves_a_page_and_a_run(circle: Circle, split_calls: str) -> None:
    from mlflow import MlflowClient

    from flows.report_arms import report_arms
    from flows.tracking import Experiment

    found = report_arms(split_calls)
    assert (found.split, found.callers) == (SPLIT, 400)
    assert found.page is not None
    assert found.page.is_file()
    client = MlflowClient(tracking_uri=circle.settings.mlflow_uri)
    (experiment,) = client.search_experiments(filter_string=f"name = '{Experiment.ARMS}'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["verdict"] == found.verdict
    assert run.data.metrics["callers"] == 400
