"""What there is to count in a cache, for metrics; read from its store each time, whoever wrote it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from serving.cache.belief import SHADOW_WINDOW, ShadowTally
from serving.cache.store import FILE, CacheStore
from serving.errors import VoicebotError
from serving.telemetry.cache_metrics import CacheCounts


def read_counts(folder: Path, refusals: Mapping[str, int] | None = None) -> CacheCounts | None:
    """The counts of a cache; None where there is none, or where it cannot be read now. Raises nothing.

    Args:
        folder: `home/cache`.
        refusals: refusal → offers that were not taken; the store knows nothing of them.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        store = CacheStore(path, read_only=True)
        agreed, disagreed = store.shadow_checks(datetime.now(UTC) - SHADOW_WINDOW)
        tally = ShadowTally(agreed + disagreed, disagreed)
        return CacheCounts(
            entries=sum(store.counts().values()),
            quarantined=store.quarantined(),
            shadow_checks=tally.checks,
            false_hits_upper_bound=tally.upper_bound(),
            evictions=store.evicted(),
            refusals=refusals or {},
        )
    except Exception as error:  # a scrape must go on; only our own errors promise to hold nothing personal
        told = str(error) if isinstance(error, VoicebotError) else type(error).__name__
        logger.warning("the cache's counts cannot be read: {}", told)
        return None
