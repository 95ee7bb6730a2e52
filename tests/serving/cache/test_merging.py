"""News in any order, twice, late: replicas that heard the same hold the same."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.belief import posterior
from serving.cache.protocol import Signal
from serving.errors import IntegrityError
from serving.services.cache_changes import told, untold, whole_state
from serving.services.cache_merge import Merger
from serving.services.cache_news import Content, News, Seal, Standing
from tests.properties import examples
from tests.serving.cache.replicas import OFFER, QUESTIONS, Replica, door
from tests.serving.cache_world import SCOPE, WordEmbedder

NOWHERE = "redis://127.0.0.1:1/0"
KINDS = ("insert", "other", "remove", "quarantine", "release", "wrong", "right", "asked again")


class Quiet(Replica):
    """A replica whose news are carried by the test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, NOWHERE, "none")
        self.stop()

    def act(self, kind: str, question: str, origin: str) -> None:
        """Do something to the entry of a question, if it can be done."""
        found = {it.question: it.id for it in self.store.entries()}.get(question)
        if kind in {"insert", "other"}:
            if found is None:
                self.insert(question, answer=OFFER.answer if kind == "insert" else "It is 25 dollars.")
        elif found is not None:
            {
                "remove": lambda: self.store.remove([found], actor="t", why="t"),
                "quarantine": lambda: self.store.quarantine(found, actor="t", why="t"),
                "release": lambda: self.store.release(found, actor="t"),
                "wrong": lambda: self.tell(found, Signal.WRONG, origin),
                "right": lambda: self.tell(found, Signal.RIGHT, origin),
                "asked again": lambda: self.tell(found, Signal.REASKED, origin),
            }[kind]()

    def spoken(self) -> list[News]:
        changes = untold(self.store, 1000)
        told(self.store, changes)
        return [news for news in changes.values() if news is not None]

    def hear(self, *news: News) -> None:
        for it in news:
            self.merger.merge([it], self.merger.judged([it]))


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(KINDS), st.integers(0, 1), st.booleans()), max_size=14
)


@examples(25)
@given(steps=STEPS, order=st.randoms(use_true_random=False))
def test_three_replicas_that_heard_the_same_in_any_order_are_alike(
    steps: list[tuple[int, str, int, bool]], order: object
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        replicas = [Quiet(Path(folder) / str(number)) for number in range(3)]
        news: list[News] = []
        for at, (who, kind, which, heard) in enumerate(steps):
            replicas[who].act(kind, QUESTIONS[which], f"person:{at}")
            if heard:  # else they go on without having heard of each other
                spoken = replicas[who].spoken()
                news += spoken
                replicas[(who + 1) % 3].hear(*spoken)
        for turn in range(6):  # what each finds when it hears the others is news, too
            fresh = [it for replica in replicas for it in replica.spoken()]
            news += fresh
            for replica in replicas:
                shuffled = [*news, *news]
                order.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
                replica.hear(*shuffled)
            if turn and not fresh:
                break
        states = [replica.state() for replica in replicas]
        served = [{id_: it[:2] for id_, it in state.items()} for state in states]
        assert served[0] == served[1] == served[2]
        assert [replica.spoken() for replica in replicas] == [[], [], []]


@pytest.fixture
def replica(tmp_path: Path) -> Quiet:
    return Quiet(tmp_path)


def test_what_others_tell_is_weighed_against_what_this_replica_believes_before(
    replica: Quiet, tmp_path: Path
) -> None:
    other = Quiet(tmp_path / "other")
    (entry_id,) = replica.insert(QUESTIONS[0])
    replica.tell(entry_id, Signal.REASKED)
    news = replica.spoken()
    other.merger = Merger(other.store, door(), WordEmbedder(), prior=lambda _intent: 0.95)
    other.hear(*news)
    found = other.store.get(entry_id)
    assert found is not None
    assert found.entry.accuracy == pytest.approx(posterior([(Signal.REASKED, timedelta(0))], prior=0.95))


def test_what_was_heard_is_not_told_again(replica: Quiet, tmp_path: Path) -> None:
    other = Quiet(tmp_path / "other")
    (id_,) = other.insert(QUESTIONS[0])
    other.tell(id_, Signal.WRONG)
    replica.hear(*other.spoken())
    assert replica.quarantines(id_)
    assert replica.spoken() == []
    assert {it.entry for it in whole_state(replica.store)[1]} == {id_, SCOPE.key}


def test_a_change_while_it_is_told_is_told_again(replica: Quiet) -> None:
    (id_,) = replica.insert(QUESTIONS[0])
    changes = untold(replica.store, 10)
    replica.store.quarantine(id_, actor="t", why="t")
    told(replica.store, changes)
    (news,) = replica.spoken()
    assert news.standing is not None
    assert news.standing.since is not None


def test_what_was_there_before_it_was_shared_is_told_once(tmp_path: Path) -> None:
    from serving.cache.store import FILE, CacheStore

    CacheStore(tmp_path / FILE).add_scope(SCOPE, actor="t")
    replica = Quiet(tmp_path)
    assert [news.scope for news in replica.spoken()] == [SCOPE]
    assert Quiet(tmp_path).spoken() == []


def test_a_seal_holds_for_one_key_and_one_tenant() -> None:
    news = News("e", Content(5), Standing(6, datetime.now(UTC)))
    seal = Seal(b"key", "bank")
    text = seal.write(news)
    assert seal.read(text) == news
    for other in (Seal(b"", "bank"), Seal(b"other", "bank"), Seal(b"key", "another")):
        with pytest.raises(IntegrityError):
            other.read(text)
    with pytest.raises(IntegrityError):
        seal.read(text.replace('"stamp":5', '"stamp":9'))
    with pytest.raises(IntegrityError):
        seal.read(Seal(b"", "bank").write(news))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "x",
        ":null",
        ':{"entry":"e","content":{"stamp":1,"scope":null,"offer":{"question":"q","intent":"i","answer":"a"}}}',
        ':{"entry":"e","feedback":{"entry_id":"f","signal":"wrong","at":"2026-11-20T12:00:00Z","origin":"o","actor":"a"}}',
        ':{"entry":"e","scope":{"tenant":"t"}}',
        ':{"entry":"e","standing":{"stamp":"soon","since":null}}',
    ],
)
def test_what_is_no_news_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        Seal(b"", "bank").read(text)


@given(text=st.text(max_size=80))
@examples(50)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        Seal(b"", "bank").read(":" + text)
