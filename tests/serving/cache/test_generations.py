"""Generations on disk: published whole or not at all, followed by readers, never trusted when damaged."""

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from serving.cache import follow, publishing
from serving.cache.generation import read_manifest
from serving.cache.publishing import LOCK, publish
from serving.cache.store import CacheStore
from serving.cache.types import Reason
from serving.errors import UnavailableError
from tests.serving.cache_world import (
    AFTER,
    FEE_ANSWER,
    PARAPHRASE,
    SCOPE,
    WordEmbedder,
    ask,
    entry,
    fill,
    open_cache,
    served,
)


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def crashing_at(step: int, error: BaseException) -> Iterator[list[str]]:
    """Fail at the n-th change of the file system; the list tells which steps were reached."""
    reached: list[str] = []

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            reached.append(name)
            if len(reached) == step:
                raise error
            return real(*args, **options)

        return act

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing("fsync", os.fsync))
        for name in ("mkdir", "write_bytes", "replace"):
            patch.setattr(Path, name, failing(name, getattr(Path, name)))
        patch.setattr(shutil, "rmtree", failing("rmtree", shutil.rmtree))
        yield reached


class TestPublishing:
    @pytest.mark.parametrize("error", [Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
    def test_a_failure_at_any_step_leaves_the_old_generation_or_the_new_one(
        self, tmp_path: Path, error: BaseException
    ) -> None:
        before = tmp_path / "before"
        fill(before, [entry()])
        fill(before, [entry()])
        vectors = WordEmbedder().embed([entry().question])
        CacheStore(before / "cache.sqlite").replace_scope(AFTER, [entry(scope=AFTER)], vectors, actor="test")

        def published(step: int) -> tuple[Path, list[str]]:
            folder = tmp_path / str(step)
            shutil.copytree(before, folder)
            with crashing_at(step, error) as reached, suppress(Crash, UnavailableError):
                publish(CacheStore(folder / "cache.sqlite"), folder)
            return folder, reached

        steps = published(0)[1]
        assert {"mkdir", "write_bytes", "fsync", "replace", "rmtree"} <= set(steps)
        committed = []
        for step in range(1, len(steps) + 1):
            folder, reached = published(step)
            assert len(reached) == step
            cache = open_cache(folder)
            committed.append(cache.generation() == 3)
            assert served(cache) == FEE_ANSWER
            # What the store has committed answers, published or not.
            assert cache.lookup(ask(PARAPHRASE), AFTER).reason is Reason.SEMANTIC
        assert committed == [at > steps.index("replace") for at in range(len(steps))]
        assert publish(CacheStore(folder / "cache.sqlite"), folder).generation == 4
        assert len(list(folder.glob("gen-*"))) == 2

    def test_a_crash_while_the_scope_is_written_leaves_the_old_entries(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, [entry()])

        def crash(*args: object) -> None:
            raise Crash

        monkeypatch.setattr(CacheStore, "_audit", crash)
        with pytest.raises(Crash):
            fill(tmp_path, [entry(answer="half written")])
        monkeypatch.undo()
        assert [item.answer for item in CacheStore(tmp_path / "cache.sqlite").entries()] == [FEE_ANSWER]
        assert served(open_cache(tmp_path)) == FEE_ANSWER

    def test_the_live_generation_and_the_one_before_are_kept(self, tmp_path: Path) -> None:
        for number in range(1, 5):
            assert fill(tmp_path, [entry()]).generation == number
        assert sorted(path.name for path in tmp_path.glob("gen-*")) == ["gen-000003", "gen-000004"]

    def test_what_a_crash_left_is_neither_taken_for_a_generation_nor_kept(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        (tmp_path / "gen-000007").mkdir()
        (tmp_path / "gen-of-mine").mkdir()
        assert fill(tmp_path, [entry()]).generation == 8
        assert sorted(path.name for path in tmp_path.glob("gen-0*")) == ["gen-000001", "gen-000008"]

    def test_two_writers_publish_one_after_the_other(self, tmp_path: Path) -> None:
        store = CacheStore(tmp_path / "cache.sqlite")
        fill(tmp_path, [entry()])
        published = []
        writers = [
            threading.Thread(target=lambda: published.append(publish(store, tmp_path))) for _ in range(6)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert sorted(manifest.generation for manifest in published) == [2, 3, 4, 5, 6, 7]
        assert read_manifest(tmp_path) == max(published, key=lambda manifest: manifest.generation)
        assert served(open_cache(tmp_path)) == FEE_ANSWER

    def test_a_writer_that_never_ends_is_not_waited_for_without_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, [entry()])
        monkeypatch.setattr(publishing, "_LOCK_WAIT_S", 0.0)
        with (tmp_path / LOCK).open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(UnavailableError, match="Another process"):
                publish(CacheStore(tmp_path / "cache.sqlite"), tmp_path)
        assert publish(CacheStore(tmp_path / "cache.sqlite"), tmp_path).generation == 2

    def test_an_empty_scope_is_published_as_not_built(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        store = CacheStore(tmp_path / "cache.sqlite")
        store.replace_scope(SCOPE, [], WordEmbedder().embed([]), actor="test")
        publish(store, tmp_path)
        assert open_cache(tmp_path).lookup(ask(), SCOPE).reason is Reason.NO_SCOPE


class TestReaders:
    def test_a_reader_follows_a_new_generation_without_being_told(self, tmp_path: Path) -> None:
        cache = open_cache(tmp_path)
        assert (cache.lookup(ask(), SCOPE).reason, cache.generation()) == (Reason.NO_SCOPE, 0)
        for number in (1, 2, 3):
            fill(tmp_path, [entry(answer=f"answer {number}")])
            assert (served(cache), cache.generation()) == (f"answer {number}", number)

    def test_a_reader_follows_a_cache_that_was_moved_away_and_built_again(self, tmp_path: Path) -> None:
        folder = tmp_path / "cache"
        fill(folder, [entry(answer="of the cache that was moved away")])
        cache = open_cache(folder)
        assert served(cache) is not None
        folder.rename(tmp_path / "aside")
        assert cache.lookup(ask(), SCOPE).reason is Reason.NO_SCOPE
        fill(folder, [entry("Is a wire transfer free?", "No."), entry()])
        assert cache.generation() == 1
        assert served(cache) == FEE_ANSWER

    def test_a_reader_of_nothing_creates_nothing(self, tmp_path: Path) -> None:
        cache = open_cache(tmp_path / "absent")
        assert cache.lookup(ask(), SCOPE).reason is Reason.NO_SCOPE
        assert cache.warm(SCOPE) == 0
        assert list(tmp_path.iterdir()) == []

    def test_warming_opens_the_scope_before_the_first_question(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, [entry()])
        cache = open_cache(tmp_path)
        assert cache.warm(SCOPE) == 1
        monkeypatch.setattr(follow, "open_rows", pytest.fail)
        assert served(cache) == FEE_ANSWER

    def test_a_reader_without_a_generation_reads_the_store(self, tmp_path: Path) -> None:
        vectors = WordEmbedder().embed([entry().question])
        CacheStore(tmp_path / "cache.sqlite").replace_scope(SCOPE, [entry()], vectors, actor="test")
        cache = open_cache(tmp_path)
        assert (served(cache), cache.generation()) == (FEE_ANSWER, 0)

    def test_a_generation_of_another_store_is_not_believed(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry(f"What does a wire transfer of {n} dollars cost?") for n in range(9)])
        for left in tmp_path.glob("cache.sqlite*"):
            left.unlink()
        vectors = WordEmbedder().embed([entry().question])
        CacheStore(tmp_path / "cache.sqlite").replace_scope(SCOPE, [entry()], vectors, actor="test")
        assert served(open_cache(tmp_path)) == FEE_ANSWER

    def test_a_store_that_was_put_back_from_a_copy_is_read_as_it_is_now(self, tmp_path: Path) -> None:
        fill(tmp_path, [entry()])
        copy = tmp_path / "copy.sqlite"
        shutil.copy(tmp_path / "cache.sqlite", copy)
        others = [entry(f"What does a wire transfer of {n} dollars cost?") for n in range(9)]
        fill(tmp_path, [entry(), *others])
        cache = open_cache(tmp_path)
        assert served(cache, text=f"So {others[3].question}") is not None
        copy.rename(tmp_path / "cache.sqlite")
        new = entry("Is a wire transfer safe?", "Yes.")
        store = CacheStore(tmp_path / "cache.sqlite")
        store.insert(SCOPE, [new], WordEmbedder().embed([new.question]), actor="test")
        for reader in (cache, open_cache(tmp_path)):
            assert served(reader, text=f"So {new.question}") == "Yes."
            assert served(reader, text=others[3].question) is None

    def test_readers_never_wait_or_err_or_mix_while_a_writer_publishes(self, tmp_path: Path) -> None:
        questions = [f"What does a wire transfer of {n}00 dollars cost?" for n in range(1, 9)]

        def version(number: int) -> None:
            fill(tmp_path, [entry(text, f"{text} version {number}") for text in questions])

        version(0)
        cache, stop = open_cache(tmp_path), threading.Event()
        wrong: list[object] = []
        counts = [0, 0, 0, 0]

        def read(reader: int) -> None:
            seen = 0
            while not stop.is_set():
                text = questions[(counts[reader] + reader) % len(questions)]
                decision = cache.lookup(ask(text), SCOPE)
                answer = decision.entry.answer if decision.entry else ""
                number = int(answer.rpartition(" ")[2]) if answer.startswith(f"{text} version ") else -1
                if number < seen:  # also an error, a miss, or another question's answer
                    wrong.append(decision)
                seen = number
                counts[reader] += 1

        readers = [threading.Thread(target=read, args=(number,)) for number in range(len(counts))]
        for reader in readers:
            reader.start()
        for number in range(1, 13):
            version(number)
        deadline = time.monotonic() + 10
        while min(counts) < 20 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert min(counts) >= 20
        assert served(cache, text=questions[0]) == f"{questions[0]} version 12"
