"""Servers that the tests of sessions share; each test has keys or a database of its own."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.sessions.servers import PostgresServer, RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests that do not hurt it."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture
def doomed_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed."""
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def namespace() -> str:
    """Names of keys that no other test has."""
    return uuid.uuid4().hex


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of the test's own."""
    folder = tmp_path / "var"
    monkeypatch.setenv("VOICEBOT_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder
