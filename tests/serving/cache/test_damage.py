"""Damaged files: what can be told apart from the published ones is never trusted, and never an exception."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.cache.generation import MANIFEST, PARTS, holds_scope, open_rows, read_manifest
from serving.cache.store import CacheStore
from serving.cache.types import Outcome, Reason
from serving.errors import IntegrityError
from tests.serving.cache_world import (
    AFTER,
    FEE_ANSWER,
    SCOPE,
    WordEmbedder,
    ask,
    entry,
    fill,
    open_cache,
    served,
)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage" * 100)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [garbage, flip, truncate, empty, Path.unlink, become_a_folder]


@pytest.mark.parametrize("suffix", PARTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_file_that_is_not_the_published_one_gives_way_to_the_store(
    tmp_path: Path, damage: Callable[[Path], None], suffix: str
) -> None:
    others = [entry("Is a wire transfer safe?", "Yes."), entry("Can I cancel a wire transfer?", "No.")]
    fill(tmp_path, [*others, entry()])
    damage(tmp_path / "gen-000001" / f"{SCOPE.key}.{suffix}")
    cache = open_cache(tmp_path)
    assert served(cache) == FEE_ANSWER
    assert served(cache, text=others[1].question) == "No."


def test_a_generation_that_is_gone_gives_way_to_the_store(tmp_path: Path) -> None:
    fill(tmp_path, [entry()])
    shutil.rmtree(tmp_path / "gen-000001")
    assert served(open_cache(tmp_path)) == FEE_ANSWER


def test_no_index_file_brings_back_an_entry_that_the_store_has_dropped(tmp_path: Path) -> None:
    gone = entry("How do I stop a wire transfer?", "Nobody approves of this any more.")
    fill(tmp_path, [gone, entry()])
    store = CacheStore(tmp_path / "cache.sqlite")
    store.replace_scope(SCOPE, [entry()], WordEmbedder().embed([entry().question]), actor="test")
    cache = open_cache(tmp_path)
    assert served(cache, text=gone.question) is None
    assert served(cache) == FEE_ANSWER


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"generation": 1}',
        '{"generation": "one", "last_seq": 1, "files": {}}',
        '{"generation": null, "last_seq": 1, "files": {}}',
        '{"generation": 1, "last_seq": 1, "files": ["a"]}',
        '{"generation": 1, "last_seq": 1, "files": null}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_manifest_gives_way_to_the_store_and_does_not_hinder_the_next_build(
    tmp_path: Path, content: str | bytes
) -> None:
    fill(tmp_path, [entry()])
    cache = open_cache(tmp_path)
    assert served(cache) == FEE_ANSWER
    (tmp_path / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(IntegrityError, match="damaged"):
        read_manifest(tmp_path)
    for reader in (cache, open_cache(tmp_path)):
        assert served(reader) == FEE_ANSWER
        assert (reader.generation(), reader.warm(SCOPE)) == (0, 1)
    assert fill(tmp_path, [entry()]).generation == 2
    assert served(cache) == FEE_ANSWER


@pytest.mark.parametrize("damage", [garbage, halve, empty, Path.unlink, become_a_folder])
def test_a_damaged_store_is_a_miss_for_new_readers_and_nothing_false_for_those_who_have_read_it(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    fill(tmp_path, [entry()])
    reader = open_cache(tmp_path)
    assert served(reader) == FEE_ANSWER
    damage(tmp_path / "cache.sqlite")
    gone = damage is Path.unlink
    decision = open_cache(tmp_path).lookup(ask(), SCOPE)
    assert (decision.outcome, decision.reason) == (
        Outcome.MISS,
        Reason.NO_SCOPE if gone else Reason.ERROR,
    )
    # What cannot be checked is not served; SQLite may still have read the page that says it.
    assert served(reader) in {None, FEE_ANSWER}
    (tmp_path / "cache.sqlite").rmdir() if damage is become_a_folder else None
    for left in tmp_path.glob("cache.sqlite*"):
        left.unlink()
    fill(tmp_path, [entry(answer="It costs 30 dollars now.")])
    assert served(reader) == "It costs 30 dollars now."


def test_a_locked_store_is_a_miss_at_once_and_no_wait(tmp_path: Path) -> None:
    fill(tmp_path, [entry()])
    reader = open_cache(tmp_path)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        for cache in (reader, open_cache(tmp_path)):
            started = time.perf_counter()
            decision = cache.lookup(ask(), SCOPE)
            assert time.perf_counter() - started < 2
            assert (decision.reason, decision.detail) == (Reason.ERROR, "UnavailableError")
    assert served(reader) == FEE_ANSWER


def test_a_writer_at_work_is_not_waited_for(tmp_path: Path) -> None:
    fill(tmp_path, [entry()])
    reader = open_cache(tmp_path)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        holder.execute("DELETE FROM entry")
        for cache in (reader, open_cache(tmp_path)):
            assert served(cache) == FEE_ANSWER


def test_a_store_of_another_schema_is_a_miss(tmp_path: Path) -> None:
    fill(tmp_path, [entry()])
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as db, db:
        db.execute("UPDATE meta SET value = '9' WHERE name = 'schema'")
    decision = open_cache(tmp_path).lookup(ask(), SCOPE)
    assert (decision.reason, decision.detail) == (Reason.ERROR, "IntegrityError")


def test_a_scope_that_the_generation_does_not_hold_is_no_path_to_a_file(tmp_path: Path) -> None:
    manifest = fill(tmp_path, [entry()])
    assert holds_scope(manifest, SCOPE.key)
    assert not holds_scope(manifest, AFTER.key)
    assert not holds_scope(manifest, "../../etc/passwd")
    with pytest.raises(IntegrityError):
        open_rows(tmp_path, manifest, "../../etc/passwd")
