"""The cache's writing side in one process: entries at once, hits by and by, a new generation when it pays.

An entry is on disk when `insert` returns. Hits are only counted, so they are gathered and written in passing;
a crash loses the last of those counts and nothing else. The search index is derived anew when many rows lie
outside it; neither is anything that a caller waits for.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from loguru import logger

from serving.cache.belief import Prior, uncertified
from serving.cache.generation import read_manifest
from serving.cache.protocol import Belief, Feedback
from serving.cache.publishing import publish
from serving.cache.store import FILE, CacheStore
from serving.cache.store_file import Steps, no_steps
from serving.cache.telling import tell
from serving.cache.types import CacheEntry, CacheScope
from serving.errors import IntegrityError, VoicebotError
from serving.language.protocols import Embeddings

PUBLISH_AFTER = 2_000
"""Rows outside the index from which it is derived anew; of a large cache, a tenth of its rows."""
HITS_AFTER = 64
"""Hits that are gathered before they are written."""


class CacheWriter:
    """Writes to a cache folder. Nothing is opened or made before the first write.

    The garbage collector may close a writer in the midst of any of its methods, in the same thread: the guard
    can be taken again, and every hit is taken from the queue by one flush alone.

    Args:
        folder: `home/cache`.
        publish_after: least rows outside the index from which it is derived anew; 0 for never.
        steps: told before each step of a change.
        prior: what is believed of an entry before feedback.
    """

    def __init__(
        self,
        folder: Path,
        *,
        publish_after: int = PUBLISH_AFTER,
        steps: Steps = no_steps,
        prior: Prior = uncertified,
    ) -> None:
        self._folder = folder
        self._publish_after = publish_after
        self._steps = steps
        self._prior = prior
        self._store: CacheStore | None = None
        self._guard = threading.RLock()
        self._hits: deque[tuple[str, int, datetime]] = deque()
        self._outside = self._inside = 0
        self._aside: threading.Thread | None = None

    @property
    def store(self) -> CacheStore:
        """The truth, opened for writing now if it was not yet.

        Raises:
            UnavailableError, IntegrityError: it cannot be.
        """
        with self._guard:
            if self._store is None:
                store = CacheStore(self._folder / FILE, steps=self._steps)
                self._inside = _published(self._folder)
                self._outside = max(0, store.last_seq() - self._inside)
                self._store = store
            return self._store

    def insert(
        self, scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings, *, actor: str
    ) -> int:
        """Add entries; what `CacheStore.insert` promises and raises."""
        new = self.store.insert(scope, entries, vectors, actor=actor)
        self.stored(new)
        return new

    def stored(self, rows: int) -> None:
        """Count rows that lie outside the index now, by whomever they were stored."""
        with self._guard:
            self._outside += rows
            due = self._is_due()
        if due:
            self._work_aside()

    def tell(self, feedback: Feedback, *, now: datetime) -> Belief:
        """Count an observation; what `telling.tell` promises and raises."""
        return tell(self.store, feedback, prior=self._prior, now=now)

    def count_hit(self, entry_id: str, at: datetime) -> None:
        """Count that an entry was served; it is written later."""
        self._hits.append((entry_id, 1, at))
        if len(self._hits) >= HITS_AFTER:
            self._work_aside()

    def flush(self) -> None:
        """Write the hits that were gathered.

        Raises:
            UnavailableError: the store cannot be written now; they are kept.
        """
        hits = self._taken()
        if not hits:
            return
        try:
            self.store.count_hits(hits)
        except Exception:
            self._keep(hits)
            raise

    def publish(self) -> int:
        """Derive the index anew; returns the number of the generation.

        Raises:
            UnavailableError: as `publishing.publish`.
        """
        store = self.store
        with self._guard:
            taken, self._outside = self._outside, 0
        try:
            manifest = publish(store, self._folder, steps=self._steps)
        except VoicebotError:
            with self._guard:
                self._outside += taken // 2  # not again at the very next entry
            raise
        self._inside = manifest.last_seq
        return manifest.generation

    def close(self, within_s: float | None = None) -> None:
        """Finish what goes on aside, and write the hits; what cannot be written is told to the log.

        Args:
            within_s: seconds to wait at most for what goes on aside, which then goes on; None for no bound.
        """
        aside = self._aside
        if aside is not None and aside is not threading.current_thread():
            aside.join(within_s)
        self._told_to_the_log(self.flush)

    def _taken(self) -> dict[str, tuple[int, datetime]]:
        """The hits that were gathered, which are nobody else's now: id → (how often, the last time)."""
        taken: dict[str, tuple[int, datetime]] = {}
        with suppress(IndexError):  # another flush has taken the rest
            for _ in range(len(self._hits)):
                entry_id, count, last = self._hits.popleft()
                before, at = taken.get(entry_id, (0, last))
                taken[entry_id] = (before + count, max(at, last))
        return taken

    def _keep(self, hits: Mapping[str, tuple[int, datetime]]) -> None:
        """Put hits back that could not be written."""
        self._hits.extend((entry_id, count, last) for entry_id, (count, last) in hits.items())

    def _work_aside(self) -> None:
        with self._guard:
            if self._aside is not None and self._aside.is_alive():
                return
            aside = threading.Thread(target=self._catch_up, name="cache-writer", daemon=True)
            try:
                aside.start()
            except RuntimeError:  # no thread to be had: at a later entry or hit
                self._keep(self._taken())  # as one row for each entry, however many hits there are by then
            else:
                self._aside = aside

    def _catch_up(self) -> None:
        self._told_to_the_log(self.flush)
        if self._is_due():
            self._told_to_the_log(self.publish)

    def _is_due(self) -> bool:
        return 0 < max(self._publish_after, self._publish_after and self._inside // 10) <= self._outside

    @staticmethod
    def _told_to_the_log(work: Callable[[], object]) -> None:
        try:
            work()
        except VoicebotError as error:
            logger.warning("{} It is tried again later.", error)


def _published(folder: Path) -> int:
    try:
        manifest = read_manifest(folder)
    except IntegrityError:
        return 0
    return manifest.last_seq if manifest else 0
