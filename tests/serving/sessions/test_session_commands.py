"""monitor-session, orchestrator-health and recording-manager, against real servers and without one."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import FastAPI

from serving.call.live_memory import MemoryLiveState
from serving.call.store import CallStore
from serving.cli.monitor_session import app as monitor_session
from serving.cli.recordings import app as recordings
from serving.plain import plain
from serving.services.monitoring import monitoring
from tests.serving.sessions.commands import run
from tests.serving.sessions.records import BEGAN, begun, call
from tests.serving.sessions.served import serving_app, with_errors
from tests.serving.sessions.servers import free_port
from tests.serving.sessions.states import state

pytestmark = pytest.mark.usefixtures("home")

MANY = 100


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CallStore]:
    """The server's records: not those of the command's home."""
    made = CallStore(f"sqlite:///{tmp_path / 'server.db'}")
    yield made
    made.close()


@pytest.fixture
def live() -> Iterator[MemoryLiveState]:
    """No call in progress."""
    made = MemoryLiveState()
    yield made
    made.close()


@pytest.fixture
def url(live: MemoryLiveState, store: CallStore) -> Iterator[str]:
    """Address of a running server."""
    app = with_errors(FastAPI())
    app.include_router(monitoring(live, store))
    with serving_app(app, before_stop=live.close) as address:
        yield address


# monitor-session, a call


def test_a_call_in_progress_is_shown(url: str, live: MemoryLiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "barge_in", turn=3))
    shown = run(monitor_session, "a", "--url", url)
    assert shown.exit_code == 0
    assert "barge_in" in shown.stdout
    found = json.loads(run(monitor_session, "a", "--url", url, "--json").stdout)
    assert found == {"in_progress": True, "state": plain(state("a", "barge_in", turn=3)), "record": None}
    assert "a" in run(monitor_session, "--url", url).stdout
    assert json.loads(run(monitor_session, "--url", url, "--json").stdout)["calls"] == [found["state"]]


@pytest.mark.parametrize("tail", [(), ("--tail",)])
def test_a_finished_call_is_shown_from_the_records(url: str, store: CallStore, tail: tuple[str, ...]) -> None:
    store.save(call("a"))
    shown = run(monitor_session, "a", *tail, "--url", url)
    assert shown.exit_code == 0
    for part in ("transferred after 60.0 s, 2 turns", "Your balance is ten dollars.", "who takes over"):
        assert part in shown.stdout
    found = json.loads(run(monitor_session, "a", *tail, "--url", url, "--json").stdout)
    assert (found if tail else found["record"]) == plain(call("a"))


def test_tail_follows_a_call_to_its_end(url: str, live: MemoryLiveState, store: CallStore) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "greeting"))
    store.begin(begun(call("a")))
    child = started(monitor_session, "a", "--tail", "--url", url)
    assert child.stdout is not None
    lines = [child.stdout.readline()]  # it has come, so who reads it need not wait for the end
    for number in range(1, 4):
        live.publish(state("a", "barge_in", turn=number))
        lines.append(child.stdout.readline())
    store.end(call("a"))
    live.release("a")
    rest, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert ["greeting" in lines[0], *(f"turn {n}" in lines[n] for n in range(1, 4))] == [True] * 4
    assert "barge in" in lines[1]
    assert rest == "ended: transferred after 60.0 s, 0 turns\n"


def test_tail_as_json_is_one_document_a_line(url: str, live: MemoryLiveState, store: CallStore) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "greeting"))
    child = started(monitor_session, "a", "--tail", "--json", "--url", url)
    assert child.stdout is not None
    first = json.loads(child.stdout.readline())
    live.publish(state("a", "heard", turn=1))
    live.release("a")
    rest, _ = child.communicate(timeout=30)
    assert first == plain(state("a", "greeting"))
    assert [json.loads(line) for line in rest.splitlines()] == [plain(state("a", "heard", turn=1))]


def test_tail_ends_with_an_error_where_the_server_goes_away(live: MemoryLiveState, store: CallStore) -> None:
    stopping = threading.Event()
    app = with_errors(FastAPI())
    app.include_router(monitoring(live, store, closing=stopping.is_set))
    live.admit("a", MANY)
    live.publish(state("a"))
    with serving_app(app, before_stop=stopping.set) as url:
        child = started(monitor_session, "a", "--tail", "--url", url)
        assert child.stdout is not None
        child.stdout.readline()
    child.communicate(timeout=30)
    assert child.returncode == 4


@pytest.mark.parametrize("tail", [(), ("--tail",)])
@pytest.mark.parametrize("shared", [False, True], ids=["server", "redis"])
def test_without_what_is_asked_an_ended_call_is_shown_from_the_settings_database(
    home: Path, monkeypatch: pytest.MonkeyPatch, tail: tuple[str, ...], shared: bool
) -> None:
    monkeypatch.setenv("VOICEBOT_PORT", str(free_port()))
    if shared:
        monkeypatch.setenv("VOICEBOT_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert run(monitor_session, "a", *tail).exit_code == 4
    assert not home.exists(), "a look makes no database"
    store = CallStore(f"sqlite:///{home / 'calls.db'}")
    store.save(call("a"))
    store.begin(begun(call("b")))
    store.close()
    shown = run(monitor_session, "a", *tail)
    assert shown.exit_code == 0
    assert "transferred after 60.0 s, 2 turns" in shown.stdout
    found = json.loads(run(monitor_session, "a", *tail, "--json").stdout)
    assert (found if tail else found["record"]) == plain(call("a"))
    for other in ("b", "nobody"):  # it may be in progress, or known to the server alone
        refused = run(monitor_session, other, *tail)
        assert refused.exit_code == 4
        assert "--url" in refused.stderr


def test_a_server_that_is_named_is_not_replaced_by_a_database_that_may_be_anothers(home: Path) -> None:
    store = CallStore(f"sqlite:///{home / 'calls.db'}")
    store.save(call("a"))
    store.close()
    shown = run(monitor_session, "a", "--url", f"http://127.0.0.1:{free_port()}")
    assert shown.exit_code == 4


@pytest.mark.parametrize("arguments", [(), ("--stats",)])
def test_without_redis_one_is_told_to_name_a_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    CallStore(f"sqlite:///{home / 'calls.db'}").close()
    monkeypatch.setenv("VOICEBOT_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    shown = run(monitor_session, *arguments)
    assert shown.exit_code == 4
    assert "--url" in shown.stderr


def test_a_call_that_nobody_knows_is_missing(url: str) -> None:
    for arguments in (("nobody",), ("nobody", "--tail"), ("nobody", "--json")):
        shown = run(monitor_session, *arguments, "--url", url)
        assert shown.exit_code == 3
        assert "nobody" in shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--stats", "a"), ("--stats", "--tail"), ("--tail",), ("../v1",), ("a b",), ("",), ("a" * 65,),
        ("a\n",), ("a", "--url", "ftp://h"), ("a", "--url", "http://"), ("a", "--url", "http://h:port"),
        ("a", "--url", "x"), ("a", "--url", "http://h\x00"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(arguments: tuple[str, ...]) -> None:
    shown = run(monitor_session, *arguments)
    assert shown.exit_code == 2
    assert "error:" in shown.stderr


def test_what_a_caller_typed_does_not_reach_the_terminal_as_commands(url: str, store: CallStore) -> None:
    from dataclasses import replace

    evil = "\x1b]0;owned\x07\x1b[2J [bold]hello[/bold]"
    record = call("a")
    turns = (replace(record.turns[0], text=evil, answer=evil),)
    store.save(replace(record, turns=turns, transfer_summary=evil))
    shown = run(monitor_session, "a", "--url", url).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold]hello[/bold]" in shown


# monitor-session --stats


def test_figures_of_the_day_are_shown(url: str, live: MemoryLiveState, store: CallStore) -> None:
    now = datetime.now(UTC)
    live.admit("a", MANY)
    live.publish(state("a", began=now))
    store.save(call("b", began=now))
    shown = run(monitor_session, "--stats", "--url", url)
    assert shown.exit_code == 0
    figures = json.loads(run(monitor_session, "--stats", "--json", "--url", url).stdout)
    assert figures["in_progress"] == 1
    assert figures["phases"] == {"speaking": 1}
    for part in ("calls in progress", "speaking", "voice-to-voice, p95"):
        assert part in shown.stdout


# Redis instead of a server


def test_calls_are_read_from_the_shared_redis_and_database(
    redis_server: Any, store: CallStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    from serving.cli.call_sources import SharedCalls
    from serving.services.redis_state import RedisLiveState
    from serving.settings import Settings

    monkeypatch.setenv("VOICEBOT_REDIS_URL", redis_server.url)
    settings = Settings(home=tmp_path / "var", tenant=namespace)
    there = RedisLiveState(redis_server.url, namespace=f"voicebot:{namespace}")
    there.admit("a", MANY)
    there.publish(state("a"))
    source = SharedCalls(settings)
    assert source.calls() == [plain(state("a"))]
    assert source.live("a") == plain(state("a"))
    assert source.live("b") is None
    assert source.record("a") is None
    states = source.states("a")
    assert next(states) == plain(state("a"))
    there.release("a")
    assert list(states) == []
    source.close()
    assert not (tmp_path / "var").exists(), "a look makes no database"
    there.close()
    store.save(call("a"))
    shared = SharedCalls(
        Settings(database_url=f"sqlite:///{tmp_path / 'server.db'}", home=tmp_path, tenant=namespace)
    )
    assert shared.record("a") == plain(call("a"))
    assert shared.record("b") is None
    assert shared.stats()["in_progress"] == 0
    shared.close()


# recording-manager


def test_recordings_are_looked_at_and_then_removed(home: Path) -> None:
    store = CallStore(f"sqlite:///{home / 'calls.db'}")
    store.save(call("old", began=BEGAN - timedelta(days=3_650)))
    sound = home / str(store.call("old").recording)
    sound.parent.mkdir(parents=True)
    sound.write_bytes(b"RIFF")
    dry = run(recordings, "--expire", "--dry-run", "--json")
    assert dry.exit_code == 0
    assert [item["removed"] for item in json.loads(dry.stdout)["recordings"]] == [False]
    assert sound.exists()
    assert "would be removed" in run(recordings, "--expire", "--dry-run").stdout
    assert run(recordings, "--expire", "--older-than-days", "36500").exit_code == 0
    assert sound.exists()
    shown = run(recordings, "--expire")
    assert shown.exit_code == 0
    assert "removed" in shown.stdout
    assert not sound.exists()
    assert store.call("old").recording is None
    assert "No recording" in run(recordings, "--expire").stdout
    store.close()


def test_nothing_is_removed_without_being_told_to(home: Path) -> None:
    assert run(recordings).exit_code == 2
    assert run(recordings, "--dry-run").exit_code == 2
    assert run(recordings, "--expire", "--older-than-days", "-1").exit_code == 2


def test_an_installation_without_records_is_missing_and_gets_none(home: Path) -> None:
    assert run(recordings, "--expire").exit_code == 3
    assert not home.exists()


# Start-up


HEAVY = ("torch", "numpy", "sqlalchemy", "pydantic", "httpx", "redis", "fastapi", "uvicorn", "rich.table")


@pytest.mark.parametrize("module", ["monitor_session", "orchestrator_health", "recordings"])
def test_a_command_imports_nothing_heavy_before_it_knows_what_to_do(module: str) -> None:
    code = f"import sys, serving.cli.{module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def started(command: typer.Typer, *arguments: str) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    callback = command.registered_commands[0].callback
    assert callback is not None
    code = f"import sys; from {callback.__module__} import app; app()"
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
