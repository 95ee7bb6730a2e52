"""The cache's truth: one SQLite file in WAL mode that holds entries with their embeddings.

The FAISS index (`serving.cache.index`) is derived from it and can always be rebuilt. One process
writes; any number read. Scopes are replaced in single transactions.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from serving.cache.signature import Signature
from serving.cache.types import CacheEntry, CacheScope, bucket, exact_key
from serving.errors import IntegrityError, RefusedError, UnavailableError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE scope (key TEXT PRIMARY KEY, definition TEXT NOT NULL, created_at TEXT NOT NULL)",
    """CREATE TABLE entry (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL REFERENCES scope(key), intent TEXT NOT NULL,
      cacheability TEXT NOT NULL, exact_key TEXT NOT NULL, question TEXT NOT NULL, bucket TEXT NOT NULL,
      signature TEXT NOT NULL, answer TEXT NOT NULL, disclosures TEXT NOT NULL, source TEXT NOT NULL,
      created_at TEXT NOT NULL, expires_at TEXT, accuracy REAL NOT NULL, embedding BLOB NOT NULL
    )""",
    "CREATE INDEX entry_exact ON entry (scope, intent, exact_key)",
    """CREATE TABLE audit (
      seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL,
      action TEXT NOT NULL, detail TEXT NOT NULL
    )""",
)
_FIELDS = tuple(field.name for field in fields(CacheEntry))
_COLUMNS = ", ".join(_FIELDS)
_WRITER_WAITS_S = 5.0
_READER_WAITS_S = 0.25
"""A caller is on the line. Readers wait for nobody in WAL mode, except while a file is being recovered."""
_REBUILD = "Move the folder away and build the cache again with `voicebot build-cache`."
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


class CacheStore:
    """Entries on disk.

    Args:
        path: the SQLite file. `:memory:` is not supported (readers need a file).
        read_only: open nothing now, create nothing ever, and refuse to write.

    Every method raises:
        UnavailableError: locked for longer than can be waited, absent, or not accessible.
        IntegrityError: damaged, not a cache file, or of another schema version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        if not read_only:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnavailableError(f"The folder of cache {path} cannot be made: {error}.") from error
            self._create()

    def _create(self) -> None:
        """Make the tables in an empty file; leave every other file as it is."""
        with self._connect() as db:
            if _is_empty(db):
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("BEGIN IMMEDIATE")
                if _is_empty(db):  # still, now that nobody else can be making them
                    for statement in _SCHEMA:
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
                db.commit()
            self._check_schema(db)

    def _check_schema(self, db: sqlite3.Connection) -> None:
        try:
            row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        except sqlite3.OperationalError as error:
            if _is_unavailable(error):
                raise
            row = None
        if row is None:
            raise IntegrityError(f"{self.path} is no cache of this program.", advice=_REBUILD)
        if row[0] != str(SCHEMA_VERSION):
            raise IntegrityError(
                f"Cache {self.path} has schema {row[0]}, this program reads {SCHEMA_VERSION}.",
                advice=_REBUILD,
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own (SQLite connections do not cross threads)."""
        try:
            with closing(self._open()) as db, db:
                db.execute("PRAGMA foreign_keys=ON")
                yield db
        except sqlite3.Error as error:
            if _is_unavailable(error):
                raise UnavailableError(
                    f"Cache {self.path} does not answer: {error}.",
                    advice="See whether another process writes it and whether the disk is full or read-only.",
                ) from error
            raise IntegrityError(f"Cache {self.path} is damaged: {error}.", advice=_REBUILD) from error

    def _open(self) -> sqlite3.Connection:
        uri = self.path.resolve().as_uri()
        if not self._read_only:
            return sqlite3.connect(f"{uri}?mode=rwc", uri=True, timeout=_WRITER_WAITS_S)
        db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_READER_WAITS_S)
        try:
            db.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            db.close()
            if _code(error) not in _NO_WAL_INDEX or not self._rests():
                raise
            # WAL mode makes a file beside the database even for readers, which this user may not.
            return sqlite3.connect(f"{uri}?immutable=1", uri=True, timeout=_READER_WAITS_S)
        except BaseException:
            db.close()
            raise
        return db

    def _rests(self) -> bool:
        """Whether the folder is read only for us and no writer is at work or has left anything undone."""
        log = self.path.with_name(f"{self.path.name}-wal")
        writable = os.access(self.path.parent, os.W_OK, effective_ids=True)
        return not writable and not (log.exists() and log.stat().st_size)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A checked connection; rows that do not mean what they should are damage, too."""
        with self._connect() as db:
            self._check_schema(db)
            try:
                yield db
            except (ValueError, TypeError, KeyError) as error:
                raise IntegrityError(
                    f"Cache {self.path} holds a row that cannot be read: {error}.", advice=_REBUILD
                ) from error

    def replace_scope(
        self, scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings, *, actor: str
    ) -> None:
        """Make `entries` all that a scope holds, in one transaction with its audit row.

        Args:
            scope: of all entries.
            entries: with ids that differ.
            vectors: float32, shape (len(entries), dimension), unit rows.
            actor: who does it.

        Raises:
            RefusedError: an entry that must never be reused.
            ValueError: entries or vectors are not as described.
        """
        _check(scope, entries, vectors)
        with self._connect() as db:
            self._put_scope(db, scope)
            removed = db.execute("DELETE FROM entry WHERE scope = ?", (scope.key,)).rowcount
            self._put_entries(db, entries, vectors)
            detail = {"scope": scope.key, "removed": removed, "inserted": len(entries)}
            self._audit(db, actor, "replace_scope", detail)

    def entries(self, scope: str | None = None) -> list[CacheEntry]:
        """All entries, or those of one scope, in order of insertion."""
        where, args = ("WHERE scope = ?", (scope,)) if scope is not None else ("", ())
        with self._reading() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM entry {where} ORDER BY seq", args)  # noqa: S608
            return [_entry(row) for row in rows]

    def vectors(self, scope: str) -> tuple[list[str], Embeddings]:
        """Entry ids and their embeddings, in order of insertion."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id, embedding FROM entry WHERE scope = ? ORDER BY seq", (scope,)
            ).fetchall()
            if not rows:
                return [], np.zeros((0, 0), np.float32)
            return [row[0] for row in rows], np.stack([np.frombuffer(row[1], np.float32) for row in rows])

    def scopes(self) -> dict[str, CacheScope]:
        """Known scopes by key, oldest first."""
        with self._reading() as db:
            rows = db.execute("SELECT key, definition FROM scope ORDER BY created_at, key").fetchall()
            return {key: CacheScope(**json.loads(definition)) for key, definition in rows}

    def last_seq(self) -> int:
        """Sequence number of the newest entry; the index records up to where it reaches."""
        with self._reading() as db:
            (value,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM entry").fetchone()
            return int(value)

    @staticmethod
    def _put_scope(db: sqlite3.Connection, scope: CacheScope) -> None:
        definition = json.dumps(asdict(scope), sort_keys=True)
        db.execute("INSERT OR IGNORE INTO scope VALUES (?, ?, ?)", (scope.key, definition, _now()))

    @staticmethod
    def _put_entries(db: sqlite3.Connection, entries: Sequence[CacheEntry], vectors: Embeddings) -> None:
        rows = [_row(entry, vector) for entry, vector in zip(entries, vectors, strict=True)]
        db.executemany(
            f"INSERT INTO entry ({_COLUMNS}, exact_key, bucket, embedding) "  # noqa: S608  # constants
            f"VALUES ({', '.join('?' * 15)})",
            rows,
        )

    @staticmethod
    def _audit(db: sqlite3.Connection, actor: str, action: str, detail: dict[str, object]) -> None:
        db.execute(
            "INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)",
            (_now(), actor, action, json.dumps(detail, sort_keys=True)),
        )


def _is_empty(db: sqlite3.Connection) -> bool:
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _is_unavailable(error: sqlite3.Error) -> bool:
    return _code(error) in _NOT_NOW


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code; Python's own errors have none.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _check(scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings) -> None:
    """Nothing is stored that a reader would have to doubt."""
    if any(entry.cacheability is Cacheability.NEVER for entry in entries):
        raise RefusedError("An answer that must never be reused has no place in the cache.")
    if any(entry.scope != scope.key for entry in entries):
        raise ValueError("an entry belongs to another scope")
    if len({entry.id for entry in entries}) != len(entries):
        raise ValueError("two entries have one id")
    if not all(0 <= entry.accuracy <= 1 for entry in entries):
        raise ValueError("an accuracy is not between 0 and 1")
    if any(entry.expires_at is not None and entry.expires_at.tzinfo is None for entry in entries):
        raise ValueError("an expiry has no time zone")
    if len(entries) != len(vectors):
        raise ValueError("one embedding per entry is needed")
    if len(entries) and not are_unit(vectors):
        raise ValueError("an embedding is not of length 1")


def are_unit(vectors: Embeddings) -> bool:
    """Whether all rows are finite and of length 1, without which inner products are no cosines."""
    return vectors.ndim == 2 and bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _row(entry: CacheEntry, vector: Embeddings) -> tuple[object, ...]:
    """Values for `_COLUMNS`, then exact key, bucket and embedding."""
    coded = {
        "cacheability": entry.cacheability.value,
        "signature": json.dumps(entry.signature.facets),
        "disclosures": json.dumps(entry.disclosures),
        "created_at": entry.created_at.isoformat(),
        "expires_at": entry.expires_at.isoformat() if entry.expires_at else None,
    }
    return (
        *(coded[name] if name in coded else getattr(entry, name) for name in _FIELDS),
        exact_key(entry.question),
        bucket(entry.intent, entry.signature),
        np.ascontiguousarray(vector, np.float32).tobytes(),
    )


def _entry(row: Sequence[Any]) -> CacheEntry:
    values = dict(zip(_FIELDS, row, strict=True))
    expires_at = values["expires_at"]
    decoded = {
        "cacheability": Cacheability(values["cacheability"]),
        "signature": Signature(tuple((name, value) for name, value in json.loads(values["signature"]))),
        "disclosures": tuple(json.loads(values["disclosures"])),
        "created_at": datetime.fromisoformat(values["created_at"]),
        "expires_at": None if expires_at is None else datetime.fromisoformat(expires_at),
        "accuracy": float(values["accuracy"]),
    }
    return CacheEntry(**values | decoded)
