"""kill -9: nothing that was committed is lost, nothing that was not is served, the next one works.

Every third step is tried here; `make bench` tries all, in 500 runs (tests/benchmarks/cache/crashes.py).
"""

from pathlib import Path
from shutil import copytree

import pytest

from tests.serving.cache.crashing import (
    Left,
    check_killed_after,
    check_killed_at,
    check_next_writer,
    days_of,
    killed_at,
    left_in,
    steps_of,
)
from tests.serving.cache.version_1 import old_cache


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of version 1 with one entry."""
    return old_cache(tmp_path_factory.mktemp("before") / "cache")


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory, before: Path) -> list[Left]:
    return days_of(tmp_path_factory.mktemp("days") / "cache", before)


def test_a_writer_killed_at_a_step_leaves_what_was_committed_and_no_more(
    tmp_path: Path, before: Path, days: list[Left]
) -> None:
    steps = steps_of(tmp_path / "all", before)
    assert {"migrate: commit", "replace: rows", "insert: audit", "publish: rename manifest"} < set(steps)
    for step in range(1, len(steps) + 1, 3):
        folder = tmp_path / str(step)
        copytree(before, folder)
        assert check_killed_at(folder, step, days) == steps[step - 1]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_writer_killed_while_it_makes_the_file_leaves_one_that_works(tmp_path: Path, step: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    name, done = killed_at(folder, step)
    assert (name, done) == (["create: begin", "create: commit", "replace: begin"][step - 1], step // 3)
    assert left_in(folder).entries == {}
    check_next_writer(folder)


@pytest.mark.parametrize("milliseconds", [1, 7, 19, 42])
def test_a_writer_killed_at_any_moment_leaves_what_was_committed_and_no_more(
    tmp_path: Path, milliseconds: int
) -> None:
    (tmp_path / "cache").mkdir()
    check_killed_after(tmp_path / "cache", milliseconds / 1_000)
