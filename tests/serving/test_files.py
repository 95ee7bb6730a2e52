"""A file is wholly there or not at all, and a temporary never stays."""

import contextlib
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from serving.errors import UnavailableError
from serving.files import make_folder, new_folder, replacing, write_atomically, write_once, writing_to


@pytest.mark.parametrize(("content", "stored"), [("é\n", b"\xc3\xa9\n"), (b"\x00\xff", b"\x00\xff")])
def test_text_and_bytes_replace_what_was_there(tmp_path: Path, content: str | bytes, stored: bytes) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write_atomically(path, content)
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_the_owners_alone(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "x", private=True)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_the_content_is_on_disk_before_the_name_points_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(descriptor: int) -> None:
        assert path.read_text() == "old"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left"), writing_to(tmp_path):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_at_once_one_makes_the_file_and_none_replaces_it(tmp_path: Path) -> None:
    path, won = tmp_path / "key", list[str]()

    def write(name: str) -> None:
        if write_once(path, name):
            won.append(name)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [path.read_text()]
    assert list(tmp_path.iterdir()) == [path]


def fill_too_late(target: Path) -> None:
    with new_folder(target) as temporary:
        (temporary / "mine").touch()
        target.mkdir()
        (target / "theirs").touch()


def test_a_folder_that_appeared_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(FileExistsError):
        fill_too_late(target)
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_appears_at_the_last_moment_is_left_alone_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(FileExistsError):
        fill_too_late(target)
    assert [path.name for path in target.iterdir()] == ["theirs"]


def test_a_file_where_a_folder_is_needed_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="a file stands there"), writing_to(tmp_path):
        make_folder(tmp_path / "file")
