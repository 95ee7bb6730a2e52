"""Replicas in processes of their own on a real Redis: killed, started again, and alike afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.cache.replicas import QUESTIONS
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually

ROOT = Path(__file__).resolve().parents[3]
SOON_S = 1.0


class OtherReplica:
    """A process with a cache of its own."""

    def __init__(self, folder: Path, url: str, namespace: str) -> None:
        self._command = [
            sys.executable,
            "-m",
            "tests.serving.cache.other_replica",
            str(folder),
            url,
            namespace,
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._answers.readline().strip() == "ready"

    @property
    def _answers(self) -> Any:
        return self._process.stdout

    def tell(self, *operation: object) -> None:
        """Begin an operation."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(operation) + "\n")
        self._process.stdin.flush()

    def do(self, *operation: object) -> Any:
        self.tell(*operation)
        return json.loads(self._answers.readline())

    def state(self) -> dict[str, Any]:
        return dict(self.do("state"))

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def two(
    tmp_path: Path, doomed_redis: RedisServer, namespace: str
) -> Iterator[tuple[OtherReplica, OtherReplica]]:
    replicas = [OtherReplica(tmp_path / name, doomed_redis.url, namespace) for name in "ab"]
    yield replicas[0], replicas[1]
    for replica in replicas:
        replica.kill()


def alike(one: OtherReplica, other: OtherReplica, within_s: float = 5.0) -> dict[str, Any]:
    eventually(lambda: one.state() == other.state(), within_s=within_s)
    return one.state()


def test_what_one_process_learns_the_other_holds_within_a_second(
    two: tuple[OtherReplica, OtherReplica],
) -> None:
    here, there = two
    alike(here, there)
    first, second = here.do("insert", *QUESTIONS[:2])
    eventually(lambda: set(there.state()) == {first, second}, within_s=SOON_S)
    there.do("wrong", first)
    eventually(lambda: here.state()[first][1] is True, within_s=SOON_S)
    here.do("remove", second)
    eventually(lambda: set(there.state()) == {first}, within_s=SOON_S)


@pytest.mark.parametrize("after", [0, 1, 5, 20])
def test_a_replica_that_is_killed_while_it_learns_holds_everything_when_it_is_back(
    two: tuple[OtherReplica, OtherReplica], after: int
) -> None:
    here, there = two
    (first,) = here.do("insert", QUESTIONS[0])
    eventually(lambda: first in there.state())
    here.tell("insert", *QUESTIONS[1:101])
    eventually(lambda: len(there.state()) > after)
    there.kill()  # in the middle of a hundred
    here._answers.readline()
    here.do("quarantine", first)
    there.start()
    found = alike(here, there, within_s=10)
    assert len(found) == 101
    assert found[first][1] is True


def test_what_a_killed_replica_had_on_disk_is_told_when_it_is_back(
    two: tuple[OtherReplica, OtherReplica],
) -> None:
    here, there = two
    alike(here, there)
    for number in range(5):
        ids = here.do("insert", *QUESTIONS[number * 20 : number * 20 + 20])
        here.kill()  # told or not
        here.start()
        eventually(lambda ids=ids: set(ids) <= set(there.state()))
    assert len(alike(here, there)) == 100


def test_all_are_alike_after_redis_and_a_replica_were_killed_at_once(
    two: tuple[OtherReplica, OtherReplica], doomed_redis: RedisServer
) -> None:
    here, there = two
    ids = here.do("insert", *QUESTIONS[:10])
    eventually(lambda: len(there.state()) == 10)
    there.kill()
    here.do("quarantine", ids[0])
    here.do("remove", ids[1])
    doomed_redis.kill()
    here.do("insert", *QUESTIONS[10:15])
    assert len(here.state()) == 14  # it goes on
    doomed_redis.start()
    there.start()
    there.do("insert", *QUESTIONS[15:20])
    found = alike(here, there, within_s=10)
    assert len(found) == 19
    assert found[ids[0]][1] is True
