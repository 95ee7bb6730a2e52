"""Tables and triggers by which a cache's SQLite file notes what its replica has to tell.

Triggers note a change in the transaction that makes it, by whatever process: a call, a flow, a command. What
is merged from others (`merging`) is not noted again.
"""

_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) * 1000 + abs(random() % 1000)"
"""Microseconds since 1970, and three digits so that no two replicas give the same stamp."""
_AGE = "CAST((julianday(@) - 2440587.5) * 86400000000 AS INTEGER) * 1000 + abs(random() % 1000)"
_TICK = "UPDATE replica SET stamp = MAX(stamp + 1 + abs(random() % 1000), $now)"
_CONTENT = """
  $tick;
  INSERT INTO entry_state (entry, content) VALUES (@, (SELECT stamp FROM replica))
    ON CONFLICT (entry) DO UPDATE SET content = excluded.content;
  INSERT INTO untold (kind, ref) VALUES ('entry', @);
"""
_STANDING = """
  $tick;
  INSERT INTO entry_state (entry, standing, since)
    VALUES (NEW.id, (SELECT stamp FROM replica), NEW.quarantined_at)
    ON CONFLICT (entry) DO UPDATE SET standing = excluded.standing, since = excluded.since;
  INSERT INTO untold (kind, ref) VALUES ('entry', NEW.id);
"""
_TABLES = (
    """CREATE TABLE IF NOT EXISTS replica (
      one INTEGER PRIMARY KEY CHECK (one = 1), stamp INTEGER NOT NULL, merging INTEGER NOT NULL,
      epoch TEXT NOT NULL, position TEXT NOT NULL, rules TEXT NOT NULL
    )""",
    # Stays when the entry goes: who comes late with an older state of it learns that.
    """CREATE TABLE IF NOT EXISTS entry_state (
      entry TEXT PRIMARY KEY, content INTEGER NOT NULL DEFAULT 0, standing INTEGER NOT NULL DEFAULT 0,
      since TEXT
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS untold (
      seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, ref TEXT NOT NULL,
      UNIQUE (kind, ref) ON CONFLICT REPLACE
    )""",
    """CREATE TRIGGER IF NOT EXISTS entry_put AFTER INSERT ON entry
      WHEN (SELECT merging FROM replica) = 0
      BEGIN $content_new END""",
    """CREATE TRIGGER IF NOT EXISTS entry_gone AFTER DELETE ON entry
      WHEN (SELECT merging FROM replica) = 0
      BEGIN $content_old END""",
    # An entry that is stored again keeps its quarantine; with another answer it begins without.
    """CREATE TRIGGER IF NOT EXISTS entry_put_standing AFTER INSERT ON entry
      WHEN (SELECT merging FROM replica) = 0 AND (NEW.quarantined_at IS NULL)
        <> ((SELECT since FROM entry_state WHERE entry = NEW.id) IS NULL)
      BEGIN $standing END""",
    """CREATE TRIGGER IF NOT EXISTS entry_standing AFTER UPDATE OF quarantined_at ON entry
      WHEN (SELECT merging FROM replica) = 0
        AND (NEW.quarantined_at IS NULL) <> (OLD.quarantined_at IS NULL)
      BEGIN $standing END""",
    """CREATE TRIGGER IF NOT EXISTS scope_made AFTER INSERT ON scope
      WHEN (SELECT merging FROM replica) = 0
      BEGIN INSERT INTO untold (kind, ref) VALUES ('scope', NEW.key); END""",
    """CREATE TRIGGER IF NOT EXISTS feedback_told AFTER INSERT ON feedback
      WHEN (SELECT merging FROM replica) = 0
      BEGIN INSERT INTO untold (kind, ref) VALUES ('feedback', NEW.seq); END""",
)
_BEFORE = (
    # What was there before anybody noted is as old as it says.
    """INSERT INTO entry_state SELECT id, $created,
      CASE WHEN quarantined_at IS NULL THEN 0 ELSE $doubted END, quarantined_at FROM entry""",
    "INSERT INTO untold (kind, ref) SELECT 'scope', key FROM scope ORDER BY created_at, key",
    "INSERT INTO untold (kind, ref) SELECT 'entry', id FROM entry ORDER BY seq",
    "INSERT INTO untold (kind, ref) SELECT 'feedback', seq FROM feedback ORDER BY seq",
    "INSERT INTO replica VALUES (1, $now, 0, '', '', '')",
)


def _filled(statement: str) -> str:
    for name, part in (
        ("$content_new", _CONTENT.replace("@", "NEW.id")),
        ("$content_old", _CONTENT.replace("@", "OLD.id")),
        ("$standing", _STANDING),
        ("$tick", _TICK),
        ("$created", _AGE.replace("@", "created_at")),
        ("$doubted", _AGE.replace("@", "quarantined_at")),
        ("$now", _NOW),
    ):
        statement = statement.replace(name, part)
    return statement


TABLES = tuple(_filled(statement) for statement in _TABLES)
"""Harmless where they were made before."""
FORGOTTEN = _filled(
    "DELETE FROM entry_state WHERE content < $now - 90 * 86400000000 * 1000 "
    "AND entry NOT IN (SELECT id FROM entry)"
)
"""Entries that went 90 days ago: nobody is expected to come back with them."""
BEFORE = tuple(_filled(statement) for statement in _BEFORE)
"""Done once for a file."""
