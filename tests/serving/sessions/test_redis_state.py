"""A shared live state when things go wrong: servers die, Redis is killed, hangs, or holds rubbish."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from loguru import logger

from serving.errors import InvalidInputError, UnavailableError
from serving.services.redis_state import RedisLiveState
from serving.services.redis_writes import RedisIdempotencyStore
from tests.serving.sessions.servers import RedisServer, free_port
from tests.serving.sessions.states import eventually, state

MANY = 100
TIMEOUT_S = 1.0
"""Generous: a machine that is busy with other tests is no Redis that hangs."""


@contextmanager
def logged() -> Iterator[list[str]]:
    """Warnings and notes of a block."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="INFO", format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


@contextmanager
def server_of(server: RedisServer, namespace: str, *, ttl_s: float = 15.0) -> Iterator[RedisLiveState]:
    live = RedisLiveState(server.url, namespace=namespace, ttl_s=ttl_s, timeout_s=TIMEOUT_S)
    try:
        yield live
    finally:
        live.close()


# Servers that die


def test_the_calls_of_a_dead_server_expire_and_their_slots_with_them(
    redis_server: RedisServer, namespace: str
) -> None:
    with (
        server_of(redis_server, namespace, ttl_s=1.5) as dead,
        server_of(redis_server, namespace, ttl_s=1.5) as other,
    ):
        dead.admit("a", 1)
        dead.publish(state("a"))
        following = other.follow("a")
        next(following)
        with pytest.raises(UnavailableError):
            other.admit("b", 1)
        dead.close()  # nothing renews its calls any more
        assert list(following) == [], "the call ended for those who watched it"
        assert other.calls() == ()
        assert other.get("a") is None
        other.admit("b", 1)


def test_a_server_that_lives_keeps_its_quiet_calls(redis_server: RedisServer, namespace: str) -> None:
    with (
        server_of(redis_server, namespace, ttl_s=1.0) as live,
        server_of(redis_server, namespace, ttl_s=1.0) as other,
    ):
        live.admit("a", 1)
        live.publish(state("a"))
        watching = other.watch("a", pulse_s=0.5)
        assert next(watching) is not None
        assert [next(watching) for _ in range(5)] == [None] * 5, "more than twice its time"
        assert other.get("a") == state("a")
        with pytest.raises(UnavailableError):
            other.admit("b", 1)


# A Redis that is gone


def test_calls_go_on_without_redis_and_are_back_with_it(doomed_redis: RedisServer, namespace: str) -> None:
    with (
        server_of(doomed_redis, namespace, ttl_s=3.0) as live,
        server_of(doomed_redis, namespace, ttl_s=3.0) as monitor,
        logged() as lines,
    ):
        for call_id in ("a", "b"):
            live.admit(call_id, MANY)
            live.publish(state(call_id))
        watching = monitor.watch("a", pulse_s=0.05)
        assert next(watching) is not None

        doomed_redis.kill()
        for turn in range(50):
            live.publish(state("a", f"turn {turn}", turn=turn))
        live.release("b")
        with pytest.raises(UnavailableError, match="does not answer") as refused:
            live.admit("c", MANY)
        assert "VOICEBOT_REDIS_URL" in refused.value.advice
        for ask in (monitor.calls, monitor.check, lambda: monitor.get("a")):
            with pytest.raises(UnavailableError):
                ask()
        assert next(watching) is None, "a watcher waits"
        gone = [line for line in lines if "out of reach" in line]
        assert len(gone) == 1, "it is said once"

        doomed_redis.start()
        eventually(lambda: bool(_calls(monitor)))
        assert [call.happened for call in monitor.calls()] == ["turn 49"], "the newest of what was dropped"
        live.admit("c", 2)
        with pytest.raises(UnavailableError, match="busy"):
            live.admit("d", 2)
        live.release("a")
        assert [found.state.happened for found in watching if found] == ["turn 49"], "and it saw the end"
        assert sum("answers again" in line for line in lines) == 1


def _calls(monitor: RedisLiveState) -> tuple[object, ...]:
    with suppress(UnavailableError):
        return monitor.calls()
    return ()


