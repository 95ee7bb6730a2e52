"""What the cache service counts for Prometheus; labels are words of ours, never an intent, text or person."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serving.cache.protocol import Belief, Insertion
from serving.cache.types import CacheDecision
from serving.telemetry.cache_metrics import CacheCounts, expose_counts

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Around a quarter of a second, which is how long a caller's turn waits."""


class CacheMetrics:
    """Counters of one service; thread-safe.

    Args:
        counts: what the cache holds and lost, under the names that a server without a service has; read at
            each scrape.
    """

    def __init__(self, counts: Callable[[], CacheCounts | None]) -> None:
        self.registry = CollectorRegistry()
        expose_counts(self.registry, counts)
        name = "voicebot_cache_service"
        self._lookups = Counter(
            f"{name}_lookups", "Lookups by outcome and reason.", ("outcome", "reason"), registry=self.registry
        )
        self._inserts = Counter(
            f"{name}_inserts", "Offers by what became of them.", ("became",), registry=self.registry
        )
        self._feedback = Counter(
            f"{name}_feedback",
            "Observations by signal, and whether the entry was in quarantine after it.",
            ("signal", "quarantined"),
            registry=self.registry,
        )
        self._failures = Counter(
            f"{name}_failures", "Requests that failed, by route and family.", ("route", "category"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{name}_seconds", "Time of a request's work, without waiting for a thread.", ("route",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip

    def looked_up(self, decision: CacheDecision) -> None:
        """Count a lookup."""
        self._lookups.labels(decision.outcome.value, decision.reason.value).inc()

    def inserted(self, insertion: Insertion) -> None:
        """Count an offer."""
        self._inserts.labels(insertion.refusal.value if insertion.refusal else "entry").inc()

    def told(self, signal: str, belief: Belief) -> None:
        """Count an observation."""
        self._feedback.labels(signal, "true" if belief.quarantined else "false").inc()

    def failed(self, route: str, category: str) -> None:
        """Count a request that came to an error."""
        self._failures.labels(route, category).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
