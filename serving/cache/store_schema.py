"""The tables of the cache's SQLite file, and the way from an older version to this one.

Everything here happens inside a transaction of the caller's; nothing commits. A file of another program is
never changed.
"""

import sqlite3
from pathlib import Path

from serving.errors import IntegrityError

SCHEMA_VERSION = 2
REBUILD = "Move the folder away and build the cache again with `voicebot build-cache`."
PAGE_BYTES = 8192
"""Of a new file: three entries with their embeddings fill a page; one would half fill a usual one of 4096."""

_V1 = (
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
_V2 = (
    "ALTER TABLE entry ADD COLUMN quarantined_at TEXT",
    "ALTER TABLE entry ADD COLUMN hits INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE entry ADD COLUMN last_hit_at TEXT",
    # What was learnt of an entry stays when the entry goes, so no foreign key.
    """CREATE TABLE feedback (
      seq INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, signal TEXT NOT NULL, at TEXT NOT NULL,
      origin TEXT NOT NULL, actor TEXT NOT NULL, note TEXT NOT NULL, UNIQUE (entry, signal, origin)
    )""",
    # Says which file an index was derived from: sequence numbers mean nothing in another one.
    "INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))))",
    "DROP INDEX entry_exact",
    "CREATE INDEX entry_words ON entry (scope, exact_key, intent)",
    # The rows of a bucket that are newer than an index; the rowid, which is `seq`, ends every index.
    "CREATE INDEX entry_bucket ON entry (scope, bucket) WHERE cacheability = 'semantic'",
    "CREATE INDEX entry_created ON entry (created_at)",
)


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether the file holds no table yet."""
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def create(db: sqlite3.Connection) -> None:
    """Make all tables of this version in an empty file."""
    for statement in (*_V1, *_V2):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))


def migrate(db: sqlite3.Connection) -> None:
    """Make the tables of version 1 those of this version; entries and their order stay as they are."""
    for statement in _V2:
        db.execute(statement)
    db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION),))


def version(db: sqlite3.Connection) -> str | None:
    """The file's schema version as it says itself; None where it is none of ours.

    Raises:
        sqlite3.OperationalError: the file cannot be read now.
    """
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    return None if row is None else str(row[0])


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that this program cannot read.

    Raises:
        IntegrityError: another program's, or another version's.
    """
    found = version(db)
    if found is None:
        raise IntegrityError(f"{path} is no cache of this program.", advice=REBUILD)
    if found == "1":
        raise IntegrityError(
            f"Cache {path} has schema 1, this program reads {SCHEMA_VERSION}.",
            advice="`voicebot build-cache`, and whatever else writes to it, brings it up to date.",
        )
    if found != str(SCHEMA_VERSION):
        raise IntegrityError(
            f"Cache {path} has schema {found}, this program reads {SCHEMA_VERSION}.", advice=REBUILD
        )
