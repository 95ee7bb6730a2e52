"""Merging what other replicas tell of their caches into this one's: the later state of each entry holds.

Nothing is believed for having come: an answer passes the same door as an offer made here (`Admission`), its
signature and vector are made here, and a stamp from a future that no clock explains is no stamp.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from loguru import logger

from serving.cache.admission import Admission
from serving.cache.belief import Prior, believe, uncertified
from serving.cache.clock import utc
from serving.cache.protocol import Feedback, Signal
from serving.cache.store import CacheStore
from serving.cache.store_file import audit
from serving.cache.store_rows import ENTRY, PLACES, WRITTEN, History, entry_of, moment, row_of, time_of
from serving.cache.types import CacheEntry, CacheScope
from serving.errors import InvalidInputError
from serving.language.protocols import Embedder, Embeddings
from serving.services.cache_changes import PER_MICROSECOND, Place, feedback_of, merging, set_place
from serving.services.cache_news import News, Standing

_AHEAD = timedelta(days=1)
"""How far another replica's clock may be ahead."""
ACTOR = "replicas"
"""Who acts in the audit."""
_DOUBTS = frozenset({Signal.WRONG, Signal.SHADOW_DISAGREES})
_MOST_ORIGIN, _MOST_ACTOR = 300, 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """An entry that was judged here, ready to be stored with its vector."""

    scope: CacheScope
    entry: CacheEntry
    vector: Embeddings


Answers = dict[tuple[str, int], Answer]
"""By entry id and stamp."""


