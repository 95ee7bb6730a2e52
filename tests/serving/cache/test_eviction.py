"""What the cache lets go, why, and what it never does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.eviction import GRACE, Cause, EvictionPlan, apply, check_fraction, plan, usefulness
from serving.cache.protocol import Feedback, Signal
from serving.cache.store import CacheStore
from serving.cache.store_rows import StoredEntry
from serving.cache.telling import renew_beliefs, tell
from serving.errors import InvalidInputError, MissingError, RefusedError
from tests.properties import examples
from tests.serving.cache_world import NOON, SCOPE, WordEmbedder, entry

OTHER = replace(SCOPE, intent_adapter="banking-lora/2")
LONG_AGO = NOON - GRACE - timedelta(days=1)


def stored(question: str = "one", **changes: object) -> StoredEntry:
    """An entry with what became of it; `hits` and `last_hit_at` are of the row, the rest of the entry."""
    row = {name: changes.pop(name) for name in ("hits", "last_hit_at", "quarantined_at") if name in changes}
    made = entry(question, **changes)  # type: ignore[arg-type]  # fields by name
    return replace(StoredEntry(made, 1, None, 0, None), **row)  # type: ignore[arg-type]  # likewise


def causes(found: EvictionPlan) -> dict[str, Cause]:
    return {it.question: it.cause for it in found.evictions}


def test_what_is_wrong_or_over_goes_and_the_rest_stays() -> None:
    found = plan(
        [
            stored("good", accuracy=0.6),
            stored("bad", accuracy=0.599),
            stored("over", expires_at=NOON),
            stored("lasting", expires_at=NOON + timedelta(seconds=1)),
            stored("both", accuracy=0.1, expires_at=NOON),
        ],
        NOON,
    )
    assert causes(found) == {"bad": Cause.ACCURACY, "over": Cause.EXPIRED, "both": Cause.EXPIRED}
    assert [it.cause for it in found.evictions] == [Cause.ACCURACY, Cause.EXPIRED, Cause.EXPIRED]
    assert found.fraction == 3 / 5
    assert "0.599" in found.evictions[0].detail


def test_a_quarantined_entry_waits_for_a_person() -> None:
    assert plan([stored(quarantined_at=NOON - timedelta(days=900))], NOON).evictions == ()


def orphans(entries: Sequence[StoredEntry], live: set[str] | None, **since: datetime) -> frozenset[str]:
    return plan(entries, NOON, live_scopes=live, scopes_since=since).orphaned


def test_a_scope_that_no_adapter_uses_goes_as_a_whole_after_its_grace() -> None:
    old, live = stored("old", created_at=LONG_AGO), stored("new", scope=OTHER)
    assert orphans([old, live], {OTHER.key}) == {SCOPE.key}
    found = plan([old, live], NOON, live_scopes={OTHER.key})
    assert causes(found) == {"old": Cause.ORPHANED}
    assert found.fraction == 0.0  # nobody was answered from it
    assert found.answering == 1


def test_a_scope_that_was_used_or_filled_of_late_is_kept() -> None:
    live = stored("new", scope=OTHER)
    assert orphans([stored("old", created_at=NOON), live], {OTHER.key}) == frozenset()
    hit = stored("old", created_at=LONG_AGO, last_hit_at=NOON - timedelta(hours=1))
    assert orphans([hit, live], {OTHER.key}) == frozenset()


def test_an_empty_scope_is_as_old_as_it_is_known() -> None:
    live = stored("new", scope=OTHER)
    assert orphans([live], {OTHER.key}, empty=LONG_AGO, fresh=NOON) == {"empty"}


def test_where_nothing_shows_what_is_live_nothing_is_orphaned() -> None:
    old = stored("old", created_at=LONG_AGO)
    assert orphans([old], None) == frozenset()
    assert orphans([old], set()) == frozenset()
    assert orphans([old], {"a scope of a registry that is not ours"}) == frozenset()


def test_the_least_used_go_where_there_are_too_many() -> None:
    often = stored("often", hits=50, last_hit_at=NOON)
    then = NOON - timedelta(days=300)
    long_ago = stored("long ago", hits=50, last_hit_at=then, created_at=then)
    never = stored("never")
    found = plan([often, long_ago, never], NOON, max_entries=2)
    assert causes(found) == {"long ago": Cause.CROWDED}
    assert causes(plan([often, long_ago, never], NOON, max_entries=1)).keys() == {"long ago", "never"}
    assert plan([often, long_ago, never], NOON, max_entries=3).evictions == ()


def test_of_two_that_are_used_alike_the_larger_goes() -> None:
    small, large = stored("small", answer="x"), stored("large", answer="x" * 2_000)
    assert causes(plan([large, small], NOON, max_entries=1)) == {"large": Cause.CROWDED}


def test_what_goes_anyway_makes_room() -> None:
    entries = [stored("over", expires_at=NOON), stored("good")]
    assert causes(plan(entries, NOON, max_entries=1)) == {"over": Cause.EXPIRED}


ENTRIES = st.lists(
    st.builds(
        lambda name, accuracy, days, hits, scope: stored(
            f"q {name}",
            accuracy=accuracy,
            created_at=NOON - timedelta(days=days),
            expires_at=NOON + timedelta(days=10 - days),
            hits=hits,
            scope=(SCOPE, OTHER)[scope],
        ),
        st.integers(0, 10_000),
        st.floats(0, 1),
        st.integers(0, 30),
        st.integers(0, 9),
        st.integers(0, 1),
    ),
    max_size=30,
    unique_by=lambda it: it.entry.id,
)


@given(entries=ENTRIES, most=st.none() | st.integers(0, 30), threshold=st.floats(0, 1), both=st.booleans())
@examples(100)
def test_a_plan_takes_each_entry_once_for_a_cause_that_holds_and_leaves_no_more_than_asked(
    entries: list[StoredEntry], most: int | None, threshold: float, both: bool
) -> None:
    live = {SCOPE.key, OTHER.key} if both else {SCOPE.key}
    found = plan(entries, NOON, threshold=threshold, max_entries=most, live_scopes=live)
    gone = [it.entry_id for it in found.evictions]
    assert len(set(gone)) == len(gone)
    kept = [it for it in entries if it.entry.id not in gone]
    assert most is None or len(kept) <= most
    assert all(it.entry.accuracy >= threshold and it.entry.expires_at > NOON for it in kept)
    assert not found.orphaned & live
    assert 0 <= found.fraction <= 1
    again = plan(kept, NOON, threshold=threshold, max_entries=most, live_scopes=live)
    assert again.evictions == ()
    crowded = [
        it for it in entries if it.entry.id in gone and causes(found)[it.entry.question] is Cause.CROWDED
    ]
    least = min((usefulness(it, NOON) for it in kept), default=float("inf"))
    assert all(usefulness(it, NOON) <= least for it in crowded)


@pytest.mark.parametrize("options", [{"threshold": 1.01}, {"threshold": float("nan")}, {"max_entries": -1}])
def test_a_plan_that_means_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        plan([], NOON, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_a_plan_that_would_take_too_much_is_refused_unless_one_says_so() -> None:
    entries = [stored(f"q {at}", accuracy=0.5 if at < 3 else 1.0) for at in range(10)]
    found = plan(entries, NOON)
    with pytest.raises(RefusedError, match=r"30\.0%") as raised:
        check_fraction(found)
    assert "3 accuracy" in str(raised.value)
    check_fraction(found, 0.3)
    check_fraction(plan([], NOON), 0.0)
    with pytest.raises(InvalidInputError):
        check_fraction(found, 1.5)


@pytest.fixture
def store(tmp_path: Path) -> CacheStore:
    found = CacheStore(tmp_path / "cache.sqlite")
    for scope in (SCOPE, OTHER):
        entries = [entry(f"question {at}", scope=scope) for at in range(4)]
        vectors = WordEmbedder().embed([it.question for it in entries])
        found.replace_scope(scope, entries, vectors, actor="test")
    return found


def say(store: CacheStore, id_: str, signal: Signal, at: datetime = NOON) -> None:
    tell(store, Feedback(id_, signal, at, f"{signal}:{at.isoformat()}", "kim"), now=at)


def test_a_plan_is_carried_out_with_who_and_why_on_record(store: CacheStore) -> None:
    bad = store.entries(SCOPE.key)[0].id
    store.set_accuracy({bad: 0.3}, actor="test")
    later = NOON + GRACE + timedelta(days=1)
    found = plan(store.stored(), later, live_scopes={SCOPE.key})
    assert store.get(bad) is not None  # a plan changes nothing
    assert apply(store, found, actor="kim") == {Cause.ACCURACY: 1, Cause.ORPHANED: 4}
    assert store.get(bad) is None
    assert set(store.scopes()) == {SCOPE.key}
    rows = {row.action: row for row in store.audit_rows(2)}
    assert {row.actor for row in rows.values()} == {"kim"}
    assert rows["remove"].detail["why"] == "evicted: accuracy"
    assert rows["remove_scopes"].detail["scopes"] == [OTHER.key]


def test_one_wrong_stops_an_entry_and_survives_eviction_and_the_next_build(store: CacheStore) -> None:
    bad = store.entries(SCOPE.key)[0]
    say(store, bad.id, Signal.WRONG)
    found = store.get(bad.id)
    assert found is not None
    assert found.quarantined_at is not None
    store.remove([bad.id], actor="kim", why="test")
    store.insert(SCOPE, [bad], WordEmbedder().embed([bad.question]), actor="build")
    back = store.get(bad.id)
    assert back is not None
    assert back.quarantined_at is not None
    assert back.entry.accuracy < 0.9
    say(store, bad.id, Signal.RIGHT, datetime.now(NOON.tzinfo) + timedelta(seconds=1))
    released = store.get(bad.id)
    assert released is not None
    assert released.quarantined_at is None
    assert released.entry.accuracy >= 0.9


def test_telling_the_same_twice_changes_nothing(store: CacheStore) -> None:
    id_ = store.entries(SCOPE.key)[0].id
    feedback = Feedback(id_, Signal.REASKED, NOON, "call:a:1", "flow")
    first = tell(store, feedback, now=NOON)
    assert tell(store, feedback, now=NOON) == first
    assert len(store.feedback(id_)) == 1


def test_what_is_told_of_nothing_is_refused(store: CacheStore) -> None:
    with pytest.raises(MissingError, match="no entry"):
        tell(store, Feedback("none", Signal.WRONG, NOON, "o", "kim"))
    assert store.feedback("none") == []


def test_time_brings_an_accuracy_back_but_no_quarantine(store: CacheStore) -> None:
    doubted, wrong = (it.id for it in store.entries(SCOPE.key)[:2])
    for signal in (Signal.REASKED, Signal.ESCALATED):
        say(store, doubted, signal)
    say(store, wrong, Signal.WRONG)
    later = NOON + timedelta(days=300)
    changed = {it.entry_id: it for it in renew_beliefs(store, later, actor="flow")}
    assert changed.keys() == {doubted, wrong}
    assert changed[doubted].accuracy > 0.98
    assert changed[wrong].quarantined
    assert renew_beliefs(store, later, actor="flow") == ()


def test_a_quarantine_by_hand_outlives_what_callers_do(store: CacheStore) -> None:
    id_ = store.entries(SCOPE.key)[0].id
    store.quarantine(id_, actor="kim", why="looks odd")
    assert tell(store, Feedback(id_, Signal.SETTLED, NOON, "call:a:1", "flow")).quarantined
    stopped = store.get(id_)
    assert stopped is not None
    assert stopped.quarantined_at is not None
