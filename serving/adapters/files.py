"""Private copies of an adapter's files, link by link refused and flushed to disk."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from serving.files import PRIVATE_FILE, PRIVATE_FOLDER


def copy_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Copy files by their path below `source`, each flushed to disk; links are not followed."""
    for name in names:
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        descriptor = os.open(source / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
            target.chmod(PRIVATE_FILE)
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