class Merger:
    """Puts news into a store.

    Args:
        store: of this replica.
        admission: the door of this replica's cache.
        embedder: of this replica's cache.
        now: UTC time.
        prior: what is believed of an entry before feedback.

    Attributes:
        refused: news that were not merged, by reason, since this was made.
    """

    def __init__(
        self,
        store: CacheStore,
        admission: Admission,
        embedder: Embedder,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        prior: Prior = uncertified,
    ) -> None:
        self._prior = prior
        self._store = store
        self._admission = admission
        self._embedder = embedder
        self._now = now
        self.refused: Counter[str] = Counter()

    def sound(self, news: News) -> bool:
        """Whether its times can be true; counted where not."""
        latest = self._now() + _AHEAD
        feedback, standing = news.feedback, news.standing
        offer = news.content.offer if news.content else None
        times = [standing.since if standing else None, feedback.at if feedback else None]
        if any(at is not None and not _is_time(at) for at in (*times, offer.expires_at if offer else None)):
            self.refuse("no_time")
            return False
        if news.oldest < 0:
            self.refuse("no_stamp")
            return False
        if news.newest > _as_stamp(latest) or any(at is not None and at > latest for at in times):
            self.refuse("time_in_the_future")
            return False
        if feedback is not None and (
            len(feedback.origin) > _MOST_ORIGIN or len(feedback.actor) > _MOST_ACTOR
        ):
            self.refuse("too_long")
            return False
        return True

    def refuse(self, reason: str) -> None:
        """Count news that are not merged, and log the first of a kind."""
        if not self.refused[reason]:
            logger.warning("news of another cache are not merged: {}", reason)
        self.refused[reason] += 1

    def unheard(self, news: Iterable[News]) -> list[News]:
        """What would change something here: not what this replica told itself, or heard before."""
        with self._store.reading() as db:
            return [it for it in news if _is_new(db, it)]

    def judged(self, news: Sequence[News]) -> Answers:
        """The answers among news that are new here and may be reused; the rest is counted."""
        entries = {}
        for it in self._unknown(news):
            assert it.content is not None
            assert it.content.scope is not None
            assert it.content.offer is not None
            scope = it.content.scope
            if scope.embedder != self._embedder.fingerprint:
                self.refuse("another_encoder")
                continue
            made = self._admission.admit(it.content.offer, scope, now=self._now())
            if made.entry is None or made.entry.id != it.entry:
                self.refuse(made.refusal.value if made.refusal else "another_id")
                continue
            entries[it.entry, it.content.stamp] = (scope, made.entry)
        vectors = self._embedder.embed([entry.question for _, entry in entries.values()]) if entries else ()
        return {
            key: Answer(scope, entry, vector)
            for (key, (scope, entry)), vector in zip(entries.items(), vectors, strict=True)
        }

    def merge(self, news: Sequence[News], answers: Answers, at: Place | None = None) -> int:
        """Merge news in one transaction; returns how many entries were stored.

        Args:
            news: in any order.
            answers: those of their answers that were judged.
            at: how far the replica has read with them; None for no further than before.
        """
        doubted = []
        changed: Counter[str] = Counter()
        with merging(self._store, max((it.newest for it in news), default=0)) as db:
            for it in news:
                changed += self._merge_one(db, it, answers.get((it.entry, _stamp(it))))
                if it.feedback is not None and it.feedback.signal in _DOUBTS:
                    doubted.append(it.entry)
            if changed:
                audit(db, ACTOR, "merge", json.dumps(changed, sort_keys=True))
            if at is not None:
                set_place(db, at)
            for entry_id in doubted:
                self._quarantine_if_doubted(db, entry_id)
        return changed["put"]

    def _unknown(self, news: Sequence[News]) -> list[News]:
        """Those whose answer is not here already with a stamp as late."""
        with self._store.reading() as db:
            return [
                it
                for it in news
                if it.offers
                and _content_stamp(db, it.entry) < _stamp(it)
                and not _same(_stored(db, it.entry), it)
            ]

    def _merge_one(self, db: sqlite3.Connection, news: News, answer: Answer | None) -> Counter[str]:
        done: Counter[str] = Counter()
        standing, content = news.standing, news.content
        if standing is not None and standing.stamp > _standing_stamp(db, news.entry):
            _set_standing(db, news.entry, standing)
            done["standing"] += 1
        if content is not None and content.stamp > _content_stamp(db, news.entry):
            if content.offer is None:
                _set_content(db, news.entry, content.stamp)
                db.execute("DELETE FROM entry WHERE id = ?", (news.entry,))
                done["removed"] += 1
            elif _same(_stored(db, news.entry), news):
                _set_content(db, news.entry, content.stamp)
            elif answer is not None:
                _set_content(db, news.entry, content.stamp)
                self._put(db, answer)
                done["put"] += 1
        if news.scope is not None and news.scope.embedder == self._embedder.fingerprint:
            done["scopes"] += self._put_scope(db, news.scope)
        if news.feedback is not None and self._observe(db, news.feedback):
            done["feedback"] += 1
        return done

    def _put_scope(self, db: sqlite3.Connection, scope: CacheScope) -> int:
        row = (scope.key, json.dumps(asdict(scope), sort_keys=True), moment(self._now()))
        return db.execute("INSERT OR IGNORE INTO scope VALUES (?, ?, ?)", row).rowcount

    def _put(self, db: sqlite3.Connection, answer: Answer) -> None:
        entry, now = answer.entry, self._now()
        self._put_scope(db, answer.scope)
        db.execute("DELETE FROM entry WHERE id = ?", (entry.id,))
        (since,) = db.execute("SELECT since FROM entry_state WHERE entry = ?", (entry.id,)).fetchone()
        told = _told(db, entry.id)
        accuracy = entry.accuracy
        if told:
            accuracy = believe(entry.id, told, now, prior=self._prior(entry.intent)).accuracy
        row = row_of(entry, answer.vector, History(accuracy, time_of(since)))
        db.execute(f"INSERT INTO entry ({WRITTEN}) VALUES ({PLACES})", row)  # noqa: S608  # constants

    def _observe(self, db: sqlite3.Connection, told: Feedback) -> bool:
        if not db.execute("SELECT 1 FROM entry_state WHERE entry = ?", (told.entry_id,)).fetchone():
            self.refuse("observation_of_nothing")
            return False
        at = min(told.at, self._now())  # as where it was told (`serving.cache.telling`)
        row = (told.entry_id, told.signal.value, moment(at), told.origin, told.actor)
        added = db.execute(
            "INSERT OR IGNORE INTO feedback (entry, signal, at, origin, actor, note) "
            "VALUES (?, ?, ?, ?, ?, '')",
            row,
        ).rowcount
        if added:
            for (intent,) in db.execute("SELECT intent FROM entry WHERE id = ?", (told.entry_id,)).fetchall():
                all_told, prior = _told(db, told.entry_id), self._prior(intent)
                belief = believe(told.entry_id, all_told, self._now(), prior=prior)
                db.execute("UPDATE entry SET accuracy = ? WHERE id = ?", (belief.accuracy, told.entry_id))
        return bool(added)

    def _quarantine_if_doubted(self, db: sqlite3.Connection, entry_id: str) -> None:
        """Keep back what all observations together speak against, though none did alone.

        It counts as done when the last doubt arose, so each replica finds the same by itself, and whoever
        lifts the quarantine later is not overruled by one that hears of the doubt only then.
        """
        told, now = _told(db, entry_id), self._now()
        doubted_at = min(max((it.at for it in told if it.signal in _DOUBTS), default=_EPOCH), now)
        stamp = _as_stamp(doubted_at)
        if _standing_stamp(db, entry_id) < stamp and believe(entry_id, told, now).quarantined:
            _set_standing(db, entry_id, Standing(stamp, doubted_at))