def test_a_redis_that_hangs_costs_a_call_its_time_limit_once(
    doomed_redis: RedisServer, namespace: str
) -> None:
    with server_of(doomed_redis, namespace) as live:
        live.admit("a", MANY)
        live.publish(state("a"))
        doomed_redis.freeze()
        start = time.perf_counter()
        for turn in range(20):
            live.publish(state("a", turn=turn))
        assert time.perf_counter() - start < 10 * TIMEOUT_S, "half of what twenty would cost"
        start = time.perf_counter()
        with pytest.raises(UnavailableError):
            live.admit("b", MANY)
        assert time.perf_counter() - start < 10 * TIMEOUT_S
        doomed_redis.thaw()
        live.release("a")
        eventually(lambda: _admitted(live, "b"))


def _admitted(live: RedisLiveState, call_id: str) -> bool:
    with suppress(UnavailableError):
        live.admit(call_id, 1)
        return True
    return False


def test_a_slot_that_was_taken_without_an_answer_is_given_back(
    doomed_redis: RedisServer, namespace: str
) -> None:
    with server_of(doomed_redis, namespace, ttl_s=3.0) as live:
        live.check()
        doomed_redis.freeze()
        with pytest.raises(UnavailableError):
            live.admit("a", 1)
        doomed_redis.thaw()  # and now it carries out what it was sent
        eventually(lambda: _admitted(live, "b"))


def test_a_server_without_redis_starts_and_says_what_is_wrong(namespace: str) -> None:
    live = RedisLiveState(f"redis://user:s3cret@127.0.0.1:{free_port()}/0", namespace=namespace)
    with pytest.raises(UnavailableError) as refused:
        live.admit("a", MANY)
    live.release("a")
    live.publish(state("a"))
    live.close()
    assert "127.0.0.1" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["", "s3cret", "http://u:s3cret@h/0", "redis://u:s3cret@h:port/0", "redis://h:99999999/s3cret?db=s3cret"],
)
@pytest.mark.parametrize("kind", [RedisLiveState, RedisIdempotencyStore])
def test_an_address_that_is_none_is_refused_without_its_secret(
    url: str, kind: type[RedisLiveState | RedisIdempotencyStore]
) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        kind(url)
    assert "VOICEBOT_REDIS_URL" in caught.value.advice
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


# A Redis that holds rubbish


RUBBISH = [
    "", "no json", "null", "[]", "{}", "1", '"text"', "[" * 5_000, '{"call_id": "a"}', '{"turn": "1"}',
    '{"call_id": ["a"], "started_at": 3}',
]  # fmt: skip


@pytest.mark.parametrize("line", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_among_the_states_is_passed_over(
    redis_server: RedisServer, namespace: str, line: str
) -> None:
    with server_of(redis_server, namespace) as live, redis.Redis.from_url(redis_server.url) as raw:
        stream = f"{{{namespace}}}:call:a"
        live.admit("a", MANY)
        live.publish(state("a", "one"))
        first = next(live.watch("a"))
        assert first is not None
        raw.xadd(stream, {"state": line})
        raw.xadd(stream, {b"\xff": b"\xff"})
        assert live.get("a") is None
        assert live.calls() == ()
        live.publish(state("a", "two"))
        live.release("a")
        found = [seen.state.happened for seen in live.watch("a", after=first.position) if seen]
        assert found == ["two"]


def test_keys_that_are_something_else_disturb_no_call(redis_server: RedisServer, namespace: str) -> None:
    with server_of(redis_server, namespace) as live, redis.Redis.from_url(redis_server.url) as raw:
        live.admit("a", MANY)
        raw.set(f"{{{namespace}}}:call:a", "not a stream")
        live.publish(state("a"))
        live.release("a")
        raw.set(f"{{{namespace}}}:slots", "not a set")
        with pytest.raises(UnavailableError):
            live.admit("b", MANY)


def test_namespaces_do_not_see_each_other(redis_server: RedisServer, namespace: str) -> None:
    with server_of(redis_server, namespace) as one, server_of(redis_server, namespace + "2") as two:
        one.admit("a", 1)
        one.publish(state("a"))
        two.admit("b", 1)
        assert two.get("a") is None
        assert two.calls() == ()


def test_many_threads_may_use_one_state(redis_server: RedisServer, namespace: str) -> None:
    with server_of(redis_server, namespace, ttl_s=0.3) as live:

        def carry(number: int) -> None:
            call_id = f"call{number}"
            live.admit(call_id, MANY)
            for turn in range(20):
                live.publish(state(call_id, turn=turn))
            live.release(call_id)

        threads = [threading.Thread(target=carry, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert live.calls() == ()
        for number in range(5):
            live.admit(f"later{number}", 5)
