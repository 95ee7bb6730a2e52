"""The cache of one process: offers become entries on disk, hits are counted, feedback holds at once."""

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import serving.cache
from serving.cache import (
    Admission,
    CosineRule,
    Feedback,
    LocalCache,
    Offer,
    Outcome,
    Reason,
    Refusal,
    Signal,
    open_cache,
    scope_of,
)
from serving.cache.compliance import Wordings
from serving.cache.local import _write_left
from serving.errors import InvalidInputError, MissingError, UnavailableError
from serving.language.encoder import SentenceEncoder
from serving.language.injection import load_injection_guard
from serving.language.knowledge import Answer, Cacheability, Knowledge
from serving.settings import Settings
from tests.serving.cache_world import FEE, FEE_ANSWER, INTENT, NOON, SCOPE, SIGNER, WordEmbedder

OFFER = Offer(FEE, INTENT, FEE_ANSWER)
FEES = Answer(
    id="fees",
    intent=INTENT,
    cacheability=Cacheability.SEMANTIC,
    questions=(FEE,),
    text=FEE_ANSWER,
    disclosures=(),
    applies_to={},
    valid_until=None,
)
Open = Callable[[], LocalCache]


@pytest.fixture
def admission(data_dir: Path) -> Admission:
    guard = load_injection_guard(data_dir / "lexicons" / "injection.yaml")
    return Admission(Knowledge((FEES,), {}, "sha256"), SIGNER, guard)


@pytest.fixture
def opened(tmp_path: Path, admission: Admission) -> Open:
    """Another cache on the same folder, as another process would have it."""
    return lambda: LocalCache(
        tmp_path / "cache", WordEmbedder(), admission, CosineRule(0.75), now=lambda: NOON, publish_after=4
    )


@pytest.fixture
def cache(opened: Open) -> Iterator[LocalCache]:
    made = opened()
    made.create_scope(SCOPE, actor="test")
    yield made
    made.close()


def asked(cache: LocalCache, text: str = FEE) -> tuple[Outcome, Reason]:
    decision = cache.lookup(cache.query(text, INTENT), SCOPE)
    return decision.outcome, decision.reason


def told(entry_id: str, signal: Signal, origin: str = "person:1") -> Feedback:
    return Feedback(entry_id, signal, NOON, origin, "alice")


class TestInsert:
    def test_an_offer_is_on_disk_and_answers_everybody_at_their_next_question(
        self, cache: LocalCache, opened: Open
    ) -> None:
        other = opened()
        assert asked(other) == (Outcome.MISS, Reason.NO_SCOPE)
        entry = cache.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        for reader in (cache, other, opened()):
            assert asked(reader) == (Outcome.HIT, Reason.EXACT)
            assert asked(reader, "So what does a wire transfer cost?") == (Outcome.HIT, Reason.SEMANTIC)

    def test_the_same_offer_twice_is_one_entry(self, cache: LocalCache) -> None:
        first, second = (cache.insert(OFFER, SCOPE, actor="test") for _ in range(2))
        assert first == second
        assert cache.stats().entries == 1

    @pytest.mark.parametrize(
        ("offer", "refusal"),
        [
            (replace(OFFER, question=""), Refusal.EMPTY),
            (replace(OFFER, question="x" * 10_000), Refusal.TOO_LONG),
            (replace(OFFER, question="a\ud800b"), Refusal.UNREADABLE),
            (replace(OFFER, answer="Your card 4111 1111 1111 1111 is free."), Refusal.PERSONAL_ANSWER),
            (replace(OFFER, answer="It costs 26 dollars."), Refusal.NUMBER),
            (replace(OFFER, tools=("get_balance",)), Refusal.TOOL_RESULT),
            (replace(OFFER, expires_at=NOON), Refusal.EXPIRED),
        ],
    )
    def test_what_is_refused_is_counted_and_never_served(
        self, cache: LocalCache, offer: Offer, refusal: Refusal
    ) -> None:
        insertion = cache.insert(offer, SCOPE, actor="test")
        assert (insertion.entry, insertion.refusal) == (None, refusal)
        assert cache.stats().refusals == {refusal: 1}
        assert cache.stats().entries == 0
        assert asked(cache)[0] is Outcome.MISS

    def test_an_expiry_without_a_time_zone_is_no_time(self, cache: LocalCache) -> None:
        with pytest.raises(InvalidInputError, match="time zone"):
            cache.insert(replace(OFFER, expires_at=NOON.replace(tzinfo=None)), SCOPE, actor="test")

    def test_other_words_for_the_same_question_do_not_take_its_place(self, cache: LocalCache) -> None:
        cache.insert(OFFER, SCOPE, actor="test")
        other = cache.insert(replace(OFFER, answer="A wire transfer is 25 dollars."), SCOPE, actor="test")
        assert other.refusal is Refusal.CONFLICT

    @pytest.mark.parametrize("field", ["tenant", "embedder"])
    def test_a_scope_that_does_not_exist_takes_nothing(self, cache: LocalCache, field: str) -> None:
        elsewhere = replace(SCOPE, **{field: "another"})
        assert cache.insert(OFFER, elsewhere, actor="test").refusal is Refusal.NO_SCOPE

    def test_before_anything_was_made_there_is_no_scope_and_no_folder(
        self, opened: Open, tmp_path: Path
    ) -> None:
        cache = opened()
        assert cache.insert(OFFER, SCOPE, actor="test").refusal is Refusal.NO_SCOPE
        assert (asked(cache), cache.stats().entries) == ((Outcome.MISS, Reason.NO_SCOPE), 0)
        cache.close()
        assert list(tmp_path.iterdir()) == []

    def test_an_index_is_published_aside_once_many_rows_lie_outside_it(
        self, cache: LocalCache, tmp_path: Path
    ) -> None:
        for number in range(5):
            question = f"What does wire transfer number {chr(97 + number)} cost?"
            assert cache.insert(replace(OFFER, question=question), SCOPE, actor="test").entry
        cache.writer.close()
        assert cache.generation() >= 1
        assert asked(cache, "So what does wire transfer number d cost?")[0] is Outcome.HIT

    def test_a_folder_that_cannot_be_made_is_a_clear_error_and_lookups_go_on(
        self, tmp_path: Path, admission: Admission
    ) -> None:
        (tmp_path / "file").write_text("")
        cache = LocalCache(tmp_path / "file", WordEmbedder(), admission, CosineRule(0.75))
        with pytest.raises(UnavailableError):
            cache.create_scope(SCOPE, actor="test")
        assert asked(cache)[0] is Outcome.MISS


