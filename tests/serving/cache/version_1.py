"""A cache as the program before this one wrote it: its own statements, kept here as they were."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from serving.cache.types import CacheEntry, bucket, exact_key
from tests.serving.cache_world import SCOPE, WordEmbedder, entry

_STATEMENTS = (
    "PRAGMA journal_mode=WAL",
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
    "INSERT INTO meta VALUES ('schema', '1')",
    "INSERT INTO audit (at, actor, action, detail) "
    "VALUES ('2026-11-20T12:00:00+00:00', 'al', 'replace_scope', '{}')",
)
_COLUMNS = (
    "id, scope, intent, cacheability, question, signature, answer, disclosures, source, created_at, "
    "expires_at, accuracy, exact_key, bucket, embedding"
)


def old_cache(folder: Path, *entries: CacheEntry) -> Path:
    """Make a folder with a store of version 1; one entry by default."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "cache.sqlite")) as db, db:
        for statement in _STATEMENTS:
            db.execute(statement)
        definition = json.dumps(asdict(SCOPE), sort_keys=True)
        db.execute("INSERT INTO scope VALUES (?, ?, '2026-11-20T12:00:00+00:00')", (SCOPE.key, definition))
        for item in entries or (entry(),):
            db.execute(f"INSERT INTO entry ({_COLUMNS}) VALUES ({', '.join('?' * 15)})", _row(item))
    return folder


def _row(item: CacheEntry) -> tuple[object, ...]:
    return (
        item.id,
        item.scope,
        item.intent,
        item.cacheability.value,
        item.question,
        json.dumps(item.signature.facets),
        item.answer,
        json.dumps(item.disclosures),
        item.source,
        item.created_at.isoformat(),
        item.expires_at.isoformat() if item.expires_at else None,
        item.accuracy,
        exact_key(item.question),
        bucket(item.intent, item.signature),
        WordEmbedder().embed([item.question])[0].tobytes(),
    )
