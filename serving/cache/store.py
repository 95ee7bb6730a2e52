"""The cache's truth: one SQLite file in WAL mode that holds entries with their embeddings.

The search index (`serving.cache.generation`) is derived from it and can always be rebuilt. Every change is
one transaction with its audit row; feedback is a record of its own, only ever added to, and hits are counts.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from serving.cache.belief import Prior, believe, uncertified
from serving.cache.protocol import Belief, Feedback, Signal
from serving.cache.store_file import Steps, audit, no_steps
from serving.cache.store_reads import StoreReads
from serving.cache.store_rows import (
    PLACES,
    TOLD,
    WRITTEN,
    History,
    check,
    feedback_of,
    moment,
    row_of,
    time_of,
)
from serving.cache.types import CacheEntry, CacheScope
from serving.errors import MissingError, RefusedError
from serving.language.protocols import Embeddings

FILE = "cache.sqlite"
"""Name of the file in the cache's folder."""


class CacheStore(StoreReads):
    """Entries on disk. Any number of processes read; writers wait for each other.

    Args:
        path: the SQLite file. `:memory:` is not supported (readers need a file).
        read_only: open nothing now, create nothing ever, and refuse to write.
        steps: told before each step of a change.

    Every method raises:
        UnavailableError: locked for longer than can be waited, absent, or not accessible.
        IntegrityError: damaged, not a cache file, or of another schema version.
    """

    def __init__(self, path: Path, *, read_only: bool = False, steps: Steps = no_steps) -> None:
        super().__init__(path, read_only=read_only, steps=steps)

    def replace_scope(
        self,
        scope: CacheScope,
        entries: Sequence[CacheEntry],
        vectors: Embeddings,
        *,
        actor: str,
        keep: Callable[[str, str], bool] = lambda _source, _answer: False,
    ) -> int:
        """Make `entries` all that a scope holds, beside what is kept of it; returns how many it holds now.

        An entry that was there with the same answer keeps its accuracy, quarantine and hits: building again
        clears no doubt.

        Args:
            scope: of all entries.
            entries: with ids that differ.
            vectors: float32, shape (len(entries), dimension), unit rows.
            actor: who does it.
            keep: by source and answer, which of the entries that are there then stay as they are.

        Raises:
            RefusedError: an entry that must never be reused.
            ValueError: entries or vectors are not as described.
        """
        check(scope, entries, vectors)
        with self.writing("replace") as db:
            known = _known(db, [entry.id for entry in entries])
            self._put_scope(db, scope)
            self._steps("replace: delete")
            there = db.execute(
                "SELECT id, source, answer FROM entry WHERE scope = ?", (scope.key,)
            ).fetchall()
            new = {entry.id for entry in entries}
            gone = [id_ for id_, source, answer in there if id_ in new or not keep(source, answer)]
            removed = db.execute(
                "DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(gone),)
            ).rowcount
            self._steps("replace: rows")
            _put_entries(db, entries, vectors, known)
            detail = {"scope": scope.key, "removed": removed, "inserted": len(entries)}
            self._audit(db, actor, "replace_scope", detail)
        return len(there) - removed + len(entries)

    def insert(
        self, scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings, *, actor: str
    ) -> int:
        """Add entries to a scope; all of them or none.

        One that is there with the same answer stays as it is. One that has expired gives way.

        Args:
            scope: of all entries; it need not be known.
            entries: with ids that differ.
            vectors: float32, shape (len(entries), dimension), unit rows.
            actor: who does it.

        Returns:
            How many were new.

        Raises:
            RefusedError: an entry that must never be reused, or one whose words have another answer.
            ValueError: entries or vectors are not as described.
        """
        check(scope, entries, vectors)
        with self.writing("insert") as db:
            known = _known(db, [entry.id for entry in entries])
            new = []
            for at, entry in enumerate(entries):
                there = known.get(entry.id)
                if there is None or (there.expires_at is not None and there.expires_at <= entry.created_at):
                    new.append(at)
                elif there.answer != entry.answer:
                    raise RefusedError(f"Entry {entry.id} is there with another answer.")
            if new:
                self._put_scope(db, scope)
                chosen = [entries[at] for at in new]
                replaced = json.dumps([entry.id for entry in chosen if entry.id in known])
                db.execute("DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?))", (replaced,))
                self._steps("insert: rows")
                _put_entries(db, chosen, vectors[new], known)
                detail = {"scope": scope.key, "entries": [entry.id for entry in chosen]}
                self._audit(db, actor, "insert", detail)
        return len(new)

    def add_scope(self, scope: CacheScope, *, actor: str) -> bool:
        """Make a scope without entries; False where it is there already."""
        with self.writing("add_scope") as db:
            added = self._put_scope(db, scope)
            if added:
                self._audit(db, actor, "add_scope", {"scope": scope.key})
        return added

    def remove(self, ids: Collection[str], *, actor: str, why: str) -> int:
        """Remove entries; what was told of them stays.

        Args:
            ids: those that are not there are passed over.
            actor: who does it.
            why: `evicted`, `expired`, `orphaned`, … for the audit.

        Returns:
            How many there were.
        """
        with self.writing("remove") as db:
            rows = db.execute(
                "DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?)) RETURNING id",
                (json.dumps(list(ids)),),
            )
            gone = sorted(row[0] for row in rows.fetchall())
            if gone:
                self._audit(db, actor, "remove", {"why": why, "removed": len(gone), "entries": gone})
        return len(gone)

    def remove_scopes(self, keys: Collection[str], *, actor: str) -> int:
        """Remove scopes with all that they hold; returns how many entries went."""
        wanted = json.dumps(list(keys))
        with self.writing("remove_scopes") as db:
            removed = db.execute(
                "DELETE FROM entry WHERE scope IN (SELECT value FROM json_each(?))", (wanted,)
            ).rowcount
            self._steps("remove_scopes: scopes")
            rows = db.execute(
                "DELETE FROM scope WHERE key IN (SELECT value FROM json_each(?)) RETURNING key", (wanted,)
            )
            gone = sorted(row[0] for row in rows.fetchall())
            if gone:
                self._audit(db, actor, "remove_scopes", {"scopes": gone, "removed": removed})
        return removed

    def quarantine(self, entry_id: str, *, actor: str, why: str) -> None:
        """Keep an entry from being served from now on; one that is kept already stays as it is.

        Raises:
            MissingError: no such entry.
        """
        with self.writing("quarantine") as db:
            if _quarantined_at(db, entry_id) is None:
                self._quarantine(db, entry_id, actor, why)

    def release(self, entry_id: str, *, actor: str) -> None:
        """Let an entry be served again.

        Raises:
            MissingError: no such entry.
        """
        with self.writing("release") as db:
            if _quarantined_at(db, entry_id) is not None:
                self._release(db, entry_id, actor)

    def add_feedback(self, feedback: Feedback) -> bool:
        """Record one observation; False where this origin was counted already for this signal.

        Raises:
            ValueError: a time without time zone.
        """
        row = (
            feedback.entry_id,
            feedback.signal.value,
            moment(feedback.at),
            feedback.origin,
            feedback.actor,
            feedback.note,
        )
        with self.writing("feedback") as db:
            added = db.execute(
                "INSERT OR IGNORE INTO feedback (entry, signal, at, origin, actor, note) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                row,
            ).rowcount
        return added == 1

    def set_accuracy(self, accuracies: Mapping[str, float], *, actor: str) -> int:
        """Set beliefs by entry id; returns how many entries changed.

        Raises:
            ValueError: one that is not from 0 to 1.
        """
        if not all(0 <= accuracy <= 1 for accuracy in accuracies.values()):
            raise ValueError("an accuracy is not between 0 and 1")
        with self.writing("accuracy") as db:
            statement = "UPDATE entry SET accuracy = ? WHERE id = ? AND accuracy IS NOT ?"
            rows = [(accuracy, entry_id, accuracy) for entry_id, accuracy in accuracies.items()]
            changed = db.executemany(statement, rows).rowcount if rows else 0
            if changed:
                self._audit(db, actor, "set_accuracy", {"accuracies": dict(accuracies)})
        return changed

    def renew(
        self, ids: Collection[str], now: datetime, *, actor: str, prior: Prior = uncertified
    ) -> tuple[Belief, ...]:
        """Make accuracy and quarantine what all that was told of entries amounts to; returns the beliefs.

        It is read and written in one transaction: of two who tell at once, the later one knows of both.
        Without a person's RIGHT since it was set, quarantine stays, also one that somebody set by hand.

        Args:
            ids: those that are not there, and those of which nothing was told, are passed over.
            now: UTC time.
            actor: who does it.
            prior: accuracy of an entry that nobody told anything of, by its intent.
        """
        with self.writing("renew") as db:
            before = _known(db, [*ids])
            told = _told(db, [*before])
            found = tuple(
                self._renew(
                    db,
                    believe(id_, told[id_], now, prior=prior(there.intent)),
                    there.history,
                    told[id_],
                    actor,
                )
                for id_, there in before.items()
                if id_ in told
            )
            rows = {it.entry_id: it.accuracy for it in found}
            changed = {id_: it for id_, it in rows.items() if it != before[id_].history.accuracy}
            if changed:
                db.executemany(
                    "UPDATE entry SET accuracy = ? WHERE id = ?", [(it, id_) for id_, it in changed.items()]
                )
                self._audit(db, actor, "set_accuracy", {"accuracies": changed})
        return found

    def _renew(
        self, db: sqlite3.Connection, belief: Belief, before: History, told: Sequence[Feedback], actor: str
    ) -> Belief:
        """Set or lift quarantine where it changed."""
        since, entry_id = before.quarantined_at, belief.entry_id
        if belief.quarantined and since is None:
            self._quarantine(db, entry_id, actor, "feedback")
        elif not belief.quarantined and since is not None:
            if not any(it.signal is Signal.RIGHT and it.at >= since for it in told):
                return replace(belief, quarantined=True)
            self._release(db, entry_id, actor)
        return belief

    def count_hits(self, hits: Mapping[str, tuple[int, datetime]]) -> None:
        """Add to how often entries were served: id → (how often since last told, the last time in UTC)."""
        rows = [(count, moment(last), entry_id) for entry_id, (count, last) in hits.items()]
        with self.writing("hits") as db:
            db.executemany(
                "UPDATE entry SET hits = hits + ?, last_hit_at = MAX(COALESCE(last_hit_at, ''), ?) "
                "WHERE id = ?",
                rows,
            )

    def _quarantine(self, db: sqlite3.Connection, entry_id: str, actor: str, why: str) -> None:
        now = moment(datetime.now(UTC))
        db.execute("UPDATE entry SET quarantined_at = ? WHERE id = ?", (now, entry_id))
        self._audit(db, actor, "quarantine", {"entry": entry_id, "why": why})

    def _release(self, db: sqlite3.Connection, entry_id: str, actor: str) -> None:
        db.execute("UPDATE entry SET quarantined_at = NULL WHERE id = ?", (entry_id,))
        self._audit(db, actor, "release", {"entry": entry_id})

    def _put_scope(self, db: sqlite3.Connection, scope: CacheScope) -> bool:
        self._steps("scope")
        definition = json.dumps(asdict(scope), sort_keys=True)
        row = (scope.key, definition, moment(datetime.now(UTC)))
        return db.execute("INSERT OR IGNORE INTO scope VALUES (?, ?, ?)", row).rowcount == 1

    def _audit(self, db: sqlite3.Connection, actor: str, action: str, detail: Mapping[str, object]) -> None:
        self._steps(f"{action}: audit")
        audit(db, actor, action, json.dumps(detail, sort_keys=True))


