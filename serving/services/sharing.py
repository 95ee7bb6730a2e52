"""What servers of one bank share, from the settings: Redis where there is one, memory where not."""

from typing import TYPE_CHECKING

from serving.call.live_memory import MemoryLiveState
from serving.call.live_state import LiveState

if TYPE_CHECKING:
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


def redis_url(settings: "Settings") -> str | None:
    """Address of the Redis that servers share; None where one server is alone."""
    return settings.redis_url


def _namespace(settings: "Settings") -> str:
    """Several banks may share a Redis; braces would mean something to it."""
    return f"voicebot:{settings.tenant.replace('{', '').replace('}', '')}"
