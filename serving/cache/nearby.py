"""The entries of a question's bucket that are there now, nearest first, and what speaks against each.

Search rows propose by cosine; the store says which of those entries are left, and whether they may be
served. Rows that no search rows hold yet are read from the store and searched with the others.
"""

from dataclasses import dataclass

from serving.cache.clock import ForwardClock
from serving.cache.follow import Follower, Opened
from serving.cache.protocol import Neighbour
from serving.cache.rows import Proposal, id_print, sorted_rows
from serving.cache.store_reader import StoreReader, View
from serving.cache.store_rows import StoredEntry
from serving.cache.types import Reason
from serving.errors import UnavailableError
from serving.language.protocols import Embeddings

NEIGHBOURS = 5
"""How many entries the rule chooses from, and how many are looked at to explain a miss."""
FARTHEST = 320
"""Rows of a bucket that are looked at where those before have been removed."""
EXPLAINED_ROWS = 2_000
"""Rows of an intent up to which a miss is explained by its nearest neighbours without being asked to."""
ACCURACY_FLOOR = 0.9
"""Belief below which an entry is not served; below 0.6 the eviction flow deletes it (design §6)."""
Doubt = tuple[Reason, str]


@dataclass(frozen=True, slots=True)
class Near:
    """An entry with its cosine to the question, and why it must not be served; None where it may."""

    stored: StoredEntry
    similarity: float
    vector: Embeddings
    doubt: Doubt | None

    @property
    def neighbour(self) -> Neighbour:
        """As a hit rule sees it."""
        return Neighbour(self.stored.entry, self.similarity, self.vector)


class Nearby:
    """Finds entries; decides nothing.

    Args:
        reader: views of the store.
        follower: search rows of the scopes.
        clock: for expiry.
    """

    def __init__(self, reader: StoreReader, follower: Follower, clock: ForwardClock) -> None:
        self._reader = reader
        self._follower = follower
        self._clock = clock

    def in_bucket(self, scope: str, key: str, vector: Embeddings) -> list[Near]:
        """The nearest entries of a bucket that are there now, best first, `NEIGHBOURS` at most.

        Raises:
            FileNotFoundError: there is no store.
            VoicebotError: it cannot be read.
        """
        opened = self._follower.opened(scope)
        for _ in range(2):
            with self._reader.view() as view:
                if opened.fits(view):
                    return self._searched(view, opened, scope, key, vector)
            opened = self._follower.reopened(scope, opened)
        raise UnavailableError("The cache was replaced while it was read, twice.")

    def in_other_buckets(self, scope: str, intent: str | None, vector: Embeddings) -> list[Near]:
        """The nearest entries whatever their signature, best first; raises as `in_bucket`.

        Args:
            scope: to search in.
            intent: only where this intent has `EXPLAINED_ROWS` at most; None searches all of the scope.
            vector: of the question.
        """
        proposals: list[Proposal] = []
        for rows in self._follower.opened(scope).parts:
            span = (0, len(rows.names)) if intent is None else rows.intents.get(intent)
            if intent is None or (span is not None and span[1] - span[0] <= EXPLAINED_ROWS):
                proposals += rows.nearest(span, vector, NEIGHBOURS)
        if not proposals:
            return []
        with self._reader.view() as view:
            return self._present(view, scope, proposals, NEIGHBOURS)

    def doubt(self, stored: StoredEntry, view: View) -> Doubt | None:
        """Why an entry must not be served, however near it is; None where it may."""
        entry = stored.entry
        if stored.quarantined_at is not None:
            return Reason.QUARANTINED, f"quarantined at {stored.quarantined_at.isoformat()}"
        if entry.accuracy < ACCURACY_FLOOR:
            return Reason.ACCURACY, f"accuracy {entry.accuracy:.2f} is under {ACCURACY_FLOOR}"
        if entry.expires_at is not None and entry.expires_at <= self._clock.now(view.newest()):
            return Reason.EXPIRED, f"expired at {entry.expires_at.isoformat()}"
        return None

    def _searched(self, view: View, opened: Opened, scope: str, key: str, vector: Embeddings) -> list[Near]:
        parts = list(opened.parts)
        newer = view.newer(scope, key, opened.seen)
        if newer:
            parts.append(sorted_rows(("", key, row) for row in newer))
        rows = sum(span[1] - span[0] for part in parts if (span := part.buckets.get(key)))
        k = NEIGHBOURS
        while True:
            proposals = [it for part in parts for it in part.nearest(part.buckets.get(key), vector, k)]
            present = self._present(view, scope, proposals, k)
            if len(present) >= NEIGHBOURS or k >= min(rows, FARTHEST):
                return present[:NEIGHBOURS]
            k *= 4

    def _present(self, view: View, scope: str, proposals: list[Proposal], k: int) -> list[Near]:
        nearest = sorted(proposals, key=lambda it: -it.similarity)[:k]
        there = view.entries(scope, [it.seq for it in nearest])
        return [
            Near(stored, it.similarity, it.vector, self.doubt(stored, view))
            for it in nearest
            if (stored := there.get(it.seq)) and id_print(stored.entry.id) == it.id_print
        ]
