"""What servers of one bank share, from the settings: Redis where there is one, memory where not."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from loguru import logger

from serving.cache.signature import RULES
from serving.call.live_memory import MemoryLiveState
from serving.call.live_state import LiveState
from serving.errors import InvalidInputError

if TYPE_CHECKING:
    from serving.cache.local import LocalCache
    from serving.language.protocols import Embedder
    from serving.services.cache_sharing import CacheSharing
    from serving.settings import Settings
    from serving.tools.executor import IdempotencyStore


def open_live_state(settings: "Settings") -> LiveState:
    """The calls in progress of all servers of this bank; nothing is asked of Redis yet.

    Raises:
        InvalidInputError: the address of Redis is none.
    """
    url = redis_url(settings)
    if not url:
        return MemoryLiveState()
    from serving.services.redis_state import RedisLiveState

    return RedisLiveState(url, namespace=_namespace(settings))


def open_idempotency_store(settings: "Settings") -> "IdempotencyStore":
    """Where the writes of all servers of this bank are remembered.

    Raises:
        InvalidInputError: the address of Redis is none.
    """
    url = redis_url(settings)
    if not url:
        from serving.tools.executor import MemoryIdempotencyStore

        return MemoryIdempotencyStore()
    from serving.services.redis_writes import RedisIdempotencyStore

    return RedisIdempotencyStore(url, namespace=_namespace(settings))


def open_cache_sharing(settings: "Settings", cache: "LocalCache") -> "CacheSharing | None":
    """What keeps a home's cache and those of the tenant's other servers alike; None where it is not set.

    Args:
        settings: `cache_shared`, `cache_shared_key` and `redis_url` matter.
        cache: of this home; its files are made now if they are not there.

    Raises:
        InvalidInputError: there is no Redis to share through, or its address is none.
        UnavailableError: the cache cannot be written.
    """
    if not settings.cache_shared:
        return None
    url = redis_url(settings)
    if not url:
        raise InvalidInputError(
            "Caches are to be shared, but through no Redis.", advice="Set VOICEBOT_REDIS_URL as well."
        )
    from serving.cache.rule import prior_of
    from serving.services.cache_merge import Merger
    from serving.services.cache_news import Seal
    from serving.services.cache_sharing import CacheSharing
    from serving.services.cache_stream import CacheStream
    from serving.services.redis_link import RedisLink

    namespace = _namespace(settings)
    key = settings.cache_shared_key.get_secret_value().encode() if settings.cache_shared_key else b""
    if not key:
        logger.warning(
            "caches believe everyone who may write to Redis; set VOICEBOT_CACHE_SHARED_KEY on all servers"
        )
    seal, door, embedder = Seal(key, namespace), cache.admission, cache.reader.embedder
    sheets = (door.knowledge.sha256, door.rates.sha256 if door.rates else "", door.signer.lexicon.sha256)
    return CacheSharing(
        cache.writer.store,
        CacheStream(RedisLink(url, namespace=namespace), seal),
        Merger(cache.writer.store, door, embedder, prior=prior_of(cache.reader.rule)),
        seal,
        rules="\n".join((*sheets, RULES, embedder.fingerprint)),
        stored=cache.writer.stored,
    )


@contextmanager
def sharing_its_cache(settings: "Settings", embedder: "Embedder") -> Iterator[None]:
    """Meanwhile a server's cache and those of the tenant's other servers are kept alike, where that is set.

    A server that asks a cache service has none to share.

    Args:
        settings: as for `open_cache_sharing`.
        embedder: the server's.

    Raises:
        InvalidInputError, UnavailableError: as `open_cache_sharing`.
    """
    if not settings.cache_shared or settings.cache_url:
        yield
        return
    from serving.cache.alone import open_cache

    with closing(open_cache(settings, embedder=embedder)) as cache:
        sharing = open_cache_sharing(settings, cache)
        assert sharing is not None
        with sharing:
            yield


def redis_url(settings: "Settings") -> str | None:
    """Address of the Redis that servers share; None where one server is alone."""
    return settings.redis_url


def _namespace(settings: "Settings") -> str:
    """Several banks may share a Redis; braces would mean something to it."""
    return f"voicebot:{settings.tenant.replace('{', '').replace('}', '')}"
