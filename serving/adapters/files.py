"""Files that are either wholly there or not there: atomic writes and private copies of folders.

Everything is written beside its destination, flushed to disk and renamed; a crash leaves at most a
temporary whose name starts with a dot and contains `.tmp-`.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.errors import UnavailableError

PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's text; readers see the old text or the new one, never a mixture."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A private folder (mode 0700) to fill; it appears at `destination` when the block ends well.

    Yields:
        The folder under its temporary name, on the same file system as `destination`.

    Raises:
        FileExistsError: something took the destination meanwhile.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.tmp-{uuid.uuid4().hex}")
    temporary.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield temporary
        sync_folder(temporary)
        if destination.exists():
            raise FileExistsError(f"{destination} exists already")
        temporary.rename(destination)
        sync_folder(destination.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Copy files by their path below `source`, each flushed to disk; links are not followed."""
    for name in names:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        descriptor = os.open(source / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
            target.chmod(_PRIVATE_FILE)
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())


def remove_leftovers(folder: Path, older_than_s: float, now: float) -> None:
    """Remove temporaries of writers that died; young ones may still be in work.

    Args:
        folder: where to look (not below).
        older_than_s: age from which a temporary counts as abandoned, in seconds.
        now: present time in seconds since the epoch.
    """
    for path in folder.glob(".*.tmp-*"):
        with contextlib.suppress(OSError):
            if now - path.lstat().st_mtime > older_than_s:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing (full disk, no permission) into ours.

    Raises:
        UnavailableError: the folder cannot be written now.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise UnavailableError(
            f"{folder} cannot be written: {error.strerror or error}.",
            advice="Free space on that disk or give this user the right to write there, then try again.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