class TestFeedback:
    def test_one_wrong_stops_an_entry_for_everybody_and_a_right_lets_it_go(
        self, cache: LocalCache, opened: Open
    ) -> None:
        other = opened()
        entry = cache.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        assert asked(other)[0] is Outcome.HIT
        assert cache.feedback(told(entry.id, Signal.WRONG)).quarantined
        for text in (FEE, "So what does a wire transfer cost?"):
            assert asked(other, text) == (Outcome.MISS, Reason.QUARANTINED)
        right = replace(told(entry.id, Signal.RIGHT, "person:2"), at=NOON + timedelta(days=3_650))
        assert not cache.feedback(right).quarantined
        assert asked(other)[0] is Outcome.HIT

    def test_feedback_on_what_is_not_there_is_missing(self, cache: LocalCache) -> None:
        with pytest.raises(MissingError):
            cache.feedback(told("nothing", Signal.WRONG))

    def test_stats_tell_what_was_asked_and_what_is_kept_from_callers(self, cache: LocalCache) -> None:
        entry = cache.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        asked(cache)
        asked(cache, "")
        cache.feedback(told(entry.id, Signal.WRONG))
        stats = cache.stats()
        assert (stats.entries, stats.quarantined, stats.scopes) == (1, 1, {SCOPE.key: 1})
        assert stats.lookups == {"hit:exact": 1, "bypass:empty_text": 1}


