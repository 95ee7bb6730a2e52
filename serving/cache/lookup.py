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
from serving.cache.store import CacheStore
from serving.cache.store_rows import are_unit
from serving.cache.types import (
    CacheDecision,
    CacheEntry,
    CacheQuery,
    CacheScope,
    Outcome,
    Reason,
    bucket,
    exact_key,
)
from serving.errors import EngineError, InvalidInputError, VoicebotError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embedder, Embeddings

NEIGHBOURS = 5
"""How many entries of the whole scope are looked at to explain a miss."""
OPEN_SCOPES = 4
"""Scopes kept in memory: calls that began before a promotion still use the one before."""
ACCURACY_FLOOR = 0.9
"""Belief below which an entry is not served; below 0.6 the eviction flow deletes it (design §6)."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """One scope of one generation, ready to search; replaced as a whole."""

    manifest: Manifest
    index: ScopeIndex
    exact: dict[tuple[str, str], CacheEntry]


class SemanticCache:
    """Read side of the cache; follows the generations that a writer publishes.

    It writes nothing, touches no file before the first question, and whatever is wrong with the files is a
    miss: a cache never keeps a call from being answered.

    Args:
        folder: `home/cache`.
        embedder: must be the one whose fingerprint is in the scope.
        threshold: least cosine of a semantic hit, 0 to 1.
        now: UTC time, for expiry.

    Raises:
        InvalidInputError: a threshold that is no cosine from 0 to 1.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        *,
        threshold: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InvalidInputError(f"A cache threshold is from 0 to 1, not {threshold}.")
        self.folder = folder
        self._store = CacheStore(folder / "cache.sqlite", read_only=True)
        self._embedder = embedder
        self._threshold = threshold
        self._now = now
        self._opened: dict[str, _Opened] = {}
        self._opening = threading.Lock()

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        """Decide on one question; never raises."""
        try:
            return _bypassed(query) or self._search(query, scope)
        except Exception as error:  # whatever it is, the engine can answer
            _log("lookup", error)
            return CacheDecision(Outcome.MISS, Reason.ERROR, type(error).__name__)

    def generation(self) -> int:
        """Number of the live generation; 0 before the first build, and where it cannot be read."""
        try:
            manifest = read_manifest(self.folder)
        except VoicebotError as error:
            _log("manifest", error)
            return 0
        return manifest.generation if manifest else 0

    def warm(self, scope: CacheScope) -> int:
        """Open a scope ahead of the first question; its number of entries, 0 where it cannot be opened."""
        try:
            opened = self._open(scope.key)
        except Exception as error:  # as in lookup
            _log("warm-up", error)
            return 0
        return len(opened.index.entries) if opened else 0

    def _search(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        if scope.embedder != self._embedder.fingerprint:
            raise EngineError("The scope was built with another sentence encoder.")
        opened = self._open(scope.key)
        if opened is None:
            return CacheDecision(Outcome.MISS, Reason.NO_SCOPE, "this scope has not been built")
        entry = opened.exact.get((query.intent, exact_key(query.text)))
        if entry is not None and entry.signature == query.signature:
            return self._served(entry, 1.0, Reason.EXACT)
        if query.cacheability is not Cacheability.SEMANTIC:
            return CacheDecision(
                Outcome.MISS, Reason.NO_ENTRY, "this intent is answered for the same words only"
            )
        vector = self._embed(query.text)
        # Only the nearest: an answer that is doubted or out of date has other phrasings in the same bucket.
        found = opened.index.nearest_in_bucket(bucket(query.intent, query.signature), vector, 1)
        if not found or found[0][1] < self._threshold:
            return self._explained_miss(query, opened, vector, found)
        return self._served(*found[0], Reason.SEMANTIC)

    def _embed(self, text: str) -> Embeddings:
        vectors = self._embedder.embed([text])
        if vectors.shape != (1, self._embedder.dimension) or not are_unit(vectors):
            raise EngineError("The sentence encoder gave no vector of length 1.")
        return vectors.reshape(-1)

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
        self, query: CacheQuery, opened: _Opened, vector: Embeddings, found: list[tuple[CacheEntry, float]]
    ) -> CacheDecision:
        """Say what was nearest and what kept it from being served."""
        for entry, score in opened.index.nearest(vector, NEIGHBOURS):
            if score >= self._threshold and entry.signature != query.signature:
                detail = f"nearest is {score:.3f}, but {query.signature.difference(entry.signature)}"
                return CacheDecision(Outcome.MISS, Reason.SIGNATURE, detail, score, neighbour=entry.id)
        if not found:
            return CacheDecision(Outcome.MISS, Reason.NO_ENTRY, "no entry of this intent has this signature")
        entry, score = found[0]
        detail = f"cosine {score:.3f} < {self._threshold}"
        return CacheDecision(Outcome.MISS, Reason.THRESHOLD, detail, score, neighbour=entry.id)

    def _open(self, scope: str) -> _Opened | None:
        """The scope in the live generation; opened again when the manifest has changed.

        The whole manifest counts, not its number alone: a cache that was moved away begins at 1 again.
        """
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        opened = self._opened.get(scope)
        if opened and opened.manifest == manifest:
            return opened
        with self._opening:
            manifest = read_manifest(self.folder) or manifest
            opened = self._opened.get(scope)
            if opened and opened.manifest == manifest:  # by another thread, meanwhile
                return opened
            return self._reopen(scope, manifest)

    def _reopen(self, scope: str, manifest: Manifest) -> _Opened | None:
        index = load_scope(self._store, self.folder, manifest, scope)
        if index is None:
            return None
        exact = {(entry.intent, exact_key(entry.question)): entry for entry in index.entries}
        opened = _Opened(manifest, index, exact)
        others = [(key, value) for key, value in self._opened.items() if key != scope]
        self._opened = {**dict(others[-(OPEN_SCOPES - 1) :]), scope: opened}
        return opened


def _log(what: str, error: Exception) -> None:
    # Only our own errors promise to hold nothing personal.
    told = str(error) if isinstance(error, VoicebotError) else type(error).__name__
    logger.warning("cache {} failed: {}", what, told)


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
