"""MLflow: what is sent to it; where it does not answer, one line says what to do and what is done."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import Metric

from flows import tracking
from flows.tracking import Experiment, TrackedRun, tracked_run
from serving.errors import UnavailableError
from serving.settings import Settings

FINISHED = "The page /reports/kpis.html is written"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "BUSY_TIMEOUT_S", 0.05)


@pytest.fixture
def database(settings: Settings) -> Path:
    """A database as MLflow's looks to whoever asks it first."""
    settings.mlruns.mkdir()
    path = settings.mlruns / "mlflow.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE alembic_version (version_num TEXT)")
    return path


def test_a_locked_database_is_named_at_once_with_what_is_done_already(
    settings: Settings, database: Path
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(UnavailableError, match="locked") as caught,
            tracked_run(settings, Experiment.KPI, "test", finished=FINISHED),
        ):
            pytest.fail("a run began")
    assert caught.value.message.startswith(f"{FINISHED}, but its MLflow run is not:")
    assert caught.value.advice


def test_a_file_where_mlflows_folder_should_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(home=tmp_path / "var", mlruns=tmp_path / "file")
    with pytest.raises(UnavailableError) as caught, tracked_run(settings, Experiment.KPI, "test"):
        pytest.fail("a run began")
    assert str(tmp_path / "file") in caught.value.message
    assert "VOICEBOT_MLRUNS" in caught.value.advice


def test_an_error_of_the_work_itself_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), tracking._explained(FINISHED):
        raise ZeroDivisionError


def test_a_database_that_fails_in_the_middle_is_unavailable() -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(UnavailableError, match="database is locked") as caught, tracking._explained(FINISHED):
        raise MlflowException("(sqlite3.OperationalError)\ndatabase is locked")
    assert FINISHED in caught.value.message


def test_a_long_series_goes_in_requests_of_a_size_that_mlflow_takes() -> None:
    sent: list[list[tuple[int, float]]] = []

    class Client:
        def log_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
            assert run_id == "r"
            assert {metric.key for metric in metrics} == {"loss"}
            sent.append([(metric.step, metric.value) for metric in metrics])

    TrackedRun("r", Client()).log_series("loss", [float(value) for value in range(2_500)])
    assert [len(batch) for batch in sent] == [1_000, 1_000, 500]
    assert [point for batch in sent for point in batch] == [(n + 1, float(n)) for n in range(2_500)]
    TrackedRun("r", Client()).log_series("loss", [])
    assert len(sent) == 3
