"""Entries as rows of the cache's SQLite file, there and back, and what must hold before they are stored."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from serving.cache.protocol import Feedback, Signal
from serving.cache.signature import Signature
from serving.cache.types import CacheEntry, CacheScope, bucket, exact_key
from serving.errors import RefusedError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

_FIELDS = tuple(field.name for field in fields(CacheEntry))
ENTRY = ", ".join(_FIELDS)
"""Columns of an entry as `entry_of` reads them."""
STORED = f"seq, quarantined_at, hits, last_hit_at, {ENTRY}"
"""Columns as `stored_of` reads them."""
WRITTEN = f"{ENTRY}, quarantined_at, hits, last_hit_at, exact_key, bucket, embedding"
"""Columns as `row_of` gives them."""
TOLD = "entry, signal, at, origin, actor, note"
"""Columns of the feedback as `feedback_of` reads them."""
PLACES = ", ".join("?" * len(WRITTEN.split(",")))


@dataclass(frozen=True, slots=True)
class History:
    """What became of an entry since it was stored.

    Attributes:
        accuracy: belief that a hit on it is right, 0 to 1.
        quarantined_at: UTC time since which it is not served; None while it may be.
        hits: how often it was served.
        last_hit_at: UTC time of the last time.
    """

    accuracy: float
    quarantined_at: datetime | None = None
    hits: int = 0
    last_hit_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with what became of it (see `History`); `seq` is its primary key, never used twice."""

    entry: CacheEntry
    seq: int
    quarantined_at: datetime | None
    hits: int
    last_hit_at: datetime | None


def check(scope: CacheScope, entries: Sequence[CacheEntry], vectors: Embeddings) -> None:
    """Nothing is stored that a reader would have to doubt.

    Raises:
        RefusedError: an entry that must never be reused.
        ValueError: entries or vectors are not what they should be.
    """
    if any(entry.cacheability is Cacheability.NEVER for entry in entries):
        raise RefusedError("An answer that must never be reused has no place in the cache.")
    if any(entry.scope != scope.key for entry in entries):
        raise ValueError("an entry belongs to another scope")
    if len({entry.id for entry in entries}) != len(entries):
        raise ValueError("two entries have one id")
    if not all(0 <= entry.accuracy <= 1 for entry in entries):
        raise ValueError("an accuracy is not between 0 and 1")
    if any(entry.created_at.tzinfo is None for entry in entries):
        raise ValueError("a time of creation has no time zone")
    if any(entry.expires_at is not None and entry.expires_at.tzinfo is None for entry in entries):
        raise ValueError("an expiry has no time zone")
    if len(entries) != len(vectors):
        raise ValueError("one embedding per entry is needed")
    if len(entries) and not are_unit(vectors):
        raise ValueError("an embedding is not of length 1")


def are_unit(vectors: Embeddings) -> bool:
    """Whether all rows are finite and of length 1, without which inner products are no cosines."""
    return vectors.ndim == 2 and bool(np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3))


def row_of(entry: CacheEntry, vector: Embeddings, history: History) -> tuple[object, ...]:
    """Values for `WRITTEN`."""
    coded = {
        "cacheability": entry.cacheability.value,
        "signature": json.dumps(entry.signature.facets),
        "disclosures": json.dumps(entry.disclosures),
        "created_at": moment(entry.created_at),
        "expires_at": moment(entry.expires_at) if entry.expires_at else None,
        "accuracy": history.accuracy,
    }
    return (
        *(coded[name] if name in coded else getattr(entry, name) for name in _FIELDS),
        moment(history.quarantined_at) if history.quarantined_at else None,
        history.hits,
        moment(history.last_hit_at) if history.last_hit_at else None,
        exact_key(entry.question),
        bucket(entry.intent, entry.signature),
        np.ascontiguousarray(vector, np.float32).tobytes(),
    )


def entry_of(row: Sequence[Any]) -> CacheEntry:
    """The entry of a row of `ENTRY`.

    Raises:
        ValueError, TypeError, KeyError: the row means nothing.
    """
    values = dict(zip(_FIELDS, row, strict=True))
    values["cacheability"] = Cacheability(values["cacheability"])
    facets = json.loads(values["signature"])
    values["signature"] = Signature(tuple((name, value) for name, value in facets))
    values["disclosures"] = tuple(json.loads(values["disclosures"]))
    values["created_at"] = datetime.fromisoformat(values["created_at"])
    values["expires_at"] = time_of(values["expires_at"])
    values["accuracy"] = float(values["accuracy"])
    return CacheEntry(**values)


def stored_of(row: Sequence[Any]) -> StoredEntry:
    """The entry of a row of `STORED`; raises as `entry_of`."""
    seq, quarantined_at, hits, last_hit_at, *entry = row
    return StoredEntry(entry_of(entry), int(seq), time_of(quarantined_at), int(hits), time_of(last_hit_at))


def feedback_of(row: Sequence[Any]) -> Feedback:
    """The observation of a row of `TOLD`; raises as `entry_of`."""
    entry, signal, at, origin, actor, note = row
    return Feedback(entry, Signal(signal), datetime.fromisoformat(at), origin, actor, note)


def moment(at: datetime) -> str:
    """UTC text of a time; such texts are in the order of their times.

    Raises:
        ValueError: a time without time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time has no time zone")
    return at.astimezone(UTC).isoformat()


def time_of(text: str | None) -> datetime | None:
    """The time of a text that `moment` wrote, or None for none."""
    return None if text is None else datetime.fromisoformat(text)
