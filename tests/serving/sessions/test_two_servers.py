"""Two real processes share one Redis: slots, the states of calls, and writes that must not happen twice."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import UnavailableError
from serving.services.redis_state import RedisLiveState
from serving.services.redis_writes import RedisIdempotencyStore
from serving.tools.executor import DuplicateInFlightError
from serving.tools.protocols import Effect, ToolResult
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually, state

ROOT = Path(__file__).resolve().parents[3]


class OtherServer:
    """A process that does what it is told."""

    def __init__(self, url: str, namespace: str, book: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving.sessions.other_server", url, namespace, str(book)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self._answers = self.process.stdout
        assert self._line() == "ready"

    def tell(self, *operation: object) -> None:
        """Begin an operation."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(operation) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of it."""
        return dict(json.loads(self._line()))

    def do(self, *operation: object) -> dict[str, Any]:
        self.tell(*operation)
        return self.answer()

    def _line(self) -> str:
        assert self._answers is not None
        return self._answers.readline().strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Where writes leave their lines."""
    return tmp_path / "book"


@pytest.fixture
def two(redis_server: RedisServer, namespace: str, book: Path) -> Iterator[tuple[OtherServer, OtherServer]]:
    """Two servers, each in a process of its own."""
    servers = [OtherServer(redis_server.url, namespace, book) for _ in range(2)]
    yield servers[0], servers[1]
    for server in servers:
        server.stop()


@pytest.fixture
def here(redis_server: RedisServer, namespace: str) -> Iterator[RedisLiveState]:
    """A monitor in this process."""
    live = RedisLiveState(redis_server.url, namespace=namespace, timeout_s=5.0)
    yield live
    live.close()


def test_two_servers_that_race_admit_as_many_calls_as_there_are_slots(
    two: tuple[OtherServer, OtherServer], here: RedisLiveState
) -> None:
    one, other = two
    one.tell("admitted", "one", 60, 50)
    other.tell("admitted", "other", 60, 50)
    counts = [one.answer()["ok"], other.answer()["ok"]]
    assert sum(counts) == 50, counts
    with pytest.raises(UnavailableError):
        here.admit("here", 50)
    one.do("release", "one0")
    other.do("release", "other0")
    here.admit("here", 50)


def test_a_call_on_one_server_is_followed_from_another_process(
    two: tuple[OtherServer, OtherServer], here: RedisLiveState
) -> None:
    one, _ = two
    one.do("admit", "a", 10)
    one.do("publish", "a", "greeting", 0)
    following = here.follow("a")
    assert next(following) == state("a", "greeting")
    for turn in range(1, 6):
        one.tell("publish", "a", "heard", turn)
    one.tell("release", "a")
    assert [found.turn for found in following] == [1, 2, 3, 4, 5]
    assert here.calls() == ()


def test_a_server_that_drains_refuses_and_the_other_goes_on(two: tuple[OtherServer, OtherServer]) -> None:
    one, other = two
    one.do("drain")
    assert one.do("admit", "a", 10)["error"] == "UnavailableError"
    assert other.do("admit", "a", 10) == {"ok": None}


def test_a_server_that_is_killed_holds_its_slots_no_longer_than_its_time(
    redis_server: RedisServer, namespace: str, two: tuple[OtherServer, OtherServer]
) -> None:
    one, _ = two
    one.do("admit", "a", 1)
    one.do("publish", "a", "greeting", 0)
    with pytest.raises(UnavailableError):
        RedisLiveState(redis_server.url, namespace=namespace, timeout_s=5.0).admit("b", 1)
    one.stop()
    # The time itself is measured in test_redis_state; here Redis says that it runs.
    import redis

    with redis.Redis.from_url(redis_server.url) as raw:
        assert 0 < raw.pttl(f"{{{namespace}}}:call:a") <= 30_000
        seconds, _ = raw.time()
        assert 0 < raw.zscore(f"{{{namespace}}}:slots", "a") / 1000 - seconds <= 16


# Writes


def test_a_write_that_runs_on_one_server_is_refused_by_the_other_and_answered_afterwards(
    two: tuple[OtherServer, OtherServer], redis_server: RedisServer, namespace: str
) -> None:
    one, other = two
    here = RedisIdempotencyStore(redis_server.url, namespace=namespace, timeout_s=5.0)
    assert one.do("begin", "key") == {"ok": None}
    assert other.do("begin", "key")["error"] == "DuplicateInFlightError"
    with pytest.raises(DuplicateInFlightError):
        here.begin("key")
    one.do("finish", "key", {"blocked": True})
    assert other.do("begin", "key")["ok"]["value"] == {"blocked": True}
    assert here.begin("key") == ToolResult("block_card", {}, {"blocked": True}, "", 0.1, Effect.WRITE, "key")
    here.close()


def test_a_write_that_failed_may_be_tried_on_the_other_server(two: tuple[OtherServer, OtherServer]) -> None:
    one, other = two
    one.do("begin", "key")
    one.do("fail", "key")
    assert other.do("begin", "key") == {"ok": None}
    assert one.do("begin", "key")["error"] == "DuplicateInFlightError"


def test_the_write_of_a_server_that_died_in_the_middle_is_not_repeated(
    two: tuple[OtherServer, OtherServer],
) -> None:
    one, other = two
    one.do("begin", "key")
    one.stop()
    assert other.do("begin", "key")["error"] == "DuplicateInFlightError"


def test_executors_of_two_servers_run_a_write_once_between_them(
    two: tuple[OtherServer, OtherServer], book: Path
) -> None:
    reasons = [f"reason {number}" for number in range(25)]
    for reason in reasons:
        for server in two:
            server.tell("execute", reason)
    answers = [server.answer()["ok"] for _ in reasons for server in two]
    assert sorted(book.read_text().splitlines()) == sorted(reasons)
    done = [answer for answer in answers if not answer["error"]]
    assert len(done) >= len(reasons)
    assert {answer["error"] for answer in answers} <= {"", "The same request is already being carried out."}
    for server in two:
        assert server.do("execute", reasons[0])["ok"]["value"] == {"blocked": reasons[0]}


# The store alone


def test_without_redis_no_write_begins_and_none_is_lost(doomed_redis: RedisServer, namespace: str) -> None:
    store = RedisIdempotencyStore(doomed_redis.url, namespace=namespace, timeout_s=1.0)
    other = RedisIdempotencyStore(doomed_redis.url, namespace=namespace, timeout_s=1.0)
    assert store.begin("before") is None
    doomed_redis.kill()
    with pytest.raises(UnavailableError):
        store.begin("during")
    result = ToolResult("block_card", {}, {"done": 1}, "", 0.0, Effect.WRITE, "before")
    with pytest.raises(UnavailableError):
        store.finish("before", result)
    assert store.begin("before") == result, "this process knows"
    doomed_redis.start()
    assert store.begin("during") is None, "a key of which nobody knew whether it was taken is ours"
    assert other.begin("before") == result, "what could not be sent was sent later"
    with pytest.raises(DuplicateInFlightError):
        other.begin("during")
    store.close()
    other.close()


def test_a_claim_whose_answer_was_lost_can_be_taken_again_by_its_server_only(
    doomed_redis: RedisServer, namespace: str
) -> None:
    store = RedisIdempotencyStore(doomed_redis.url, namespace=namespace, timeout_s=1.0)
    other = RedisIdempotencyStore(doomed_redis.url, namespace=namespace, timeout_s=1.0)
    store.begin("connected, and the script known")
    other.begin("so here")
    doomed_redis.freeze()
    with pytest.raises(UnavailableError):
        store.begin("key")
    doomed_redis.thaw()

    def taken() -> bool:
        try:
            other.begin("key")
        except DuplicateInFlightError:
            return True
        except UnavailableError:  # it has not woken up yet
            return False
        raise AssertionError("the claim was lost")

    eventually(taken)
    assert store.begin("key") is None
    store.close()
    other.close()
