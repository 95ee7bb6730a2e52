"""Replicas of a cache that share a real Redis: what one learns, the others hold within a second."""

from dataclasses import replace
from pathlib import Path

from serving.cache.protocol import Signal
from serving.cache.types import CacheScope
from serving.language.protocols import Embeddings
from tests.serving.cache.conformance import SetClock
from tests.serving.cache.replicas import OFFER, QUESTIONS, Make, Replica
from tests.serving.cache.worlds import shared
from tests.serving.cache_world import SCOPE, SIGNER, WordEmbedder
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually

SOON_S = 1.0
Q1, Q2, Q3 = QUESTIONS[:3]


def test_an_entry_is_in_the_other_replica_within_a_second_with_a_vector_of_its_own(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    found = there.store.get(id_)
    assert found is not None
    assert (found.entry.question, found.entry.answer, found.entry.source) == (Q1, OFFER.answer, OFFER.source)
    assert found.entry.signature == SIGNER.sign(Q1)
    assert there.embedder.embedded >= 1
    assert there.store.scopes() == {SCOPE.key: SCOPE}
    assert there.store.vectors(SCOPE.key)[1].shape == (1, WordEmbedder.dimension)


def test_removal_quarantine_and_release_hold_in_the_other_replica_within_a_second(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    first, second = here.insert(Q1, Q2)
    eventually(lambda: there.holds(first, second), within_s=SOON_S)
    there.store.quarantine(first, actor="anna", why="test")
    eventually(lambda: here.quarantines(first), within_s=SOON_S)
    here.store.release(first, actor="ben")
    eventually(lambda: not there.quarantines(first), within_s=SOON_S)
    there.store.remove([second], actor="anna", why="test")
    eventually(lambda: not here.holds(second), within_s=SOON_S)
    assert here.state() == there.state()


def test_feedback_counts_once_for_an_origin_in_all_replicas_and_its_note_stays_where_it_was_written(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    here.tell(id_, Signal.WRONG)
    eventually(lambda: there.quarantines(id_) and there.state() == here.state(), within_s=SOON_S)
    there.tell(id_, Signal.WRONG)  # the same person, heard by the other
    there.tell(id_, Signal.RIGHT, "person:ben:2")
    eventually(lambda: not here.quarantines(id_) and here.state() == there.state(), within_s=SOON_S)
    assert here.state()[id_][3] == 2
    assert {it.note for it in there.store.feedback(id_)} == {"", "a note"}


def test_two_engines_that_each_disagree_once_quarantine_an_entry_together(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    here.tell(id_, Signal.SHADOW_DISAGREES, "call:1:1")
    there.tell(id_, Signal.SHADOW_DISAGREES, "call:2:1")
    eventually(lambda: here.quarantines(id_) and there.quarantines(id_), within_s=SOON_S)


def test_a_replica_that_was_away_catches_up_from_where_it_was(
    two: tuple[Replica, Replica], make: Make
) -> None:
    here, there = two
    first, second = here.insert(Q1, Q2)
    eventually(lambda: there.holds(first, second), within_s=SOON_S)
    there.stop()
    (third,) = here.insert(Q3)
    here.store.quarantine(first, actor="anna", why="test")
    here.store.remove([second], actor="anna", why="test")
    there.start()
    eventually(lambda: there.state() == here.state(), within_s=3)
    assert there.holds(third)
    assert not there.holds(second)
    assert there.embedder.embedded == 3  # nothing twice


def test_a_new_replica_takes_all_that_the_others_have(two: tuple[Replica, Replica], make: Make) -> None:
    ids = two[0].insert(*QUESTIONS[:40])
    two[0].store.remove(ids[:1], actor="anna", why="test")
    third = make("c")
    eventually(lambda: third.state() == two[0].state() == two[1].state(), within_s=5)
    assert len(third.state()) == 39


def test_what_each_had_before_they_shared_is_in_both_afterwards(
    tmp_path: Path, make: Make, redis_server: RedisServer
) -> None:
    here, there = make("a"), make("b", url="redis://127.0.0.1:1/0")
    (mine,) = here.insert(Q1)
    (other,) = there.insert(Q2)
    there.stop()
    again = make("b")
    eventually(lambda: here.holds(mine, other) and again.holds(mine, other), within_s=3)


def test_of_two_answers_to_the_same_words_all_replicas_keep_the_same_one(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    here.stop()
    there.stop()
    (id_,) = here.insert(Q1, answer="A wire transfer is 25 dollars.")
    there.insert(Q1, answer="It is 25 dollars.")
    here.start()
    there.start()
    later = there.state()
    eventually(lambda: here.state() == there.state() == later, within_s=3)
    assert here.state()[id_][0] == "It is 25 dollars."


def test_a_rebuilt_scope_does_not_lift_a_quarantine_that_another_replica_set_meanwhile(
    two: tuple[Replica, Replica],
) -> None:
    here, there = two
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    there.stop()
    here.store.quarantine(id_, actor="anna", why="test")
    entry = there.store.entries()[0]
    there.store.replace_scope(SCOPE, [entry], WordEmbedder().embed([Q1]), actor="build")
    there.start()
    eventually(lambda: there.quarantines(id_) and here.state() == there.state(), within_s=3)


class SlowEmbedder(WordEmbedder):
    """Takes 20 ms for a text, as a real one does on a busy core."""

    def embed(self, texts: object) -> Embeddings:
        import threading

        threading.Event().wait(0.02 * len(texts))  # type: ignore[arg-type]  # a sequence
        return super().embed(texts)  # type: ignore[arg-type]  # a sequence


def test_quarantine_overtakes_the_answers_of_a_scope_that_was_just_published(make: Make) -> None:
    here, there = make("a"), make("b", embedder=SlowEmbedder())
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    others = here.insert(*QUESTIONS[1:301])  # six seconds of embedding
    here.store.quarantine(id_, actor="anna", why="test")
    eventually(lambda: there.quarantines(id_), within_s=SOON_S)
    assert not there.holds(*others)


def test_while_redis_is_gone_each_goes_on_and_what_was_missed_arrives_when_it_is_back(
    doomed_redis: RedisServer, make: Make
) -> None:
    here, there = make("a", url=doomed_redis.url), make("b", url=doomed_redis.url)
    first, second = here.insert(Q1, Q2)
    eventually(lambda: there.holds(first, second), within_s=3)
    doomed_redis.kill()
    (mine,), (other,) = here.insert(Q3), there.insert(QUESTIONS[3])
    here.store.quarantine(first, actor="anna", why="test")
    there.store.remove([second], actor="anna", why="test")
    assert here.holds(first, second, mine)
    doomed_redis.start()  # empty: it remembers nothing
    eventually(lambda: here.state() == there.state(), within_s=5)
    assert there.quarantines(first)
    assert here.holds(mine, other)
    assert not here.holds(second)
    here.insert(QUESTIONS[4])
    eventually(lambda: here.state() == there.state(), within_s=SOON_S)


def test_a_frozen_redis_holds_nobody_up_and_nothing_is_lost(doomed_redis: RedisServer, make: Make) -> None:
    here, there = make("a", url=doomed_redis.url), make("b", url=doomed_redis.url)
    here.insert(Q1)
    eventually(lambda: there.state() == here.state() != {}, within_s=3)
    doomed_redis.freeze()
    here.insert(Q2)
    there.insert(Q3)
    doomed_redis.thaw()
    eventually(lambda: len(here.state()) == 3 and here.state() == there.state(), within_s=10)


def test_a_replica_that_missed_more_than_the_stream_keeps_takes_a_whole_state(make: Make) -> None:
    here, there = make("a", most=20), make("b", most=20)
    (first,) = here.insert(Q1)
    eventually(lambda: there.holds(first), within_s=SOON_S)
    there.stop()
    for start in range(1, 301, 50):  # a node of a stream holds a hundred: about that many are kept
        here.insert(*QUESTIONS[start : start + 50])
    here.store.remove([first], actor="anna", why="test")
    (own,) = there.insert(QUESTIONS[700])
    eventually(lambda: not here.store.get(first), within_s=SOON_S)
    there.start()
    eventually(lambda: here.holds(own) and there.state() == here.state(), within_s=15)
    assert not there.holds(first)
    assert len(there.state()) == 301


def test_an_answer_of_another_tenants_scope_is_another_entry(two: tuple[Replica, Replica]) -> None:
    here, there = two
    other: CacheScope = replace(SCOPE, tenant="another bank")
    (mine,), (theirs,) = here.insert(Q1), here.insert(Q1, scope=other)
    eventually(lambda: there.holds(mine, theirs), within_s=SOON_S)
    assert there.store.counts() == {SCOPE.key: 1, other.key: 1}


def test_an_empty_scope_is_made_in_the_other_replica_too(two: tuple[Replica, Replica]) -> None:
    here, there = two
    here.store.add_scope(SCOPE, actor="anna")
    eventually(lambda: there.store.scopes() == {SCOPE.key: SCOPE}, within_s=SOON_S)


def test_with_other_rules_everything_is_judged_again(make: Make) -> None:
    here, there = make("a"), make("b")
    (id_,) = here.insert(Q1)
    eventually(lambda: there.holds(id_), within_s=SOON_S)
    there.stop()
    with there.store.writing("test") as db:  # as if its knowledge had not admitted it then
        db.execute("UPDATE replica SET merging = 1")
        db.execute("DELETE FROM entry")
        db.execute("DELETE FROM entry_state")
        db.execute("UPDATE replica SET merging = 0")
    there.start()
    eventually(lambda: not there.holds(id_), within_s=SOON_S)
    there.stop()
    new = make("b", rules="other rules")
    eventually(lambda: new.holds(id_), within_s=3)


def test_a_replica_derives_its_index_anew_from_what_others_tell(
    tmp_path: Path, redis_server: RedisServer, namespace: str
) -> None:
    clock, url = SetClock(), redis_server.url
    with (
        shared(tmp_path / "a", clock, url, namespace) as here,
        shared(tmp_path / "b", clock, url, namespace, publish_after=30) as there,
    ):
        here.create_scope(SCOPE, actor="test")
        for question in QUESTIONS[:40]:
            assert here.insert(replace(OFFER, question=question), SCOPE, actor="test").entry is not None
        eventually(lambda: there.generation() > 0, within_s=5)
        assert here.generation() == 0


def test_a_new_replica_does_not_doubt_again_what_a_person_has_found_right(
    two: tuple[Replica, Replica], make: Make
) -> None:
    here, there = two
    ids = here.insert(*QUESTIONS[:30])
    for id_ in ids:
        here.tell(id_, Signal.WRONG)
    for id_ in reversed(ids):  # far from what they answer, for who hears all of it at once
        here.tell(id_, Signal.RIGHT, "person:ben:2")
    eventually(lambda: here.state() == there.state(), within_s=3)
    third = make("c")
    eventually(lambda: third.state() == here.state(), within_s=5)
    third.insert(QUESTIONS[40])
    eventually(lambda: third.state() == here.state() == there.state(), within_s=SOON_S)
    assert not any(quarantined for _, quarantined, _, _ in here.state().values())
