"""Looking a question up, in the order that makes a wrong answer hardest.

cacheability → exact words → signature bucket → nearest by cosine → threshold → accuracy → expiry. Every
error is a miss, every decision says why, and a miss names the nearest entry that was refused and which
facet set it apart.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from serving.cache.index import Manifest, ScopeIndex, load_scope, read_manifest
from serving.cache.store import CacheStore, bucket, exact_key
from serving.cache.types import (
    CacheDecision,
    CacheEntry,
    CacheQuery,
    CacheScope,
    Outcome,
    Reason,
)
from serving.errors import VoicebotError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embedder, Embeddings

NEIGHBOURS = 5
"""How many entries of a bucket, and of the whole scope for explanations, are looked at."""
OPEN_SCOPES = 4
"""Scopes kept in memory: calls that began before a promotion still use the one before."""
ACCURACY_FLOOR = 0.9
"""Belief below which an entry is not served; below 0.6 the eviction flow deletes it (design §6)."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """One scope of one generation, ready to search; replaced as a whole."""

    generation: int
    index: ScopeIndex
    exact: dict[tuple[str, str], CacheEntry]


class SemanticCache:
    """Read side of the cache; follows the generations that a writer publishes.

    Args:
        folder: `home/cache`.
        embedder: must be the one whose fingerprint is in the scope.
        threshold: least cosine of a semantic hit, 0 to 1.
        now: UTC time, for expiry.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        *,
        threshold: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = folder
        self.store = CacheStore(folder / "cache.sqlite")
        self._embedder = embedder
        self._threshold = threshold
        self._now = now
        self._opened: dict[str, _Opened] = {}
        self._opening = threading.Lock()

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        """Decide on one question; never raises."""
        try:
            return _bypassed(query) or self._search(query, scope)
        except (VoicebotError, OSError, ValueError, RuntimeError) as error:
            logger.warning("cache lookup failed: {}", type(error).__name__)
            return CacheDecision(Outcome.MISS, Reason.ERROR, type(error).__name__)

    def generation(self) -> int:
        """Number of the live generation; 0 before the first build."""
        manifest = read_manifest(self.folder)
        return manifest.generation if manifest else 0

    def warm(self, scope: CacheScope) -> int:
        """Open a scope ahead of the first question; returns its number of entries."""
        opened = self._open(scope.key)
        return len(opened.index.entries) if opened else 0

    def _search(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        opened = self._open(scope.key)
        if opened is None:
            return CacheDecision(Outcome.MISS, Reason.NO_SCOPE, "this scope has not been built")
        entry = opened.exact.get((query.intent, exact_key(query.text)))
        if entry is not None and entry.signature == query.signature:
            return self._served(entry, 1.0, Reason.EXACT)
        if query.cacheability is Cacheability.EXACT:
            return CacheDecision(
                Outcome.MISS, Reason.NO_ENTRY, "this intent is answered for the same words only"
            )
        vector = self._embedder.embed([query.text])[0]
        key = bucket(query.intent, query.signature)
        best = next(
            (
                (entry, score)
                for entry, score in opened.index.nearest_in_bucket(key, vector, NEIGHBOURS)
                if entry.cacheability is Cacheability.SEMANTIC
            ),
            None,
        )
        if best is None or best[1] < self._threshold:
            return self._explained_miss(query, opened, vector, best)
        return self._served(best[0], best[1], Reason.SEMANTIC)

    def _served(self, entry: CacheEntry, similarity: float, reason: Reason) -> CacheDecision:
        """The last two guards, then the hit."""
        if entry.accuracy < ACCURACY_FLOOR:
            detail = f"accuracy {entry.accuracy:.2f} is under {ACCURACY_FLOOR}"
            return CacheDecision(Outcome.MISS, Reason.ACCURACY, detail, similarity, neighbour=entry.id)
        if entry.expires_at is not None and entry.expires_at <= self._now():
            detail = f"expired at {entry.expires_at.isoformat()}"
            return CacheDecision(Outcome.MISS, Reason.EXPIRED, detail, similarity, neighbour=entry.id)
        detail = "same words" if reason is Reason.EXACT else f"cosine {similarity:.3f} ≥ {self._threshold}"
        return CacheDecision(Outcome.HIT, reason, detail, similarity, entry)

    def _explained_miss(
        self, query: CacheQuery, opened: _Opened, vector: Embeddings, best: tuple[CacheEntry, float] | None
    ) -> CacheDecision:
        """Say what was nearest and what kept it from being served."""
        for entry, score in opened.index.nearest(vector, NEIGHBOURS):
            if score >= self._threshold and entry.signature != query.signature:
                detail = f"nearest is {score:.3f}, but {query.signature.difference(entry.signature)}"
                return CacheDecision(Outcome.MISS, Reason.SIGNATURE, detail, score, neighbour=entry.id)
        if best is None:
            return CacheDecision(Outcome.MISS, Reason.NO_ENTRY, "no entry of this intent has this signature")
        detail = f"cosine {best[1]:.3f} < {self._threshold}"
        return CacheDecision(Outcome.MISS, Reason.THRESHOLD, detail, best[1], neighbour=best[0].id)

    def _open(self, scope: str) -> _Opened | None:
        """The scope in the live generation; opened again when either has changed."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        opened = self._opened.get(scope)
        if opened and opened.generation == manifest.generation:
            return opened
        with self._opening:
            return self._reopen(scope, manifest)

    def _reopen(self, scope: str, manifest: Manifest) -> _Opened | None:
        index = load_scope(self.store, self.folder, manifest, scope)
        if index is None:
            return None
        exact = {(entry.intent, exact_key(entry.question)): entry for entry in index.entries}
        opened = _Opened(manifest.generation, index, exact)
        others = [(key, value) for key, value in self._opened.items() if key != scope]
        self._opened = {**dict(others[-(OPEN_SCOPES - 1) :]), scope: opened}
        return opened


def _bypassed(query: CacheQuery) -> CacheDecision | None:
    """Questions that no cache may answer, whatever it holds."""
    if query.cacheability is Cacheability.NEVER:
        return CacheDecision(Outcome.BYPASS, Reason.NOT_CACHEABLE, f"intent {query.intent} is never cached")
    if query.personal:
        return CacheDecision(Outcome.BYPASS, Reason.PERSONAL, "the question holds personal data")
    if not exact_key(query.text):
        return CacheDecision(Outcome.BYPASS, Reason.EMPTY_TEXT, "no words")
    if query.context_dependent:
        return CacheDecision(Outcome.BYPASS, Reason.CONTEXT, "the question points back to an earlier turn")
    return None
