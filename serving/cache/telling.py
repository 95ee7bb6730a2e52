"""Feedback into the store: an observation is recorded, and what is then believed of its entry holds at once.

The rules are those of `serving.cache.belief`; here they meet the file. Telling the same twice changes
nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from serving.cache.belief import Prior, believe, uncertified
from serving.cache.clock import utc
from serving.cache.protocol import Belief, Feedback
from serving.cache.store import CacheStore
from serving.cache.store_rows import StoredEntry
from serving.errors import MissingError


def tell(
    store: CacheStore, feedback: Feedback, *, prior: Prior = uncertified, now: datetime | None = None
) -> Belief:
    """Record one observation and bring accuracy and quarantine of its entry up to date.

    Args:
        store: the cache's truth.
        feedback: the observation; its actor stands in the audit. One from the future counts as made now, or a
            RIGHT by a clock that is ahead would settle every WRONG until then.
        prior: accuracy of an entry that nobody told anything of, by its intent.
        now: UTC time; default: the clock's.

    Raises:
        InvalidInputError: its time has no time zone, or is no time in UTC.
        MissingError: the cache holds no such entry.
        UnavailableError: the store cannot be written now.
    """
    now = now or datetime.now(UTC)
    at = utc(feedback.at, "time of an observation")
    stored = store.get(feedback.entry_id)
    if stored is None:
        raise MissingError(
            f"The cache holds no entry {feedback.entry_id[:32]}.", advice="`cache-manager list` shows them."
        )
    # A quarantine shows that its time has passed, too, whatever the clock says.
    feedback = replace(feedback, at=min(at, max(now, stored.quarantined_at or now)))
    store.add_feedback(feedback)
    beliefs = store.renew([feedback.entry_id], now, actor=feedback.actor, prior=prior)
    if not beliefs:  # it went meanwhile; what was told stays for the day when it comes back
        raise MissingError(f"Entry {feedback.entry_id} has just been removed.")
    return beliefs[0]


def as_believed(
    entries: Sequence[StoredEntry],
    told: Mapping[str, Sequence[Feedback]],
    now: datetime,
    *,
    prior: Prior = uncertified,
) -> list[StoredEntry]:
    """Entries with the accuracy that is believed now; nothing is written.

    Args:
        entries: as the store has them.
        told: all that was told by entry id (`CacheStore.told`).
        now: UTC time.
        prior: accuracy of an entry that nobody told anything of, by its intent.
    """

    def renewed(item: StoredEntry) -> StoredEntry:
        if item.entry.id not in told:
            return item
        belief = believe(item.entry.id, told[item.entry.id], now, prior=prior(item.entry.intent))
        return replace(item, entry=replace(item.entry, accuracy=belief.accuracy))

    return [renewed(item) for item in entries]


def renew_beliefs(
    store: CacheStore, now: datetime, *, actor: str, prior: Prior = uncertified
) -> tuple[Belief, ...]:
    """Bring all entries up to date that anything was told of; returns the beliefs that changed.

    Observations lose weight with time, so beliefs change without new ones.
    """
    there = {it.entry.id: it for it in store.stored()}
    beliefs = store.renew([id_ for id_ in store.told() if id_ in there], now, actor=actor, prior=prior)
    return tuple(belief for belief in beliefs if _differs(belief, there[belief.entry_id]))


def _differs(belief: Belief, before: StoredEntry) -> bool:
    was = before.quarantined_at is not None
    return belief.accuracy != before.entry.accuracy or belief.quarantined != was
