"""Keeping up with the cache's files: new entries and new generations are taken in beside the lookups.

A lookup takes the search rows that are there and never waits for others. Now and then one looks whether
the files have changed and, if so, has a thread of their own take them in; rows that no search rows hold yet
a lookup reads from the store itself. Only the very first question of a scope waits for its rows.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from loguru import logger

from serving.cache.generation import MANIFEST, Manifest, holds_scope, open_rows, read_manifest
from serving.cache.rows import SearchRows, sorted_rows
from serving.cache.store_reader import StoreReader, View
from serving.errors import IntegrityError, VoicebotError

OPEN_SCOPES = 4
"""Scopes kept in memory: calls that began before a promotion still use the one before."""
LOOK_EVERY_S = 0.2
"""Least time between two looks at the files."""
PARTS = 8
"""Most pieces that rows newer than the generation are kept in; then they are put together again."""
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Opened:
    """One scope, ready to search; replaced as a whole.

    Attributes:
        identity: of the store that all of it is derived from.
        stamp: of the manifest when it was opened.
        base: rows of the generation, or of the store where no generation can be trusted.
        covered: sequence number up to which `base` reaches.
        tail: rows behind it, in the order in which they were seen.
        seen: sequence number up to which `tail` reaches.
    """

    identity: str
    stamp: Stamp
    base: SearchRows
    covered: int
    tail: tuple[SearchRows, ...]
    seen: int

    def fits(self, view: View) -> bool:
        """Whether its sequence numbers are those of a file that has not gone back in time."""
        return self.identity == view.identity and self.seen <= view.last_seq()

    @property
    def parts(self) -> tuple[SearchRows, ...]:
        """Everything to search."""
        return (self.base, *self.tail)


class Follower:
    """The search rows of the scopes in use.

    Args:
        folder: `home/cache`.
        reader: views of its store.
        clock: seconds that only grow.
    """

    def __init__(
        self, folder: Path, reader: StoreReader, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._reader = reader
        self._clock = clock
        self._opened: dict[str, Opened] = {}
        self._opening = threading.Lock()
        self._taking_in = threading.Lock()
        self._next_look = 0.0

    def opened(self, scope: str) -> Opened:
        """The rows of a scope as they were taken in last; opens them where nobody has, yet.

        Raises:
            FileNotFoundError: there is no store.
            VoicebotError: it cannot be read.
        """
        found = self._opened.get(scope)
        if found is not None:
            return found
        with self._opening:
            return self._opened.get(scope) or self._keep(scope, self._open(scope))

    def reopened(self, scope: str, instead_of: Opened) -> Opened:
        """The rows of a scope whose store turned out to be another one; raises as `opened`."""
        with self._opening:
            found = self._opened.get(scope)
            if found is not None and found is not instead_of:  # by another thread, meanwhile
                return found
            return self._keep(scope, self._open(scope))

    def look(self, view: View) -> None:
        """Have changes taken in, if there are any and nobody has looked just now."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        if self._behind(view) and self._taking_in.acquire(blocking=False):
            try:
                threading.Thread(target=self._take_in, name="cache-follower", daemon=True).start()
            except RuntimeError:  # no thread to be had: at a later look
                self._taking_in.release()

    def _behind(self, view: View) -> bool:
        stamp, last_seq = self._stamp(), view.last_seq()
        return any(it.stamp != stamp or it.seen != last_seq for it in self._opened.values())

    def _take_in(self) -> None:
        """Bring all open scopes up to date; what fails is tried again at a later look."""
        try:
            for scope, found in tuple(self._opened.items()):
                renewed = self._renewed(scope, found)
                with self._opening:
                    if self._opened.get(scope) is found:
                        self._keep(scope, renewed)
        except Exception as error:  # lookups go on with what they have
            told = str(error) if isinstance(error, VoicebotError) else type(error).__name__
            logger.warning("the cache's changes could not be taken in: {}", told)
        finally:
            self._reader.forget()
            self._taking_in.release()

    def _renewed(self, scope: str, old: Opened) -> Opened:
        if old.stamp != self._stamp():
            return self._open(scope)
        with self._reader.view() as view:
            if old.fits(view):
                whole = len(old.tail) >= PARTS
                more = sorted_rows(view.searchable(scope, old.covered if whole else old.seen))
                tail = (() if whole else old.tail) + ((more,) if len(more.names) else ())
                return replace(old, tail=tail, seen=view.last_seq())
        return self._open(scope)

    def _open(self, scope: str) -> Opened:
        stamp = self._stamp()
        try:
            manifest = read_manifest(self._folder)
        except VoicebotError as error:
            logger.warning("{} The store is read instead.", error)
            manifest = None
        with self._reader.view() as view:
            last_seq = view.last_seq()
            base = self._published(view, manifest, scope, last_seq)
            if base is None or manifest is None:
                rows = sorted_rows(view.searchable(scope, 0))
                return Opened(view.identity, stamp, rows, last_seq, (), last_seq)
            more = sorted_rows(view.searchable(scope, manifest.last_seq))
            tail = (more,) if len(more.names) else ()
            return Opened(view.identity, stamp, base, manifest.last_seq, tail, last_seq)

    def _published(
        self, view: View, manifest: Manifest | None, scope: str, last_seq: int
    ) -> SearchRows | None:
        """The rows of the live generation, or None where it has none that can be trusted."""
        if manifest is None or not holds_scope(manifest, scope):
            return None
        if manifest.store != view.identity or manifest.last_seq > last_seq:
            logger.warning("cache generation {} is of another store", manifest.generation)
            return None
        try:
            return open_rows(self._folder, manifest, scope)
        except IntegrityError as error:
            logger.warning("{} The store is read instead.", error)
            return None

    def _keep(self, scope: str, opened: Opened) -> Opened:
        others = [(key, value) for key, value in self._opened.items() if key != scope]
        self._opened = {**dict(others[-(OPEN_SCOPES - 1) :]), scope: opened}
        return opened

    def _stamp(self) -> Stamp:
        try:
            found = (self._folder / MANIFEST).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
