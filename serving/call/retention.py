"""Recordings that are past their time: found, removed, and forgotten in the records.

Files come first and the record after, so that a crash between leaves nothing to hear. Nothing outside the
folder of recordings is ever touched, whatever a record says.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from serving.call.faults import fault
from serving.call.store import CallStore
from serving.errors import InvalidInputError

RECORDINGS = "recordings"
"""Folder below `home`; one folder for each day in it."""
_FILES = ("*.wav", ".*.tmp-*")
"""Recordings, and what a writer that died left of one."""


@dataclass(frozen=True, slots=True)
class ExpiredRecording:
    """A recording past its time.

    Attributes:
        call_id: of the record that named it; empty where no record did.
        path: under `home`.
        size: bytes; 0 where the file was gone already.
        removed: whether it is gone now; False in a dry run.
        problem: why it could not be removed; empty where it was, or was not tried.
    """

    call_id: str
    path: str
    size: int
    removed: bool
    problem: str = ""


def expire_recordings(
    home: Path, records: CallStore, *, older_than: timedelta, now: datetime, dry_run: bool = False
) -> list[ExpiredRecording]:
    """Remove the recordings of calls that began before `now - older_than`, and those of no call of that age.

    A file that no record names (its database is another one, or its writer died) goes by its own time. What
    cannot be removed stays on record and is tried again the next time.

    Args:
        home: of the installation whose recordings these are.
        records: where calls name their recordings.
        older_than: how long recordings are kept.
        now: UTC.
        dry_run: find, but remove and forget nothing.

    Raises:
        InvalidInputError: `older_than` is negative.
        UnavailableError: the database does not answer.
    """
    if older_than < timedelta(0):
        raise InvalidInputError("Recordings cannot be kept for less than no time.")
    until = now - older_than
    folder = (home / RECORDINGS).resolve()
    found, named = [], set()
    for call_id, written in records.recordings(until=until):
        path = _own(folder, home, written)
        if path is None:
            problem = "its record names no file in the folder of recordings"
            found.append(ExpiredRecording(call_id, written[:200], 0, removed=False, problem=problem))
            continue
        named.add(path)
        item = _expire(path, home, call_id, dry_run=dry_run)
        if item.removed:
            records.forget_recording(call_id)
        found.append(item)
    kept = {_own(folder, home, written) for _, written in records.recordings(until=now + timedelta(days=1))}
    unnamed = [path for path in _files(folder, until) if path not in named | kept]
    found += [_expire(path, home, "", dry_run=dry_run) for path in unnamed]
    if not dry_run:
        _remove_empty(folder)
        _log(found)
    return found


def _own(folder: Path, home: Path, written: str) -> Path | None:
    """The file that a record means, if it lies in the folder of recordings.

    Records hold the path as the server saw it: absolute, or from its working folder, or below `home`.
    """
    try:
        for path in (Path(written), home / written, folder / Path(written).parent.name / Path(written).name):
            if (path.parent.resolve() / path.name).is_relative_to(folder) and path.name not in {"", ".."}:
                return path.parent.resolve() / path.name
    except (ValueError, OSError):  # no path at all
        return None
    return None


def _expire(path: Path, home: Path, call_id: str, *, dry_run: bool) -> ExpiredRecording:
    shown = str(path.relative_to(home.resolve())) if path.is_relative_to(home.resolve()) else str(path)
    size = 0
    try:
        with contextlib.suppress(FileNotFoundError):
            size = path.lstat().st_size
            if not dry_run:
                path.unlink()
    except OSError as error:
        return ExpiredRecording(call_id, shown, size, removed=False, problem=error.strerror or "error")
    return ExpiredRecording(call_id, shown, size, removed=not dry_run)


def _files(folder: Path, until: datetime) -> Iterator[Path]:
    """Files of recordings that were last written before a time; a link to a folder is not followed."""
    days = sorted(entry for entry in folder.glob("*") if entry.is_dir() and not entry.is_symlink())
    for day in [folder, *days]:
        for pattern in _FILES:
            for path in sorted(day.glob(pattern)):
                with contextlib.suppress(OSError):  # another process was quicker
                    if not path.is_dir() and path.lstat().st_mtime < until.timestamp():
                        yield path


def _remove_empty(folder: Path) -> None:
    for day in folder.glob("*"):
        if day.is_dir() and not day.is_symlink():
            with contextlib.suppress(OSError):  # it still holds something
                day.rmdir()


def _log(found: list[ExpiredRecording]) -> None:
    removed = [item for item in found if item.removed]
    if removed:
        logger.info("{} recordings are past their time and removed", len(removed))
    left = len(found) - len(removed)
    if left:
        logger.error("{} recordings are past their time and could not be removed", left)


def try_to_expire(home: Path, records: CallStore, *, older_than: timedelta, now: datetime) -> None:
    """As `expire_recordings`, for housekeeping: it logs what fails and never raises."""
    try:
        expire_recordings(home, records, older_than=older_than, now=now)
    except Exception as error:  # no reason not to serve; the next round tries again
        logger.error("recordings past their time stay for now: {}", fault("retention", error))