@dataclass(frozen=True, slots=True)
class _Known:
    """What an entry that comes again brings with it."""

    intent: str
    answer: str
    expires_at: datetime | None
    history: History


def _known(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, _Known]:
    rows = db.execute(
        "SELECT id, intent, answer, expires_at, accuracy, quarantined_at, hits, last_hit_at FROM entry "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    return {
        id_: _Known(intent, answer, time_of(end), History(accuracy, time_of(since), hits, time_of(last)))
        for id_, intent, answer, end, accuracy, since, hits, last in rows
    }


def _put_entries(
    db: sqlite3.Connection,
    entries: Sequence[CacheEntry],
    vectors: Embeddings,
    known: Mapping[str, _Known],
) -> None:
    told = _told(db, [entry.id for entry in entries if entry.id not in known])
    rows = []
    for entry, vector in zip(entries, vectors, strict=True):
        there = known.get(entry.id)
        same = there is not None and there.answer == entry.answer
        history = there.history if there and same else _remembered(entry, told.get(entry.id, []))
        rows.append(row_of(entry, vector, history))
    db.executemany(f"INSERT INTO entry ({WRITTEN}) VALUES ({PLACES})", rows)  # noqa: S608  # constants


def _told(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, list[Feedback]]:
    found: dict[str, list[Feedback]] = {}
    query = f"SELECT {TOLD} FROM feedback WHERE entry IN (SELECT value FROM json_each(?)) ORDER BY seq"  # noqa: S608
    for row in db.execute(query, (json.dumps(ids),)):
        feedback = feedback_of(row)
        found.setdefault(feedback.entry_id, []).append(feedback)
    return found


def _remembered(entry: CacheEntry, told: Sequence[Feedback]) -> History:
    """The history of an entry that was gone: what had been told of it holds still."""
    if not told:
        return History(entry.accuracy)
    belief = believe(entry.id, told, entry.created_at)
    return History(belief.accuracy, datetime.now(UTC) if belief.quarantined else None)


def _quarantined_at(db: sqlite3.Connection, entry_id: str) -> str | None:
    row = db.execute("SELECT quarantined_at FROM entry WHERE id = ?", (entry_id,)).fetchone()
    if row is None:
        raise MissingError(f"The cache holds no entry {entry_id}.", advice="`cache-manager list` shows them.")
    return None if row[0] is None else str(row[0])
