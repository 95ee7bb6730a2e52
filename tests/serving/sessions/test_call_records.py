"""Call records: one suite for SQLite and PostgreSQL, both real."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from serving.call.machine import Ending
from serving.call.record import CallRecord, Unrecorded
from serving.call.store import CallStore
from serving.call.tables import CALLS
from serving.errors import IntegrityError, MissingError, UnavailableError
from tests.serving.sessions.records import BEGAN, begun, call, turn
from tests.serving.sessions.servers import PostgresServer, free_port

HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'calls.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[CallStore]:
    """An empty store of each kind."""
    made = CallStore(url)
    yield made
    made.close()


def test_a_call_is_read_back_as_it_was_written(store: CallStore) -> None:
    whole = call("a")
    store.begin(begun(whole))
    assert store.call("a") == begun(whole)
    for item in whole.turns:
        store.add_turn(item)
    store.end(whole)
    assert store.call("a") == whole
    assert store.calls() == [whole]


def test_every_field_of_a_call_has_its_column() -> None:
    assert {field.name for field in fields(CallRecord)} - {"turns"} == {
        column.name for column in CALLS.columns
    }


def test_times_are_utc_whatever_the_database_thinks(store: CallStore) -> None:
    tokyo = BEGAN.astimezone(timezone(timedelta(hours=9)))
    store.save(call("a", began=tokyo))
    read = store.call("a")
    assert read.started_at == BEGAN
    assert read.started_at.utcoffset() == timedelta(0)
    assert store.calls(since=tokyo) == [read]
    assert store.calls(since=tokyo + timedelta(seconds=1)) == []


def test_a_call_begins_once_and_a_turn_is_recorded_once(store: CallStore) -> None:
    store.begin(begun(call("a")))
    store.add_turn(turn("a", 1))
    with pytest.raises(IntegrityError, match="begun before"):
        store.begin(begun(call("a")))
    with pytest.raises(IntegrityError, match="recorded before"):
        store.add_turn(replace(turn("a", 1), text="something else"))
    with pytest.raises(IntegrityError, match="never began"):
        store.add_turn(turn("never begun", 1))
    assert store.call("a").turns == (turn("a", 1),)


def test_what_was_never_recorded_is_missing(store: CallStore) -> None:
    with pytest.raises(MissingError):
        store.end(call("a"))
    with pytest.raises(MissingError):
        store.call("a" * 10_000)


def test_saving_adds_what_is_missing_and_changes_no_turn(store: CallStore) -> None:
    whole = call("a", 3)
    store.begin(begun(whole))
    store.add_turn(whole.turns[1])
    store.save(replace(whole, turns=tuple(replace(item, text="other") for item in whole.turns)))
    assert [item.text for item in store.call("a").turns] == ["other", whole.turns[1].text, "other"]
    store.save(whole)
    store.save(call("b"))
    assert store.call("b") == call("b")


def test_the_newest_calls_come_oldest_first(store: CallStore) -> None:
    for hours, call_id in enumerate(["c", "a", "b"]):
        store.save(call(call_id, began=BEGAN - hours * HOUR))
    assert [record.call_id for record in store.calls()] == ["b", "a", "c"]
    assert [record.call_id for record in store.calls(limit=2)] == ["a", "c"]
    assert [record.call_id for record in store.calls(since=BEGAN - HOUR)] == ["a", "c"]


def test_calls_that_nobody_ended_are_ended_as_lost(store: CallStore) -> None:
    for call_id, began in (("silent", BEGAN - 3 * HOUR), ("quiet", BEGAN - 3 * HOUR), ("young", BEGAN)):
        store.begin(begun(call(call_id, began=began)))
    store.add_turn(turn("silent", 6, began=BEGAN - 3 * HOUR))
    store.add_turn(turn("quiet", 1, began=BEGAN))
    assert store.end_lost(silent_since=BEGAN - HOUR) == 1
    lost = store.call("silent")
    assert (lost.ending, lost.duration_s) == (Ending.LOST, 60.0)
    assert store.end_lost(silent_since=BEGAN - HOUR) == 0


def test_words_that_a_database_refuses_do_not_cost_the_record(store: CallStore) -> None:
    odd = "nul \x00, half \ud800, emoji 🏦"
    written = turn("a", 1)
    store.save(replace(call("a", 0), transfer_summary=odd, turns=(replace(written, text=odd, answer=odd),)))
    read = store.call("a")
    assert read.transfer_summary == "nul , half ?, emoji 🏦"
    assert "emoji 🏦" in read.turns[0].text


def test_many_calls_are_written_beside_each_other(store: CallStore) -> None:
    def carry(number: int) -> None:
        whole = call(f"call{number}", 3)
        store.begin(begun(whole))
        for item in whole.turns:
            store.add_turn(item)
        store.end(whole)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(carry, range(12)))
    assert {record.call_id: record for record in store.calls()} == {
        f"call{number}": call(f"call{number}", 3) for number in range(12)
    }


def test_of_two_who_finalise_the_same_turn_one_is_refused(store: CallStore) -> None:
    store.begin(begun(call("a")))
    gate = threading.Barrier(4)

    def write(text: str) -> bool:
        gate.wait()
        try:
            store.add_turn(replace(turn("a", 1), text=text))
        except IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, "abcd")) == 1
    assert len(store.call("a").turns) == 1


# What monitors and housekeeping ask


def test_endings_are_counted_by_when_calls_ended(store: CallStore) -> None:
    store.save(call("a"))
    store.save(replace(call("b"), ending=Ending.COMPLETED))
    store.save(replace(call("c"), ending=Ending.COMPLETED))
    store.save(call("yesterday", began=BEGAN - 24 * HOUR))
    store.begin(begun(call("going on")))
    assert store.endings(since=BEGAN) == {"completed": 2, "transferred": 1}
    assert store.endings(since=BEGAN + HOUR) == {}


def test_waits_are_those_of_spoken_turns_that_were_answered(store: CallStore) -> None:
    spoken = call("a", 0)
    unheard = replace(turn("a", 3), voice_to_voice_s=None)
    store.save(replace(spoken, turns=(turn("a", 1), replace(turn("a", 2), stt_engine="typed"), unheard)))
    store.save(call("typed", typed=True))
    store.save(call("yesterday", began=BEGAN - 24 * HOUR))
    assert store.waits(since=BEGAN) == [pytest.approx(0.8)]
    assert len(store.waits(since=datetime(2000, 1, 1, tzinfo=UTC))) == 3


def test_recordings_are_found_by_age_and_forgotten(store: CallStore) -> None:
    old, new = call("old", began=BEGAN - 24 * HOUR), call("new")
    for record in (new, old, replace(call("silent", began=BEGAN - 24 * HOUR), recording=None)):
        store.save(record)
    assert store.recordings(until=BEGAN) == [("old", old.recording)]
    store.forget_recording("old")
    store.forget_recording("old")
    store.forget_recording("never recorded")
    assert store.recordings(until=BEGAN + HOUR) == [("new", new.recording)]
    assert store.call("old") == replace(old, recording=None, unrecorded=Unrecorded.EXPIRED)


def test_a_database_that_answers_says_so(store: CallStore) -> None:
    store.check()


def test_several_processes_may_open_an_empty_database_at_once(url: str) -> None:
    gate = threading.Barrier(4)

    def open_one(number: int) -> None:
        gate.wait()
        opened = CallStore(url)
        opened.save(call(f"call{number}"))
        opened.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_one, range(4)))
    store = CallStore(url)
    assert len(store.calls()) == 4
    store.close()


# PostgreSQL alone


def test_a_postgresql_that_is_not_there_is_unavailable_without_its_secret() -> None:
    with pytest.raises(UnavailableError) as caught:
        CallStore(f"postgresql+psycopg://user:s3cret@127.0.0.1:{free_port()}/calls")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgresql_without_a_driver_is_reached_by_the_one_that_is_installed(scheme: str) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        CallStore(f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/calls")


def test_a_connection_that_the_server_cut_is_made_anew(postgres_server: PostgresServer) -> None:
    import psycopg

    url = postgres_server.new_database()
    store = CallStore(url)
    store.save(call("a"))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.call("a") == call("a")
    store.close()
