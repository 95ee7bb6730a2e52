"""One suite that every live state passes: in memory, in Redis, and behind a background thread."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.call.live_memory import MemoryLiveState
from serving.call.live_state import KEPT_STATES, LiveSnapshot, LiveState, Sighting, snapshot_of
from serving.errors import UnavailableError
from serving.plain import plain
from serving.services.redis_state import RedisLiveState
from tests.serving.sessions.states import BEGAN, eventually, state

MANY = 100


@pytest.fixture(params=["memory", "redis"])
def live(request: pytest.FixtureRequest, namespace: str) -> Iterator[LiveState]:
    """Each kind of live state, empty."""
    made: LiveState
    if request.param == "memory":
        made = MemoryLiveState()
    else:
        server = request.getfixturevalue("redis_server")
        made = RedisLiveState(server.url, namespace=namespace, timeout_s=5.0)
    yield made
    made.close()


def seen(sightings: Iterator[Sighting | None]) -> list[str]:
    return [sighting.state.happened for sighting in sightings if sighting is not None]


# Admission


def test_no_more_calls_are_admitted_than_there_are_slots(live: LiveState) -> None:
    live.admit("a", 2)
    live.admit("b", 2)
    with pytest.raises(UnavailableError, match="busy") as refused:
        live.admit("c", 2)
    assert refused.value.advice
    live.release("a")
    live.admit("c", 2)


def test_a_slot_is_given_back_once_however_often_it_is_released(live: LiveState) -> None:
    live.admit("a", 2)
    live.admit("b", 2)
    for _ in range(3):
        live.release("a")
    live.release("never admitted")
    live.admit("c", 2)
    with pytest.raises(UnavailableError):
        live.admit("d", 2)


def test_a_call_that_is_admitted_twice_has_one_slot(live: LiveState) -> None:
    live.admit("a", 2)
    live.admit("a", 2)
    live.admit("b", 2)
    live.admit("a", 2)
    live.release("a")
    live.admit("c", 2)


def test_nobody_is_admitted_where_there_are_no_slots(live: LiveState) -> None:
    with pytest.raises(UnavailableError):
        live.admit("a", 0)


def test_a_race_for_the_slots_has_exactly_as_many_winners_as_slots(live: LiveState) -> None:
    gate = threading.Barrier(12)

    def run(number: int) -> bool:
        gate.wait()
        try:
            live.admit(f"call{number}", 5)
        except UnavailableError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(run, range(12))) == 5


def test_a_server_that_drains_takes_no_new_calls_and_finishes_its_own(live: LiveState) -> None:
    assert live.draining is False
    live.admit("a", MANY)
    live.drain()
    assert live.draining is True
    with pytest.raises(UnavailableError, match="closed"):
        live.admit("b", MANY)
    live.publish(state("a", "heard"))
    known = live.get("a")
    assert known is not None
    assert known.happened == "heard"
    live.release("a")
    assert live.calls() == ()


# States


def test_the_newest_state_of_a_call_is_known_until_its_release(live: LiveState) -> None:
    live.admit("a", MANY)
    assert live.get("a") is None
    live.publish(state("a"))
    newest = replace(state("a", "heard", turn=1), decision="tool")
    live.publish(newest)
    assert live.get("a") == newest
    live.release("a")
    assert live.get("a") is None
    assert live.get("unheard of") is None


def test_calls_in_progress_are_listed_oldest_first(live: LiveState) -> None:
    for minutes, call_id in enumerate(["c", "a", "b"]):
        live.admit(call_id, MANY)
        live.publish(state(call_id, began=BEGAN - timedelta(minutes=minutes)))
    live.admit("d", MANY)
    assert [call.call_id for call in live.calls()] == ["b", "a", "c"]


def test_what_comes_after_the_release_does_not_bring_a_call_back(live: LiveState) -> None:
    live.admit("a", 1)
    live.release("a")
    live.publish(state("a", "late"))
    live.publish(state("never admitted"))
    assert live.calls() == ()
    live.admit("b", 1)


# Following


def test_who_follows_sees_the_newest_state_and_all_that_come_until_the_end(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "too early to be seen"))
    live.publish(state("a", "greeting"))
    following = live.follow("a")
    assert next(following).happened == "greeting"
    wanted = [f"turn {number}" for number in range(20)]

    def go_on() -> None:
        for number, happened in enumerate(wanted):
            live.publish(state("a", happened, turn=number))
        live.release("a")

    thread = threading.Thread(target=go_on)
    thread.start()
    assert [snapshot.happened for snapshot in following] == wanted
    thread.join()


def test_several_followers_see_the_same(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a"))
    followers = [live.follow("a") for _ in range(3)]
    firsts = [next(follower) for follower in followers]
    live.publish(state("a", "heard"))
    live.release("a")
    assert firsts == [state("a")] * 3
    assert [list(follower) for follower in followers] == [[state("a", "heard")]] * 3


def test_a_call_that_is_not_in_progress_has_nothing_to_follow(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a"))
    live.release("a")
    assert list(live.follow("a")) == []
    assert list(live.follow("unheard of")) == []
    assert list(live.watch("unheard of", after="1-0")) == []
    assert list(live.watch("unheard of", after="7")) == []


def test_a_call_without_a_state_yet_is_followed_from_its_first_one(live: LiveState) -> None:
    live.admit("a", MANY)
    watching = live.watch("a", pulse_s=0.02)
    assert next(watching) is None
    live.publish(state("a"))
    live.release("a")
    assert seen(watching) == ["greeting"]


def test_a_watcher_that_comes_back_misses_nothing_not_even_the_end(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "one"))
    first = next(live.watch("a"))
    assert first is not None
    for happened in ("two", "three"):
        live.publish(state("a", happened))
    live.release("a")
    again = list(live.watch("a", after=first.position))
    assert seen(iter(again)) == ["two", "three"]
    last = again[-1]
    assert last is not None
    assert seen(live.watch("a", after=last.position)) == []


@pytest.mark.parametrize(
    "position", ["-1", "no position", "1-", "9" * 40, "9" * 40 + "-0", "١٢", "$", "0-0 STREAMS x", "\x00"]
)
def test_a_position_that_is_none_begins_with_the_newest_state(live: LiveState, position: str) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "one"))
    live.publish(state("a", "two"))
    found = next(live.watch("a", after=position, pulse_s=0.02))
    assert found is not None
    assert found.state.happened == "two"


def test_who_watches_a_quiet_call_is_told_so_now_and_then(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a"))
    watching = live.watch("a", pulse_s=0.02)
    assert next(watching) is not None
    assert [next(watching) for _ in range(3)] == [None, None, None]


def test_no_more_states_are_kept_than_one_may_want(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a", "first"))
    first = next(live.watch("a"))
    assert first is not None
    for number in range(KEPT_STATES + 20):
        live.publish(state("a", str(number)))
    live.release("a")
    kept = seen(live.watch("a", after=first.position))
    assert kept[-1] == str(KEPT_STATES + 19)
    assert KEPT_STATES - 1 <= len(kept) <= KEPT_STATES


def test_a_closed_state_lets_its_watchers_go(live: LiveState) -> None:
    live.admit("a", MANY)
    live.publish(state("a"))
    left = threading.Event()

    def follow() -> None:
        list(live.follow("a"))
        left.set()

    threading.Thread(target=follow, daemon=True).start()
    live.close()
    eventually(left.is_set)


def test_a_state_that_can_be_reached_says_so(live: LiveState) -> None:
    live.check()


# A state as JSON

TIMES = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))
WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
SNAPSHOTS = st.builds(
    LiveSnapshot, WORDS, TIMES, TIMES, WORDS, WORDS, WORDS,
    st.integers(0, 10_000), st.integers(0, 10_000), WORDS, WORDS, WORDS,
)  # fmt: skip


@given(SNAPSHOTS)
def test_a_state_survives_its_way_through_json(snapshot: LiveSnapshot) -> None:
    assert snapshot_of({**plain(snapshot), "of a newer version": 1}) == snapshot


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | WORDS, lambda inner: st.lists(inner, max_size=2), max_leaves=3
)


@given(st.dictionaries(st.sampled_from([*plain(state("a"))]), JSON))
def test_what_is_no_state_is_a_value_error(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"live state|isoformat"):
        snapshot_of(data)
