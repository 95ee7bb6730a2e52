"""A server's watch over its cache: shadow checks that tell the store, and metrics that read it."""

from pathlib import Path

from serving.cache.belief import Prior, uncertified
from serving.cache.counting import read_counts
from serving.cache.lookup import SemanticCache
from serving.cache.protocol import Feedback
from serving.cache.remote import RemoteCache
from serving.cache.rule import prior_of
from serving.cache.same_answer import AnswerJudge
from serving.cache.signature import Signer
from serving.cache.store import FILE, CacheStore
from serving.cache.telling import tell
from serving.call.ports import AskedCache
from serving.call.shadow import ShadowChecks
from serving.language.protocols import Embedder
from serving.settings import Settings
from serving.telemetry.cache_metrics import CacheMetrics


def watch_cache(
    settings: Settings,
    cache: AskedCache,
    metrics: CacheMetrics,
    signer: Signer,
    embedder: Embedder,
    key: bytes,
) -> ShadowChecks:
    """Have a server's metrics read its cache, and some of its hits checked (setting `shadow_share`).

    Args:
        settings: where the cache is; it need not be there.
        cache: what answers; a service is told by its client, and counts for itself.
        metrics: the server's.
        signer: knows values and facets of answers.
        embedder: for the similarity of answers.
        key: of the hash that chooses hits.

    Returns:
        The checks, to be closed.
    """
    remote = cache if isinstance(cache, RemoteCache) else None
    path = settings.home / "cache" / FILE
    prior = prior_of(cache.rule) if isinstance(cache, SemanticCache) else uncertified
    if remote is None:
        metrics.watch(lambda: read_counts(path.parent))
    return ShadowChecks(
        AnswerJudge(signer, embedder),
        share=settings.shadow_share,
        key=key,
        tell=lambda feedback: _tell(path, feedback, prior) if remote is None else remote.feedback(feedback),
        counted=lambda result: metrics.shadow_checked(result.value),
    )


def _tell(path: Path, feedback: Feedback, prior: Prior) -> None:
    tell(CacheStore(path), feedback, prior=prior)
