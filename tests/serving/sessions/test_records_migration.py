"""A database made by an earlier version opens, gains what it lacks, and loses nothing."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.call.machine import Ending
from serving.call.store import CallStore
from serving.errors import UnavailableError
from serving.plain import plain
from tests.serving.sessions.records import BEGAN, begun, call, turn
from tests.serving.sessions.servers import PostgresServer

# The tables as version 0.1 made them, written down once.
OLD_SCHEMA = """
CREATE TABLE calls (
    call_id VARCHAR(32) NOT NULL, started_at {time} NOT NULL, ended_at {time},
    transport VARCHAR(32) NOT NULL, script VARCHAR(64) NOT NULL, caller VARCHAR(64) NOT NULL,
    adapter VARCHAR(128) NOT NULL, cache_scope VARCHAR(64) NOT NULL, engines JSON NOT NULL,
    ending VARCHAR(32), duration_s FLOAT NOT NULL, talk_s FLOAT NOT NULL, confirmed BOOLEAN,
    survey INTEGER, recording TEXT, PRIMARY KEY (call_id)
);
CREATE INDEX ix_calls_caller ON calls (caller);
CREATE INDEX ix_calls_started_at ON calls (started_at);
CREATE TABLE turns (
    call_id VARCHAR(32) NOT NULL, "index" INTEGER NOT NULL, started_at {time} NOT NULL,
    intent VARCHAR(64) NOT NULL, decision VARCHAR(32) NOT NULL, voice_to_voice_s FLOAT,
    record JSON NOT NULL, PRIMARY KEY (call_id, "index"), FOREIGN KEY(call_id) REFERENCES calls (call_id)
);
CREATE INDEX ix_turns_intent ON turns (intent);
INSERT INTO calls VALUES (
    'a', '2026-11-20 12:00:00.000000{zone}', '2026-11-20 12:01:00.000000{zone}', 'browser', 'demo',
    '{caller}', 'banking-lora@3', '{scope}', '{{"stt": "pocketsphinx", "tts": "espeak", "llm": "embedded"}}',
    'transferred', 60.0, 20.0, {yes}, 4, 'recordings/2026-11-20/a.wav'
);
INSERT INTO turns VALUES ('a', 1, '2026-11-20 12:00:10.000000{zone}', 'balance', 'tool', 0.8, '{record}');
"""
NEW_IN_TURNS = ("resumed", "barge_in_s", "started_s", "intent_energy")
OLD_TURN = replace(turn("a", 1), resumed=0, barge_in_s=None, started_s=None, intent_energy=None)
OLD_CALL = replace(
    call("a"), dropped_frames=0, transfer_summary="", verified=False, false_interruptions=0, turns=(OLD_TURN,)
)


def old_statements(*, time: str, zone: str, yes: str) -> list[str]:
    record = {name: value for name, value in plain(OLD_TURN).items() if name not in NEW_IN_TURNS}
    text = OLD_SCHEMA.format(
        time=time, zone=zone, yes=yes, caller="c" * 64, scope="f" * 64, record=json.dumps(record)
    )
    return [statement for statement in text.split(";\n") if statement.strip()]


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a database of version 0.1 with a call."""
    if request.param == "sqlite":
        path = tmp_path / "calls.db"
        with sqlite3.connect(path) as raw:
            for statement in old_statements(time="DATETIME", zone="", yes="1"):
                raw.execute(statement)
        raw.close()
        return f"sqlite:///{path}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.new_database()
    engine = sa.create_engine(url)
    with engine.begin() as db:
        for statement in old_statements(time="TIMESTAMP WITH TIME ZONE", zone="+00", yes="true"):
            db.exec_driver_sql(statement)
    engine.dispose()
    return url


def test_an_old_database_opens_and_loses_nothing(old: str) -> None:
    store = CallStore(old)
    assert store.calls() == [OLD_CALL]
    store.save(call("b"))
    store.end(replace(OLD_CALL, verified=True))
    store.close()
    again = CallStore(old)
    assert again.call("b") == call("b")
    assert again.call("a") == replace(OLD_CALL, verified=True)
    assert again.waits(since=BEGAN) == pytest.approx([0.8, 0.8, 0.9])
    again.close()


def test_an_old_database_gets_the_indexes_of_a_new_one(old: str, tmp_path: Path) -> None:
    def indexes(url: str) -> set[tuple[str, str]]:
        engine = sa.create_engine(url)
        found = sa.inspect(engine)
        names = {
            (table, str(item["name"]))
            for table in found.get_table_names()
            for item in found.get_indexes(table)
        }
        engine.dispose()
        return names

    new = f"sqlite:///{tmp_path / 'new.db'}"
    for url in (old, new):
        CallStore(url).close()
    assert indexes(old) == indexes(new)
    assert ("turns", "ix_turns_started_at") in indexes(new)


def test_an_old_server_goes_on_writing_beside_a_new_one(old: str) -> None:
    store = CallStore(old)
    engine = sa.create_engine(old)
    names = (
        "call_id, started_at, transport, script, caller, adapter, cache_scope, engines, duration_s, talk_s"
    )
    with engine.begin() as db:
        db.exec_driver_sql(
            f"INSERT INTO calls ({names}) VALUES"
            " ('b', '2026-11-20 12:00:00', 'http', '', '', 'banking-lora@3', 'f', '{}', 0, 0)"
        )
    engine.dispose()
    read = store.call("b")
    assert (read.dropped_frames, read.transfer_summary, read.verified, read.false_interruptions) == (
        0, "", False, 0,
    )  # fmt: skip
    store.end(replace(read, ending=Ending.COMPLETED))
    store.close()


def test_servers_that_start_together_change_an_old_database_once(old: str) -> None:
    gate = threading.Barrier(4)

    def open_one(number: int) -> None:
        gate.wait()
        store = CallStore(old)
        store.save(call(f"call{number}"))
        store.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_one, range(4)))
    store = CallStore(old)
    assert len(store.calls()) == 5
    store.close()


def test_a_database_of_a_later_version_opens_too(old: str) -> None:
    CallStore(old).close()
    engine = sa.create_engine(old)
    with engine.begin() as db:
        db.exec_driver_sql("ALTER TABLE calls ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'")
    engine.dispose()
    store = CallStore(old)
    store.begin(begun(call("b")))
    assert store.call("a") == OLD_CALL
    store.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    path.write_text("a letter to my bank\n" * 100)
    with pytest.raises(Exception, match="database of the call records"):
        CallStore(f"sqlite:///{path}")
    assert path.read_text().startswith("a letter")


def test_a_database_that_another_process_keeps_locked_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    CallStore(f"sqlite:///{path}").close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store = CallStore(f"sqlite:///{path}")
    with pytest.raises(UnavailableError, match="locked"):
        store.begin(begun(call("a")))
    holder.execute("ROLLBACK")
    holder.close()
    store.begin(begun(call("a")))
    store.close()
