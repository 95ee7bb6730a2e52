"""The cache of one process: what `protocol.Cache` promises, on a folder of files.

Several such caches may share a folder, in one process or in many: each sees at its next lookup what any of
them has written.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from serving.cache.admission import Admission
from serving.cache.clock import utc
from serving.cache.lookup import SemanticCache
from serving.cache.protocol import (
    Belief,
    CacheStats,
    Feedback,
    HitRule,
    Insertion,
    Offer,
    Refusal,
)
from serving.cache.rule import prior_of
from serving.cache.store import FILE, CacheStore
from serving.cache.types import CacheDecision, CacheEntry, CacheQuery, CacheScope, Outcome, exact_key
from serving.cache.wording import text_fault
from serving.cache.writer import PUBLISH_AFTER, CacheWriter
from serving.errors import RefusedError
from serving.language.protocols import Embedder
from serving.telemetry.redaction import contains_personal

_LEFT_WAITS_S = 5.0
"""The garbage collector waits no longer than a writer waits for another: it may have stopped the very thread
that the writer's work aside waits for."""


class LocalCache:
    """Reader, writer and the door of admission in one.

    `with` closes it. Where nobody does, the hits that it has counted are written when it is let go of, and
    when the interpreter ends.

    Args:
        folder: `home/cache`; made at the first write.
        embedder: must be the one whose fingerprint is in the scopes.
        admission: decides what may be reused.
        rule: whether a near entry answers a question.
        now: UTC time; where it goes back, the cache's time does not.
        publish_after: rows outside the index from which it is derived anew; 0 for never.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        admission: Admission,
        rule: HitRule,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        publish_after: int = PUBLISH_AFTER,
    ) -> None:
        self.folder = folder
        self.admission = admission
        guard = admission.guard
        self.reader = SemanticCache(folder, embedder, rule=rule, injected=guard.attempted, now=now)
        self.writer = CacheWriter(folder, publish_after=publish_after, prior=prior_of(rule))
        self._counting = threading.Lock()
        self._lookups: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        weakref.finalize(self, _write_left, self.writer, folder, os.getpid())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def query(self, text: str, intent: str) -> CacheQuery:
        """A question as the cache sees it, made without a call around it.

        Args:
            text: what was asked.
            intent: label of it.
        """
        lexicon = self.admission.signer.lexicon
        return CacheQuery(
            text,
            intent,
            self.admission.knowledge.cacheability(intent),
            self.admission.signer.sign(text),
            context_dependent=lexicon.points_back(text),
            personal=contains_personal(text),
        )

    def lookup(self, query: CacheQuery, scope: CacheScope, *, explain: bool = False) -> CacheDecision:
        """Decide on one question; never raises.

        Args:
            query: the caller's turn.
            scope: the world that it is asked in.
            explain: look for what kept a miss from being a hit in all of the scope, however large.
        """
        decision = self.reader.lookup(query, scope, explain=explain)
        with self._counting:
            self._lookups[f"{decision.outcome}:{decision.reason}"] += 1
        if decision.outcome is Outcome.HIT and decision.entry is not None:
            self.writer.count_hit(decision.entry.id, self.reader.clock.now())
        return decision

    def create_scope(self, scope: CacheScope, *, actor: str) -> bool:
        """Make a scope that offers may go into; False where it is there already.

        Raises:
            UnavailableError: the store cannot be written now.
        """
        return self.writer.store.add_scope(scope, actor=actor)

    def insert(self, offer: Offer, scope: CacheScope, *, actor: str) -> Insertion:
        """Take an answer for reuse, or refuse it; when this returns an entry, it is on disk.

        Raises:
            InvalidInputError: an expiry without time zone, or that is no time in UTC.
            UnavailableError: the store cannot be written now.
            EngineError: the sentence encoder gave no vector.
        """
        if offer.expires_at is not None:
            offer = replace(offer, expires_at=utc(offer.expires_at, "expiry of an offer"))
        insertion = self._admitted(offer, scope)
        if insertion.entry is not None:
            insertion = self._stored(insertion.entry, scope, actor)
        if insertion.refusal is not None:
            with self._counting:
                self._refusals[insertion.refusal.value] += 1
        return insertion

    def would_insert(self, offer: Offer, scope: CacheScope) -> Insertion:
        """What would become of an offer; nothing is written or counted."""
        return self._admitted(offer, scope)

    def feedback(self, feedback: Feedback) -> Belief:
        """Count one observation; what is then believed of the entry holds from the next lookup on.

        Raises:
            InvalidInputError: its time has no time zone, or is no time in UTC.
            MissingError: no such entry.
            UnavailableError: the store cannot be written now.
        """
        return self.writer.tell(feedback, now=self.reader.clock.now())

    def stats(self) -> CacheStats:
        """Counts.

        Raises:
            UnavailableError, IntegrityError: the store cannot be read.
        """
        store = CacheStore(self.folder / FILE, read_only=True)
        there = store.path.exists()
        scopes = store.counts() if there else {}
        with self._counting:
            lookups, refusals = dict(self._lookups), dict(self._refusals)
        quarantined = store.quarantined() if there else 0
        generation = self.generation()
        return CacheStats(generation, sum(scopes.values()), quarantined, scopes, lookups, refusals)

    def refusals(self) -> dict[str, int]:
        """Refusal → offers that were not taken since this cache was opened; reads no file."""
        with self._counting:
            return dict(self._refusals)

    def generation(self) -> int:
        """Number of the live generation; 0 before the first."""
        return self.reader.generation()

    def warm(self, scope: CacheScope) -> int:
        """Open a scope ahead of the first question; its number of entries."""
        return self.reader.warm(scope)

    def close(self) -> None:
        """Write what has been gathered, and let go of the files."""
        self.writer.close()
        self.reader.close()

    def _admitted(self, offer: Offer, scope: CacheScope) -> Insertion:
        if scope.embedder != self.reader.embedder.fingerprint:
            return Insertion(refusal=Refusal.NO_SCOPE, detail="the scope is of another sentence encoder")
        readable = text_fault(offer.question) is None
        try:
            with self.reader.reader.view() as view:
                known = view.knows(scope.key)
                held = view.same_words(scope.key, exact_key(offer.question)) if known and readable else []
        except FileNotFoundError:
            known, held = False, []
        if not known:
            return Insertion(refusal=Refusal.NO_SCOPE, detail="this scope has not been made")
        return self.admission.admit(offer, scope, now=self.reader.clock.now(), held=held)

    def _stored(self, entry: CacheEntry, scope: CacheScope, actor: str) -> Insertion:
        vector = self.reader.embed(entry.question).reshape(1, -1)
        try:
            self.writer.insert(scope, [entry], vector, actor=actor)
        except RefusedError:  # by somebody else, since we looked
            return Insertion(refusal=Refusal.CONFLICT, detail=f"entry {entry.id[:12]} has another answer")
        stored = self.writer.store.get(entry.id)
        return Insertion(stored.entry if stored else entry)


def _write_left(writer: CacheWriter, folder: Path, process: int) -> None:
    """Write the hits of a cache that nobody closed; those of a parent process are not a child's to write."""
    if os.getpid() != process:
        return
    with suppress(OSError):  # a folder that may not be entered any more; there is nobody to tell
        if (folder / FILE).exists():
            writer.close(_LEFT_WAITS_S)
