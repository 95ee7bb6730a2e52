"""Recordings past their time are removed and forgotten, and nothing else is."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from serving.call.record import Unrecorded
from serving.call.retention import expire_recordings, try_to_expire
from serving.call.store import CallStore
from serving.errors import InvalidInputError, UnavailableError
from tests.serving.sessions.records import BEGAN, call

DAY = timedelta(days=1)
KEPT = 30 * DAY
NOW = BEGAN + 40 * DAY
OLD, NEW = NOW - KEPT - timedelta(hours=1), NOW - KEPT + timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation."""
    return tmp_path / "var"


@pytest.fixture
def store(home: Path) -> Iterator[CallStore]:
    """Its records."""
    made = CallStore(f"sqlite:///{home / 'calls.db'}")
    yield made
    made.close()


def recorded(
    home: Path, store: CallStore, call_id: str, began: datetime, *, written: str | None = None
) -> Path:
    """A call with a recording; `written` is what the record says instead of the path."""
    path = file(home, f"recordings/{began:%Y-%m-%d}/{call_id}.wav", began)
    store.save(replace(call(call_id, began=began), recording=str(path) if written is None else written))
    return path


def file(home: Path, name: str, written_at: datetime) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF")
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))
    return path


def expire(home: Path, store: CallStore, *, dry_run: bool = False) -> dict[str, bool]:
    """Expired paths under `home`, and whether each is removed."""
    found = expire_recordings(home, store, older_than=KEPT, now=NOW, dry_run=dry_run)
    return {item.path: item.removed for item in found}


def test_recordings_past_their_time_go_and_their_calls_forget_them(home: Path, store: CallStore) -> None:
    old, new = recorded(home, store, "old", OLD), recorded(home, store, "new", NEW + DAY)
    before = store.call("old")
    assert list(expire(home, store).values()) == [True]
    assert not old.exists()
    assert not old.parent.exists(), "an empty day is no more"
    assert new.exists()
    assert store.call("old") == replace(before, recording=None, unrecorded=Unrecorded.EXPIRED)
    assert store.call("new").recording == str(new)
    assert expire(home, store) == {}


def test_a_dry_run_says_the_same_and_removes_nothing(home: Path, store: CallStore) -> None:
    old = recorded(home, store, "old", OLD)
    orphan = file(home, "recordings/2026-01-01/orphan.wav", OLD)
    dry = expire(home, store, dry_run=True)
    assert set(dry.values()) == {False}
    assert old.exists()
    assert orphan.exists()
    assert store.call("old").recording
    assert set(expire(home, store)) == set(dry)
    assert not old.exists()
    assert not orphan.exists()


@pytest.mark.parametrize("written", ["recordings/{day}/old.wav", "elsewhere/var/recordings/{day}/old.wav"])
def test_the_path_may_be_written_as_the_server_saw_it(home: Path, store: CallStore, written: str) -> None:
    old = recorded(home, store, "old", OLD, written=written.format(day=f"{OLD:%Y-%m-%d}"))
    expire(home, store)
    assert not old.exists()
    assert store.call("old").recording is None


def test_a_path_from_the_working_folder_is_understood(
    home: Path, store: CallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.parent)
    old = recorded(home, store, "old", OLD)
    store.end(replace(store.call("old"), recording=str(old.relative_to(home.parent))))
    expire(Path("var"), store)
    assert not old.exists()
    assert store.call("old").recording is None


def test_a_recording_that_is_gone_is_forgotten(home: Path, store: CallStore) -> None:
    recorded(home, store, "old", OLD).unlink()
    expire(home, store)
    assert store.call("old").recording is None


def test_files_that_no_call_names_go_by_their_own_time(home: Path, store: CallStore) -> None:
    old = [
        file(home, "recordings/2026-10-01/orphan.wav", OLD),
        file(home, "recordings/2026-10-01/.orphan.wav.tmp-1", OLD),
        file(home, "recordings/orphan.wav", OLD),
    ]
    kept = [
        file(home, "recordings/2026-11-20/orphan.wav", NEW),
        file(home, "recordings/2026-10-01/notes.txt", OLD),
        file(home, "reports/2026-10-01/voice.wav", OLD),
    ]
    expire(home, store)
    assert [path.exists() for path in old] == [False] * 3
    assert [path.exists() for path in kept] == [True] * 3


def test_a_call_keeps_its_recording_however_old_the_clock_of_the_file(home: Path, store: CallStore) -> None:
    new = recorded(home, store, "new", NEW)
    os.utime(new, (0, 0))
    assert expire(home, store) == {}
    assert new.exists()


@pytest.mark.parametrize(
    "written", ["../secret.wav", "recordings/../secret.wav", "{beside}", "", ".", "..", "a" * 5_000]
)
def test_a_record_cannot_have_anything_else_removed(home: Path, store: CallStore, written: str) -> None:
    secret = file(home, "secret.wav", OLD)
    beside = file(home.parent, "secret.wav", OLD)
    recorded(home, store, "old", OLD, written=written.format(beside=beside)).unlink()
    expire_recordings(home, store, older_than=KEPT, now=NOW)
    assert secret.exists()
    assert beside.exists()


def test_links_are_removed_and_what_they_lead_to_is_not(home: Path, store: CallStore) -> None:
    outside = file(home.parent, "archive/kept.wav", OLD)
    (home / "recordings" / "day").mkdir(parents=True)
    link = home / "recordings" / "day" / "old.wav"
    link.symlink_to(outside)
    (home / "recordings" / "archive").symlink_to(outside.parent)
    os.utime(link, (OLD.timestamp(), OLD.timestamp()), follow_symlinks=False)
    expire(home, store)
    assert not link.is_symlink()
    assert outside.exists()


def test_what_cannot_be_removed_stays_on_record_and_keeps_no_other(home: Path, store: CallStore) -> None:
    stuck, other = recorded(home, store, "stuck", OLD), recorded(home, store, "other", OLD)
    stuck.unlink()
    (stuck / "folder").mkdir(parents=True)  # what `unlink` refuses even to root
    found = expire_recordings(home, store, older_than=KEPT, now=NOW)
    assert {item.call_id: bool(item.problem) for item in found} == {"stuck": True, "other": False}
    assert store.call("stuck").recording
    assert store.call("other").recording is None
    assert not other.exists()


def test_an_installation_without_recordings_has_none_that_expire(home: Path, store: CallStore) -> None:
    assert expire(home, store) == {}


def test_a_negative_time_is_refused(home: Path, store: CallStore) -> None:
    with pytest.raises(InvalidInputError):
        expire_recordings(home, store, older_than=-KEPT, now=NOW)


def test_housekeeping_outlives_a_database_that_is_gone(home: Path, store: CallStore) -> None:
    class Gone(CallStore):
        def __init__(self) -> None:
            pass

        def recordings(self, *, until: datetime) -> list[tuple[str, str]]:
            raise UnavailableError("gone")

    try_to_expire(home, Gone(), older_than=KEPT, now=NOW)
