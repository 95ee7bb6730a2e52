"""The semantic cache: same words, or same meaning with the same signature, in the same scope.

    from pathlib import Path
    from serving.cache import Offer, open_cache, scope_of
    from serving.settings import Settings

    with open_cache(Settings(home=Path("my-home"))) as cache:
        scope = scope_of(cache, tenant="my bank")
        cache.create_scope(scope, actor="me")
        answer = next(it for it in cache.admission.knowledge.answers if it.id == "loan_early_repayment")
        cache.insert(Offer("Can I pay off my loan early?", answer.intent, answer.text), scope, actor="me")
        decision = cache.lookup(cache.query("Can I settle my loan ahead of time?", answer.intent), scope)
        print(decision.outcome, decision.reason, decision.detail)

Names are loaded when they are first used: importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.cache.admission import Admission
    from serving.cache.alone import open_cache, scope_of
    from serving.cache.build import BuildReport, build_from_knowledge
    from serving.cache.local import LocalCache
    from serving.cache.lookup import SemanticCache
    from serving.cache.protocol import (
        Belief,
        Cache,
        CacheStats,
        Feedback,
        HitRule,
        Insertion,
        Neighbour,
        Offer,
        Refusal,
        Signal,
        Verdict,
    )
    from serving.cache.rule import CosineRule
    from serving.cache.signature import Signature, Signer
    from serving.cache.store import CacheStore
    from serving.cache.types import (
        CacheDecision,
        CacheEntry,
        CacheQuery,
        CacheScope,
        Outcome,
        Reason,
    )

__all__ = [
    "Admission",
    "Belief",
    "BuildReport",
    "Cache",
    "CacheDecision",
    "CacheEntry",
    "CacheQuery",
    "CacheScope",
    "CacheStats",
    "CacheStore",
    "CosineRule",
    "Feedback",
    "HitRule",
    "Insertion",
    "LocalCache",
    "Neighbour",
    "Offer",
    "Outcome",
    "Reason",
    "Refusal",
    "SemanticCache",
    "Signal",
    "Signature",
    "Signer",
    "Verdict",
    "build_from_knowledge",
    "open_cache",
    "scope_of",
]

_HOMES = {
    "admission": ("Admission",),
    "alone": ("open_cache", "scope_of"),
    "build": ("BuildReport", "build_from_knowledge"),
    "local": ("LocalCache",),
    "lookup": ("SemanticCache",),
    "protocol": (
        "Belief",
        "Cache",
        "CacheStats",
        "Feedback",
        "HitRule",
        "Insertion",
        "Neighbour",
        "Offer",
        "Refusal",
        "Signal",
        "Verdict",
    ),
    "rule": ("CosineRule",),
    "signature": ("Signature", "Signer"),
    "store": ("CacheStore",),
    "types": ("CacheDecision", "CacheEntry", "CacheQuery", "CacheScope", "Outcome", "Reason"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, from the module that is its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
