"""Readers follow what is committed and published: at the next lookup, and without a pause."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache import follow
from serving.cache.follow import PARTS, Follower, Opened
from serving.cache.generation import open_rows
from serving.cache.nearby import NEIGHBOURS
from serving.cache.publishing import publish
from serving.cache.rows import sorted_rows
from serving.cache.store import CacheStore
from serving.cache.store_reader import Row, StoreReader
from serving.cache.types import CacheEntry, Outcome, Reason
from serving.errors import IntegrityError
from tests.properties import examples
from tests.serving.cache_world import (
    AFTER,
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

SAFE = entry("Is a wire transfer safe?", "Yes.")


def numbered(number: int) -> CacheEntry:
    return entry(f"What does a wire transfer of {number} dollars cost?", f"{number} cents.")


def insert(folder: Path, *entries: CacheEntry) -> CacheStore:
    """As another process does it."""
    store = CacheStore(folder / "cache.sqlite")
    vectors = WordEmbedder().embed([item.question for item in entries])
    store.insert(SCOPE, entries, vectors, actor="test")
    return store


class Watched:
    """A follower whose clock a test moves, with views of its store."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.reader = StoreReader(folder / "cache.sqlite")
        self.follower = Follower(folder, self.reader, clock=lambda: self.seconds)

    def opened(self) -> Opened:
        return self.follower.opened(SCOPE.key)

    def look(self) -> None:
        self.seconds += follow.LOOK_EVERY_S
        with self.reader.view() as view:
            self.follower.look(view)

    def follow(self, until: Callable[[Opened], bool]) -> Opened:
        """Look until something is so; fails where it does not become so within seconds."""
        for _ in range(500):
            self.look()
            if until(self.opened()):
                return self.opened()
            threading.Event().wait(0.01)
        pytest.fail("it was never taken in")


