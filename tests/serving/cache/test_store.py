"""The SQLite truth: what goes in comes out, doubtful rows stay out, foreign files stay untouched."""

import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.signature import Signature
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry
from serving.errors import IntegrityError, RefusedError, UnavailableError, VoicebotError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings
from tests.properties import examples
from tests.serving.cache_world import NOON, SCOPE, WordEmbedder, entry
from tests.serving.permissions import folder_of_all, without_rights

OTHER = replace(SCOPE, tenant="another bank")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def vectors(count: int) -> Embeddings:
    return WordEmbedder().embed([f"question {number}" for number in range(count)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


@pytest.fixture
def store(path: Path) -> CacheStore:
    made = CacheStore(path)
    made.replace_scope(SCOPE, [entry()], vectors(1), actor="alice")
    return made


def change(path: Path, statement: str, *args: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, args)


def audit_rows(path: Path) -> list[tuple[str, str, str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT at, actor, action, detail FROM audit ORDER BY seq").fetchall()


@st.composite
def entries(draw: st.DrawFn) -> CacheEntry:
    return entry(
        draw(TEXT),
        draw(TEXT),
        intent=draw(TEXT),
        cacheability=draw(st.sampled_from([Cacheability.EXACT, Cacheability.SEMANTIC])),
        signature=Signature(tuple(draw(st.lists(st.tuples(TEXT, TEXT), max_size=3)))),
        disclosures=tuple(draw(st.lists(TEXT, max_size=3))),
        source=draw(TEXT),
        created_at=draw(st.datetimes(timezones=st.just(UTC))),
        expires_at=draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        accuracy=draw(st.floats(0, 1)),
    )


class TestEntries:
    @examples(40)
    @given(found=st.lists(entries(), max_size=4, unique_by=lambda item: item.id))
    def test_what_was_put_in_comes_out_in_the_same_order(
        self, tmp_path_factory: pytest.TempPathFactory, found: list[CacheEntry]
    ) -> None:
        store = CacheStore(tmp_path_factory.mktemp("round_trip") / "cache.sqlite")
        store.replace_scope(SCOPE, found, vectors(len(found)), actor="test")
        assert store.entries(SCOPE.key) == found
        ids, embeddings = store.vectors(SCOPE.key)
        assert ids == [item.id for item in found]
        assert np.array_equal(embeddings.ravel(), vectors(len(found)).ravel())

    def test_replacing_one_scope_leaves_the_others(self, store: CacheStore) -> None:
        mine = [entry("Is it free?", "Yes.", OTHER)]
        store.replace_scope(OTHER, mine, vectors(1), actor="bob")
        store.replace_scope(OTHER, mine, vectors(1), actor="bob")
        assert store.entries(SCOPE.key) == [entry()]
        assert store.entries(OTHER.key) == mine
        assert store.entries() == [entry(), *mine]
        assert store.entries("") == []
        assert store.scopes() == {SCOPE.key: SCOPE, OTHER.key: OTHER}

    def test_every_change_is_on_record(self, store: CacheStore, path: Path) -> None:
        store.replace_scope(SCOPE, [], vectors(0), actor="bob")
        rows = audit_rows(path)
        assert [(actor, action) for _, actor, action, _ in rows] == [
            ("alice", "replace_scope"),
            ("bob", "replace_scope"),
        ]
        assert '"inserted": 0' in rows[1][3]
        assert '"removed": 1' in rows[1][3]
        assert datetime.fromisoformat(rows[0][0]).utcoffset() == timedelta(0)

    def test_sequence_numbers_are_not_used_again(self, store: CacheStore) -> None:
        before = store.last_seq()
        store.replace_scope(SCOPE, [], vectors(0), actor="test")
        store.replace_scope(SCOPE, [entry()], vectors(1), actor="test")
        assert store.last_seq() > before

    @pytest.mark.parametrize(
        ("found", "embeddings", "error"),
        [
            ([entry(cacheability=Cacheability.NEVER)], vectors(1), RefusedError),
            ([entry(scope=OTHER)], vectors(1), ValueError),
            ([entry(), entry()], vectors(2), ValueError),
            ([entry(accuracy=1.1)], vectors(1), ValueError),
            ([entry(accuracy=float("nan"))], vectors(1), ValueError),
            ([entry(expires_at=NOON.replace(tzinfo=None))], vectors(1), ValueError),
            ([entry()], vectors(2), ValueError),
            ([entry()], vectors(0), ValueError),
            ([entry()], 2 * vectors(1), ValueError),
            ([entry()], vectors(1) * np.float32("nan"), ValueError),
            ([entry()], np.zeros((1, 256), np.float32), ValueError),
        ],
    )
    def test_what_a_reader_would_have_to_doubt_is_refused_and_nothing_changes(
        self,
        store: CacheStore,
        path: Path,
        found: list[CacheEntry],
        embeddings: Embeddings,
        error: type[Exception],
    ) -> None:
        with pytest.raises(error):
            store.replace_scope(SCOPE, found, embeddings, actor="test")
        assert store.entries() == [entry()]
        assert len(audit_rows(path)) == 1


class TestFile:
    def test_readers_open_nothing_until_they_read_and_cannot_write(self, path: Path) -> None:
        reader = CacheStore(path, read_only=True)
        assert not path.exists()
        with pytest.raises(UnavailableError, match="does not answer"):
            reader.entries()
        assert not path.exists()
        CacheStore(path).replace_scope(SCOPE, [entry()], vectors(1), actor="test")
        assert reader.entries() == [entry()]
        with pytest.raises(UnavailableError, match="readonly"):
            reader.replace_scope(SCOPE, [], vectors(0), actor="test")

    @pytest.mark.parametrize("name", ["with space", "per%cent?mode=memory", "ünïcode", "#hash"])
    def test_any_folder_name_will_do(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name / "cache.sqlite"
        CacheStore(path).replace_scope(SCOPE, [entry()], vectors(1), actor="test")
        assert path.is_file()
        assert CacheStore(path, read_only=True).entries() == [entry()]

    def test_opening_does_not_wait_for_a_writer(self, store: CacheStore, path: Path) -> None:
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM entry")
            assert CacheStore(path).entries() == [entry()]
            assert CacheStore(path, read_only=True).entries() == [entry()]

    def test_many_processes_that_start_together_make_one_cache(self, path: Path) -> None:
        errors: list[Exception] = []

        def start() -> None:
            try:
                CacheStore(path)
            except VoicebotError as error:
                errors.append(error)

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert CacheStore(path).entries() == []

    def test_what_was_committed_survives_a_writer_that_dies(self, store: CacheStore, path: Path) -> None:
        with closing(sqlite3.connect(path)) as living:
            living.execute("SELECT count(*) FROM entry").fetchone()
            store.replace_scope(OTHER, [entry(scope=OTHER)], vectors(1), actor="test")
            left = path.with_name("left by a dead process")
            left.mkdir()
            for file in (path, path.with_name("cache.sqlite-wal")):
                shutil.copy(file, left)
        for read_only in (True, False):
            found = CacheStore(left / "cache.sqlite", read_only=read_only)
            assert found.entries() == [entry(), entry(scope=OTHER)]

    def test_a_folder_that_cannot_be_made_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UnavailableError, match="cannot be made"):
            CacheStore(tmp_path / "file" / "cache.sqlite")

    def test_a_reader_without_the_right_to_write_reads_all_the_same(self) -> None:
        with folder_of_all() as folder:
            path = folder / "cache.sqlite"
            CacheStore(path).replace_scope(SCOPE, [entry()], vectors(1), actor="test")
            path.chmod(0o444)
            folder.chmod(0o555)
            with without_rights():
                found = CacheStore(path, read_only=True).entries()
            folder.chmod(0o755)
        assert found == [entry()]

    def test_what_a_writer_left_undone_is_not_passed_over_in_a_folder_that_cannot_be_written(
        self, store: CacheStore, path: Path
    ) -> None:
        with folder_of_all() as folder, closing(sqlite3.connect(path)) as other:
            other.execute("SELECT * FROM entry").fetchone()
            store.replace_scope(SCOPE, [], vectors(0), actor="test")
            for name in ("cache.sqlite", "cache.sqlite-wal"):
                shutil.copy(path.with_name(name), folder)
                (folder / name).chmod(0o444)
            folder.chmod(0o555)
            with without_rights(), pytest.raises(UnavailableError):
                CacheStore(folder / "cache.sqlite", read_only=True).entries()
            folder.chmod(0o755)


class TestForeignAndDamaged:
    @pytest.mark.parametrize("content", [b"not a database" * 50, b"SQLite format 3\x00" + b"\xff" * 5_000])
    def test_a_file_that_is_no_database_is_refused_and_left_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        for read_only in (True, False):
            with pytest.raises(IntegrityError, match="Move the folder away"):
                CacheStore(path, read_only=read_only).entries()
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "statements",
        [
            ["CREATE TABLE calls (id TEXT)"],
            ["CREATE TABLE meta (name TEXT, value TEXT)"],
            ["CREATE TABLE meta (name TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema', '99')"],
            ["CREATE TABLE meta (name TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema', '')"],
        ],
    )
    def test_another_programs_database_or_another_schema_is_refused_and_left_alone(
        self, path: Path, statements: list[str]
    ) -> None:
        for statement in statements:
            change(path, statement)
        before = path.read_bytes()
        for read_only in (True, False):
            with pytest.raises(IntegrityError, match="Move the folder away"):
                CacheStore(path, read_only=read_only).entries()
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("signature", "{"),
            ("signature", "[1]"),
            ("signature", "null"),
            ("disclosures", "7"),
            ("cacheability", "always"),
            ("created_at", "yesterday"),
            ("expires_at", "soon"),
            ("expires_at", ""),
            ("accuracy", "high"),
        ],
    )
    def test_a_row_that_means_nothing_is_damage_and_not_an_entry(
        self, store: CacheStore, path: Path, column: str, value: Any
    ) -> None:
        change(path, f"UPDATE entry SET {column} = ?", value)
        with pytest.raises(IntegrityError, match="cannot be read"):
            store.entries()

    @pytest.mark.parametrize("blob", [b"", b"\x00" * 7, b"\x00" * 64])
    def test_embeddings_of_different_lengths_are_damage(
        self, store: CacheStore, path: Path, blob: bytes
    ) -> None:
        store.replace_scope(SCOPE, [entry(), entry("Is it free?")], vectors(2), actor="test")
        change(path, "UPDATE entry SET embedding = ? WHERE question = 'Is it free?'", blob)
        with pytest.raises(IntegrityError, match="cannot be read"):
            store.vectors(SCOPE.key)

    def test_a_missing_table_is_damage_and_no_reason_to_try_again(
        self, store: CacheStore, path: Path
    ) -> None:
        change(path, "DROP TABLE entry")
        with pytest.raises(IntegrityError, match="no such table"):
            store.entries()

    def test_a_scope_of_unknown_fields_is_damage(self, store: CacheStore, path: Path) -> None:
        change(path, 'UPDATE scope SET definition = \'{"bank": "x"}\'')
        with pytest.raises(IntegrityError, match="cannot be read"):
            store.scopes()
