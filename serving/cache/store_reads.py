"""What can be asked of the cache's SQLite file; each question is one read transaction."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from serving.cache.protocol import Feedback, Signal
from serving.cache.store_file import StoreFile
from serving.cache.store_rows import (
    ENTRY,
    STORED,
    TOLD,
    StoredEntry,
    entry_of,
    feedback_of,
    moment,
    stored_of,
)
from serving.cache.types import CacheEntry, CacheScope
from serving.language.protocols import Embeddings

EVICTED = "evicted: "
"""What the audit says before the cause of an eviction."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change: when (UTC), by whom, of which kind, and what it did."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, object]


class StoreReads(StoreFile):
    """The reading half of `CacheStore`, which says what all of it raises."""

    def entries(self, scope: str | None = None) -> list[CacheEntry]:
        """All entries, or those of one scope, in order of insertion."""
        where, args = _of(scope)
        with self.reading() as db:
            rows = db.execute(f"SELECT {ENTRY} FROM entry {where} ORDER BY seq", args)  # noqa: S608
            return [entry_of(row) for row in rows]

    def stored(self, scope: str | None = None) -> list[StoredEntry]:
        """All entries, or those of one scope, with what became of them, in order of insertion."""
        where, args = _of(scope)
        with self.reading() as db:
            rows = db.execute(f"SELECT {STORED} FROM entry {where} ORDER BY seq", args)  # noqa: S608
            return [stored_of(row) for row in rows]

    def get(self, entry_id: str) -> StoredEntry | None:
        """One entry with what became of it."""
        with self.reading() as db:
            row = db.execute(f"SELECT {STORED} FROM entry WHERE id = ?", (entry_id,)).fetchone()  # noqa: S608
            return None if row is None else stored_of(row)

    def vectors(self, scope: str) -> tuple[list[str], Embeddings]:
        """Entry ids and their embeddings, in order of insertion."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT id, embedding FROM entry WHERE scope = ? ORDER BY seq", (scope,)
            ).fetchall()
            if not rows:
                return [], np.zeros((0, 0), np.float32)
            return [row[0] for row in rows], np.stack([np.frombuffer(row[1], np.float32) for row in rows])

    def scopes(self) -> dict[str, CacheScope]:
        """Known scopes by key, oldest first."""
        with self.reading() as db:
            rows = db.execute("SELECT key, definition FROM scope ORDER BY created_at, key").fetchall()
            return {key: CacheScope(**json.loads(definition)) for key, definition in rows}

    def scopes_since(self) -> dict[str, datetime]:
        """When each scope was first filled, UTC, by key."""
        with self.reading() as db:
            rows = db.execute("SELECT key, created_at FROM scope")
            return {key: datetime.fromisoformat(at) for key, at in rows}

    def counts(self) -> dict[str, int]:
        """Entries of each scope that has any."""
        with self.reading() as db:
            return dict(db.execute("SELECT scope, count(*) FROM entry GROUP BY scope").fetchall())

    def quarantined(self) -> int:
        """Number of entries that are not served until a person says that they are right."""
        with self.reading() as db:
            query = "SELECT count(*) FROM entry WHERE quarantined_at IS NOT NULL"
            return int(db.execute(query).fetchone()[0])

    def last_seq(self) -> int:
        """Sequence number of the newest entry."""
        with self.reading() as db:
            return int(db.execute("SELECT COALESCE(MAX(seq), 0) FROM entry").fetchone()[0])

    def feedback(self, entry_id: str) -> list[Feedback]:
        """What was told of an entry, oldest first; also of one that has been removed."""
        with self.reading() as db:
            query = f"SELECT {TOLD} FROM feedback WHERE entry = ? ORDER BY seq"  # noqa: S608
            return [feedback_of(row) for row in db.execute(query, (entry_id,))]

    def told(self) -> dict[str, list[Feedback]]:
        """All that was ever told by entry id, oldest first; also of entries that have been removed."""
        found: dict[str, list[Feedback]] = {}
        with self.reading() as db:
            for row in db.execute(f"SELECT {TOLD} FROM feedback ORDER BY seq"):  # noqa: S608
                feedback = feedback_of(row)
                found.setdefault(feedback.entry_id, []).append(feedback)
        return found

    def evicted(self) -> dict[str, int]:
        """How many entries ever went for each cause, by the audit."""
        found: dict[str, int] = {}
        with self.reading() as db:
            query = "SELECT action, detail FROM audit WHERE action IN ('remove', 'remove_scopes')"
            for action, detail in db.execute(query):
                done = json.loads(detail)
                why = "orphaned" if action == "remove_scopes" else str(done["why"]).removeprefix(EVICTED)
                found[why] = found.get(why, 0) + int(done["removed"])
        return found

    def shadow_checks(self, since: datetime) -> tuple[int, int]:
        """Shadow checks that agreed and that did not, from a time on; of removed entries as well."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT signal, count(*) FROM feedback WHERE at >= ? GROUP BY signal", (moment(since),)
            )
            found = dict(rows.fetchall())
            return found.get(Signal.SHADOW_AGREES, 0), found.get(Signal.SHADOW_DISAGREES, 0)

    def audit_rows(self, limit: int = 50) -> list[AuditRow]:
        """The newest changes, newest first."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT at, actor, action, detail FROM audit ORDER BY seq DESC LIMIT ?", (limit,)
            )
            return [
                AuditRow(datetime.fromisoformat(at), actor, action, json.loads(detail))
                for at, actor, action, detail in rows
            ]


def _of(scope: str | None) -> tuple[str, tuple[str, ...]]:
    return ("WHERE scope = ?", (scope,)) if scope is not None else ("", ())
