"""`replay-session` on a call that was spoken and recorded for real."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.call.record import CallRecord
from serving.call.runtime import Runtime
from serving.call.script import load_script
from serving.cli.replay_session import app
from serving.speech.engines import caller_tts
from serving.transports.scripted import ScriptCaller
from tests.circle.fixtures import Circle


@pytest.fixture(scope="module")
def spoken(finished_circle: Circle) -> Iterator[CallRecord]:
    settings = finished_circle.settings
    script = load_script(settings.data / "calls", "demo")
    caller = ScriptCaller(replace(script, turns=script.turns[3:6]), caller_tts(settings))
    with Runtime(settings, voice=True) as runtime:
        session = runtime.open_call(caller.transport, script=script.id)
        yield session.run(caller)


def replayed(call_id: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [call_id, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {}


def test_a_call_is_heard_again_and_decided_as_it_was(spoken: CallRecord, circle: Circle) -> None:
    code, found = replayed(spoken.call_id)
    assert (code, found["differences"]) == (0, [])
    assert (found["source"], found["turns"]) == ("audio", 3)


def test_a_call_without_sound_is_replayed_from_its_transcripts(spoken: CallRecord, circle: Circle) -> None:
    assert spoken.recording is not None
    kept = Path(spoken.recording)
    aside = kept.rename(kept.with_suffix(".aside"))
    try:
        code, found = replayed(spoken.call_id)
    finally:
        aside.rename(kept)
    assert (code, found["source"]) == (0, "text")


def test_a_decision_that_differs_is_shown_and_is_exit_code_1(spoken: CallRecord, circle: Circle) -> None:
    database = circle.settings.home / "calls.db"
    with sqlite3.connect(database) as db:
        (kept,) = db.execute(
            'SELECT record FROM turns WHERE call_id = ? AND "index" = 1', (spoken.call_id,)
        ).fetchone()
        changed = {**json.loads(kept), "decision": "answer", "answer": "Something else."}
        change = 'UPDATE turns SET record = ? WHERE call_id = ? AND "index" = 1'
        db.execute(change, (json.dumps(changed), spoken.call_id))
    try:
        result = CliRunner().invoke(app, [spoken.call_id])
    finally:
        with sqlite3.connect(database) as db:
            db.execute(change, (kept, spoken.call_id))
    assert result.exit_code == 1
    assert "Something else." in result.stdout.replace("\n", " ")


def test_a_call_that_is_not_on_record_is_told_so(circle: Circle) -> None:
    result = CliRunner().invoke(app, ["0" * 32])
    assert result.exit_code == 3
