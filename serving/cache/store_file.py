"""The cache's SQLite file itself: opened for writing or reading, its failures told apart.

One transaction on a connection of its own each time, because SQLite connections do not cross threads.
WAL keeps readers from waiting for writers; `synchronous=FULL` makes a commit one that a power cut keeps.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from serving.cache import store_schema
from serving.cache.store_rows import moment
from serving.errors import IntegrityError, UnavailableError

Steps = Callable[[str], None]
"""Told of every step of a change before it is taken, so that a test can end the process right there."""

_WRITER_WAITS_S = 5.0
_READER_WAITS_S = 0.25
"""A caller is on the line. Readers wait for nobody in WAL mode, except while a file is being recovered."""
_NOT_NOW = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Primary result codes that tell of the machine; all others tell of what the file holds."""
_NO_WAL_INDEX = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


def no_steps(step: str) -> None:
    """Outside of tests nobody listens."""


class StoreFile:
    """The file and its connections; what they are used for is `CacheStore`'s and `StoreReader`'s matter.

    Args:
        path: the SQLite file. `:memory:` is not supported (readers need a file).
        read_only: open nothing now, create nothing ever, and refuse to write.
        steps: told before each step of a change.
    """

    def __init__(self, path: Path, *, read_only: bool, steps: Steps) -> None:
        self.path = path
        self._read_only = read_only
        self._steps = steps
        if not read_only:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnavailableError(f"The folder of cache {path} cannot be made: {error}.") from error
            self._prepare()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A checked connection in one read transaction; rows that do not mean what they should are damage.

        Raises:
            UnavailableError: locked for longer than can be waited, absent, or not accessible.
            IntegrityError: damaged, not a cache file, or of another schema version.
        """
        with self._connected() as db:
            db.execute("BEGIN")
            store_schema.check_version(db, self.path)
            with rows_are_whole(self.path):
                yield db
            db.execute("COMMIT")

    @contextmanager
    def writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """One write transaction, committed when the block ends well; raises as `reading`.

        Args:
            what: name of the change, before the names of its steps.
        """
        with self._connected() as db:
            self._steps(f"{what}: begin")
            db.execute("BEGIN IMMEDIATE")
            store_schema.check_version(db, self.path)
            yield db
            self._steps(f"{what}: commit")
            db.execute("COMMIT")
            self._steps(f"{what}: committed")

    def connect(self) -> tuple[sqlite3.Connection, bool]:
        """A connection without a transaction, and whether it may be kept.

        One to a file in a folder that this user cannot write to sees no changes and must not be kept.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        uri = self.path.resolve().as_uri()
        if not self._read_only:
            db = _connection(f"{uri}?mode=rwc", _WRITER_WAITS_S)
            db.execute("PRAGMA foreign_keys=ON")
            db.execute("PRAGMA synchronous=FULL")
            return db, True
        db = _connection(f"{uri}?mode=ro", _READER_WAITS_S)
        try:
            db.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            db.close()
            if code(error) not in _NO_WAL_INDEX or not self._rests():
                raise
            # WAL mode makes a file beside the database even for readers, which this user may not.
            return _connection(f"{uri}?immutable=1", _READER_WAITS_S), False
        except BaseException:
            db.close()
            raise
        return db, True

    def _prepare(self) -> None:
        """Make the tables in an empty file, bring an older one up to date, leave every other as it is."""
        with self._connected() as db:
            if store_schema.is_empty(db):
                db.execute(f"PRAGMA page_size={store_schema.PAGE_BYTES}")
                db.execute("PRAGMA journal_mode=WAL")
                self._steps("create: begin")
                db.execute("BEGIN IMMEDIATE")
                if store_schema.is_empty(db):  # still, now that nobody else can be making them
                    store_schema.create(db)
                self._steps("create: commit")
                db.execute("COMMIT")
            if store_schema.version(db) == "1":
                self._steps("migrate: begin")
                db.execute("BEGIN IMMEDIATE")
                if store_schema.version(db) == "1":
                    store_schema.migrate(db)
                    self._steps("migrate: audit")
                    audit(db, "system", "migrate", '{"from": 1, "to": 2}')
                self._steps("migrate: commit")
                db.execute("COMMIT")
                self._steps("migrate: committed")
            store_schema.check_version(db, self.path)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection that is closed, and so rolled back, when the block ends."""
        with told_apart(self.path), closing(self.connect()[0]) as db:
            yield db

    def _rests(self) -> bool:
        """Whether the folder is read only for us and no writer is at work or has left anything undone."""
        log = self.path.with_name(f"{self.path.name}-wal")
        writable = os.access(self.path.parent, os.W_OK, effective_ids=True)
        return not writable and not (log.exists() and log.stat().st_size)


def audit(db: sqlite3.Connection, actor: str, action: str, detail: str) -> None:
    """Add a row to the audit, inside the transaction that it tells of."""
    row = (moment(datetime.now(UTC)), actor, action, detail)
    db.execute("INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)", row)


@contextmanager
def told_apart(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: what passes, and what does not.

    Raises:
        UnavailableError: the machine's doing: locked, full, gone, forbidden.
        IntegrityError: the file's doing.
    """
    try:
        yield
    except sqlite3.Error as error:
        if code(error) in _NOT_NOW:
            raise UnavailableError(
                f"Cache {path} does not answer: {error}.",
                advice="See whether another process writes it and whether the disk is full or read-only.",
            ) from error
        raise IntegrityError(f"Cache {path} is damaged: {error}.", advice=store_schema.REBUILD) from error


@contextmanager
def rows_are_whole(path: Path) -> Iterator[None]:
    """Turn what a row of nonsense raises into damage.

    Raises:
        IntegrityError: a row does not mean what it should.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(
            f"Cache {path} holds a row that cannot be read: {error}.", advice=store_schema.REBUILD
        ) from error


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code: the low byte; Python's own errors have none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _connection(uri: str, waits_s: float) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=waits_s, isolation_level=None)
