"""Whose questions a home's cache can answer, from its files alone: no model is loaded and nothing is made."""

from pathlib import Path

from serving.cache.store import FILE, CacheStore
from serving.errors import VoicebotError


def adapters_with_scope(folder: Path) -> frozenset[str]:
    """Identities of the adapters of either kind for which the cache holds entries.

    A scope also belongs to knowledge, rates and engines; where those have changed since, the server finds
    it cold all the same. A cache that cannot be read holds nothing.

    Args:
        folder: `home/cache`.
    """
    try:
        store = CacheStore(folder / FILE, read_only=True)
        scopes, entries = store.scopes(), store.counts()
    except VoicebotError:
        return frozenset()
    return frozenset(
        adapter
        for key, scope in scopes.items()
        if key in entries
        for adapter in (scope.intent_adapter, scope.dialogue_adapter)
    )
