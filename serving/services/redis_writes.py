"""Idempotency keys that all servers share: no two of them run the same write (design D8).

A claim stays until its result replaces it or the write failed; the claim of a server that died in the middle
stays as well, because nobody knows how far it came. What Redis forgets, this process still knows.
"""

import threading
import uuid
from collections import OrderedDict
from json import dumps, loads
from typing import Any

from serving.errors import IntegrityError, UnavailableError
from serving.plain import plain
from serving.services.redis_link import TIMEOUT_S, RedisLink
from serving.tools.executor import REMEMBERED_WRITES, DuplicateInFlightError
from serving.tools.protocols import Effect, ToolResult

KEPT_S = 24 * 3600.0
"""How long claims and results stay, seconds; a call is over long before."""
_CLAIM = "claim:"

_BEGIN = """
local there = redis.call('GET', KEYS[1])
if not there or there == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return false
end
return there
"""
_FREE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
"""


class RedisIdempotencyStore:
    """See `serving.tools.executor.IdempotencyStore`. Thread-safe; each operation has a time limit.

    Without Redis no write begins. Results outlive a new start of Redis only where it keeps its data on disk
    (`appendonly yes`).

    Args:
        url: of the server (see `serving.services.redis_link`).
        namespace: begins the name of each key; servers that share calls have the same.
        timeout_s: limit of each operation, seconds.
        kept_s: how long claims and results stay, seconds.

    Raises:
        InvalidInputError: the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "voicebot",
        timeout_s: float = TIMEOUT_S,
        kept_s: float = KEPT_S,
    ) -> None:
        self._link = RedisLink(url, namespace=namespace, timeout_s=timeout_s)
        self._begin = self._link.client.register_script(_BEGIN)
        self._free = self._link.client.register_script(_FREE)
        self._kept_ms = round(kept_s * 1000)
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        """Claims of writes that run here."""
        self._unsure: OrderedDict[str, str] = OrderedDict()
        """Claims that Redis may hold although nothing runs: its answer was lost."""
        self._done: OrderedDict[str, ToolResult] = OrderedDict()
        self._unsent: set[str] = set()
        """Keys of results that Redis does not have yet."""

    def begin(self, key: str) -> ToolResult | None:
        """See `IdempotencyStore.begin`.

        Raises:
            DuplicateInFlightError: the write is running, here or elsewhere.
            IntegrityError: what is stored under the key is neither a claim nor a result.
            UnavailableError: Redis does not answer; the write must not run.
        """
        with self._lock:
            if key in self._done:
                return self._done[key]
            if key in self._running:
                raise _in_flight()
            claim = self._unsure.pop(key, None) or _CLAIM + uuid.uuid4().hex
            self._running[key] = claim
        self._send_unsent()
        try:
            with self._link.asked():
                there = self._begin([self._name(key)], [claim, self._kept_ms])
        except UnavailableError:
            with self._lock:
                del self._running[key]
                _remember(self._unsure, key, claim)
            raise
        if there is None:
            return None
        with self._lock:
            del self._running[key]
        if there.startswith(_CLAIM):
            raise _in_flight()
        return _result(there)

    def finish(self, key: str, result: ToolResult) -> None:
        """See `IdempotencyStore.finish`.

        Raises:
            UnavailableError: Redis does not answer. This process knows the result and sends it later; for
                the others the write stays in flight.
        """
        with self._lock:
            claim = self._running.pop(key, "")
            if result.ok:
                _remember(self._done, key, result)
                self._unsent.add(key)
            elif claim:
                _remember(self._unsure, key, claim)
        if result.ok:
            self._send(key, result)
        elif claim:
            with self._link.asked():
                self._free([self._name(key)], [claim])
            with self._lock:
                self._unsure.pop(key, None)

    def close(self) -> None:
        """Send what is unsent, as far as it goes, and let the connections go."""
        self._send_unsent()
        self._link.close()

    def _name(self, key: str) -> str:
        return self._link.key("write", key)

    def _send(self, key: str, result: ToolResult) -> None:
        with self._link.asked():
            self._link.client.set(self._name(key), dumps(plain(result)), px=self._kept_ms)
        with self._lock:
            self._unsent.discard(key)

    def _send_unsent(self) -> None:
        with self._lock:
            unsent = [(key, self._done[key]) for key in self._unsent if key in self._done]
        for key, result in unsent:
            try:
                self._send(key, result)
            except UnavailableError:
                return


def _remember(items: "OrderedDict[str, Any]", key: str, item: object) -> None:
    items[key] = item
    if len(items) > REMEMBERED_WRITES:
        items.popitem(last=False)


def _in_flight() -> DuplicateInFlightError:
    return DuplicateInFlightError("The same request is already being carried out.")


def _result(line: str) -> ToolResult:
    try:
        data = loads(line)
        return ToolResult(**{**data, "effect": Effect(data["effect"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(
            f"The stored result of a write cannot be read ({type(error).__name__}).",
            advice="Look into the bank's own books whether it was done.",
        ) from None
