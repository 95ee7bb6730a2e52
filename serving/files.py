"""Files that are either wholly there or not there: the one home of write-beside, flush, rename.

A temporary's name starts with a dot and contains `.tmp-`; a crash leaves at most that. Nothing here knows
what the files mean.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from serving.errors import UnavailableError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_FILE = 0o666
"""Less what the process's umask takes away."""


def write_atomically(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Replace a file's content; readers see the old or the new one, never a mixture.

    Args:
        path: the file; its folder exists.
        content: bytes, or text that is written as UTF-8.
        private: nobody but the owner may read it (mode 0600).
    """
    with replacing(path, private=private) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_once(path: Path, content: str | bytes) -> bool:
    """Write a private file that nothing ever replaces; False where somebody else's is there already."""
    temporary = _new_file(path, PRIVATE_FILE)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(temporary)
        # A link, unlike a rename, never replaces what another process has just made.
        os.link(temporary, path)
        sync(path.parent)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """An empty file to fill; it takes the place of `path` when the block ends well, else it vanishes.

    Yields:
        The file under its temporary name, in the folder of `path`.
    """
    temporary = _new_file(path, PRIVATE_FILE if private else _FILE)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(destination: Path, *, replace: bool = False) -> Iterator[Path]:
    """A private folder (mode 0700) to fill; it appears at `destination` when the block ends well.

    Args:
        destination: where.
        replace: put it in the place of a folder that stands there. That one is moved aside first, so a kill
            between both renames leaves it beside, under its temporary name.

    Yields:
        The folder under its temporary name, on the same file system as `destination`.

    Raises:
        FileExistsError: something took the destination meanwhile.
    """
    make_folder(destination.parent)
    temporary = _beside(destination)
    temporary.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield temporary
        sync(temporary)
        if destination.exists() and replace:
            _exchange(temporary, destination)
        elif destination.exists():
            raise FileExistsError(f"{destination} exists already")
        else:
            _rename(temporary, destination)
        sync(destination.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        NotADirectoryError: a file stands there.
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "a file stands there", str(folder)) from error


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
        FileExistsError: as `new_folder` raises it.
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


def sync(path: Path) -> None:
    """Flush a file's content, or the renames inside a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")


def _exchange(folder: Path, destination: Path) -> None:
    aside = _beside(destination)
    destination.rename(aside)
    try:
        _rename(folder, destination)
    except BaseException:
        aside.rename(destination)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _rename(folder: Path, destination: Path) -> None:
    try:
        folder.rename(destination)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:  # since we looked
            raise FileExistsError(f"{destination} exists already") from error
        raise


def _new_file(path: Path, mode: int) -> Path:
    temporary = _beside(path)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    return temporary
