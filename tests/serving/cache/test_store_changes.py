"""What becomes of entries: added, removed, doubted, counted; each change whole, and on record."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from serving.cache.protocol import Feedback, Signal
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry
from serving.errors import IntegrityError, MissingError, RefusedError
from serving.language.protocols import Embeddings
from tests.serving.cache.version_1 import old_cache
from tests.serving.cache_world import AFTER, FEE_ANSWER, NOON, SCOPE, WordEmbedder, entry

SAFE = entry("Is a wire transfer safe?", "Yes.")
STOP = entry("Can I stop a wire transfer?", "Within an hour.")


def vectors(*entries: CacheEntry) -> Embeddings:
    return WordEmbedder().embed([item.question for item in entries])


def insert(store: CacheStore, *entries: CacheEntry) -> int:
    return store.insert(SCOPE, entries, vectors(*entries), actor="bob")


def actions(store: CacheStore) -> list[str]:
    return [row.action for row in reversed(store.audit_rows())]


@pytest.fixture
def store(tmp_path: Path) -> CacheStore:
    made = CacheStore(tmp_path / "cache.sqlite")
    made.replace_scope(SCOPE, [entry()], vectors(entry()), actor="alice")
    return made


class TestInsert:
    def test_new_entries_are_added_behind_the_others(self, store: CacheStore) -> None:
        assert insert(store, SAFE, STOP) == 2
        assert store.entries() == [entry(), SAFE, STOP]
        assert (store.audit_rows(1)[0].actor, store.audit_rows(1)[0].action) == ("bob", "insert")

    def test_what_is_there_already_stays_as_it_is(self, store: CacheStore) -> None:
        before = store.stored()
        assert insert(store, entry(created_at=NOON + timedelta(days=1))) == 0
        assert store.stored() == before
        assert actions(store) == ["replace_scope"]

    def test_another_answer_to_the_same_words_refuses_all_that_comes_with_it(self, store: CacheStore) -> None:
        with pytest.raises(RefusedError, match="another answer"):
            insert(store, SAFE, entry(answer="It is free."))
        assert store.entries() == [entry()]
        assert actions(store) == ["replace_scope"]

    def test_an_entry_that_has_expired_gives_way(self, store: CacheStore) -> None:
        ended = entry("Is a wire transfer safe?", "Until noon.", expires_at=NOON)
        insert(store, ended)
        assert insert(store, SAFE) == 1
        assert store.entries() == [entry(), SAFE]

    def test_a_scope_that_nobody_knows_becomes_known(self, store: CacheStore) -> None:
        new = entry(scope=AFTER)
        store.insert(AFTER, [new], vectors(new), actor="bob")
        assert store.scopes() == {SCOPE.key: SCOPE, AFTER.key: AFTER}
        assert store.counts() == {SCOPE.key: 1, AFTER.key: 1}

    def test_many_threads_lose_nothing(self, store: CacheStore) -> None:
        entries = [entry(f"What does a wire transfer of {n} dollars cost?") for n in range(40)]

        def write(mine: list[CacheEntry]) -> None:
            for item in mine:
                insert(CacheStore(store.path), item)

        writers = [threading.Thread(target=write, args=(entries[at::4],)) for at in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert {item.id for item in store.entries()} == {item.id for item in (entry(), *entries)}
        seqs = [item.seq for item in store.stored()]
        assert sorted(set(seqs)) == seqs


class TestRebuild:
    @pytest.fixture
    def doubted(self, store: CacheStore) -> CacheStore:
        store.quarantine(entry().id, actor="carol", why="wrong")
        store.set_accuracy({entry().id: 0.5}, actor="carol")
        store.count_hits({entry().id: (3, NOON)})
        return store

    def test_building_again_does_not_clear_a_doubted_answer(self, doubted: CacheStore) -> None:
        before = doubted.get(entry().id)
        doubted.replace_scope(SCOPE, [SAFE, entry()], vectors(SAFE, entry()), actor="alice")
        after = doubted.get(entry().id)
        assert before is not None
        assert after is not None
        assert replace(after, seq=before.seq) == before
        assert (after.hits, after.last_hit_at, after.entry.accuracy) == (3, NOON, 0.5)
        assert after.quarantined_at is not None

    def test_another_answer_to_the_same_words_begins_anew(self, doubted: CacheStore) -> None:
        corrected = entry(answer="A wire transfer costs 30 dollars.")
        doubted.replace_scope(SCOPE, [corrected], vectors(corrected), actor="alice")
        after = doubted.get(entry().id)
        assert after is not None
        assert (after.entry, after.quarantined_at, after.hits) == (corrected, None, 0)


class TestRemoval:
    def test_what_is_removed_is_gone_and_what_was_told_of_it_stays(self, store: CacheStore) -> None:
        insert(store, SAFE, STOP)
        told = Feedback(SAFE.id, Signal.SETTLED, NOON, "call:1:2", "bob", "content")
        store.add_feedback(told)
        assert store.remove([SAFE.id, STOP.id, "nothing"], actor="bob", why="evicted") == 2
        assert store.entries() == [entry()]
        assert store.get(SAFE.id) is None
        assert store.feedback(SAFE.id) == [told]
        row = store.audit_rows(1)[0]
        assert (row.action, row.detail["why"], row.detail["removed"]) == ("remove", "evicted", 2)

    def test_removing_nothing_is_not_worth_a_record(self, store: CacheStore) -> None:
        assert store.remove([], actor="bob", why="expired") == 0
        assert store.remove(["nothing"], actor="bob", why="expired") == 0
        assert store.remove_scopes([AFTER.key], actor="bob") == 0
        assert actions(store) == ["replace_scope"]

    def test_a_scope_goes_with_all_that_it_holds_and_no_other_does(self, store: CacheStore) -> None:
        new = entry(scope=AFTER)
        store.insert(AFTER, [new], vectors(new), actor="bob")
        assert store.remove_scopes([SCOPE.key], actor="bob") == 1
        assert (store.entries(), list(store.scopes())) == ([new], [AFTER.key])

    def test_numbers_of_removed_entries_are_not_used_again(self, store: CacheStore) -> None:
        insert(store, SAFE)
        gone = store.get(SAFE.id)
        store.remove([SAFE.id], actor="bob", why="expired")
        insert(store, STOP)
        new = store.get(STOP.id)
        assert gone is not None
        assert new is not None
        assert new.seq > gone.seq


class TestDoubt:
    def test_quarantine_begins_once_and_ends_once(self, store: CacheStore) -> None:
        for _ in range(2):
            store.quarantine(entry().id, actor="carol", why="wrong")
        assert store.quarantined() == 1
        for _ in range(2):
            store.release(entry().id, actor="carol")
        assert store.quarantined() == 0
        assert actions(store) == ["replace_scope", "quarantine", "release"]

    def test_what_is_not_there_can_be_neither_kept_nor_let_go(self, store: CacheStore) -> None:
        with pytest.raises(MissingError):
            store.quarantine("nothing", actor="carol", why="wrong")
        with pytest.raises(MissingError):
            store.release("nothing", actor="carol")

    def test_one_origin_counts_once_for_a_signal(self, store: CacheStore) -> None:
        told = Feedback(entry().id, Signal.REASKED, NOON, "call:1:2", "bob")
        assert store.add_feedback(told)
        assert not store.add_feedback(replace(told, at=NOON + timedelta(hours=1)))
        assert store.add_feedback(replace(told, signal=Signal.ESCALATED))
        assert store.add_feedback(replace(told, origin="call:1:3"))
        assert len(store.feedback(entry().id)) == 3

    @pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan")])
    def test_an_accuracy_that_is_no_probability_changes_nothing(
        self, store: CacheStore, accuracy: float
    ) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            store.set_accuracy({entry().id: 0.5, SAFE.id: accuracy}, actor="carol")
        assert store.entries() == [entry()]

    def test_only_beliefs_that_change_are_recorded(self, store: CacheStore) -> None:
        assert store.set_accuracy({entry().id: 0.7, "nothing": 0.1}, actor="carol") == 1
        assert store.set_accuracy({entry().id: 0.7}, actor="carol") == 0
        assert store.set_accuracy({}, actor="carol") == 0
        assert actions(store) == ["replace_scope", "set_accuracy"]
        assert [item.accuracy for item in store.entries()] == [0.7]

    def test_hits_add_up_and_the_last_one_is_the_latest(self, store: CacheStore) -> None:
        store.count_hits({entry().id: (2, NOON), "nothing": (1, NOON)})
        store.count_hits({entry().id: (3, NOON - timedelta(days=1))})
        found = store.get(entry().id)
        assert found is not None
        assert (found.hits, found.last_hit_at) == (5, NOON)

    def test_a_time_without_a_zone_is_refused(self, store: CacheStore) -> None:
        naive = NOON.replace(tzinfo=None)
        with pytest.raises(ValueError, match="time zone"):
            store.add_feedback(Feedback(entry().id, Signal.RIGHT, naive, "person:1", "carol"))
        with pytest.raises(ValueError, match="time zone"):
            insert(store, replace(SAFE, created_at=naive))


class TestFile:
    def test_a_commit_is_flushed_to_disk_and_readers_do_not_wait_for_it(self, store: CacheStore) -> None:
        db, _ = store.connect()
        with closing(db):
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_a_file_of_version_1_becomes_one_like_a_new_one_with_its_entries(self, tmp_path: Path) -> None:
        old = old_cache(tmp_path / "old", entry(), SAFE)
        store = CacheStore(old / "cache.sqlite")
        assert store.entries() == [entry(), SAFE]
        assert actions(store) == ["replace_scope", "migrate"]
        store.quarantine(SAFE.id, actor="carol", why="wrong")
        assert insert(store, STOP) == 1
        assert actions(CacheStore(old / "cache.sqlite")) == [
            "replace_scope",
            "migrate",
            "quarantine",
            "insert",
        ]
        new = CacheStore(tmp_path / "new" / "cache.sqlite")
        assert shape(store.path) == shape(new.path)

    def test_a_reader_leaves_a_file_of_version_1_alone_and_says_what_to_do(self, tmp_path: Path) -> None:
        path = old_cache(tmp_path / "old") / "cache.sqlite"
        with pytest.raises(IntegrityError, match="schema 1") as raised:
            CacheStore(path, read_only=True).entries()
        assert "brings it up to date" in raised.value.advice
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT value FROM meta").fetchall() == [("1",)]

    def test_writers_that_open_an_old_file_together_migrate_it_once(self, tmp_path: Path) -> None:
        path = old_cache(tmp_path / "old") / "cache.sqlite"
        openers = [threading.Thread(target=CacheStore, args=(path,)) for _ in range(8)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
        assert actions(CacheStore(path)) == ["replace_scope", "migrate"]
        assert [item.answer for item in CacheStore(path).entries()] == [FEE_ANSWER]


def shape(path: Path) -> list[tuple[str, ...]]:
    """Tables, their columns, and indexes."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name").fetchall()
        columns = [
            (table, *map(str, column))
            for kind, table, _ in names
            if kind == "table"
            for column in db.execute(f"PRAGMA table_info({table})")
        ]
        return names + columns
