"""Feedback into the store: an observation is recorded, and what is then believed of its entry holds at once.

The rules are those of `serving.cache.belief`; here they meet the file. Telling the same twice changes
nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from serving.cache.belief import Prior, believe, uncertified
from serving.cache.protocol import Belief, Feedback, Signal
from serving.cache.store import CacheStore
from serving.cache.store_rows import StoredEntry
from serving.errors import MissingError


def tell(
    store: CacheStore, feedback: Feedback, *, prior: Prior = uncertified, now: datetime | None = None
) -> Belief:
    """Record one observation and bring accuracy and quarantine of its entry up to date.

    Args:
        store: the cache's truth.
        feedback: the observation; its actor stands in the audit.
        prior: accuracy of an entry that nobody told anything of, by its intent.
        now: UTC time; default: the clock's.

    Raises:
        MissingError: the cache holds no such entry.
        UnavailableError: the store cannot be written now.
    """
    if store.get(feedback.entry_id) is None:
        raise MissingError(
            f"The cache holds no entry {feedback.entry_id[:32]}.", advice="`cache-manager list` shows them."
        )
    store.add_feedback(feedback)
    stored = store.get(feedback.entry_id)
    if stored is None:  # it went meanwhile; what was told stays for the day when it comes back
        raise MissingError(f"Entry {feedback.entry_id} has just been removed.")
    told = store.feedback(feedback.entry_id)
    belief = _renewed(store, stored, told, now or datetime.now(UTC), actor=feedback.actor, prior=prior)
    store.set_accuracy({belief.entry_id: belief.accuracy}, actor=feedback.actor)
    return belief


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
    told, there = store.told(), {it.entry.id: it for it in store.stored()}
    beliefs = [
        _renewed(store, there[id_], told[id_], now, actor=actor, prior=prior) for id_ in told if id_ in there
    ]
    store.set_accuracy({it.entry_id: it.accuracy for it in beliefs}, actor=actor)
    return tuple(belief for belief in beliefs if _differs(belief, there[belief.entry_id]))


def _renewed(
    store: CacheStore,
    stored: StoredEntry,
    told: Iterable[Feedback],
    now: datetime,
    *,
    actor: str,
    prior: Prior,
) -> Belief:
    """What is believed now; quarantine is set or lifted where it changed.

    Without a person's RIGHT since it was set, quarantine stays, also one that somebody set by hand.
    """
    told, since = list(told), stored.quarantined_at
    belief = believe(stored.entry.id, told, now, prior=prior(stored.entry.intent))
    if belief.quarantined and since is None:
        store.quarantine(belief.entry_id, actor=actor, why="feedback")
    elif not belief.quarantined and since is not None:
        if any(it.signal is Signal.RIGHT and it.at >= since for it in told):
            store.release(belief.entry_id, actor=actor)
        else:
            return Belief(belief.entry_id, belief.accuracy, quarantined=True)
    return belief


def _differs(belief: Belief, before: StoredEntry) -> bool:
    was = before.quarantined_at is not None
    return belief.accuracy != before.entry.accuracy or belief.quarantined != was
