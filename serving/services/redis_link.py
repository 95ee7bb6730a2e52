"""One way to a Redis server: time limits on every operation, errors in our words, names of our own.

Nothing is asked of the server before the first operation, and a connection that broke is made anew by the
next one. The address may hold a password; no message repeats more of it than host and port.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.errors import InvalidInputError, UnavailableError

TIMEOUT_S = 0.5
"""How long an operation may take, seconds; a healthy server in the same building needs a millisecond."""


class RedisLink:
    """Connections to one server.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database as Redis has them.
        namespace: begins the name of each key; several banks may share a server.
        timeout_s: limit of connecting and of each operation, seconds.

    Raises:
        InvalidInputError: the address is none.
    """

    def __init__(self, url: str, *, namespace: str = "voicebot", timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        # The braces keep all keys on one node of a Redis cluster, where scripts need them.
        self._prefix = f"{{{namespace}}}:"
        self.timeout_s = timeout_s
        self.client: Any = self.connections(timeout_s)
        options = self.client.connection_pool.connection_kwargs
        self.place = options.get("path") or f"{options.get('host')}:{options.get('port', 6379)}"

    def connections(self, timeout_s: float) -> Any:
        """A client with connections of its own, for operations with another limit.

        Typed loosely, because the library declares every answer as one that may have to be awaited.
        """
        try:
            return redis.Redis.from_url(
                self._url,
                socket_timeout=timeout_s,
                socket_connect_timeout=min(timeout_s, self.timeout_s),
                # A server that was started anew has closed our connection; what hangs is not asked twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
                protocol=2,
                decode_responses=True,
                encoding_errors="replace",
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"The address of Redis cannot be read ({type(error).__name__}).",
                advice="Write VOICEBOT_REDIS_URL as redis://USER:PASSWORD@HOST:PORT/DATABASE.",
            ) from None

    def key(self, *parts: str) -> str:
        """The name of a key."""
        return self._prefix + ":".join(parts)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Errors of the operations inside, in our words.

        Raises:
            UnavailableError: the server is gone, hangs, or refuses.
        """
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise UnavailableError(
                f"Redis at {self.place} does not answer ({type(error).__name__}).",
                advice="Check that it is running and that VOICEBOT_REDIS_URL is right.",
            ) from error

    def close(self) -> None:
        """Let the connections go that nobody uses; the others go with their users."""
        self.client.connection_pool.disconnect(inuse_connections=False)
