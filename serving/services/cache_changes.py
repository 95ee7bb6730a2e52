"""What changed in a replica's cache and is not told yet, and where it stands in what the others tell.

Both lie in the cache's own SQLite file (`serving.services.cache_tables`). Stamps are a hybrid clock: time of
the wall clock, but always behind every stamp that was seen (Kulkarni et al. 2014).
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from serving.cache.protocol import Feedback, Offer, Signal
from serving.cache.store import CacheStore
from serving.cache.store_rows import ENTRY, entry_of, time_of
from serving.cache.types import CacheEntry, CacheScope
from serving.services.cache_news import Content, News, Standing
from serving.services.cache_tables import BEFORE, FORGOTTEN, TABLES

PER_MICROSECOND = 1000
"""Of stamps."""


_COLUMNS = ", ".join(f"e.{name.strip()}" for name in ENTRY.split(","))
_STATES = (
    f"SELECT s.entry, s.content, s.standing, s.since, {_COLUMNS} "  # noqa: S608  # constants
    "FROM entry_state s LEFT JOIN entry e ON e.id = s.entry"
)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a replica has read.

    Attributes:
        epoch: of the stream; another one after Redis has lost its memory. Empty before the first.
        position: id of the newest message whose news are all merged.
        rules: by which they were judged.
    """

    epoch: str = ""
    position: str = ""
    rules: str = ""


def prepare(store: CacheStore) -> None:
    """Have changes noted from now on; all that is there counts as not told yet. Done once for a file."""
    with store.writing("share: prepare") as db:
        for statement in TABLES:
            db.execute(statement)
        db.execute(FORGOTTEN)
        if not db.execute("SELECT 1 FROM replica").fetchone():
            for statement in BEFORE:
                db.execute(statement)


def place(store: CacheStore) -> Place:
    """How far this replica has read."""
    with store.reading() as db:
        return Place(*db.execute("SELECT epoch, position, rules FROM replica").fetchone())


def set_place(db: sqlite3.Connection, at: Place) -> None:
    """Note how far this replica has read, with what it read."""
    db.execute("UPDATE replica SET epoch = ?, position = ?, rules = ?", (at.epoch, at.position, at.rules))


@contextmanager
def merging(store: CacheStore, seen: int) -> Iterator[sqlite3.Connection]:
    """A transaction whose changes are those of others, and so are not noted as ours.

    Args:
        store: of this replica.
        seen: latest stamp among them; ours will be later.
    """
    with store.writing("share: merge") as db:
        db.execute("UPDATE replica SET merging = 1, stamp = MAX(stamp, ?)", (seen,))
        yield db
        db.execute("UPDATE replica SET merging = 0")


def untold(store: CacheStore, most: int) -> dict[int, News | None]:
    """Oldest changes that nobody was told of, by their number; None for one that means nothing any more."""
    with store.reading() as db:
        rows = db.execute("SELECT seq, kind, ref FROM untold ORDER BY seq LIMIT ?", (most,)).fetchall()
        return {seq: _NEWS[kind](db, ref) for seq, kind, ref in rows}


def told(store: CacheStore, numbers: Collection[int]) -> None:
    """Forget changes that were told; one that changed again meanwhile has another number and stays."""
    with store.writing("share: told") as db:
        db.execute(
            "DELETE FROM untold WHERE seq IN (SELECT value FROM json_each(?))", (json.dumps([*numbers]),)
        )


def whole_state(store: CacheStore) -> tuple[Place, list[News]]:
    """All states and observations of this replica, and how far it had read when it had them."""
    with store.reading() as db:
        at = Place(*db.execute("SELECT epoch, position, rules FROM replica").fetchone())
        scopes = _scopes(db)
        states = db.execute(_STATES)
        rows = db.execute("SELECT entry, signal, at, origin, actor FROM feedback ORDER BY seq")
        found = [
            *(News(key, scope=scope) for key, scope in scopes.items()),
            *(_entry_news(state, scopes) for state in states),
            *(News(row[0], feedback=feedback_of(row)) for row in rows),
        ]
        return at, found


def tell_what_they_lack(db: sqlite3.Connection, theirs: Sequence[News]) -> int:
    """Note everything of ours that is newer than a whole state of others, or absent there, as not told."""
    told_content = {it.entry: it.content.stamp for it in theirs if it.content}
    told_standing = {it.entry: it.standing.stamp for it in theirs if it.standing}
    observed = {_key(it.feedback) for it in theirs if it.feedback}
    states = db.execute("SELECT entry, content, standing FROM entry_state").fetchall()
    newer = [
        ("entry", entry)
        for entry, content, standing in states
        if content > told_content.get(entry, 0) or standing > told_standing.get(entry, 0)
    ]
    rows = db.execute("SELECT seq, entry, signal, origin FROM feedback").fetchall()
    newer += [("feedback", str(seq)) for seq, *key in rows if tuple(key) not in observed]
    scopes = {it.entry for it in theirs if it.scope}
    keys = db.execute("SELECT key FROM scope").fetchall()
    newer = [*(("scope", key) for (key,) in keys if key not in scopes), *newer]
    db.executemany("INSERT INTO untold (kind, ref) VALUES (?, ?)", newer)
    return len(newer)


def _key(feedback: Feedback) -> tuple[str, str, str]:
    return feedback.entry_id, feedback.signal.value, feedback.origin


def _scopes(db: sqlite3.Connection) -> dict[str, CacheScope]:
    rows = db.execute("SELECT key, definition FROM scope ORDER BY created_at, key")
    return {key: CacheScope(**json.loads(definition)) for key, definition in rows}


def _scope_news(db: sqlite3.Connection, key: str) -> News | None:
    row = db.execute("SELECT definition FROM scope WHERE key = ?", (key,)).fetchone()
    return None if row is None else News(key, scope=CacheScope(**json.loads(row[0])))


def _changed_entry(db: sqlite3.Connection, entry_id: str) -> News | None:
    state = db.execute(f"{_STATES} WHERE s.entry = ?", (entry_id,)).fetchone()
    return None if state is None else _entry_news(state, _scopes(db))


def _entry_news(state: Sequence[Any], scopes: Mapping[str, CacheScope]) -> News:
    """News of a row of `_STATES`."""
    entry_id, stamp, standing_stamp, since, *row = state
    standing = Standing(standing_stamp, time_of(since)) if standing_stamp else None
    if row[0] is None:
        return News(entry_id, Content(stamp) if stamp else None, standing)
    entry = entry_of(row)
    return News(entry_id, Content(stamp, scopes[entry.scope], offer_of(entry)), standing)


def _feedback_news(db: sqlite3.Connection, seq: str) -> News | None:
    row = db.execute("SELECT entry, signal, at, origin, actor FROM feedback WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else News(row[0], feedback=feedback_of(row))


_NEWS = {"entry": _changed_entry, "scope": _scope_news, "feedback": _feedback_news}


def feedback_of(row: Sequence[Any]) -> Feedback:
    """The observation of a row `entry, signal, at, origin, actor`; its note stays where it was written."""
    entry, signal, at, origin, actor = row
    return Feedback(entry, Signal(signal), datetime.fromisoformat(at).astimezone(UTC), origin, actor)


def offer_of(entry: CacheEntry) -> Offer:
    """The offer that makes an entry again."""
    return Offer(
        question=entry.question,
        intent=entry.intent,
        answer=entry.answer,
        disclosures=entry.disclosures,
        source=entry.source,
        expires_at=entry.expires_at,
    )
