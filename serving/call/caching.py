"""The cache's part of a turn: the question to it, the record of its decision, a later check of its answer."""

from contextlib import AbstractContextManager, nullcontext

from serving.cache.choice import choose_rule
from serving.cache.lookup import SemanticCache
from serving.cache.remote import remote_cache
from serving.cache.types import CacheDecision, CacheEntry, CacheQuery, CacheScope
from serving.call.generation import request_for
from serving.call.ports import AskedCache
from serving.call.record import CacheRecord
from serving.call.shadow import Hit
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood
from serving.language.encoder import reference_of
from serving.language.injection import InjectionGuard
from serving.language.knowledge import Answer
from serving.language.lexicon import Lexicon
from serving.language.protocols import Embedder
from serving.settings import Settings


def open_asked_cache(
    settings: Settings, embedder: Embedder, lexicon: Lexicon, guard: InjectionGuard
) -> AskedCache:
    """The cache that calls are answered from: the service of `cache_url`, else the files of this home."""
    remote = remote_cache(settings)
    if remote is not None:
        return remote
    rule = choose_rule(settings, lexicon, reference_of(embedder))
    return SemanticCache(settings.home / "cache", embedder, rule=rule, injected=guard.attempted)


def lookup(box: Toolbox, turn: Understood, scope: CacheScope) -> CacheDecision:
    """Ask the cache about a turn."""
    return box.cache.lookup(query_of(box, turn), scope)


def query_of(box: Toolbox, turn: Understood) -> CacheQuery:
    """A turn as the cache sees it."""
    return CacheQuery(
        text=turn.user.text,
        intent=turn.tag.label,
        cacheability=box.knowledge.cacheability(turn.tag.label),
        signature=turn.signature,
        context_dependent=turn.points_back,
        personal=turn.personal,
    )


def cache_record(decision: CacheDecision) -> CacheRecord:
    """A decision as a turn's record keeps it."""
    entry = decision.entry.id if decision.entry else decision.neighbour
    return CacheRecord(
        decision.outcome.value, decision.reason.value, decision.detail, decision.similarity, entry
    )


def approved_for(box: Toolbox, turn: Understood) -> Answer | None:
    """The approved answer to a turn, that an engine answers from."""
    return box.knowledge.best(turn.tag.label, turn.user.facets, box.today())


def check_later(box: Toolbox, turn: Understood, entry: CacheEntry) -> None:
    """Have some answers from the cache asked of the engine as well; costs this turn nothing.

    It is asked what it would have been asked without a cache. Where nothing is approved it would not have
    been asked at all, and the embedded responder says so.

    Args:
        box: what all calls share.
        turn: the turn.
        entry: what it was answered with.
    """
    if box.shadow is not None:
        box.shadow.offer(lambda: _hit(box, turn, entry), turn.call_id, turn.index)


def answering(box: Toolbox) -> AbstractContextManager[None]:
    """Held while a caller waits for an answer; no shadow check is in their way."""
    return nullcontext() if box.shadow is None else box.shadow.answering()


def _hit(box: Toolbox, turn: Understood, entry: CacheEntry) -> Hit:
    approved = approved_for(box, turn)
    request = request_for(turn, approved.text if approved else "")
    return Hit(turn.call_id, turn.index, entry, box.llm if approved else box.fallback, request)
