"""Every kind of cache keeps the same promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.cache.conformance import CacheConformance, SetClock, World
from tests.serving.cache.worlds import local, remote, served, shared
from tests.serving.cache_world import SCOPE
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually


class TestInProcess(CacheConformance):
    """Two caches on one folder."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        clock = SetClock()
        with local(tmp_path, clock) as cache, local(tmp_path, clock) as reader:
            cache.create_scope(SCOPE, actor="test")
            yield World(cache, reader, clock)


class TestOverHttp(CacheConformance):
    """Two clients of one service."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        clock = SetClock()
        with (
            local(tmp_path, clock) as cache,
            served(cache) as url,
            remote(url) as client,
            remote(url) as reader,
        ):
            cache.create_scope(SCOPE, actor="test")
            yield World(client, reader, clock)


class TestSharedThroughRedis(CacheConformance):
    """Two replicas, each with a folder of its own."""

    @pytest.fixture
    def world(self, tmp_path: Path, redis_server: RedisServer, namespace: str) -> Iterator[World]:
        clock, url = SetClock(), redis_server.url
        with (
            shared(tmp_path / "a", clock, url, namespace) as cache,
            shared(tmp_path / "b", clock, url, namespace) as reader,
        ):
            cache.create_scope(SCOPE, actor="test")
            eventually(lambda: bool(reader.writer.store.scopes()), within_s=3)
            yield World(cache, reader, clock)
