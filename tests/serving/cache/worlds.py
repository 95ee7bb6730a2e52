"""The kinds of cache that the conformance suite asks, each with real parts."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.cache.local import LocalCache
from serving.cache.remote import RemoteCache
from serving.cache.rule import CosineRule
from serving.services.cache_merge import Merger
from serving.services.cache_news import Seal
from serving.services.cache_service import ServedCache, create_cache_app
from serving.services.cache_sharing import CacheSharing
from serving.services.cache_stream import CacheStream
from serving.services.live_options import options_of
from serving.services.redis_link import RedisLink
from serving.settings import Settings
from serving.telemetry.cache_metrics import CacheCounts
from tests.serving.cache.conformance import OTHER_SIGNATURE, PARAPHRASE, SetClock
from tests.serving.cache.replicas import OFFER, door
from tests.serving.cache_world import WordEmbedder
from tests.serving.sessions.served import serving_app

TOKEN = "a token of the tests"


def embedder() -> WordEmbedder:
    """Puts the paraphrase, and what only looks like one, near the offered question."""
    placed = WordEmbedder()
    placed.place(PARAPHRASE, OFFER.question, 0.9)
    placed.place(OTHER_SIGNATURE, OFFER.question, 0.99)
    return placed


@contextmanager
def local(folder: Path, clock: SetClock, publish_after: int = 2_000) -> Iterator[LocalCache]:
    rule = CosineRule(0.75)
    cache = LocalCache(folder, embedder(), door(), rule, now=clock, publish_after=publish_after)
    with contextlib.closing(cache):
        yield cache


@contextmanager
def shared(
    folder: Path, clock: SetClock, url: str, namespace: str, publish_after: int = 2_000
) -> Iterator[LocalCache]:
    """A cache of its own folder that tells others through Redis."""
    seal = Seal(b"a key of the tests", namespace)
    stream = CacheStream(RedisLink(url, namespace=namespace, timeout_s=2.0), seal)
    with local(folder, clock, publish_after) as cache:
        merger = Merger(cache.writer.store, door(), embedder(), clock)
        with CacheSharing(cache.writer.store, stream, merger, seal, stored=cache.writer.stored):
            yield cache


@contextmanager
def served(
    cache: ServedCache,
    token: str = TOKEN,
    reachable: Callable[[], Mapping[str, bool]] = dict,
    closing: Callable[[], bool] = lambda: False,
    counts: Callable[[], CacheCounts | None] = lambda: None,
) -> Iterator[str]:
    """The service around a cache on a port of this machine; its address."""
    app = create_cache_app(
        cache, options_of(Settings()), token=token, reachable=reachable, closing=closing, counts=counts
    )
    with serving_app(app) as url:
        yield url


@contextmanager
def remote(url: str, token: str = TOKEN) -> Iterator[RemoteCache]:
    """A client with patience enough for a busy machine."""
    with contextlib.closing(RemoteCache(url, token=token, lookup_s=10.0, write_s=10.0)) as client:
        yield client
