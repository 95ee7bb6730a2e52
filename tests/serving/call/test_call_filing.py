"""Records that the database refuses, and files of them that somebody spoilt: nothing stops a start."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.call.filing import Filing, save_set_aside
from serving.call.record import CallRecord, TurnRecord
from serving.errors import EngineError, UnavailableError
from tests.serving.call.phone import Bank, LinesCaller, typed


class Refusing:
    """A database that refuses everything."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error or UnavailableError("gone")

    def begin(self, call: CallRecord) -> None:
        raise self.error

    def add_turn(self, turn: TurnRecord) -> None:
        raise self.error

    def end(self, call: CallRecord) -> None:
        raise self.error

    def save(self, call: CallRecord) -> None:
        raise self.error


@pytest.fixture
def aside(bank: Bank) -> Path:
    return bank.settings.home / "unsaved"


def left_aside(bank: Bank) -> CallRecord:
    """A call that no database took, as its session knows it."""
    session = bank.session(records=Refusing())
    session.run(LinesCaller(typed("hello", "what are the branch hours", "bye")))
    return session.call


def test_a_call_that_was_set_aside_is_saved_whole_and_once(bank: Bank, aside: Path) -> None:
    call = left_aside(bank)
    assert [path.name for path in aside.iterdir()] == [f"{call.call_id}.json"]
    assert save_set_aside(aside, bank.store) == 1
    assert bank.store.call(call.call_id) == call
    assert list(aside.iterdir()) == []
    assert save_set_aside(aside, bank.store) == 0


SPOILT = (
    '{"started_at": 5, "ended_at": null}', "{}", "[]", "null", "5", '"x"', "", "{", "\x00", "[" * 100_000,
    '{"started_at": "yesterday"}', '{"started_at": {}, "turns": 3}',
)  # fmt: skip


@pytest.mark.parametrize("content", SPOILT, ids=lambda text: text[:30])
def test_a_file_that_cannot_be_read_is_renamed_and_the_next_one_is_saved(
    bank: Bank, aside: Path, content: str
) -> None:
    call = left_aside(bank)
    (aside / "0.json").write_text(content)
    assert save_set_aside(aside, bank.store) == 1
    assert bank.store.call(call.call_id) == call
    assert [path.name for path in aside.iterdir()] == ["0.unreadable"]


@pytest.mark.parametrize(
    "field", ["call_id", "started_at", "ended_at", "ending", "engines", "turns", "duration_s"]
)
@pytest.mark.parametrize("value", [5, "x", [1], {"a": 1}, None, [[]], float("nan")], ids=repr)
def test_whatever_a_field_holds_nothing_is_raised(bank: Bank, aside: Path, field: str, value: Any) -> None:
    call = left_aside(bank)
    (path,) = aside.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    save_set_aside(aside, bank.store)
    assert call.turns


def test_a_file_that_is_none_stops_nothing(bank: Bank, aside: Path) -> None:
    (aside / "0.json").mkdir(parents=True)
    (aside / "1.json").write_bytes(b"\xff\xfe")
    (aside / "2.json").symlink_to(aside / "nowhere")
    assert save_set_aside(aside, bank.store) == 0


@pytest.mark.parametrize("error", [UnavailableError("x"), EngineError("x"), TypeError("x"), OSError(5, "x")])
def test_a_database_that_refuses_or_breaks_leaves_the_file_for_later(
    bank: Bank, aside: Path, error: Exception
) -> None:
    call = left_aside(bank)
    assert save_set_aside(aside, Refusing(error)) == 0
    assert [path.name for path in aside.iterdir()] == [f"{call.call_id}.json"]
    assert save_set_aside(aside, bank.store) == 1


def test_one_call_that_a_sound_database_refuses_does_not_keep_the_others_from_it(
    bank: Bank, aside: Path
) -> None:
    calls = sorted((left_aside(bank) for _ in range(3)), key=lambda call: call.call_id)

    class Choosy:
        def save(self, call: CallRecord) -> None:
            if call.call_id == calls[0].call_id:
                raise EngineError("value too long for type character varying(64)")
            bank.store.save(call)

    assert save_set_aside(aside, Choosy()) == 2  # type: ignore[arg-type]
    assert [path.name for path in aside.iterdir()] == [f"{calls[0].call_id}.json"]


def test_the_last_copy_of_a_call_is_flushed_to_disk_before_it_has_its_name(
    bank: Bank, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append("folder" if is_folder else "file")
        assert is_folder == bool(list(aside.glob("*.json")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    left_aside(bank)
    assert flushed == ["file", "folder"]


def test_a_full_disk_costs_the_records_and_not_the_call(
    bank: Bank, aside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert len(left_aside(bank).turns) == 3
    assert list(aside.iterdir()) == []


def test_a_write_that_a_signal_cut_short_is_made_good_at_the_end(bank: Bank, aside: Path) -> None:
    done = bank.session()
    done.run(LinesCaller(typed("hello", "bye")))
    call = replace(done.call, call_id="f" * 32)
    turns = [replace(turn, call_id=call.call_id) for turn in call.turns]

    class CutShort:
        def __getattr__(self, name: str) -> Any:
            return getattr(bank.store, name)

        def add_turn(self, turn: TurnRecord) -> None:
            raise SystemExit

    filing = Filing(CutShort(), aside)  # type: ignore[arg-type]
    filing.begin(replace(call, ended_at=None, ending=None, turns=()))
    with pytest.raises(SystemExit):
        filing.add_turn(turns[0])
    filing.end(replace(call, turns=tuple(turns)))
    assert len(bank.store.call(call.call_id).turns) == 2
