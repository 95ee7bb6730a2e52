"""The cache's truth: one SQLite file in WAL mode that holds entries with their embeddings.

The FAISS index (`serving.cache.index`) is derived from it and can always be rebuilt. One process
writes; any number read. Rows are inserted and scopes replaced in single transactions.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from serving.cache.signature import Signature
from serving.cache.types import CacheEntry, CacheScope
from serving.errors import IntegrityError, UnavailableError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scope (
  key TEXT PRIMARY KEY, definition TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS entry (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL REFERENCES scope(key), intent TEXT NOT NULL,
  cacheability TEXT NOT NULL, exact_key TEXT NOT NULL, question TEXT NOT NULL, bucket TEXT NOT NULL,
  signature TEXT NOT NULL, answer TEXT NOT NULL, disclosures TEXT NOT NULL, source TEXT NOT NULL,
  created_at TEXT NOT NULL, expires_at TEXT, accuracy REAL NOT NULL, embedding BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_exact ON entry (scope, intent, exact_key);
CREATE TABLE IF NOT EXISTS audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL,
  action TEXT NOT NULL, detail TEXT NOT NULL
);
"""
_COLUMNS = (
    "id, scope, intent, cacheability, question, signature, answer, disclosures, source, created_at, "
    "expires_at, accuracy"
)
_BUSY_MS = 5_000


class CacheStore:
    """Entries on disk.

    Args:
        path: the SQLite file; its folder is created. `:memory:` is not supported (readers need a file).

    Raises:
        UnavailableError: locked for more than five seconds, or not writable.
        IntegrityError: not a cache file, or of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as db:
            db.executescript(_SCHEMA)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            (found,) = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if found != str(SCHEMA_VERSION):
            raise IntegrityError(
                f"Cache {path} has schema {found}, this program reads {SCHEMA_VERSION}.",
                advice="Move the folder away and build the cache again with `voicebot build-cache`.",
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own (SQLite connections do not cross threads)."""
        try:
            db = sqlite3.connect(self.path, timeout=_BUSY_MS / 1_000)
        except sqlite3.OperationalError as error:
            raise UnavailableError(f"Cache {self.path} cannot be opened: {error}.") from error
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA foreign_keys=ON")
            with db:
                yield db
        except sqlite3.OperationalError as error:
            raise UnavailableError(
                f"Cache {self.path} does not answer: {error}.",
                advice="See whether another process writes it, and try again.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"Cache {self.path} is damaged: {error}.",
                advice="Move the folder away and build the cache again with `voicebot build-cache`.",
            ) from error
        finally:
            db.close()

    def replace_scope(
        self, scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings, *, actor: str
    ) -> None:
        """Make `entries` all that a scope holds, in one transaction with its audit row.

        Args:
            vectors: float32, shape (len(entries), dimension), unit rows.
        """
        with self._connect() as db:
            self._put_scope(db, scope)
            removed = db.execute("DELETE FROM entry WHERE scope = ?", (scope.key,)).rowcount
            self._put_entries(db, entries, vectors)
            detail = {"scope": scope.key, "removed": removed, "inserted": len(entries)}
            self._audit(db, actor, "replace_scope", detail)

    def entries(self, scope: str | None = None) -> list[CacheEntry]:
        """All entries, or those of one scope, in order of insertion."""
        where, args = ("WHERE scope = ?", (scope,)) if scope else ("", ())
        with self._connect() as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM entry {where} ORDER BY seq", args).fetchall()  # noqa: S608
        return [_entry(row) for row in rows]

    def vectors(self, scope: str) -> tuple[list[str], Embeddings]:
        """Entry ids and their embeddings, in order of insertion."""
        with self._connect() as db:
            rows = db.execute(
                "SELECT id, embedding FROM entry WHERE scope = ? ORDER BY seq", (scope,)
            ).fetchall()
        if not rows:
            return [], np.zeros((0, 0), np.float32)
        return [row[0] for row in rows], np.stack([np.frombuffer(row[1], np.float32) for row in rows])

    def scopes(self) -> dict[str, CacheScope]:
        """Known scopes by key, oldest first."""
        with self._connect() as db:
            rows = db.execute("SELECT key, definition FROM scope ORDER BY created_at, key").fetchall()
        return {key: CacheScope(**json.loads(definition)) for key, definition in rows}

    def last_seq(self) -> int:
        """Sequence number of the newest entry; the index records up to where it reaches."""
        with self._connect() as db:
            (value,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM entry").fetchone()
        return int(value)

    def audit_rows(self, limit: int = 50) -> list[tuple[str, str, str, str]]:
        """Newest audit rows first: time (UTC, ISO), actor, action, detail as JSON."""
        with self._connect() as db:
            return db.execute(
                "SELECT at, actor, action, detail FROM audit ORDER BY seq DESC LIMIT ?", (limit,)
            ).fetchall()

    @staticmethod
    def _put_scope(db: sqlite3.Connection, scope: CacheScope) -> None:
        definition = json.dumps(asdict(scope), sort_keys=True)
        db.execute("INSERT OR IGNORE INTO scope VALUES (?, ?, ?)", (scope.key, definition, _now()))

    @staticmethod
    def _put_entries(db: sqlite3.Connection, entries: Sequence[CacheEntry], vectors: Embeddings) -> None:
        if len(entries) != len(vectors):
            raise ValueError("one embedding per entry is needed")
        rows = [
            (
                *(entry.id, entry.scope, entry.intent, entry.cacheability.value),
                *(exact_key(entry.question), entry.question, bucket(entry.intent, entry.signature)),
                *(
                    json.dumps(entry.signature.facets),
                    entry.answer,
                    json.dumps(entry.disclosures),
                    entry.source,
                ),
                *(entry.created_at.isoformat(), entry.expires_at.isoformat() if entry.expires_at else None),
                *(entry.accuracy, np.ascontiguousarray(vector, np.float32).tobytes()),
            )
            for entry, vector in zip(entries, vectors, strict=True)
        ]
        db.executemany(
            "INSERT OR REPLACE INTO entry (id, scope, intent, cacheability, exact_key, question, bucket, "
            "signature, answer, disclosures, source, created_at, expires_at, accuracy, embedding) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    @staticmethod
    def _audit(db: sqlite3.Connection, actor: str, action: str, detail: dict[str, object]) -> None:
        db.execute(
            "INSERT INTO audit (at, actor, action, detail) VALUES (?, ?, ?, ?)",
            (_now(), actor, action, json.dumps(detail, sort_keys=True)),
        )


def exact_key(text: str) -> str:
    """A text without case, punctuation and spacing: what "the same words" means."""
    return " ".join("".join(c if c.isalnum() or c in "$%<>_" else " " for c in text.casefold()).split())


def bucket(intent: str, signature: Signature) -> str:
    """Entries compete only inside one bucket: same intent, same signature."""
    return f"{intent}:{signature.key[:32]}"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _entry(row: tuple[str, ...]) -> CacheEntry:
    (
        id_,
        scope,
        intent,
        cacheability,
        question,
        signature,
        answer,
        disclosures,
        source,
        created,
        expires,
        acc,
    ) = row
    return CacheEntry(
        id=id_,
        scope=scope,
        intent=intent,
        cacheability=Cacheability(cacheability),
        question=question,
        signature=Signature(tuple((name, value) for name, value in json.loads(signature))),
        answer=answer,
        disclosures=tuple(json.loads(disclosures)),
        source=source,
        created_at=datetime.fromisoformat(created),
        expires_at=datetime.fromisoformat(expires) if expires else None,
        accuracy=float(acc),
    )
