"""Prometheus metrics of the cache's governance: what it holds, lets go and refuses, and its shadow checks.

Counts of the store are read when they are scraped, so that what a flow or an operator's command does in
another process is in them, and a restart begins nothing anew. A store that cannot be read has no metrics.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from serving.telemetry.attributes import word

RESULTS = ("agrees", "disagrees", "failed", "dropped")
"""What becomes of a hit that is sampled for a shadow check."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What there is to count in a cache.

    Attributes:
        shadow_checks: checks on record that the bound rests on, of all processes.
        false_hits_upper_bound: always-valid 95 % upper bound of the share of hits that the engine answers
            otherwise.
        evictions: cause → entries that went, ever.
        refusals: refusal → offers that were not taken, since the cache was opened.
    """

    entries: int
    quarantined: int
    shadow_checks: int = 0
    false_hits_upper_bound: float = 1.0
    evictions: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)


class CacheMetrics:
    """Metrics of one server's cache.

    Args:
        registry: the server's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._shadow = Counter(
            "voicebot_cache_shadow",
            "Hits that were sampled to be asked of the engine as well, by what became of it.",
            ("result",),
            registry=registry,
        )
        for result in RESULTS:
            self._shadow.labels(result)

    def shadow_checked(self, result: str) -> None:
        """Count what became of a sampled hit; one of `RESULTS`."""
        self._shadow.labels(word(result)).inc()

    def watch(self, read: Callable[[], CacheCounts | None]) -> None:
        """Read the cache whenever metrics are scraped; see `expose_counts`."""
        expose_counts(self._registry, read)


def expose_counts(registry: CollectorRegistry, read: Callable[[], CacheCounts | None]) -> None:
    """Have a registry read a cache whenever it is scraped.

    Args:
        registry: of whichever process owns the cache's files: a server, or the cache service.
        read: the counts, or None where they cannot be had now; raises nothing.
    """
    registry.register(_Scraped(read))


class _Scraped:
    """What `prometheus_client` asks at each scrape."""

    def __init__(self, read: Callable[[], CacheCounts | None]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing is read before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The cache's counts as they are now."""
        counts = self._read()
        if counts is None:
            return
        yield GaugeMetricFamily("voicebot_cache_entries", "Entries in all scopes.", counts.entries)
        yield GaugeMetricFamily(
            "voicebot_cache_quarantined", "Entries that wait for a person's verdict.", counts.quarantined
        )
        yield GaugeMetricFamily(
            "voicebot_cache_shadow_checks", "Shadow checks that the bound rests on.", counts.shadow_checks
        )
        yield GaugeMetricFamily(
            "voicebot_cache_false_hits_upper_bound",
            "Always-valid 95 % upper bound of the share of hits that the engine answers otherwise.",
            counts.false_hits_upper_bound,
        )
        yield _by("voicebot_cache_evictions", "Entries that went, by cause.", "cause", counts.evictions)
        yield _by(
            "voicebot_cache_refusals", "Offers that were not taken, by reason.", "refusal", counts.refusals
        )


def _by(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([word(value)], count)
    return family
