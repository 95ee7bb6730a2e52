"""What a lookup asks of the cache's SQLite file: quick questions on a connection that each thread keeps.

A file that was moved away and made again is another file: the next question opens that one. Nothing here
writes, and nothing waits for a writer.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from serving.cache import store_schema
from serving.cache.store_file import StoreFile, no_steps, rows_are_whole, told_apart
from serving.cache.store_rows import ENTRY, STORED, StoredEntry, entry_of, stored_of, time_of
from serving.cache.types import CacheEntry
from serving.errors import UnavailableError

NEWEST = 5_000
"""Most rows of a bucket that one lookup reads because no index holds them yet; it is nearly always none."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an index keeps of an entry: its primary key, its id, its embedding as float32 bytes."""

    seq: int
    id: str
    embedding: bytes


@dataclass(frozen=True, slots=True)
class View:
    """The file as it was at one moment.

    Attributes:
        identity: of the file; sequence numbers are those of this file alone.
    """

    db: sqlite3.Connection
    identity: str

    def exact(self, scope: str, intent: str, key: str) -> StoredEntry | None:
        """The newest entry for the same words."""
        row = self.db.execute(
            f"SELECT {STORED} FROM entry WHERE scope = ? AND exact_key = ? AND intent = ? "  # noqa: S608
            "ORDER BY seq DESC LIMIT 1",
            (scope, key, intent),
        ).fetchone()
        return None if row is None else stored_of(row)

    def same_words(self, scope: str, key: str) -> list[CacheEntry]:
        """The entries for the same words, of any intent, oldest first."""
        rows = self.db.execute(
            f"SELECT {ENTRY} FROM entry WHERE scope = ? AND exact_key = ? ORDER BY seq",  # noqa: S608
            (scope, key),
        )
        return [entry_of(row) for row in rows]

    def knows(self, scope: str) -> bool:
        """Whether a scope was ever made, also one without entries."""
        return self.db.execute("SELECT 1 FROM scope WHERE key = ?", (scope,)).fetchone() is not None

    def scopes(self) -> list[str]:
        """Keys of the scopes, oldest first."""
        return [row[0] for row in self.db.execute("SELECT key FROM scope ORDER BY created_at, key")]

    def holds(self, scope: str) -> bool:
        """Whether a scope has any entry."""
        return self.db.execute("SELECT 1 FROM entry WHERE scope = ? LIMIT 1", (scope,)).fetchone() is not None

    def count(self, scope: str) -> int:
        """Entries of a scope."""
        return int(self.db.execute("SELECT count(*) FROM entry WHERE scope = ?", (scope,)).fetchone()[0])

    def last_seq(self) -> int:
        """The highest sequence number that any entry ever had, 0 for none."""
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
        return int(row[0]) if row else 0

    def newest(self) -> datetime | None:
        """When the newest entry was created: a time that has passed."""
        return time_of(self.db.execute("SELECT MAX(created_at) FROM entry").fetchone()[0])

    def newer(self, scope: str, bucket: str, after: int) -> list[Row]:
        """The rows of a bucket behind a sequence number, newest first, `NEWEST` at most."""
        rows = self.db.execute(
            "SELECT seq, id, embedding FROM entry WHERE scope = ? AND bucket = ? AND seq > ? "
            "AND cacheability = 'semantic' ORDER BY seq DESC LIMIT ?",
            (scope, bucket, after, NEWEST),
        )
        return [Row(*row) for row in rows]

    def searchable(self, scope: str, after: int) -> Iterator[tuple[str, str, Row]]:
        """Intent, bucket and row of all that may be reused for other words, behind a sequence number."""
        # The plus keeps SQLite from walking all of a scope for the few rows behind a number.
        scoped = "+scope" if after else "scope"
        rows = self.db.execute(
            f"SELECT intent, bucket, seq, id, embedding FROM entry WHERE {scoped} = ? AND seq > ? "  # noqa: S608
            "AND cacheability = 'semantic' ORDER BY seq",
            (scope, after),
        )
        return ((intent, bucket, Row(seq, id_, vector)) for intent, bucket, seq, id_, vector in rows)

    def entries(self, scope: str, seqs: Sequence[int]) -> dict[int, StoredEntry]:
        """Those of the entries that are still there."""
        rows = self.db.execute(
            # The plus keeps SQLite from walking all of the scope instead of looking up these few.
            f"SELECT {STORED} FROM entry WHERE seq IN (SELECT value FROM json_each(?)) AND +scope = ?",  # noqa: S608
            (json.dumps(seqs), scope),
        )
        return {found.seq: found for found in map(stored_of, rows)}


class StoreReader:
    """Views of the file for any number of threads.

    Args:
        path: the SQLite file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = StoreFile(path, read_only=True, steps=no_steps)
        self._mine = threading.local()

    @contextmanager
    def view(self) -> Iterator[View]:
        """The file as it is now, in one read transaction.

        Raises:
            FileNotFoundError: there is none.
            UnavailableError: locked for longer than can be waited, or not accessible.
            IntegrityError: damaged, not a cache file, or of another schema version.
        """
        try:
            with told_apart(self.path):
                db, kept = self._connection()
                db.execute("BEGIN")
                meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
                if meta.get("schema") != str(store_schema.SCHEMA_VERSION):
                    store_schema.check_version(db, self.path)
                with rows_are_whole(self.path):
                    yield View(db, meta.get("identity", ""))
                db.execute("COMMIT")
        except BaseException:
            self.forget()
            raise
        if not kept:
            self.forget()

    def forget(self) -> None:
        """Close this thread's connection; the next view opens another."""
        db = self._mine.__dict__.pop("db", None)
        if db is not None and self._mine.of[0] == os.getpid():
            db.close()

    def _connection(self) -> tuple[sqlite3.Connection, bool]:
        """This thread's connection to the file that is there now, and whether it may be kept."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnavailableError(
                f"Cache {self.path} cannot be reached: {error.strerror}.",
                advice="Give this user the right to read the cache folder.",
            ) from error
        # A connection must not be used by the child of a fork.
        of = (os.getpid(), there.st_dev, there.st_ino)
        mine = self._mine
        if getattr(mine, "db", None) is None or mine.of != of:
            self.forget()
            mine.db, mine.kept = self._file.connect()
            mine.of = of
        return mine.db, mine.kept
