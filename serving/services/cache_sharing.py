"""Keeping the caches of several replicas alike: each has its own files and tells the others through Redis.

A thread tells what changed here and merges what changed elsewhere. While Redis is gone each cache goes on by
itself; what was not told waits in its file. Quarantine and removals are merged before answers, which take
time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from loguru import logger

from serving.cache.store import CacheStore
from serving.call.faults import fault
from serving.errors import IntegrityError, UnavailableError
from serving.services.cache_changes import (
    Place,
    merging,
    place,
    prepare,
    tell_what_they_lack,
    told,
    untold,
    whole_state,
)
from serving.services.cache_merge import Merger
from serving.services.cache_news import News, Seal
from serving.services.cache_stream import CacheStream

PULSE_S = 0.1
"""How long news are waited for before this replica looks whether it has some itself, seconds."""
_RETRY_S = 0.3
"""How long Redis is left alone after it did not answer, seconds."""
_MOST_TOLD = 200
_MOST_ANSWERS = 16
"""Answers that are judged and embedded between two looks at what is urgent."""
_STATE_EVERY_S = 5.0
_NOTE_EVERY_S = 1.0
_LAST_WORDS_S = 2.0


@dataclass(slots=True)
class _Reading:
    """Where in the stream this replica is, and which news it still has to merge.

    Attributes:
        newest: place of the last message that was read.
        waiting: answers and observations that were read and are not merged yet, oldest first.
        noted: the place that the store knows; it moves when nothing waits, so that a crash loses no news.
        note_at: when it is noted even if nothing was merged, monotonic seconds.
    """

    epoch: str
    newest: str
    waiting: deque[News]
    noted: str = ""
    note_at: float = 0.0


class CacheSharing:
    """Tells and merges in a thread of its own; use it as a context manager.

    Args:
        store: of this replica, for writing.
        stream: of the tenant.
        merger: puts news into the store.
        seal: of the tenant's replicas.
        rules: changes with everything by which news are judged here; after a change all are judged again.
        stored: told how many entries were stored.
    """

    def __init__(
        self,
        store: CacheStore,
        stream: CacheStream,
        merger: Merger,
        seal: Seal,
        *,
        rules: str = "",
        stored: Callable[[int], None] = lambda _entries: None,
    ) -> None:
        self._store = store
        self._stream = stream
        self._merger = merger
        self._seal = seal
        self._rules = rules
        self._stored = stored
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cache-sharing", daemon=True)
        self._reading: _Reading | None = None
        self._look_at_state = 0.0
        self._trouble = ""

    def __enter__(self) -> Self:
        prepare(self._store)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Tell what is untold, as far as Redis answers, and stop."""
        self._stop.set()
        self._thread.join(_LAST_WORDS_S)
        self._stream.close()

    def check(self) -> None:
        """Raise where Redis does not answer."""
        self._stream.check()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self._round)
        self._try(self._tell)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the thread must live; what failed is tried again
            self._reading = None  # begun again from the place that is noted
            known = error.message if isinstance(error, UnavailableError) else fault("cache sharing", error)
            if known != self._trouble:
                logger.warning("caches do not hear of each other for now: {}", known)
            self._trouble = known
            self._stop.wait(_RETRY_S)
        else:
            if self._trouble:
                logger.info("caches hear of each other again")
            self._trouble = ""

    def _round(self) -> None:
        """One round: tell, read, merge what is urgent and a few answers; now and then leave a whole state."""
        reading = self._reading = self._reading or self._resumed() or self._rejoined()
        if reading is None:
            self._stop.wait(PULSE_S)
            return
        self._tell()
        wait_s = 0.0 if reading.waiting else PULSE_S
        messages = self._stream.read(reading.epoch, reading.newest, wait_s=wait_s)
        if messages is None:
            self._reading = self._rejoined()
            if self._reading is None:
                self._stop.wait(PULSE_S)
            return
        if messages.positions:
            reading.newest = messages.positions[-1]
        found = [news for text in messages.texts if text and (news := self._read(text)) is not None]
        self._merge(reading, self._merger.unheard(found) if found else [])
        if not messages.positions and not reading.waiting:
            self._leave_state()

    def _tell(self) -> None:
        changes = untold(self._store, _MOST_TOLD)
        if changes:
            self._stream.tell([news for news in changes.values() if news is not None])
            told(self._store, changes)

    def _merge(self, reading: _Reading, found: Iterable[News]) -> None:
        """Merge what is urgent of the news found, and some of what waits."""
        urgent = []
        for news in found:
            if news.offers or news.feedback is not None:
                reading.waiting.append(news)
            if news.standing is not None or not news.offers:
                urgent.append(replace(news, content=None if news.offers else news.content, feedback=None))
        some = [reading.waiting.popleft() for _ in range(min(_MOST_ANSWERS, len(reading.waiting)))]
        now = time.monotonic()
        at = None
        if not reading.waiting and reading.noted != reading.newest:
            # What this replica told itself comes back, too, and is no reason to write at once.
            at = Place(reading.epoch, reading.newest, self._rules)
        if urgent or some or (at is not None and now >= reading.note_at):
            stored = self._merger.merge([*urgent, *some], self._merger.judged(some), at)
            reading.noted = at.position if at is not None else reading.noted
            reading.note_at = now + _NOTE_EVERY_S
            self._stored(stored)

    def _read(self, text: str) -> News | None:
        try:
            news = self._seal.read(text)
        except IntegrityError:
            self._merger.refuse("unreadable")
            return None
        return news if self._merger.sound(news) else None

    def _resumed(self) -> _Reading | None:
        """From the place that was noted; None where there is none, or other rules held then."""
        at = place(self._store)
        if not at.epoch or at.rules != self._rules:
            return None
        return _Reading(at.epoch, at.position, deque(), at.position)

    def _rejoined(self) -> _Reading | None:
        """From a whole state: what is newer there is merged, what is newer here is told.

        None where somebody else is just leaving one; where there is none, this replica leaves its own.
        """
        state = self._stream.state()
        if state is None:
            if self._stream.take_turn() and self._stream.state() is None:
                # Nobody's state leads on without a gap: all begin anew, and each tells what it has beyond.
                beginning = self._stream.begin()
                self._stream.leave(whole_state(self._store)[1], beginning)
            return None
        reading = _Reading(state.epoch, state.position, deque())
        news = [it for it in state.news if self._merger.sound(it)]
        with merging(self._store, 0) as db:
            lacking = tell_what_they_lack(db, news)
        self._merge(reading, self._merger.unheard(news))
        logger.info("a whole state of the caches was taken: {} news, {} to tell", len(news), lacking)
        return reading

    def _leave_state(self) -> None:
        now = time.monotonic()
        if now < self._look_at_state:
            return
        self._look_at_state = now + _STATE_EVERY_S
        if self._stream.is_due() and self._stream.take_turn():
            at, news = whole_state(self._store)
            self._stream.leave(news, at.position)
