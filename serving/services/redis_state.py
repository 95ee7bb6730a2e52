"""Calls in progress of all servers that share one Redis: slots, newest states, and who follows them.

A slot is a member of one sorted set, scored with the time at which it expires by Redis' own clock; the
states of a call are a stream. Whoever admitted a call renews both until it is released, so what a dead
server leaves is gone after `ttl_s`, and what Redis forgot when it was started anew comes back by itself.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import dumps

from loguru import logger

from serving.call.faults import fault
from serving.call.live_state import (
    KEPT_STATES,
    LiveSnapshot,
    Sighting,
    all_lines_busy,
    followed,
    lines_closing,
)
from serving.errors import UnavailableError
from serving.plain import plain
from serving.services.redis_calls import RedisCalls
from serving.services.redis_link import TIMEOUT_S, RedisLink

TTL_S = 15.0
"""Seconds after which the calls of a server that says nothing are gone."""
_RETRY_S = 1.0
"""How long a server that did not answer is left alone, seconds."""
_LINGER_MS = 60_000
"""How long the states of an ended call stay, for watchers that come back to them."""

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""
_ADMIT = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)
_PUBLISH = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], '*', 'state', ARGV[4])
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[2]))
"""
)
_RELEASE = """
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XADD', KEYS[2], '*', 'end', '1')
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
"""
_RENEW = (
    _NOW
    + """
local unknown = {}
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i])
  if redis.call('PEXPIRE', KEYS[i], 2 * tonumber(ARGV[1])) == 0 then
    table.insert(unknown, ARGV[i])
  end
end
return unknown
"""
)


@dataclass(slots=True)
class _Own:
    """A call that this server admitted."""

    newest: LiveSnapshot | None = None
    stored: bool = True


