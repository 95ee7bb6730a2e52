"""The calls in progress of one process, in memory: what a single server needs, and the model for Redis."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from serving.call.live_state import (
    KEPT_STATES,
    LiveSnapshot,
    Sighting,
    all_lines_busy,
    followed,
    lines_closing,
)

_KEPT_ENDED = 64
"""Ended calls whose last states stay for watchers that come back to them."""


@dataclass(slots=True)
class _Log:
    """The newest states of a call."""

    states: deque[tuple[int, LiveSnapshot]] = field(default_factory=lambda: deque(maxlen=KEPT_STATES))
    published: int = 0
    ended: bool = False

    def add(self, snapshot: LiveSnapshot) -> None:
        self.published += 1
        self.states.append((self.published, snapshot))

    def newest(self) -> LiveSnapshot | None:
        return self.states[-1][1] if self.states else None

    def behind(self, position: int) -> list[tuple[int, LiveSnapshot]]:
        return [item for item in self.states if item[0] > position]


class MemoryLiveState:
    """See `serving.call.live_state.LiveState`; nothing here is ever out of reach."""

    def __init__(self) -> None:
        self._calls: dict[str, _Log] = {}
        self._ended: OrderedDict[str, _Log] = OrderedDict()
        self._changed = threading.Condition()
        self._draining = False
        self._closed = False

    @property
    def draining(self) -> bool:
        """See `LiveState.draining`."""
        return self._draining

    def drain(self) -> None:
        """See `LiveState.drain`."""
        with self._changed:
            self._draining = True

    def admit(self, call_id: str, most: int) -> None:
        """See `LiveState.admit`."""
        with self._changed:
            if call_id in self._calls:
                return
            if self._draining:
                raise lines_closing()
            if len(self._calls) >= most:
                raise all_lines_busy()
            self._calls[call_id] = _Log()

    def release(self, call_id: str) -> None:
        """See `LiveState.release`."""
        with self._changed:
            log = self._calls.pop(call_id, None)
            if log is None:
                return
            log.ended = True
            self._ended[call_id] = log
            if len(self._ended) > _KEPT_ENDED:
                self._ended.popitem(last=False)
            self._changed.notify_all()

    def publish(self, snapshot: LiveSnapshot) -> None:
        """See `LiveState.publish`."""
        with self._changed:
            log = self._calls.get(snapshot.call_id)
            if log is not None:
                log.add(snapshot)
                self._changed.notify_all()

    def get(self, call_id: str) -> LiveSnapshot | None:
        """See `LiveState.get`."""
        with self._changed:
            log = self._calls.get(call_id)
            return log.newest() if log else None

    def calls(self) -> tuple[LiveSnapshot, ...]:
        """See `LiveState.calls`."""
        with self._changed:
            known = [newest for log in self._calls.values() if (newest := log.newest()) is not None]
        return tuple(sorted(known, key=lambda state: (state.started_at, state.call_id)))

    def watch(self, call_id: str, *, after: str = "", pulse_s: float = 1.0) -> Iterator[Sighting | None]:
        """See `LiveState.watch`."""
        position = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else None
        with self._changed:
            log = self._calls.get(call_id) or (self._ended.get(call_id) if position is not None else None)
            if log is None:
                return
            if position is None:
                position = max(0, log.published - 1)
        while True:
            with self._changed:
                fresh, ended = log.behind(position), log.ended or self._closed
                if not fresh and not ended:
                    self._wait(log, position, pulse_s)
                    fresh, ended = log.behind(position), log.ended or self._closed
            for position, state in fresh:
                yield Sighting(str(position), state)
            if ended:
                return
            if not fresh:
                yield None

    def _wait(self, log: _Log, position: int, seconds: float) -> None:
        """Until the call has changed; the condition is held, and tells of every call's changes."""
        until = time.monotonic() + seconds
        while log.published <= position and not log.ended and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def follow(self, call_id: str) -> Iterator[LiveSnapshot]:
        """See `LiveState.follow`."""
        return followed(self.watch(call_id))

    def check(self) -> None:
        """See `LiveState.check`; memory always answers."""

    def close(self) -> None:
        """See `LiveState.close`; watchers come to their end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
