"""Records whose writing hangs or never begins: the end of the call writes all that is missing."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.call.filing import Filing
from serving.call.record import CallRecord, TurnRecord
from serving.call.scheduler import Done
from serving.call.store import CallStore
from serving.errors import EngineTimeoutError
from tests.serving.live.telephone import MemoryRecords, Telephone


def turn(phone: Telephone) -> None:
    phone.wait_for("listening")
    phone.talk(1.0)
    phone.wait_for("speaking")
    phone.wait_for("listening")


def without(phone: Telephone, *lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pieces of work that write records, these never begin."""
    work, written = phone.time.work, [0]

    def losing(name: str, job: Callable[[], Any], done: Done[Any], limit_s: float) -> None:
        written[0] += name == "records"
        if name == "records" and written[0] in lost:
            phone.time.later(phone.time.now() + 1.0, lambda: done(None, EngineTimeoutError("late")))
        else:
            work(name, job, done, limit_s)

    monkeypatch.setattr(phone.time, "work", losing)


@pytest.mark.parametrize("lost", [(1,), (2,), (1, 2), (1, 2, 3)])
def test_turns_whose_record_was_never_begun_are_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    phone = Telephone(["hello", "again", "bye"])
    store = CallStore(f"sqlite:///{tmp_path / 'calls.db'}")
    phone.book._filing._records = store
    store.begin(phone.call.call)
    without(phone, *lost, monkeypatch=monkeypatch)
    for _ in range(3):
        turn(phone)
    phone.hang_up()
    kept = store.call(phone.call.call.call_id)
    store.close()
    assert [record.text for record in kept.turns] == ["hello", "again", "bye"]
    assert kept.ending is not None


class Hanging(MemoryRecords):
    """The first turn hangs until the end is being written, which fails."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.back = threading.Event(), threading.Event()
        self.late: threading.Thread | None = None

    def add_turn(self, turn: TurnRecord) -> None:
        self.hangs.set()
        assert self.back.wait(10)

    def save(self, call: CallRecord) -> None:
        assert self.late is not None
        self.back.set()
        self.late.join(10)
        raise OSError("no database")


def test_a_write_that_comes_back_late_hides_no_later_one_that_failed(tmp_path: Path) -> None:
    phone = Telephone(["hello"])
    turn(phone)
    (first,) = phone.hang_up()
    call, records = phone.call.call, Hanging()
    filing = Filing(records, tmp_path)
    filing.begin(call)
    records.late = threading.Thread(target=filing.add_turn, args=(first,))
    records.late.start()
    assert records.hangs.wait(10)
    filing.missed()
    filing.end(call)
    assert [path.stem for path in tmp_path.iterdir()] == [call.call_id]
