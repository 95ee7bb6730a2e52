"""The folder of one training run: found again when the same run is asked for, used by one process at a time.

Its name is the run's key, so a killed run goes on where it stopped and two runs never mix. The lock lies
beside it and ends with the process that holds it, however that ends.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.progress import report
from serving.errors import IntegrityError, MissingError, UnavailableError
from serving.files import make_folder, writing_to


@contextlib.contextmanager
def work_folder(place: Path, key: str) -> Iterator[Path]:
    """The folder `key` in `place`, for this process alone; removed when the block ends well.

    Raises:
        UnavailableError: another process works in it now, or it cannot be written.
    """
    folder, lock = place / key, place / f"{key}.lock"
    with writing_to(place):
        make_folder(place)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _taken(descriptor, lock):
            raise UnavailableError(
                f"Another process trains this very adapter now ({folder}).",
                advice="Wait for it to end; then the same command finds its adapter or goes on with its run.",
            )
        with writing_to(folder):
            make_folder(folder)
        yield folder
        # Only what is finished goes; after an error the next run resumes from it.
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def trained_before(bundle: Path, *, base_sha256: str | None = None) -> bool:
    """Whether a sound bundle lies there: trained, but the process ended before it was registered.

    One that is not sound is set aside.

    Args:
        bundle: its folder.
        base_sha256: of the base that it must be for; None asks for none.
    """
    from serving.adapters.manifest import verify
    from training.checkpoint import set_aside

    if not bundle.exists():
        return False
    try:
        verify(bundle, base_sha256=base_sha256)
    except (IntegrityError, MissingError) as error:
        report("bundle", 1, 1, f"{set_aside(bundle).name} could not be used: {error.message}")
        return False
    return True


def _taken(descriptor: int, lock: Path) -> bool:
    """Whether this process holds the lock now, and the file still is the one that others look for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return lock.exists() and os.fstat(descriptor).st_ino == lock.stat().st_ino
