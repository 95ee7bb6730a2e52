"""Eviction of a whole installation: which scopes its adapters use, what goes, and that it went.

The rules are in `serving.cache.eviction`; here they meet the registry, the settings and the files.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from loguru import logger

from serving.adapters.dialogue import NO_ADAPTER
from serving.adapters.pin import DEFAULT_NAME, dialogue_reference, read_pin
from serving.adapters.registry import AdapterRegistry
from serving.cache.choice import prior_of_home
from serving.cache.eviction import (
    MAX_FRACTION,
    THRESHOLD,
    Cause,
    EvictionPlan,
    apply,
    check_fraction,
    check_limits,
    plan,
)
from serving.cache.publishing import publish
from serving.cache.store import FILE, CacheStore
from serving.cache.telling import as_believed, renew_beliefs
from serving.call.faults import fault
from serving.call.scope import ScopeParts, scope_for
from serving.errors import MissingError, RefusedError, VoicebotError
from serving.language.intent import BASELINE_VERSION
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class EvictionWish:
    """What an operator or a flow asks for.

    Attributes:
        threshold: least accuracy that stays, 0 to 1.
        max_entries: most entries that stay; None for no limit.
        max_fraction: share of what callers are answered from that may go.
        dry_run: say what would go, and change nothing.

    Raises:
        InvalidInputError: a threshold or a share that is not from 0 to 1, or fewer entries than none.
    """

    threshold: float = THRESHOLD
    max_entries: int | None = None
    max_fraction: float = MAX_FRACTION
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limits(self.threshold, self.max_entries, self.max_fraction)


@dataclass(frozen=True, slots=True)
class EvictionReport:
    """What went, or would go.

    Attributes:
        plan: each entry with its cause.
        removed: cause → entries that went; empty after a dry run.
        renewed: entries whose accuracy or quarantine changed first.
        scopes_known: whether the adapters' scopes could be told; else nothing is orphaned.
        generation: published afterwards; 0 where nothing went.
        refusal: why it would not be done without a dry run; empty where it would.
    """

    plan: EvictionPlan
    removed: dict[Cause, int]
    renewed: int
    scopes_known: bool
    generation: int
    refusal: str = ""


def evict(
    settings: Settings, wish: EvictionWish, *, actor: str, now: datetime | None = None
) -> EvictionReport:
    """Bring beliefs up to date and let go of what is wrong, over, orphaned or too much.

    Raises:
        MissingError: there is no cache.
        RefusedError: more would go than `max_fraction` allows; nothing has changed but beliefs.
        UnavailableError: the cache cannot be written now.
    """
    now = now or datetime.now(UTC)
    folder = settings.home / "cache"
    if not (folder / FILE).exists():
        raise MissingError(f"There is no cache at {folder}.", advice="Build it with `voicebot build-cache`.")
    live, prior = live_scopes(settings), prior_of_home(settings)
    store = CacheStore(folder / FILE, read_only=wish.dry_run)
    renewed = 0 if wish.dry_run else len(renew_beliefs(store, now, actor=actor, prior=prior))
    found = plan(
        as_believed(store.stored(), store.told(), now, prior=prior),
        now,
        threshold=wish.threshold,
        max_entries=wish.max_entries,
        live_scopes=live,
        scopes_since=store.scopes_since(),
    )
    if wish.dry_run:
        return EvictionReport(found, {}, 0, bool(live), 0, _refusal(found, wish.max_fraction))
    check_fraction(found, wish.max_fraction)
    removed = apply(store, found, actor=actor)
    generation = publish(store, folder).generation if removed else 0
    return EvictionReport(found, removed, renewed, bool(live), generation)


def _refusal(found: EvictionPlan, max_fraction: float) -> str:
    try:
        check_fraction(found, max_fraction)
    except RefusedError as error:
        return error.message
    return ""


def live_scopes(settings: Settings) -> frozenset[str] | None:
    """Keys of the scopes that calls of this installation use, or will after a promotion or a rollback.

    Those of every version that an alias or the pin names, with today's knowledge, prompt, engine and
    embedder; also of its frozen head, and with each dialogue adapter. None where that cannot be had.
    """
    from serving.call.looking import untouched
    from serving.call.runtime import Runtime

    try:
        runtime = Runtime(untouched(settings), voice=False)
        try:
            return scopes_of(settings, runtime.scope_parts)
        finally:
            runtime.close()
    except VoicebotError as error:
        logger.warning("which cache scopes are in use cannot be told: {}", fault("scopes", error))
        return None


def scopes_of(settings: Settings, parts: ScopeParts) -> frozenset[str]:
    """The same, of parts that are known.

    Raises:
        VoicebotError: the registry does not answer.
    """
    registry = AdapterRegistry.from_settings(settings)
    intents = _named(registry, DEFAULT_NAME)
    pin = read_pin(settings.home / "adapters")
    if pin is not None:
        intents.add(registry.get(pin.reference.name, pin.reference.ref).identity)
    intents |= {f"{BASELINE_VERSION}:{name}" for name in intents}
    dialogue = dialogue_reference(settings)
    dialogues = {NO_ADAPTER}
    if dialogue is not None:
        dialogues |= _named(registry, dialogue.name)
        dialogues |= {version.identity for version in registry.versions(dialogue.name)
                      if version.version == dialogue.ref}  # fmt: skip
    return frozenset(scope_for(parts, *pair).key for pair in product(intents, dialogues))


def _named(registry: AdapterRegistry, name: str) -> set[str]:
    """Identities of the versions that an alias names: champion, challenger, previous."""
    return {version.identity for version in registry.versions(name) if version.aliases}
