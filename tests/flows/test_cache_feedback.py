"""What callers did after an answer from the cache, as feedback on it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cache_feedback import SETTLES, hit_of, signals_of, take_feedback, uncounted_hits
from serving.cache.protocol import Signal
from serving.cache.store import CacheStore
from serving.call.endings import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, TurnRecord
from tests.serving.cache_world import FEE_ANSWER, INTENT, SCOPE, WordEmbedder, entry

BEGAN = datetime(2026, 11, 20, 9, tzinfo=UTC)
FEE = entry()
NOW = BEGAN + timedelta(days=1)


def turn(index: int = 1, decision: Decision = Decision.ANSWER, **changes: Any) -> TurnRecord:
    made = TurnRecord(
        call_id="c1", index=index, started_at=BEGAN + timedelta(seconds=20 * index), text="what is it",
        stt_engine="typed", confidence=1.0, audio_s=0.0, decision=decision, answer=f"answer {index}",
        spoken="", interrupted=False, stages={}, voice_to_voice_s=None, reply_s=0.0, intent="card_arrival",
    )  # fmt: skip
    return replace(made, **changes)


def hit(index: int = 1, entry_id: str = FEE.id, **changes: Any) -> TurnRecord:
    cache = CacheRecord("hit", "semantic", "", 0.9, entry_id)
    found = {"intent": INTENT, "answer": FEE_ANSWER, "cache": cache} | changes
    return turn(index, Decision.CACHE_HIT, **found)


def call(*turns: TurnRecord, **changes: Any) -> CallRecord:
    made = CallRecord(
        "c1", BEGAN, "text", "banking-lora/1", SCOPE.key, {}, ended_at=BEGAN + timedelta(minutes=5),
        ending=Ending.CALLER_LEFT, turns=turns,
    )  # fmt: skip
    return replace(made, **changes)


def told(*turns: TurnRecord, **changes: Any) -> list[Signal]:
    return [it.signal for it in signals_of(call(*turns, **changes))]


SAME = {"intent": INTENT}
ELSE = turn(2)


@pytest.mark.parametrize(
    ("after", "signal"),
    [
        ([ELSE], Signal.SETTLED),
        ([turn(2, Decision.CONTROL, intent="thanks")], Signal.SETTLED),
        ([turn(2, Decision.CONTROL, intent="goodbye")], Signal.SETTLED),
        ([turn(2, **SAME)], Signal.REASKED),
        ([ELSE, turn(3, **SAME)], Signal.REASKED),
        ([ELSE, turn(3), turn(4, **SAME)], Signal.SETTLED),
        ([turn(2, **SAME, in_scope=False)], None),
        ([hit(2)], Signal.REASKED),
        ([hit(2, "another", answer="another answer")], Signal.SETTLED),
        ([turn(2, Decision.TRANSFER, intent="speak_to_agent")], Signal.ESCALATED),
        ([turn(2, **SAME), turn(3, Decision.TRANSFER)], Signal.ESCALATED),
        ([ELSE, turn(3), turn(4, Decision.TRANSFER)], Signal.SETTLED),
        ([turn(2, Decision.REPROMPT, intent="")], None),
        ([turn(2, Decision.OUT_OF_SCOPE, in_scope=False)], None),
        ([turn(2, Decision.CONTROL, intent="repeat_that")], None),
        ([], None),
    ],
)
def test_what_follows_an_answer_tells_of_it(after: Sequence[TurnRecord], signal: Signal | None) -> None:
    found = told(hit(), *after)
    assert found[:1] == ([signal] if signal else [])


def test_an_interruption_tells_unless_something_surer_does() -> None:
    cut = hit(barge_in_s=0.4, interrupted=True)
    assert told(cut, ELSE) == [Signal.BARGED_IN]
    assert told(cut, turn(2, **SAME)) == [Signal.REASKED]
    assert told(hit(interrupted=True), ELSE) == [Signal.SETTLED]  # cut by something else


def test_a_call_that_ends_with_a_person_soon_after_tells_of_an_escalation() -> None:
    assert told(hit(), ending=Ending.TRANSFERRED) == [Signal.ESCALATED]
    later = [turn(index) for index in range(2, 6)]
    assert told(hit(), *later, ending=Ending.TRANSFERRED) == [Signal.SETTLED]


def test_what_callers_say_at_the_end_counts_for_the_last_answer() -> None:
    assert told(hit(), confirmed=True) == [Signal.SETTLED]
    assert told(hit(), ELSE, confirmed=False) == []


def test_calls_that_are_not_over_or_were_lost_tell_nothing() -> None:
    assert told(hit(), ELSE, ended_at=None) == []
    assert told(hit(), ELSE, ending=Ending.LOST) == []
    assert told(hit(), ELSE, ending=None) == []


def test_only_answers_from_the_cache_are_judged() -> None:
    missed = CacheRecord("miss", "below_threshold", "", 0.5, FEE.id)
    assert told(turn(1, cache=missed), turn(2)) == []
    assert hit_of(turn(1, cache=missed)) == ""
    assert hit_of(hit()) == FEE.id
    # A hit whose wording could not be had was no answer.
    assert hit_of(replace(hit(), decision=Decision.APOLOGY)) == ""


def test_each_turn_has_an_origin_of_its_own() -> None:
    found = list(signals_of(call(hit(1), hit(2, "other", answer="x"), turn(3))))
    assert [it.origin for it in found] == ["call:c1:1", "call:c1:2"]
    assert [it.at for it in found] == [BEGAN + timedelta(seconds=20), BEGAN + timedelta(seconds=40)]


@pytest.fixture
def store(tmp_path: Path) -> CacheStore:
    found = CacheStore(tmp_path / "cache.sqlite")
    found.replace_scope(SCOPE, [FEE], WordEmbedder().embed([FEE.question]), actor="test")
    return found


def test_hearing_the_same_calls_again_changes_nothing(store: CacheStore) -> None:
    calls = [call(hit(1), ELSE), replace(call(hit(1, "gone"), ELSE), call_id="c2")]
    first = take_feedback(store, calls, NOW)
    assert (first.calls, first.hits, first.told, first.unknown) == (2, 2, {"settled": 1}, 1)
    again = take_feedback(store, calls, NOW + timedelta(days=1))
    assert (again.told, again.hits) == ({}, 2)
    stored = store.get(FEE.id)
    assert stored is not None
    assert (stored.hits, stored.last_hit_at) == (1, BEGAN + timedelta(seconds=20))
    assert len(store.feedback(FEE.id)) == 1


def test_hits_of_later_calls_are_added(store: CacheStore) -> None:
    take_feedback(store, [call(hit(1), hit(3))], NOW)
    later = replace(call(replace(hit(1), started_at=NOW)), call_id="c2", started_at=NOW)
    take_feedback(store, [call(hit(1), hit(3)), later], NOW + timedelta(hours=2))
    stored = store.get(FEE.id)
    assert stored is not None
    assert (stored.hits, stored.last_hit_at) == (3, NOW)


def test_hits_of_calls_that_may_go_on_are_left_for_later() -> None:
    last = BEGAN + timedelta(seconds=20)
    calls = [call(hit(1))]
    assert uncounted_hits(calls, {FEE.id: None}, last) == {FEE.id: (1, last)}
    assert uncounted_hits(calls, {FEE.id: None}, last - timedelta(seconds=1)) == {}
    assert uncounted_hits(calls, {FEE.id: last}, NOW) == {}
    assert timedelta(hours=1) <= SETTLES
