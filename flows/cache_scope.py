"""The cache scope of an adapter version, built from the approved knowledge."""

from datetime import UTC, datetime

from serving.adapters.dialogue import NO_ADAPTER
from serving.adapters.kinds import kind_of
from serving.adapters.manifest import Kind
from serving.adapters.pin import DEFAULT_NAME, dialogue_reference
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import AdapterVersion, identity
from serving.cache.build import BuildReport, build_from_knowledge
from serving.cache.types import CacheScope
from serving.call.runtime import Runtime
from serving.call.scope import ScopeParts, scope_for
from serving.errors import MissingError
from serving.settings import Settings


def is_used(settings: Settings, name: str, ref: str | int) -> bool:
    """Whether calls of this home can use a version, and so a scope of it: always so for intent adapters.

    Raises:
        MissingError: no such version.
    """
    registry = AdapterRegistry.from_settings(settings)
    version = registry.get(name, ref)
    if kind_of(version) != Kind.DIALOGUE:
        return True
    reference = dialogue_reference(settings)
    try:
        followed = reference is not None and reference.follows(name, version.version)
        return followed and registry.champion_version(DEFAULT_NAME) is not None
    except MissingError:
        return False


def build_scope(settings: Settings, name: str, ref: str | int, *, actor: str) -> BuildReport:
    """Build the scope that calls with a version use, and publish it.

    A scope belongs to both adapters: an intent adapter's is that with the dialogue adapter of the settings, a
    dialogue adapter's that with the intent champion.

    Args:
        settings: the installation.
        name: registered model.
        ref: alias or number of the version.
        actor: for the cache's audit.

    Raises:
        MissingError: no such version, or no intent champion beside a dialogue adapter.
    """
    intent, dialogue = adapters_of(settings, name, ref)
    runtime = Runtime(settings, voice=False)
    return build_from_knowledge(
        settings.home / "cache",
        scope_between(runtime.scope_parts, intent, dialogue),
        runtime.knowledge,
        runtime.signer,
        runtime.encoder,
        actor=actor,
        now=datetime.now(UTC),
    )


def adapters_of(
    settings: Settings, name: str, ref: str | int
) -> tuple[AdapterVersion, AdapterVersion | None]:
    """The intent adapter and the dialogue adapter of the scope that calls with a version use.

    Returns:
        The dialogue adapter is None where the language model speaks as it is, or with none promoted yet.

    Raises:
        MissingError: no such version, or no intent champion beside a dialogue adapter.
    """
    registry = AdapterRegistry.from_settings(settings)
    version = registry.get(name, ref)
    if kind_of(version) == Kind.DIALOGUE:
        return registry.get(DEFAULT_NAME), version
    reference = dialogue_reference(settings)
    if reference is None:
        return version, None
    try:
        return version, registry.get(reference.name, reference.ref)
    except MissingError:
        return version, None


def scope_between(parts: ScopeParts, intent: AdapterVersion, dialogue: AdapterVersion | None) -> CacheScope:
    """The scope of two adapters whose bundles are what was registered.

    Raises:
        IntegrityError: one of them was altered.
    """
    return scope_for(parts, _identity(intent), _identity(dialogue) if dialogue else NO_ADAPTER)


def _identity(version: AdapterVersion) -> str:
    return identity(version.name, version.version, version.verify().sha256)
