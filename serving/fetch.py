"""Downloads weights: what `voicebot fetch-models` does, and the only code of the project that does it.

An interrupted download goes on where it stopped, a file appears under its name only once it is whole and
its checksum is right, and nothing is fetched twice. What there is to fetch stands in `serving.weights`.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from serving.errors import IntegrityError, MissingError, UnavailableError
from serving.weights import Download

if TYPE_CHECKING:
    import httpx

_TRIES = 4
_SPARE_BYTES = 64 << 20
"""Left free on the disk beside what is downloaded."""


Progress = Callable[[Download, int], None]
"""Called with a download and the bytes of it that are here, now and then and at its end."""


def outstanding(downloads: Iterable[Download]) -> list[Download]:
    """Those of which the file is not here yet, or is not what it should be."""
    return [download for download in downloads if not _is_here(download)]


def fetch(downloads: Sequence[Download], *, progress: Progress = lambda _download, _bytes: None) -> None:
    """Fetch every file that is outstanding.

    Raises:
        UnavailableError: no network, a server that is down, a full disk, or another fetch of the same file.
        MissingError: a server does not have the file.
        IntegrityError: what arrived is not the file that was meant; it is deleted.
    """
    wanted = outstanding(downloads)
    if not wanted:
        return
    import httpx

    _check_space(wanted)
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0, connect=10.0)) as client:
        for download in wanted:
            _fetch_one(client, download, progress)


def _fetch_one(client: "httpx.Client", download: Download, progress: Progress) -> None:
    try:
        with _part_file(download) as (path, part):
            _fill(client, download, part, progress)
            part.flush()
            os.fsync(part.fileno())
            if _sha256(path) != download.sha256:
                path.unlink()
                raise _wrong(download, "its checksum differs")
            path.replace(download.target)
    except OSError as error:
        raise UnavailableError(
            f"{download.target} cannot be written ({error.strerror or type(error).__name__}).",
            advice="Make room or choose another home; what is here already is kept and not fetched again.",
        ) from error


@contextmanager
def _part_file(download: Download) -> Iterator[tuple[Path, BinaryIO]]:
    """The file that a download grows in, open for appending and ours alone."""
    path = download.target.with_name(download.target.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"Another process is fetching {download.target.name} now.") from error
        yield path, part


def _fill(client: "httpx.Client", download: Download, part: BinaryIO, progress: Progress) -> None:
    """Append until the part is as long as the file, over as many connections as it takes."""
    import httpx

    failure: Exception | None = None
    without_progress = 0
    while (start := part.seek(0, os.SEEK_END)) != download.size:
        if start > download.size:
            part.truncate(0)
            continue
        if without_progress == _TRIES:
            raise UnavailableError(
                f"{download.source} cannot be reached or breaks off ({type(failure).__name__}).",
                advice="Check the network and run the command again; it goes on where it stopped.",
            ) from failure
        try:
            _append(client, download, part, start, progress)
        except httpx.HTTPError as error:
            failure = error
        grown = part.seek(0, os.SEEK_END) > start
        without_progress = 0 if grown else without_progress + 1
        if not grown:
            time.sleep(0.1 * without_progress)
    progress(download, download.size)


def _append(
    client: "httpx.Client", download: Download, part: BinaryIO, start: int, progress: Progress
) -> None:
    """Append what one connection brings."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with client.stream("GET", download.url, headers=headers) as response:
        _check_status(response, download)
        here = start if response.status_code == 206 and _continues(response, start) else 0
        announced = response.headers.get("content-length", "")
        if announced.isdigit() and here + int(announced) != download.size:
            raise _wrong(download, f"the server's copy has {here + int(announced):,} bytes")
        if not here:
            part.truncate(0)
        for block in response.iter_bytes():
            here += len(block)
            if here > download.size:
                part.truncate(0)
                raise _wrong(download, "the server sends more")
            part.write(block)
            progress(download, here)


def _continues(response: "httpx.Response", start: int) -> bool:
    return str(response.headers.get("content-range", "")).startswith(f"bytes {start}-")


def _check_status(response: "httpx.Response", download: Download) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in (401, 403, 404, 410, 451):
        raise MissingError(
            f"{download.source} does not give the file (HTTP {status}).",
            advice="Check the mirror, or get the file elsewhere and put it at the path that was planned.",
        )
    raise UnavailableError(
        f"{download.source} is not available now (HTTP {status}).", advice="Run the command again later."
    )


def _check_space(downloads: Iterable[Download]) -> None:
    """Refuse to begin what the disk cannot hold; all targets lie under one home."""
    needed = 0
    folder = Path()
    for download in downloads:
        part = download.target.with_name(download.target.name + ".part")
        needed += download.size - (part.stat().st_size if part.is_file() else 0)
        folder = download.target.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise UnavailableError(
            f"The disk of {folder} has {free // 1_000_000:,} MB free, and {needed // 1_000_000:,} MB are "
            "to be fetched.",
            advice="Make room, or set VOICEBOT_HOME to a larger disk.",
        )


def _is_here(download: Download) -> bool:
    try:
        same_size = download.target.is_file() and download.target.stat().st_size == download.size
        return same_size and _sha256(download.target) == download.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(download: Download, why: str) -> IntegrityError:
    return IntegrityError(
        f"What {download.source} gave is not {download.what} ({download.size:,} bytes were expected): {why}.",
        advice="Run the command again; if it happens again, the server or the mirror is wrong.",
    )