class TestNextLookup:
    def test_what_another_writer_commits_is_served_at_the_next_lookup(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        cache = open_cache(tmp_path)
        assert served(cache) == FEE_ANSWER
        for number in range(100, 120):
            insert(tmp_path, numbered(number))
            assert served(cache, text=f"So {numbered(number).question}") == f"{number} cents."

    @pytest.mark.parametrize("text", [FEE, f"So {FEE}"])
    def test_what_is_removed_or_doubted_is_not_served_at_the_next_lookup(
        self, tmp_path: Path, text: str
    ) -> None:
        fill(tmp_path, [entry()])
        cache, store = open_cache(tmp_path), CacheStore(tmp_path / "cache.sqlite")

        def reason() -> Reason:
            return cache.lookup(ask(text), SCOPE).reason

        hit = Reason.EXACT if text == FEE else Reason.SEMANTIC
        assert reason() is hit
        store.quarantine(entry().id, actor="test", why="wrong")
        assert reason() is Reason.QUARANTINED
        store.release(entry().id, actor="test")
        store.set_accuracy({entry().id: 0.89}, actor="test")
        assert reason() is Reason.ACCURACY
        store.set_accuracy({entry().id: 0.9}, actor="test")
        assert reason() is hit
        insert(tmp_path, SAFE)
        store.remove([entry().id], actor="test", why="evicted")
        assert reason() is Reason.THRESHOLD  # only another question is left

    def test_removed_neighbours_do_not_hide_one_that_is_left(self, tmp_path: Path) -> None:
        embedder = WordEmbedder()
        gone = [entry(f"wire transfer cost {'please ' * n}") for n in range(1, 40)]
        for item in gone:
            embedder.place(item.question, "the question", 0.99)
        embedder.place(FEE, "the question", 0.875)
        fill(tmp_path, [*gone, entry()], embedder=embedder)
        store = CacheStore(tmp_path / "cache.sqlite")
        store.remove([item.id for item in gone], actor="test", why="evicted")
        decision = open_cache(tmp_path, embedder).lookup(replace(ask(FEE), text="the question"), SCOPE)
        assert decision.entry == entry()

    def test_the_scope_before_a_promotion_answers_again_after_a_rollback(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        fill(tmp_path, [entry(answer="30 dollars.", scope=AFTER)], AFTER)
        cache = open_cache(tmp_path)
        assert [served(cache, scope) for scope in (SCOPE, AFTER, SCOPE)] == [
            FEE_ANSWER,
            "30 dollars.",
            FEE_ANSWER,
        ]
        CacheStore(tmp_path / "cache.sqlite").remove_scopes([SCOPE.key], actor="test")
        assert cache.lookup(ask(), SCOPE).reason is Reason.NO_SCOPE
        assert served(cache, AFTER) == "30 dollars."


class TestWithoutAPause:
    def test_lookups_go_on_while_a_generation_is_being_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, [entry()])
        watched, begun, may_end = Watched(tmp_path), threading.Event(), threading.Event()
        before = watched.opened()
        real = open_rows

        def slow(*args: object) -> object:
            begun.set()
            assert may_end.wait(10)
            return real(*args)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(follow, "open_rows", slow)
        cache = open_cache(tmp_path)
        monkeypatch.setattr(cache, "_follower", watched.follower)
        monkeypatch.setattr(cache._nearby, "_follower", watched.follower)
        publish(insert(tmp_path, SAFE), tmp_path)
        watched.look()
        assert begun.wait(10)
        for _ in range(3):
            watched.look()
            assert watched.opened() is before
            assert served(cache, text=f"So {SAFE.question}") == "Yes."
        may_end.set()
        after = watched.follow(lambda opened: opened is not before)
        assert (after.covered, len(after.base.names), after.tail) == (2, 2, ())

    def test_rows_behind_the_generation_are_kept_and_put_together_now_and_then(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        watched = Watched(tmp_path)
        base = watched.opened().base
        for number in range(100, 100 + 2 * PARTS):
            insert(tmp_path, numbered(number))
            opened = watched.follow(lambda opened, seen=number - 98: opened.seen == seen)  # type: ignore[misc]
            assert opened.base is base
            assert len(opened.tail) <= PARTS
            assert sum(len(part.names) for part in opened.tail) == number - 99

    def test_what_cannot_be_taken_in_now_is_taken_in_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, [entry()])
        watched = Watched(tmp_path)
        before, failed = watched.opened(), threading.Event()
        store = insert(tmp_path, SAFE)
        publish(store, tmp_path)

        def failing(*args: object) -> object:
            failed.set()
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(follow, "open_rows", failing)
            watched.look()
            assert failed.wait(10)
            assert watched.opened() is before
        assert watched.follow(lambda opened: opened.covered == 2).tail == ()

    def test_files_are_looked_at_now_and_then_only(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        watched = Watched(tmp_path)
        watched.opened()
        watched.look()
        insert(tmp_path, SAFE)
        seen = watched.seconds
        with watched.reader.view() as view:
            watched.follower.look(view)
        assert watched.seconds == seen
        assert threading.active_count() < 50
        watched.follow(lambda opened: opened.seen == 2)


class TestExplained:
    def test_a_twin_of_another_intent_is_named_where_it_is_asked_for(self, tmp_path: Path) -> None:
        embedder = WordEmbedder()
        twin = "What does a wire transfer to Mexico cost?"
        embedder.place(twin, FEE, 0.998)
        fill(tmp_path, [entry(intent="another_intent"), SAFE], embedder=embedder)
        cache = open_cache(tmp_path, embedder)
        assert cache.lookup(ask(twin), SCOPE).reason is Reason.NO_ENTRY
        decision = cache.lookup(ask(twin), SCOPE, explain=True)
        assert (decision.outcome, decision.reason) == (Outcome.MISS, Reason.SIGNATURE)
        assert "place: mexico" in decision.detail


@st.composite
def stored_rows(draw: st.DrawFn) -> list[tuple[str, str, Row]]:
    buckets = draw(st.lists(st.sampled_from(["a:1", "a:2", "b:1", "a-b:1"]), min_size=1, max_size=40))
    found = []
    for seq, bucket in enumerate(buckets, 1):
        numbers = draw(st.lists(st.integers(-9, 9), min_size=6, max_size=6).filter(any))
        vector = np.asarray(numbers, np.float32) / np.float32(np.linalg.norm(numbers))
        found.append((bucket.partition(":")[0], bucket, Row(seq, f"entry {seq}", vector.tobytes())))
    return draw(st.permutations(found))


class TestSearch:
    @examples(60)
    @given(found=stored_rows(), key=st.sampled_from(["a:1", "a:2", "b:1", "a-b:1", "c:1"]))
    def test_the_nearest_of_a_bucket_are_those_that_comparing_all_of_it_finds(
        self, found: list[tuple[str, str, Row]], key: str
    ) -> None:
        rows = sorted_rows(found)
        query = np.asarray([0.5, 0.5, 0.5, 0.5, 0, 0], np.float32)
        near = rows.nearest(rows.buckets.get(key), query, NEIGHBOURS)
        mine = {
            row.seq: np.frombuffer(row.embedding, np.float32) for _, bucket, row in found if bucket == key
        }
        cosines = sorted((float(vector @ query) for vector in mine.values()), reverse=True)
        assert [it.similarity for it in near] == pytest.approx(cosines[:NEIGHBOURS], abs=1e-6)
        for it in near:
            assert np.array_equal(it.vector, mine[it.seq])
            assert it.similarity == pytest.approx(float(mine[it.seq] @ query), abs=1e-6)

    @examples(30)
    @given(found=stored_rows())
    def test_every_row_is_of_one_bucket_and_one_intent(self, found: list[tuple[str, str, Row]]) -> None:
        rows = sorted_rows(found)
        for spans, column in ((rows.buckets, 1), (rows.intents, 0)):
            for key, (first, behind) in spans.items():
                there = {int(seq) for seq in rows.names["seq"][first:behind]}
                assert there == {row[2].seq for row in found if row[column] == key}
            assert sum(behind - first for first, behind in spans.values()) == len(found)

    def test_embeddings_of_different_lengths_are_no_rows(self) -> None:
        with pytest.raises(ValueError, match="different lengths"):
            sorted_rows([("a", "a:1", Row(1, "x", b"\0" * 8)), ("a", "a:1", Row(2, "y", b"\0" * 4))])


def test_rows_of_nonsense_in_the_store_are_a_miss_and_no_generation(tmp_path: Path) -> None:
    fill(tmp_path, [entry()])
    store = insert(tmp_path, SAFE)
    with store.writing("damage") as db:
        db.execute("UPDATE entry SET embedding = x'00' WHERE id = ?", (SAFE.id,))
    with pytest.raises(IntegrityError, match="cannot be read"):
        publish(store, tmp_path)
    assert open_cache(tmp_path).generation() == 1
    assert open_cache(tmp_path).lookup(ask(), SCOPE).outcome is Outcome.HIT


def test_no_lookup_walks_the_entries(tmp_path: Path) -> None:
    fill(tmp_path, [entry(), SAFE, entry(intent="another", expires_at=NOON)])
    asked: list[str] = []
    cache = open_cache(tmp_path)
    cache.warm(SCOPE)
    with cache.reader.view() as view:
        view.db.set_trace_callback(asked.append)
    for text in (FEE, f"So {FEE}", "What does a wire transfer to Mexico cost?", "Something else"):
        for explain in (False, True):
            cache.lookup(ask(text), SCOPE, explain=explain)
    selected = {statement for statement in asked if " FROM entry" in statement}
    assert len(selected) >= 8
    with cache.reader.view() as view:
        view.db.set_trace_callback(None)
        for statement in selected:
            plan = [row[3] for row in view.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not any("SCAN entry" in step for step in plan), (statement, plan)
            # An index on the scope alone would be a walk, but for the one row that tells whether it exists.
            walks = [step for step in plan if step.endswith("(scope=?)")]
            assert not walks or "LIMIT 1" in statement, (statement, plan)