class RedisLiveState:
    """See `serving.call.live_state.LiveState`.

    While Redis is gone, calls in progress go on, states are dropped, and new calls are refused.

    Args:
        url: of the server (see `serving.services.redis_link`).
        namespace: begins the name of each key; servers that share calls have the same.
        ttl_s: after this long without a sign of their server calls are gone, seconds.
        timeout_s: limit of each operation, seconds.

    Raises:
        InvalidInputError: the address is none.
    """

    def __init__(
        self, url: str, *, namespace: str = "voicebot", ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._link = RedisLink(url, namespace=namespace, timeout_s=timeout_s)
        self._calls = RedisCalls(self._link, ttl_s=ttl_s)
        self._ttl_s = ttl_s
        script = self._link.client.register_script
        self._admit, self._renew = script(_ADMIT), script(_RENEW)
        self._publish, self._release = script(_PUBLISH), script(_RELEASE)
        self._own: dict[str, _Own] = {}
        self._to_release: set[str] = set()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        """Held while states are sent, so that an older one never follows a newer one."""
        self._gone_until = 0.0
        self._gone = False
        self._draining = False
        self._closing = threading.Event()
        self._hurry = threading.Event()
        """Something was not sent: the next round comes soon."""
        self._keeper: threading.Thread | None = None

    @property
    def draining(self) -> bool:
        """See `LiveState.draining`."""
        return self._draining

    def drain(self) -> None:
        """See `LiveState.drain`."""
        self._draining = True

    def admit(self, call_id: str, most: int) -> None:
        """See `LiveState.admit`."""
        with self._lock:
            if call_id in self._own:
                return
            if self._draining:
                raise lines_closing()
            if len(self._own) >= most:  # also where Redis has just forgotten them
                raise all_lines_busy()
        try:
            with self._link.asked():
                taken = self._admit([self._calls.slots], [call_id, most, self._ttl_ms])
        except UnavailableError as error:
            self._lost(error)
            with self._lock:
                self._to_release.add(call_id)  # it may have been admitted, and the answer lost
                self._keep()
            raise
        self._found()
        if not taken:
            raise all_lines_busy()
        with self._lock:
            self._to_release.discard(call_id)
            self._own[call_id] = _Own()
            self._keep()

    def release(self, call_id: str) -> None:
        """See `LiveState.release`."""
        with self._lock:
            if self._own.pop(call_id, None) is None:
                return
            self._to_release.add(call_id)
        self._try(lambda: self._send_release(call_id))

    def publish(self, snapshot: LiveSnapshot) -> None:
        """See `LiveState.publish`."""
        with self._lock:
            own = self._own.get(snapshot.call_id)
            if own is None:
                return
            own.newest, own.stored = snapshot, False
        self._try(lambda: self._send_newest(snapshot.call_id, own))

    def get(self, call_id: str) -> LiveSnapshot | None:
        """See `LiveState.get`."""
        return self._calls.get(call_id)

    def calls(self) -> tuple[LiveSnapshot, ...]:
        """See `LiveState.calls`."""
        return self._calls.calls()

    def watch(self, call_id: str, *, after: str = "", pulse_s: float = 1.0) -> Iterator[Sighting | None]:
        """See `LiveState.watch`."""
        return self._calls.watch(call_id, after=after, pulse_s=pulse_s)

    def follow(self, call_id: str) -> Iterator[LiveSnapshot]:
        """See `LiveState.follow`."""
        return followed(self._calls.watch(call_id))

    def check(self) -> None:
        """See `LiveState.check`."""
        with self._link.asked():
            self._link.client.ping()

    def close(self) -> None:
        """See `LiveState.close`."""
        self._closing.set()
        self._hurry.set()
        if self._keeper is not None:
            self._keeper.join(4 * self._link.timeout_s)
        self._calls.close()
        self._link.close()

    # What this server keeps alive

    @property
    def _ttl_ms(self) -> int:
        return round(self._ttl_s * 1000)

    def _keep(self) -> None:
        """Have the thread that renews; the lock is held."""
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._renew_all, name="live-calls", daemon=True)
            self._keeper.start()

    def _renew_all(self) -> None:
        while not self._closing.is_set():
            if self._hurry.wait(self._ttl_s / 3):
                self._hurry.clear()
                self._closing.wait(min(self._ttl_s / 3, _RETRY_S))
            if not self._closing.is_set():
                self._try(self._send_all, at_once=True)

    def _send_all(self) -> None:
        with self._lock:
            released = list(self._to_release)
        for call_id in released:
            self._send_release(call_id)
        with self._sending, self._link.asked():  # a release meanwhile is sent after this, and so is the last
            with self._lock:
                own = dict(self._own)
            keys = [self._calls.slots, *(self._calls.stream(call_id) for call_id in own)]
            unknown = set(self._renew(keys, [self._ttl_ms, *own]))
        for call_id, call in own.items():
            if not call.stored or call_id in unknown:
                self._send_newest(call_id, call)

    def _send_newest(self, call_id: str, own: _Own) -> None:
        with self._sending:
            own.stored = True  # first: a newer one that comes from here on is noticed
            state = own.newest
            if state is None or call_id not in self._own:
                return
            line = dumps(plain(state))
            try:
                with self._link.asked():
                    keys = [self._calls.slots, self._calls.stream(call_id)]
                    self._publish(keys, [call_id, self._ttl_ms, KEPT_STATES, line])
            except UnavailableError:
                own.stored = False
                raise

    def _send_release(self, call_id: str) -> None:
        with self._sending, self._link.asked():
            if call_id in self._own:  # admitted since, at another try
                return
            self._release([self._calls.slots, self._calls.stream(call_id)], [call_id, _LINGER_MS])
        with self._lock:
            self._to_release.discard(call_id)

    def _try(self, send: Callable[[], None], *, at_once: bool = False) -> None:
        """Send what may be lost; a server that did not answer a moment ago is not asked again yet."""
        if not at_once and self._gone and time.monotonic() < self._gone_until:
            return
        try:
            send()
        except UnavailableError as error:
            self._lost(error)
        except Exception as error:  # a call does not end for what monitors want to know
            logger.error("live state was not sent: {}", fault("redis", error))
        else:
            self._found()

    def _lost(self, error: UnavailableError) -> None:
        self._gone_until = time.monotonic() + _RETRY_S
        self._hurry.set()
        if not self._gone:
            self._gone = True
            logger.warning(
                "live state is out of reach, calls go on and new ones are refused: {}", error.message
            )

    def _found(self) -> None:
        if self._gone:
            self._gone = False
            logger.info("Redis at {} answers again", self._link.place)
