"""Full disks, clocks that go back, several writers: what was committed stays, and callers are answered."""

import multiprocessing
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from serving.cache.lookup import SemanticCache
from serving.cache.publishing import publish
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, Reason
from serving.errors import UnavailableError
from tests.serving.cache_world import (
    FEE,
    FEE_ANSWER,
    NOON,
    SCOPE,
    WordEmbedder,
    ask,
    entry,
    fill,
    open_cache,
    served,
)
from tests.serving.permissions import folder_of_all, without_rights


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writes beyond a size fail, as on a full disk; the signal that goes with it is ignored by Python."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def numbered(number: int, answer: str = "25 cents.") -> CacheEntry:
    return entry(f"What does a wire transfer of {number} dollars cost?", answer)


def insert(store: CacheStore, *entries: CacheEntry) -> None:
    vectors = WordEmbedder().embed([item.question for item in entries])
    store.insert(SCOPE, entries, vectors, actor="test")


class TestFullDisk:
    def test_an_insert_that_does_not_fit_changes_nothing_and_the_next_one_that_does_is_taken(
        self, tmp_path: Path
    ) -> None:
        fill(tmp_path, [entry()])
        store, cache = CacheStore(tmp_path / "cache.sqlite"), open_cache(tmp_path)
        many = [numbered(n) for n in range(200)]
        with no_file_longer_than(200_000):
            with pytest.raises(UnavailableError):
                insert(store, *many)
            assert (served(cache), store.entries()) == (FEE_ANSWER, [entry()])
        insert(store, *many)
        assert len(store.entries()) == 201
        assert served(cache, text=f"So {many[77].question}") == "25 cents."

    def test_a_generation_that_does_not_fit_leaves_the_one_before(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        store, cache = CacheStore(tmp_path / "cache.sqlite"), open_cache(tmp_path)
        insert(store, *(numbered(n) for n in range(200)))
        with no_file_longer_than(100_000), pytest.raises(UnavailableError, match="cannot be published"):
            publish(store, tmp_path)
        for reader in (cache, open_cache(tmp_path)):
            assert reader.generation() == 1
            assert served(reader, text=f"So {numbered(7).question}") == "25 cents."
        assert publish(store, tmp_path).generation == 3

    def test_a_disk_that_fills_up_ends_inserting_and_not_answering(self, small_disk: Path) -> None:
        folder = small_disk / "cache"
        fill(folder, [entry()])
        store, cache = CacheStore(folder / "cache.sqlite"), open_cache(folder)
        taken: list[CacheEntry] = []
        with suppress(UnavailableError):
            for number in range(2_000):
                insert(store, numbered(number))
                taken.append(numbered(number))
        with pytest.raises(UnavailableError):
            insert(store, *(numbered(number) for number in range(2_000, 2_400)))
        assert taken
        with pytest.raises(UnavailableError):
            publish(store, folder)
        for reader in (cache, open_cache(folder)):
            assert served(reader) == FEE_ANSWER
            assert served(reader, text=f"So {taken[-1].question}") == "25 cents."
        assert [item.id for item in store.entries()] == [item.id for item in (entry(), *taken)]


class TestReadOnly:
    def test_a_reader_who_may_not_write_is_answered_and_follows_what_others_publish(self) -> None:
        with folder_of_all() as folder:
            cache = open_cache(folder)
            for answer in ("25 dollars.", "30 dollars."):
                folder.chmod(0o755)
                # SQLite shares what a process may do with a file among its connections, so in another one.
                other = multiprocessing.get_context("forkserver").Process(
                    target=fill, args=(folder, [entry(answer=answer)])
                )
                other.start()
                other.join()
                assert other.exitcode == 0
                for path in folder.rglob("*"):
                    path.chmod(0o555 if path.is_dir() else 0o444)
                folder.chmod(0o555)
                with without_rights():
                    assert (served(cache, text=FEE), served(cache)) == (answer, answer)
                    with pytest.raises(UnavailableError):
                        insert(CacheStore(folder / "cache.sqlite"), numbered(7))
                for path in folder.rglob("*"):
                    path.chmod(0o755)
            folder.chmod(0o755)


class TestTime:
    def test_what_has_expired_stays_so_when_the_clock_is_set_back(self, tmp_path: Path) -> None:
        end = NOON + timedelta(seconds=10)
        fill(tmp_path, [entry(expires_at=end)])
        clock = [NOON]
        cache = SemanticCache(tmp_path, WordEmbedder(), threshold=0.75, now=lambda: clock[0])
        assert cache.lookup(ask(), SCOPE).reason is Reason.EXACT
        for now in (end, NOON, NOON - timedelta(days=365)):
            clock[0] = now
            assert cache.lookup(ask(), SCOPE).reason is Reason.EXPIRED
            assert cache.lookup(ask(f"So {FEE}"), SCOPE).reason is Reason.EXPIRED

    @pytest.mark.parametrize(
        ("committed", "reason"),
        [(timedelta(seconds=20), Reason.EXPIRED), (timedelta(seconds=5), Reason.EXACT)],
    )
    def test_a_process_with_a_slow_clock_believes_what_others_have_committed(
        self, tmp_path: Path, committed: timedelta, reason: Reason
    ) -> None:
        later = entry("Is a wire transfer safe?", "Yes.", created_at=NOON + committed)
        fill(tmp_path, [entry(expires_at=NOON + timedelta(seconds=10)), later])
        slow: datetime = NOON - timedelta(days=1)
        assert open_cache(tmp_path, at=slow).lookup(ask(), SCOPE).reason is reason


class TestWriters:
    def test_several_writers_and_publishers_lose_nothing_of_each_other(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        cache, failed = open_cache(tmp_path), list[Exception]()

        def write(mine: range) -> None:
            try:
                store = CacheStore(tmp_path / "cache.sqlite")
                for number in mine:
                    insert(store, numbered(number))
                    if number % 5 == 0:
                        publish(store, tmp_path)
            except Exception as error:  # told to the test
                failed.append(error)

        writers = [threading.Thread(target=write, args=(range(at, 30, 3),)) for at in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert failed == []
        for number in range(30):
            assert served(cache, text=f"So {numbered(number).question}") == "25 cents."
        assert len(list(tmp_path.glob("gen-*"))) == 2
