"""A real Redis, and replicas that share it, for the tests that need them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.cache.replicas import Make, Replica
from tests.serving.sessions.conftest import doomed_redis, namespace, redis_server
from tests.serving.sessions.servers import RedisServer

__all__ = ["doomed_redis", "namespace", "redis_server"]


@pytest.fixture
def make(tmp_path: Path, redis_server: RedisServer, namespace: str) -> Iterator[Make]:
    """Replicas by name; the same name is the same folder."""
    made: list[Replica] = []

    def replica(name: str, **how: object) -> Replica:
        url = str(how.pop("url", redis_server.url))
        made.append(Replica(tmp_path / name, url, namespace, **how))  # type: ignore[arg-type]  # by name
        return made[-1]

    yield replica
    for it in made:
        it.stop()


@pytest.fixture
def two(make: Make) -> tuple[Replica, Replica]:
    return make("a"), make("b")
