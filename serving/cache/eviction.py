"""What the cache lets go, and why: a plan first, which changes nothing, then its execution through the store.

Nothing is evicted for being quarantined: such an entry waits for a person. Whatever was told of an entry
stays behind, so one that comes back with the next build brings its doubts along.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from serving.cache.store import CacheStore
from serving.cache.store_reads import EVICTED
from serving.cache.store_rows import StoredEntry
from serving.errors import InvalidInputError, RefusedError

THRESHOLD = 0.6
"""Accuracy below which an entry goes; it is no safety line, serving stops at 0.9 (`serving.cache.lookup`)."""
MAX_FRACTION = 0.2
"""Share of what callers can be answered from that one eviction may take without being told to."""
GRACE = timedelta(days=7)
"""How long a scope that nothing refers to any more is kept after its last use: time to take an edit back."""
USE_HALF_LIFE = timedelta(days=30)
"""A use counts half when it is this old."""
_ROW_BYTES = 2_048
"""What an entry takes besides its words: the embedding and its index rows."""


class Cause(StrEnum):
    """Why an entry goes; stable words, written into the audit and used as a metric label."""

    ACCURACY = "accuracy"
    EXPIRED = "expired"
    ORPHANED = "orphaned"
    """No adapter that serves, may serve or served before uses its scope."""
    CROWDED = "crowded"
    """The least used for its size, where there are too many."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """One entry that goes, with the evidence in words."""

    entry_id: str
    scope: str
    intent: str
    question: str
    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """What would go.

    Attributes:
        evictions: in order of cause, then of the store.
        orphaned: keys of scopes that go as a whole.
        entries: how many there are.
        answering: how many of them are in scopes that are not orphaned.
    """

    evictions: tuple[Eviction, ...]
    orphaned: frozenset[str]
    entries: int
    answering: int

    @property
    def fraction(self) -> float:
        """Share of the entries in scopes in use that would go; an orphaned scope answers nobody."""
        taken = sum(it.cause is not Cause.ORPHANED for it in self.evictions)
        return taken / self.answering if self.answering else 0.0

    def by_cause(self) -> dict[Cause, tuple[Eviction, ...]]:
        """Evictions of each cause that has any."""
        found = {cause: tuple(it for it in self.evictions if it.cause is cause) for cause in Cause}
        return {cause: those for cause, those in found.items() if those}


def plan(
    entries: Sequence[StoredEntry],
    now: datetime,
    *,
    threshold: float = THRESHOLD,
    max_entries: int | None = None,
    live_scopes: Collection[str] | None = None,
    scopes_since: Mapping[str, datetime] | None = None,
    grace: timedelta = GRACE,
) -> EvictionPlan:
    """Decide what goes.

    Args:
        entries: all of them, with beliefs as of now (`serving.cache.telling.renew_beliefs`).
        now: UTC time.
        threshold: least accuracy that stays, 0 to 1.
        max_entries: most that stay; None for no limit.
        live_scopes: keys of the scopes that calls use, may use after a promotion or a rollback, or follow;
            None where they cannot be told. Where none of them holds an entry they are not believed.
        scopes_since: key → when a scope was made known; with the entries it tells the last use.
        grace: how long a scope that is not live is kept after its last use.

    Raises:
        InvalidInputError: a threshold that is no probability, or a limit below 0.
    """
    check_limits(threshold, max_entries)
    orphaned = _orphaned(entries, now - grace, live_scopes, scopes_since or {})
    gone, kept = [], []
    for item in entries:
        found = _cause(item, now, threshold, orphaned)
        if found is None:
            kept.append(item)
        else:
            gone.append(_eviction(item, *found))
    if max_entries is not None and len(kept) > max_entries:
        ranked = sorted(kept, key=lambda it: (usefulness(it, now), it.entry.created_at, it.seq))
        gone += [
            _eviction(it, Cause.CROWDED, f"used {it.hits} times, more than {max_entries} entries")
            for it in ranked[: len(kept) - max_entries]
        ]
    order = list(Cause)
    answering = sum(it.entry.scope not in orphaned for it in entries)
    evictions = tuple(sorted(gone, key=lambda it: order.index(it.cause)))
    return EvictionPlan(evictions, orphaned, len(entries), answering)


def check_limits(
    threshold: float = THRESHOLD, max_entries: int | None = None, max_fraction: float = MAX_FRACTION
) -> None:
    """Refuse limits that cannot be meant, before anything is looked at.

    Raises:
        InvalidInputError: a threshold or a share that is not from 0 to 1, or fewer entries than none.
    """
    if not 0 <= threshold <= 1:
        raise InvalidInputError(f"An accuracy threshold is from 0 to 1, not {threshold}.")
    if max_entries is not None and max_entries < 0:
        raise InvalidInputError(f"A cache cannot hold {max_entries} entries.")
    if not 0 <= max_fraction <= 1:
        raise InvalidInputError(f"A share is from 0 to 1, not {max_fraction}.")


def usefulness(item: StoredEntry, now: datetime) -> float:
    """Uses, aged, for each kilobyte: least frequently used goes first, the larger of two that are equal.

    One use is added, so that what nobody has asked yet is ranked by its age and size.
    """
    last = max(item.last_hit_at or item.entry.created_at, item.entry.created_at)
    age = max(now - last, timedelta(0))
    size = len(item.entry.question) + len(item.entry.answer) + _ROW_BYTES
    return float((item.hits + 1) * 0.5 ** (age / USE_HALF_LIFE) * 1_024 / size)


def check_fraction(plan: EvictionPlan, max_fraction: float = MAX_FRACTION) -> None:
    """Refuse a plan that would take too much: a clock or a feedback gone wrong must not empty a cache.

    Raises:
        InvalidInputError: a share that is not from 0 to 1.
        RefusedError: the plan takes more.
    """
    check_limits(max_fraction=max_fraction)
    if plan.fraction > max_fraction:
        causes = ", ".join(f"{len(those)} {cause}" for cause, those in plan.by_cause().items())
        raise RefusedError(
            f"This would take {plan.fraction:.1%} of what callers are answered from ({causes}); "
            f"{max_fraction:.1%} is the most.",
            advice="Look at it with --dry-run, and raise --max-fraction if it is right.",
        )


def apply(store: CacheStore, plan: EvictionPlan, *, actor: str) -> dict[Cause, int]:
    """Carry a plan out, cause by cause, each in a transaction with its audit row; returns what went.

    Who reads the cache sees it from the next question on, without a new generation.
    """
    removed: dict[Cause, int] = {}
    for cause, those in plan.by_cause().items():
        if cause is not Cause.ORPHANED:
            ids = [it.entry_id for it in those]
            removed[cause] = store.remove(ids, actor=actor, why=f"{EVICTED}{cause}")
    if plan.orphaned:
        removed[Cause.ORPHANED] = store.remove_scopes(sorted(plan.orphaned), actor=actor)
    return removed


def _cause(
    item: StoredEntry, now: datetime, threshold: float, orphaned: Collection[str]
) -> tuple[Cause, str] | None:
    """The first cause that takes an entry, with its evidence; None where it stays."""
    entry = item.entry
    if entry.scope in orphaned:
        return Cause.ORPHANED, "no adapter uses its scope"
    if entry.expires_at is not None and entry.expires_at <= now:
        return Cause.EXPIRED, f"ended at {entry.expires_at.isoformat()}"
    if entry.accuracy < threshold:
        return Cause.ACCURACY, f"accuracy {entry.accuracy:.3f} is under {threshold:g}"
    return None


def _orphaned(
    entries: Iterable[StoredEntry],
    before: datetime,
    live: Collection[str] | None,
    since: Mapping[str, datetime],
) -> frozenset[str]:
    """Scopes that are not live and were last used before a time; none where nothing shows what is live."""
    used = dict(since)
    filled = set()
    for item in entries:
        scope = item.entry.scope
        filled.add(scope)
        last = max(item.entry.created_at, item.last_hit_at or item.entry.created_at)
        used[scope] = max(used.get(scope, last), last)
    if live is None or not filled & set(live):
        return frozenset()
    return frozenset(scope for scope, last in used.items() if scope not in live and last < before)


def _eviction(item: StoredEntry, cause: Cause, detail: str) -> Eviction:
    entry = item.entry
    return Eviction(entry.id, entry.scope, entry.intent, entry.question, cause, detail)
