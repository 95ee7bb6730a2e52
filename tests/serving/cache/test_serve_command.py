"""`cache-manager serve` as a process: it says where it is, answers, and stops in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from serving.cache.alone import open_cache, scope_of
from serving.cache.protocol import Offer
from serving.cache.types import Outcome
from serving.language.encoder import SentenceEncoder
from serving.services.sharing import open_cache_sharing
from serving.settings import Settings
from tests.serving.cache.worlds import remote
from tests.serving.sessions.servers import RedisServer
from tests.serving.sessions.states import eventually

ROOT = Path(__file__).resolve().parents[3]


def command(home: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    chosen = {f"VOICEBOT_{name.upper()}": value for name, value in settings.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "serving.cli.cache", "serve", *arguments],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "VOICEBOT_HOME": str(home), **chosen},
    )  # fmt: skip


@contextmanager
def service(home: Path, **settings: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = command(home, "--port", "0", **settings)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "is served at" in line)
        yield line.split(" at ")[1].split(" ")[0], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.mark.slow
def test_two_services_share_what_their_callers_learn_and_stop_when_told(
    home: Path, tmp_path: Path, redis_server: RedisServer, namespace: str, encoder: SentenceEncoder
) -> None:
    shared = {
        "cache_shared": "true", "cache_shared_key": "k", "redis_url": redis_server.url,
        "tenant": namespace, "cache_token": "t", "encoder_backend": "torch",  # that of `encoder` here
    }  # fmt: skip
    with (
        service(home, **shared) as (one, process),
        service(tmp_path / "other", **shared) as (other, _),
        remote(one, "t") as here,
        remote(other, "t") as there,
    ):
        with closing(open_cache(Settings(home=home), embedder=encoder)) as cache:
            scope = scope_of(cache, tenant=namespace)
            cache.create_scope(scope, actor="test")  # another process writes; the service tells
            answer = next(it for it in cache.admission.knowledge.answers if it.cacheability == "semantic")
            query = cache.query(answer.questions[0], answer.intent)
        offer = Offer(answer.questions[0], answer.intent, answer.text, answer.disclosures)
        assert here.insert(offer, scope, actor="test").entry is not None
        eventually(lambda: there.lookup(query, scope).outcome is Outcome.HIT)
        assert httpx.get(f"{one}/healthz").json()["redis"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert there.lookup(query, scope).outcome is Outcome.HIT


def test_without_a_token_it_listens_for_this_machine_only(home: Path) -> None:
    process = command(home, "--host", "0.0.0.0", "--port", "0")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "VOICEBOT_CACHE_TOKEN" in told
    assert not (home / "cache").exists()


def test_caches_that_are_to_be_shared_through_no_redis_are_a_mistake(
    home: Path, encoder: SentenceEncoder
) -> None:
    from serving.errors import InvalidInputError

    settings = Settings(home=home, cache_shared=True)
    with (
        closing(open_cache(settings, embedder=encoder)) as cache,
        pytest.raises(InvalidInputError, match="Redis"),
    ):
        open_cache_sharing(settings, cache)
    with closing(open_cache(Settings(home=home), embedder=encoder)) as cache:
        assert open_cache_sharing(Settings(home=home), cache) is None
