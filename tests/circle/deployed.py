"""A Prefect server of the tests' own with every flow of prefect.yaml, and a worker that can be killed.

Prefect's and MLflow's databases are PostgreSQL's where this machine has one, as in an installation of several
machines; otherwise SQLite's.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.sessions.servers import PostgresServer, free_port, postgres_programs

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 180
RUN_LIMIT_S = 180
POOL = "voicebot"
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Deployed:
    """A running server.

    Attributes:
        environment: of every process that shall find it.
        home: folder of its files.
        postgres: the server of its databases; None where they are SQLite files.
    """

    environment: dict[str, str]
    home: Path
    postgres: PostgresServer | None
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30), repr=False)

    @property
    def address(self) -> str:
        return self.environment["PREFECT_API_URL"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers to a POST."""
        answer = self._client.post(f"{self.address}/{path}", json=body or {})
        assert answer.is_success, answer.text
        return answer.json()

    def read(self, path: str) -> Any:
        """What the API answers to a GET."""
        return self._client.get(f"{self.address}/{path}").raise_for_status().json()

    def command(self, *arguments: str) -> str:
        """Run `prefect …` and return what it printed."""
        done = subprocess.run(
            prefect(*arguments), env=self.environment, cwd=ROOT, capture_output=True, text=True,
            check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
        return done.stdout

    def deployments(self) -> dict[str, dict[str, Any]]:
        """What the server knows, by flow/deployment."""
        flows = {item["id"]: item["name"] for item in self.ask("flows/filter")}
        found = self.ask("deployments/filter")
        return {f"{flows[item['flow_id']]}/{item['name']}": item for item in found}

    def run_now(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Ask for a run of a deployment; the run's id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"deployments/{deployment}/create_flow_run", body)["id"])

    def process_of(self, run: str) -> int:
        """The process of a run, as soon as it has one; it leads a process group of its own."""
        wait_for(lambda: self.read(f"flow_runs/{run}")["infrastructure_pid"])
        return int(self.read(f"flow_runs/{run}")["infrastructure_pid"].rpartition(":")[2])

    def finished(self, run: str) -> dict[str, Any]:
        """A run when it has ended, and ended well."""
        wait_for(lambda: self.read(f"flow_runs/{run}")["state_type"] in ENDED)
        found: dict[str, Any] = self.read(f"flow_runs/{run}")
        assert found["state_type"] == "COMPLETED", found["state"]["message"]
        return found

    def runs_of(self, deployment: str, **matching: Any) -> list[dict[str, Any]]:
        """Runs of a deployment."""
        wanted = {"deployment_id": {"any_": [deployment]}} | matching
        return list(self.ask("flow_runs/filter", {"flow_runs": wanted}))

    def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """Runs that a schedule has made and that have not begun."""
        waiting = self.runs_of(deployment, state={"type": {"any_": ["SCHEDULED"]}})
        return [run for run in waiting if run["auto_scheduled"]]

    @contextlib.contextmanager
    def without_schedules(self) -> Iterator[None]:
        """No run by a schedule meanwhile: at its hour one would take a deployment's only slot from a test."""
        deployments = [item["id"] for item in self.deployments().values()]
        for deployment in deployments:
            self.ask(f"deployments/{deployment}/pause_deployment")
        try:
            yield
        finally:
            for deployment in deployments:
                self.ask(f"deployments/{deployment}/resume_deployment")

    def triggered(self, deployment: str) -> str:
        """The run of a deployment that no schedule made, as soon as there is one."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [run["id"] for run in self.runs_of(deployment) if not run["auto_scheduled"]]
            return bool(found)

        wait_for(there)
        return found[0]

    def start(self) -> None:
        port = free_port()
        self.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        log = self.home / "server.log"
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                prefect("server", "start", "--host", "127.0.0.1", "--port", str(port)),
                env=self.environment, stdout=out, stderr=out,
            )  # fmt: skip
        wait_for(lambda: self._healthy(log), START_LIMIT_S)

    def stop(self) -> None:
        assert self._server is not None
        self._client.close()
        self._server.terminate()
        try:
            self._server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _healthy(self, log: Path) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, f"the Prefect server did not start: {log.read_text()[-2_000:]}"
        try:
            return self._client.get(f"{self.address}/health").status_code == 200
        except httpx.TransportError:
            return False


class Worker:
    """A process worker of the pool, in a process group of its own."""

    def __init__(self, deployed: Deployed, settings: dict[str, str]) -> None:
        self.log = deployed.home / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                prefect("worker", "start", "--pool", POOL),
                env=deployed.environment | settings | {"PREFECT_WORKER_QUERY_SECONDS": "0.5"},
                cwd=ROOT, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def kill(self, *, run: int | None = None) -> None:
        """SIGKILL to the worker's process group, and at once to that of a flow run which it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        if run is not None:
            os.killpg(run, signal.SIGKILL)
        self._process.wait()


def prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def wait_for(true: Callable[[], object], seconds: float = RUN_LIMIT_S, *, every_s: float = 0.2) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(every_s)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A server that knows the work pool and everything in prefect.yaml."""
    home = tmp_path_factory.mktemp("prefect")
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "VOICEBOT_"))
        },
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PWD": str(ROOT),
        "PYTHONPATH": str(ROOT),
    }
    postgres = PostgresServer() if postgres_programs() else None
    if postgres is not None:
        address = postgres.new_database().replace("+psycopg", "+asyncpg")
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address
    server = Deployed(environment, home, postgres)
    try:
        server.start()
        server.command("work-pool", "create", POOL, "--type", "process")
        server.command("--no-prompt", "deploy", "--all")
        yield server
    finally:
        server.stop()
        if postgres is not None:
            postgres.stop()
        shutil.rmtree(home, ignore_errors=True)
