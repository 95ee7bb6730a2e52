"""The cache scope of an adapter version, built from the approved knowledge."""

from datetime import UTC, datetime

from serving.adapters.dialogue import NO_ADAPTER, dialogue_identity, dialogue_reference
from serving.adapters.kinds import kind_of
from serving.adapters.loader import identity
from serving.adapters.manifest import Kind
from serving.adapters.pin import DEFAULT_NAME
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import AdapterVersion
from serving.cache.build import BuildReport, build_from_knowledge
from serving.call.runtime import Runtime
from serving.call.scope import scope_for
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
    registry = AdapterRegistry.from_settings(settings)
    version = registry.get(name, ref)
    if kind_of(version) == Kind.DIALOGUE:
        adapter, dialogue = _identity(registry.get(DEFAULT_NAME)), _identity(version)
    else:
        adapter, dialogue = _identity(version), _spoken(settings, registry)
    runtime = Runtime(settings, voice=False)
    return build_from_knowledge(
        settings.home / "cache",
        scope_for(runtime.scope_parts, adapter, dialogue),
        runtime.knowledge,
        runtime.signer,
        runtime.encoder,
        actor=actor,
        now=datetime.now(UTC),
    )


def _identity(version: AdapterVersion) -> str:
    return identity(version.name, version.version, version.verify().sha256)


def _spoken(settings: Settings, registry: AdapterRegistry) -> str:
    """The dialogue adapter that servers speak with; none where it was not promoted yet."""
    try:
        return dialogue_identity(settings, registry)
    except MissingError:
        return NO_ADAPTER
