"""prefect.yaml on a real Prefect server: every flow is deployed, schedules and trigger included."""

import ast
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Prefect server that runs on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "true",
    }
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(prefect(*command), env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health", process, home / "server.log")
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the Prefect server did not start: {log.read_text()[-2_000:]}")


@pytest.fixture(scope="module")
def deployments(server: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What the server knows after `prefect deploy --all`, by flow/deployment."""
    for command in (
        ["work-pool", "create", "voicebot", "--type", "process"],
        ["--no-prompt", "deploy", "--all"],
    ):
        subprocess.run(prefect(*command), env=server, cwd=ROOT, check=True, capture_output=True, timeout=180)
    address = server["PREFECT_API_URL"]
    flows = {item["id"]: item["name"] for item in httpx.post(f"{address}/flows/filter", json={}).json()}
    found = httpx.post(f"{address}/deployments/filter", json={}).json()
    return {f"{flows[item['flow_id']]}/{item['name']}": item for item in found}


def flow_names() -> set[str]:
    """Names of all flows that are defined at the top of a module of `flows`."""
    names = set()
    for path in (ROOT / "flows").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "flow":
                        names.add(next(k.value.value for k in decorator.keywords if k.arg == "name"))  # type: ignore[attr-defined]
    return names


def test_every_flow_is_a_deployment_on_the_process_work_pool(deployments: dict[str, dict[str, Any]]) -> None:
    assert {name.partition("/")[0] for name in deployments} == flow_names()
    assert {item["work_pool_name"] for item in deployments.values()} == {"voicebot"}


def test_the_schedules_of_prefect_yaml_are_active(deployments: dict[str, dict[str, Any]]) -> None:
    crons = {
        name: item["schedules"][0]["schedule"]["cron"]
        for name, item in deployments.items()
        if item["schedules"]
    }
    assert crons == {
        "train-adapter/nightly": "0 2 * * *",
        "build-cache-index/daily": "0 4 * * *",
        "evaluate-speech/weekly": "0 5 * * 0",
        "report-kpis/daily": "30 6 * * *",
        "report-arms/daily": "45 6 * * *",
        "watch-drift/weekly": "0 7 * * 1",
    }
    assert all(schedule["active"] for item in deployments.values() for schedule in item["schedules"])


def test_a_promotion_triggers_the_cache_build(
    server: dict[str, str], deployments: dict[str, dict[str, Any]]
) -> None:
    found = httpx.post(f"{server['PREFECT_API_URL']}/automations/filter", json={}).json()
    (automation,) = [item for item in found if "adapter.promoted" in item["trigger"]["expect"]]
    assert automation["enabled"]
    assert automation["actions"][0]["deployment_id"] == deployments["build-cache-index/daily"]["id"]


def test_drift_triggers_training(server: dict[str, str], deployments: dict[str, dict[str, Any]]) -> None:
    found = httpx.post(f"{server['PREFECT_API_URL']}/automations/filter", json={}).json()
    (automation,) = [item for item in found if "intents.drifted" in item["trigger"]["expect"]]
    assert automation["enabled"]
    assert automation["trigger"]["match"] == {"prefect.resource.id": "adapter.banking-lora"}
    assert automation["actions"][0]["deployment_id"] == deployments["train-adapter/nightly"]["id"]


def test_parameters_of_a_deployment_are_described_for_whoever_starts_it(
    deployments: dict[str, dict[str, Any]],
) -> None:
    schema = deployments["promote-adapter/manual"]["parameter_openapi_schema"]
    assert {"name", "version", "reason", "waive", "dry_run"} <= set(schema["properties"])
