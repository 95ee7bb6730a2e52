"""The reading side of the calls in Redis: which are in progress, where they stand, and how that changes.

It writes nothing, so a monitor that only has this cannot disturb a call.
"""

import re
import threading
import time
from collections.abc import Iterator
from enum import Enum
from json import loads

from serving.call.live_state import LiveSnapshot, Sighting, snapshot_of
from serving.errors import UnavailableError
from serving.services.redis_link import RedisLink

_BLOCK_S = 1.0
"""How long a watcher waits in one operation at most, seconds."""
_POSITION = re.compile(r"[0-9]{1,14}-[0-9]{1,10}")
STATE, END = "state", "end"
"""Fields of a stream's entries: a state as JSON, or the mark behind the last one."""


class _Standing(Enum):
    LIVE = 1
    OVER = 2
    UNKNOWN = 3
    """Neither slot nor states: never heard of, or Redis has been started anew."""


class RedisCalls:
    """What is known of the calls of all servers that share a Redis.

    Args:
        link: to the server.
        ttl_s: how long a call is believed in after Redis has lost it, seconds: its server brings it back.

    Attributes:
        slots: key of the sorted set of calls, scored with the time at which they expire.
    """

    def __init__(self, link: RedisLink, *, ttl_s: float) -> None:
        self._link = link
        self._waiting = link.connections(_BLOCK_S + link.timeout_s)
        self._ttl_s = ttl_s
        self._closing = threading.Event()
        self.slots = link.key("slots")

    def stream(self, call_id: str) -> str:
        """Key of the stream of a call's states."""
        return self._link.key("call", call_id)

    def get(self, call_id: str) -> LiveSnapshot | None:
        """See `LiveState.get`."""
        with self._link.asked():
            pipe = self._link.client.pipeline()
            pipe.time().zscore(self.slots, call_id).xrevrange(self.stream(call_id), count=1)
            now, expires, entries = pipe.execute()
        return _state(entries[0][1]) if _alive(now, expires) and entries else None

    def calls(self) -> tuple[LiveSnapshot, ...]:
        """See `LiveState.calls`."""
        with self._link.asked():
            pipe = self._link.client.pipeline()
            now, slots = pipe.time().zrange(self.slots, 0, -1, withscores=True).execute()
            pipe = self._link.client.pipeline(transaction=False)
            for call_id, expires in slots:
                if _alive(now, expires):
                    pipe.xrevrange(self.stream(call_id), count=1)
            newest = [_state(entries[0][1]) for entries in pipe.execute() if entries]
        known = [state for state in newest if state is not None]
        return tuple(sorted(known, key=lambda state: (state.started_at, state.call_id)))

    def watch(self, call_id: str, *, after: str = "", pulse_s: float = 1.0) -> Iterator[Sighting | None]:
        """See `LiveState.watch`."""
        position = after if _POSITION.fullmatch(after) else ""
        standing = self._standing(call_id)
        if standing is _Standing.UNKNOWN or (not position and standing is _Standing.OVER):
            return
        position = position or self._before_newest(call_id)
        heard = sure = time.monotonic()
        while not self._closing.is_set():
            try:
                entries = self._entries(call_id, position, min(pulse_s, _BLOCK_S))
                standing = _Standing.LIVE if entries else self._standing(call_id)
            except UnavailableError:
                if time.monotonic() - heard > 2 * self._ttl_s:
                    raise
                yield None
                self._closing.wait(min(pulse_s, _BLOCK_S))
                continue
            heard = time.monotonic()
            sure = heard if standing is not _Standing.UNKNOWN else sure
            position, seen, ended = _sightings(entries, position)
            yield from seen
            if ended or standing is _Standing.OVER or heard - sure > self._ttl_s:
                return
            if not seen:
                yield None

    def close(self) -> None:
        """Watchers come to their end within a moment."""
        self._closing.set()
        self._waiting.connection_pool.disconnect(inuse_connections=False)

    def _standing(self, call_id: str) -> _Standing:
        with self._link.asked():
            pipe = self._link.client.pipeline()
            now, expires, states = (
                pipe.time().zscore(self.slots, call_id).exists(self.stream(call_id)).execute()
            )
        if _alive(now, expires):
            return _Standing.LIVE
        return _Standing.OVER if states else _Standing.UNKNOWN

    def _before_newest(self, call_id: str) -> str:
        """The position behind which the newest state is the first."""
        with self._link.asked():
            entries = self._link.client.xrevrange(self.stream(call_id), count=2)
        return str(entries[1][0]) if len(entries) == 2 else "0-0"

    def _entries(self, call_id: str, position: str, seconds: float) -> list[tuple[str, dict[str, str]]]:
        """What comes behind a position within some time."""
        milliseconds = max(1, round(seconds * 1000))  # 0 would be for ever
        with self._link.asked():
            found = self._waiting.xread({self.stream(call_id): position}, block=milliseconds)
        return list(found[0][1]) if found else []


def _sightings(entries: list[tuple[str, dict[str, str]]], position: str) -> tuple[str, list[Sighting], bool]:
    """The newest position, the states among entries, and whether the call ended with them."""
    seen: list[Sighting] = []
    for place, data in entries:
        position = place
        if END in data:
            return position, seen, True
        state = _state(data)
        if state is not None:
            seen.append(Sighting(place, state))
    return position, seen, False


def _alive(now: tuple[int, int], expires: float | None) -> bool:
    return expires is not None and now[0] * 1000 + now[1] // 1000 < expires


def _state(entry: dict[str, str]) -> LiveSnapshot | None:
    """The state of a stream's entry; None where somebody wrote something else there."""
    try:
        return snapshot_of(loads(entry[STATE]))
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
        return None
