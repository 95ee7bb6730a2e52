"""What a process without rights sees; root has them all, so it becomes nobody for a while."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65_534


@contextmanager
def folder_of_all() -> Iterator[Path]:
    """A folder that every user may enter (those of `tmp_path` are the owner's alone)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def without_rights() -> Iterator[None]:
    """Act as a user who owns nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