def _is_time(at: datetime) -> bool:
    """Whether a time can be stored and compared."""
    try:
        utc(at, "time")
    except InvalidInputError:
        return False
    return True


def _as_stamp(at: datetime) -> int:
    """The first stamp of a moment."""
    return (at - _EPOCH) // timedelta(microseconds=1) * PER_MICROSECOND


def _is_new(db: sqlite3.Connection, news: News) -> bool:
    state = db.execute("SELECT content, standing FROM entry_state WHERE entry = ?", (news.entry,)).fetchone()
    content, standing = state or (0, 0)
    if (news.content and news.content.stamp > content) or (news.standing and news.standing.stamp > standing):
        return True
    if news.scope is not None:
        return db.execute("SELECT 1 FROM scope WHERE key = ?", (news.entry,)).fetchone() is None
    told = news.feedback
    return told is not None and (
        db.execute(
            "SELECT 1 FROM feedback WHERE entry = ? AND signal = ? AND origin = ?",
            (told.entry_id, told.signal.value, told.origin),
        ).fetchone()
        is None
    )


def _stamp(news: News) -> int:
    return news.content.stamp if news.content else 0


def _content_stamp(db: sqlite3.Connection, entry_id: str) -> int:
    row = db.execute("SELECT content FROM entry_state WHERE entry = ?", (entry_id,)).fetchone()
    return int(row[0]) if row else 0


def _standing_stamp(db: sqlite3.Connection, entry_id: str) -> int:
    row = db.execute("SELECT standing FROM entry_state WHERE entry = ?", (entry_id,)).fetchone()
    return int(row[0]) if row else 0


def _set_standing(db: sqlite3.Connection, entry_id: str, standing: Standing) -> None:
    since = moment(standing.since) if standing.since else None
    db.execute(
        "INSERT INTO entry_state (entry, standing, since) VALUES (?, ?, ?) ON CONFLICT (entry) "
        "DO UPDATE SET standing = excluded.standing, since = excluded.since",
        (entry_id, standing.stamp, since),
    )
    db.execute("UPDATE entry SET quarantined_at = ? WHERE id = ?", (since, entry_id))


def _set_content(db: sqlite3.Connection, entry_id: str, stamp: int) -> None:
    db.execute(
        "INSERT INTO entry_state (entry, content) VALUES (?, ?) "
        "ON CONFLICT (entry) DO UPDATE SET content = excluded.content",
        (entry_id, stamp),
    )


def _stored(db: sqlite3.Connection, entry_id: str) -> CacheEntry | None:
    row = db.execute(f"SELECT {ENTRY} FROM entry WHERE id = ?", (entry_id,)).fetchone()  # noqa: S608
    return entry_of(row) if row else None


def _same(entry: CacheEntry | None, news: News) -> bool:
    """Whether the entry here is the answer that they tell of."""
    offer = news.content.offer if news.content else None
    if entry is None or offer is None:
        return False
    here = (entry.question, entry.answer, entry.disclosures, entry.expires_at)
    return here == (offer.question, offer.answer, offer.disclosures, offer.expires_at)


def _told(db: sqlite3.Connection, entry_id: str) -> list[Feedback]:
    rows: Iterable[tuple[str, ...]] = db.execute(
        "SELECT entry, signal, at, origin, actor FROM feedback WHERE entry = ?", (entry_id,)
    )
    return [feedback_of(row) for row in rows]
