"""Looking a question up, in the order that makes a wrong answer hardest.

bypass → exact words → signature bucket → nearest by cosine → hit rule → quarantine, accuracy, expiry. The
index proposes, the store disposes: what would be served is read from the store at that moment, so an entry
that was removed, doubted or has expired is not served from the next question on. Every error is a miss,
every decision says why, and a miss names the nearest entry that was refused and what spoke against it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from serving.cache.clock import ForwardClock
from serving.cache.follow import Follower
from serving.cache.generation import read_manifest
from serving.cache.nearby import Near, Nearby
from serving.cache.protocol import HitRule
from serving.cache.rule import CosineRule
from serving.cache.store import FILE
from serving.cache.store_reader import StoreReader
from serving.cache.store_rows import are_unit
from serving.cache.types import CacheDecision, CacheQuery, CacheScope, Outcome, Reason, bucket, exact_key
from serving.cache.wording import MAX_QUESTION_CHARS, text_fault
from serving.errors import EngineError, VoicebotError
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embedder, Embeddings


class SemanticCache:
    """Read side of the cache; follows what writers commit and publish.

    It writes nothing, touches no file before the first question, and whatever is wrong with the files is a
    miss: a cache never keeps a call from being answered.

    Args:
        folder: `home/cache`.
        embedder: must be the one whose fingerprint is in the scope.
        threshold: least cosine of a semantic hit, 0 to 1; instead of a rule.
        rule: whether a near entry answers the question.
        injected: whether words try to make the bot break its rules; nobody is asked by default.
        now: UTC time, for expiry; where it goes back, the cache's time does not.

    Raises:
        InvalidInputError: a threshold that is no cosine from 0 to 1.
        ValueError: neither a threshold nor a rule, or both.
    """

    def __init__(
        self,
        folder: Path,
        embedder: Embedder,
        *,
        threshold: float | None = None,
        rule: HitRule | None = None,
        injected: Callable[[str], bool] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if (threshold is None) is (rule is None):
            raise ValueError("a cache has either a threshold or a rule")
        self.folder = folder
        self.rule = rule or CosineRule(0.0 if threshold is None else threshold)
        self.embedder = embedder
        self._injected = injected
        self.clock = ForwardClock(now)
        self.reader = StoreReader(folder / FILE)
        self._follower = Follower(folder, self.reader)
        self._nearby = Nearby(self.reader, self._follower, self.clock)

    def lookup(self, query: CacheQuery, scope: CacheScope, *, explain: bool = False) -> CacheDecision:
        """Decide on one question; never raises.

        Args:
            query: the caller's turn.
            scope: the world that it is asked in.
            explain: look for what kept a miss from being a hit in all of the scope, however large.
        """
        try:
            return self._bypassed(query) or self._search(query, scope, explain)
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
            self._follower.opened(scope.key)
            with self.reader.view() as view:
                return view.count(scope.key)
        except FileNotFoundError:
            return 0
        except Exception as error:  # as in lookup
            _log("warm-up", error)
            return 0

    def close(self) -> None:
        """Let go of this thread's connection to the store."""
        self.reader.forget()

    def _bypassed(self, query: CacheQuery) -> CacheDecision | None:
        """Questions that no cache may answer, whatever it holds."""
        found = _never(query) or _unreadable(query)
        if found is None and self._injected is not None and self._injected(query.text):
            found = Reason.INJECTION, "the words try to change what the assistant does"
        return CacheDecision(Outcome.BYPASS, *found) if found else None

    def _search(self, query: CacheQuery, scope: CacheScope, explain: bool) -> CacheDecision:
        if scope.embedder != self.embedder.fingerprint:
            raise EngineError("The scope was built with another sentence encoder.")
        key = scope.key
        try:
            found = self._same_words(query, key)
        except FileNotFoundError:
            return CacheDecision(Outcome.MISS, Reason.NO_SCOPE, "there is no cache yet")
        if found is not None:
            return found
        if query.cacheability is not Cacheability.SEMANTIC:
            told = "this intent is answered for the same words only"
            return CacheDecision(Outcome.MISS, Reason.NO_ENTRY, told)
        return self._judged(query, key, self.embed(query.text), explain)

    def _same_words(self, query: CacheQuery, scope: str) -> CacheDecision | None:
        """What the store says of the very same words; None where others may be near."""
        with self.reader.view() as view:
            self._follower.look(view)
            stored = view.exact(scope, query.intent, exact_key(query.text))
            if stored is None:
                if view.holds(scope):
                    return None
                return CacheDecision(Outcome.MISS, Reason.NO_SCOPE, "this scope has not been built")
            doubt = self._nearby.doubt(stored, view)
        entry = stored.entry
        if entry.signature != query.signature:
            return None
        if doubt is not None:
            return CacheDecision(Outcome.MISS, *doubt, 1.0, neighbour=entry.id)
        return CacheDecision(Outcome.HIT, Reason.EXACT, "same words", 1.0, entry)

    def _judged(self, query: CacheQuery, scope: str, vector: Embeddings, explain: bool) -> CacheDecision:
        near = self._nearby.in_bucket(scope, bucket(query.intent, query.signature), vector)
        servable = [it.neighbour for it in near if it.doubt is None]
        verdict = self.rule.judge(query, vector, servable)
        doubted = next((it for it in near if it.doubt is not None), None)
        chosen = verdict.neighbour
        if verdict.reason is None and chosen is not None:
            # A doubted answer does not come back through another phrasing that is farther away.
            if doubted is None or doubted.similarity < chosen.similarity:
                return CacheDecision(
                    Outcome.HIT, Reason.SEMANTIC, verdict.detail, chosen.similarity, chosen.entry
                )
            return _refused(doubted)
        if doubted is not None and self.rule.judge(query, vector, [doubted.neighbour]).reason is None:
            return _refused(doubted)
        return self._set_apart(query, scope, vector, explain) or CacheDecision(
            Outcome.MISS,
            verdict.reason or Reason.NO_ENTRY,
            verdict.detail,
            chosen.similarity if chosen else None,
            neighbour=chosen.entry.id if chosen else "",
        )

    def _set_apart(
        self, query: CacheQuery, scope: str, vector: Embeddings, explain: bool
    ) -> CacheDecision | None:
        """The nearest entry that would have answered but for its signature, if there is one."""
        for near in self._nearby.in_other_buckets(scope, None if explain else query.intent, vector):
            entry = near.stored.entry
            if entry.signature == query.signature:
                continue
            if self.rule.judge(query, vector, [near.neighbour]).reason is None:
                apart = query.signature.difference(entry.signature)
                detail = f"nearest is {near.similarity:.3f}, but {apart}"
                return CacheDecision(
                    Outcome.MISS, Reason.SIGNATURE, detail, near.similarity, neighbour=entry.id
                )
        return None

    def embed(self, text: str) -> Embeddings:
        """The vector of a question, shape (dimension,).

        Raises:
            EngineError: the encoder gave none of length 1.
        """
        vectors = self.embedder.embed([text])
        if vectors.shape != (1, self.embedder.dimension) or not are_unit(vectors):
            raise EngineError("The sentence encoder gave no vector of length 1.")
        return vectors.reshape(-1)


def _refused(near: Near) -> CacheDecision:
    reason, detail = near.doubt or (Reason.ERROR, "")
    return CacheDecision(Outcome.MISS, reason, detail, near.similarity, neighbour=near.stored.entry.id)


def _never(query: CacheQuery) -> tuple[Reason, str] | None:
    if query.cacheability is Cacheability.NEVER:
        return Reason.NOT_CACHEABLE, f"intent {query.intent} is never cached"
    if query.personal:
        return Reason.PERSONAL, "the question holds personal data"
    return None


def _unreadable(query: CacheQuery) -> tuple[Reason, str] | None:
    text = query.text
    if len(text) <= MAX_QUESTION_CHARS and not exact_key(text):
        return Reason.EMPTY_TEXT, "no words"
    fault = text_fault(text)
    if fault is not None:
        return Reason(fault[0].value), fault[1]
    if query.context_dependent:
        return Reason.CONTEXT, "the question points back to an earlier turn"
    return None


def _log(what: str, error: Exception) -> None:
    # Only our own errors promise to hold nothing personal.
    told = str(error) if isinstance(error, VoicebotError) else type(error).__name__
    logger.warning("cache {} failed: {}", what, told)
