"""orchestrator-health, against servers that are well, unwell, or none."""

import json

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse

from serving.cli.monitor_session import app as monitor_session
from serving.cli.orchestrator_health import app as orchestrator_health
from tests.serving.sessions.commands import run
from tests.serving.sessions.served import serving_app
from tests.serving.sessions.servers import free_port

pytestmark = pytest.mark.usefixtures("home")

WELL = {
    "status": "ok",
    "adapter": "banking-lora@3",
    "engines": [{"role": "stt", "name": "pocketsphinx", "model": "en-us", "reason": "the only one"}],
    "active_calls": 2,
    "draining": False,
    "redis": True,
    "database": True,
}


# orchestrator-health


def health_app(body: object, status: int = 200) -> FastAPI:
    app = FastAPI()

    @app.get("/healthz")
    def health() -> Response:
        return JSONResponse(body, status)

    return app


def test_a_server_that_is_well_is_shown() -> None:
    with serving_app(health_app(WELL)) as url:
        shown = run(orchestrator_health, "--url", url)
        found = run(orchestrator_health, "--url", url + "/", "--json")
    assert shown.exit_code == found.exit_code == 0
    assert json.loads(found.stdout) == WELL
    for part in ("banking-lora@3", "engine, stt", "pocketsphinx (en-us): the only one", "answers"):
        assert part in shown.stdout


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "degraded"}, 503), ({"status": "degraded"}, 200), ({"redis": False}, 200),
        ({"database": False}, 200), ({"draining": True}, 200), ({"status": "draining"}, 200),
    ],
)  # fmt: skip
def test_a_server_that_is_not_well_is_exit_1(change: dict[str, object], status: int) -> None:
    with serving_app(health_app({**WELL, **change}, status)) as url:
        assert run(orchestrator_health, "--url", url).exit_code == 1
        found = run(orchestrator_health, "--url", url, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {**WELL, **change}


def test_a_server_whose_lines_are_busy_is_well_and_says_why_it_takes_no_calls() -> None:
    body = {**WELL, "ready": False, "not_ready_because": "All lines are busy.", "hung_work": 0}
    with serving_app(health_app(body)) as url:
        shown = run(orchestrator_health, "--url", url)
    assert shown.exit_code == 0
    for part in ("takes calls", "All lines are busy.", "hung work"):
        assert part in shown.stdout


def test_a_server_of_another_version_is_shown_as_far_as_it_says() -> None:
    body = {
        "status": "ok",
        "engines": [1, None, {"role": "stt"}],
        "adapter": None,
        "new": {"a": [1]},
        "redis": None,
    }
    with serving_app(health_app(body)) as url:
        shown = run(orchestrator_health, "--url", url)
    assert shown.exit_code == 0
    assert "not used" in shown.stdout


@pytest.mark.parametrize("body", [[], "ok", 1, None, {}, {"status": 1}, {"error": "x"}])
def test_what_is_no_orchestrator_is_exit_4(body: object) -> None:
    with serving_app(health_app(body)) as url:
        shown = run(orchestrator_health, "--url", url)
    assert shown.exit_code == 4
    assert "--url" in shown.stderr


def test_a_page_that_is_no_json_is_exit_4() -> None:
    app = FastAPI()

    @app.get("/{path:path}")
    def page() -> HTMLResponse:
        return HTMLResponse("<h1>A router's settings</h1>")

    with serving_app(app) as url:
        assert run(orchestrator_health, "--url", url).exit_code == 4
        for arguments in (("a",), ("a", "--tail"), ("--stats",), ()):
            assert run(monitor_session, *arguments, "--url", url).exit_code == 4


def test_where_nothing_listens_is_exit_4_without_the_secret_of_the_address() -> None:
    url = f"http://user:s3cret@127.0.0.1:{free_port()}"
    for command, arguments in ((orchestrator_health, ()), (monitor_session, ("a", "--tail"))):
        shown = run(command, *arguments, "--url", url)
        assert shown.exit_code == 4
        assert "start-call --serve" in shown.stderr
        assert "s3cret" not in shown.output


def test_the_settings_say_where_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_app(health_app(WELL)) as url:
        monkeypatch.setenv("VOICEBOT_PORT", url.rpartition(":")[2])
        monkeypatch.setenv("VOICEBOT_HOST", "0.0.0.0")
        assert run(orchestrator_health).exit_code == 0
    monkeypatch.setenv("VOICEBOT_PORT", "0")
    assert run(orchestrator_health).exit_code == 2


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    with serving_app(health_app(WELL)) as url:
        assert run(orchestrator_health, "--url", url).exit_code == 0