class TestHits:
    def hits(self, cache: LocalCache) -> int:
        return sum(it.hits for it in cache.writer.store.stored())

    def test_with_closes_the_cache_also_after_an_error(self, opened: Open) -> None:
        with contextlib.suppress(ValueError), opened() as cache:
            cache.create_scope(SCOPE, actor="test")
            cache.insert(OFFER, SCOPE, actor="test")
            asked(cache)
            raise ValueError("while it was open")
        assert self.hits(cache) == 1

    def test_hits_of_a_cache_that_nobody_closed_are_written_when_it_is_let_go_of(
        self, cache: LocalCache, opened: Open
    ) -> None:
        cache.insert(OFFER, SCOPE, actor="test")
        other = opened()
        asked(other)
        assert self.hits(cache) == 0
        gone = weakref.ref(other)
        del other
        gc.collect()
        assert gone() is None  # what writes them does not keep the cache
        assert self.hits(cache) == 1

    def test_hits_are_written_at_the_end_of_a_process_that_closed_nothing(
        self, cache: LocalCache, tmp_path: Path
    ) -> None:
        cache.insert(OFFER, SCOPE, actor="test")
        code = """
            import os, sys
            from pathlib import Path
            from tests.serving.cache.replicas import door
            from tests.serving.cache_world import FEE, INTENT, SCOPE, WordEmbedder
            from serving.cache import CosineRule, LocalCache

            kept = LocalCache(Path(sys.argv[1]), WordEmbedder(), door(), CosineRule(0.75))
            for _ in range(8):
                assert kept.lookup(kept.query(FEE, INTENT), SCOPE).entry
            if os.fork() == 0:
                sys.exit()  # a child counts nothing twice
            os.wait()
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "cache")]
        subprocess.run(command, check=True)
        assert self.hits(cache) == 8

    def test_a_folder_that_is_gone_is_not_made_again_for_hits(self, cache: LocalCache) -> None:
        cache.insert(OFFER, SCOPE, actor="test")
        asked(cache)
        shutil.rmtree(cache.folder)
        _write_left(cache.writer, cache.folder, os.getpid())
        assert not cache.folder.exists()

    def test_hits_are_counted_and_written_at_the_latest_when_the_cache_is_closed(
        self, cache: LocalCache
    ) -> None:
        entry = cache.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        for _ in range(70):
            asked(cache)
        cache.close()
        stored = cache.writer.store.get(entry.id)
        assert stored is not None
        assert (stored.hits, stored.last_hit_at) == (70, NOON)

    def test_hits_that_cannot_be_written_are_kept(
        self, cache: LocalCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = cache.insert(OFFER, SCOPE, actor="test").entry
        assert entry is not None
        asked(cache)
        store = cache.writer.store
        with monkeypatch.context() as patch:

            def full(hits: object) -> None:
                raise UnavailableError("full")

            patch.setattr(store, "count_hits", full)
            cache.close()
        asked(cache)
        cache.close()
        stored = store.get(entry.id)
        assert stored is not None
        assert stored.hits == 2


def test_where_no_thread_is_to_be_had_lookups_and_inserts_go_on(
    cache: LocalCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    for letter in "abcdefgh":
        question = f"What does wire transfer number {letter} cost?"
        assert cache.insert(replace(OFFER, question=question), SCOPE, actor="test").entry
    for _ in range(70):
        assert asked(cache, "So what does wire transfer number g cost?")[0] is Outcome.HIT
    monkeypatch.undo()
    cache.close()
    assert sum(it.hits for it in cache.writer.store.stored()) == 70


class TestAlone:
    def test_every_public_name_is_there_and_no_other(self) -> None:
        for name in serving.cache.__all__:
            assert getattr(serving.cache, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = serving.cache.nothing

    def test_importing_the_package_loads_nothing(self) -> None:
        code = "import sys, serving.cache; print(sorted(name for name in sys.modules if 'numpy' in name))"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"

    def test_the_ten_lines_of_its_docstring_answer_a_question(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        encoder: SentenceEncoder,
    ) -> None:
        text = serving.cache.__doc__ or ""
        lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
        assert 8 <= len([line for line in lines if line]) <= 11
        monkeypatch.setattr("serving.language.encoder.load_encoder", lambda _: encoder)
        monkeypatch.setattr("serving.language.encoder_backend.with_backend", lambda loaded, _: loaded)
        monkeypatch.chdir(tmp_path)
        exec("\n".join(lines), {})  # the example is what is tested
        assert capsys.readouterr().out.startswith("hit semantic score 0.9")  # by the rule as shipped

    def test_the_ten_lines_are_those_of_the_documentation(self) -> None:
        page = (Path(__file__).parents[3] / "docs" / "cache.md").read_text()
        shown = page.partition("```python\n")[2].partition("```")[0]
        told = textwrap.dedent((serving.cache.__doc__ or "").partition("\n\n")[2].partition("\n\nNames")[0])
        assert shown.strip() == told.strip()

    def test_a_cache_of_the_projects_own_data_refuses_what_the_bank_did_not_approve(
        self, tmp_path: Path
    ) -> None:
        cache = open_cache(Settings(home=tmp_path, cache_threshold=0.75), embedder=WordEmbedder())
        scope = scope_of(cache, tenant="my bank")
        cache.create_scope(scope, actor="me")
        offer = Offer("What is the meaning of life?", "out_of_scope", "It is 42.")
        assert cache.insert(offer, scope, actor="me").refusal is Refusal.NOT_CACHEABLE

    def test_a_running_cache_judges_nothing_for_knowledge_that_was_edited_since_it_began(
        self, tmp_path: Path
    ) -> None:
        """A build fills the new scope in the same folder while a service still holds the old answers."""
        cache = open_cache(Settings(home=tmp_path, cache_threshold=0.75), embedder=WordEmbedder())
        of_today = scope_of(cache, tenant="my bank")
        approved = next(
            it for it in cache.admission.knowledge.answers if it.cacheability is Cacheability.SEMANTIC
        )
        offer = Offer(approved.questions[0], approved.intent, approved.text, approved.disclosures)
        for scope, taken in ((of_today, True), (replace(of_today, knowledge="edited"), False)):
            cache.create_scope(scope, actor="me")
            insertion = cache.insert(offer, scope, actor="me")
            assert (insertion.entry is not None) is taken
        assert insertion.refusal is Refusal.NO_SCOPE


def test_wordings_are_part_of_the_door(tmp_path: Path) -> None:
    cache = open_cache(Settings(home=tmp_path, cache_threshold=0.75), embedder=WordEmbedder())
    assert isinstance(cache.admission.wordings, Wordings)
