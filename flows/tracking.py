"""MLflow runs: one experiment for each kind of work, explicit run ids, own hashes as tags.

The client is used without MLflow's global active run, which is empty in the threads of Prefect's task
runner. Whoever reads runs compares metrics here; the registry of adapters is `serving/adapters/registry`.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.adapters.database import check_writable, quiet_mlflow
from serving.errors import UnavailableError, VoicebotError
from serving.settings import Settings

BUSY_TIMEOUT_S = 5.0
"""How long a locked SQLite database is waited for; MLflow itself waits longer and then logs a traceback."""

_BATCH = 1_000
"""Most metrics that MLflow takes in one request."""


class Experiment(StrEnum):
    """Where runs are filed."""

    ADAPTERS = "voicebot/adapters"
    CACHE = "voicebot/cache"
    SPEECH = "voicebot/speech"
    KPI = "voicebot/kpi"
    DRIFT = "voicebot/drift"
    ARMS = "voicebot/arms"


@dataclass(slots=True)
class TrackedRun:
    """A run that is being filled.

    Attributes:
        run_id: MLflow's id.
    """

    run_id: str
    _client: Any = field(repr=False)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters; values longer than MLflow takes are cut."""
        for name, value in params.items():
            self._client.log_param(self.run_id, name, str(value)[:500])

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int = 0) -> None:
        """Log numbers; None is left out rather than logged as zero."""
        from mlflow.entities import Metric

        now = int(time.time() * 1_000)
        found = [
            Metric(name, float(value), now, step) for name, value in metrics.items() if value is not None
        ]
        if found:
            self._client.log_batch(self.run_id, metrics=found)

    def log_series(self, name: str, values: Sequence[float]) -> None:
        """Log a number's course, the first value at step 1."""
        from mlflow.entities import Metric

        now = int(time.time() * 1_000)
        points = [Metric(name, float(value), now, step) for step, value in enumerate(values, 1)]
        for start in range(0, len(points), _BATCH):
            self._client.log_batch(self.run_id, metrics=points[start : start + _BATCH])

    def log_files(self, folder: Path, place: str = "") -> None:
        """Copy a folder's files into the run's artifacts."""
        self._client.log_artifacts(self.run_id, str(folder), place or None)

    def log_file(self, path: Path, place: str = "") -> None:
        """Copy one file into the run's artifacts."""
        self._client.log_artifact(self.run_id, str(path), place or None)

    def log_json(self, name: str, value: object) -> None:
        """Store a JSON document as an artifact."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
            self._client.log_artifact(self.run_id, str(path))


@contextmanager
def reopened_run(settings: Settings, run_id: str, *, finished: str = "") -> Iterator[TrackedRun]:
    """A run that ended, for what was found out about it afterwards; its status stays.

    Args:
        settings: where MLflow keeps its database.
        run_id: MLflow's id.
        finished: what is done already and stays, in a clause; an error says it.

    Raises:
        UnavailableError: the database is locked or does not answer, or there is no such run.
    """
    with _explained(finished):
        check_writable(settings.mlflow_uri, BUSY_TIMEOUT_S, create=False)
        quiet_mlflow()
        from mlflow import MlflowClient

        yield TrackedRun(run_id, MlflowClient(settings.mlflow_uri, settings.mlflow_uri))


@contextmanager
def tracked_run(
    settings: Settings,
    experiment: Experiment,
    name: str,
    tags: Mapping[str, str] | None = None,
    *,
    finished: str = "",
) -> Iterator[TrackedRun]:
    """A run that ends as FINISHED, or as FAILED where the block raises.

    Args:
        settings: where MLflow keeps its database and artifacts.
        experiment: created on first use, with its artifacts inside `settings.mlruns`.
        name: shown in the list of runs.
        tags: such as hashes of data and code.
        finished: what is done already and stays, in a clause; an error says it.

    Raises:
        UnavailableError: the database is locked or does not answer, or a file cannot be written.
        IntegrityError: its file is no database.
        InvalidInputError: its address is none that MLflow's registry supports.
    """
    with _explained(finished):
        check_writable(settings.mlflow_uri, BUSY_TIMEOUT_S, create=True)
        quiet_mlflow()
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)
        found = client.get_experiment_by_name(experiment.value)
        if found is None:
            place = (settings.mlruns / "artifacts" / experiment.value).resolve()
            id_ = client.create_experiment(experiment.value, artifact_location=str(place))
        else:
            id_ = found.experiment_id
        run = client.create_run(id_, run_name=name, tags=dict(tags or {}))
        try:
            yield TrackedRun(run.info.run_id, client)
        except BaseException:
            with suppress(Exception):  # the error that ended the block is the one to tell
                client.set_terminated(run.info.run_id, "FAILED")
            raise
        client.set_terminated(run.info.run_id, "FINISHED")


@contextmanager
def _explained(finished: str) -> Iterator[None]:
    """Errors of MLflow, its database and its files as ours; each says what is done already."""
    try:
        yield
    except VoicebotError as error:
        if finished:
            error.message = f"{finished}, but its MLflow run is not: {error.message}"
        raise
    except Exception as error:
        if not _of_mlflow(error):
            raise
        reason = " ".join(str(error).split())[:300]
        done = f"{finished}, but its MLflow run is not" if finished else "The MLflow run could not be kept"
        raise UnavailableError(
            f"{done}: {reason}.",
            advice="Look for a program that holds the database, a full disk, or a wrong VOICEBOT_MLRUNS; "
            "then run the command again.",
        ) from error


def _of_mlflow(error: Exception) -> bool:
    """Whether MLflow, its database driver or the operating system raised an error."""
    if isinstance(error, OSError):
        return True
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)
