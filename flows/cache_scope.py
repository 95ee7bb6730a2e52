"""The cache scope of an adapter version, built from the approved knowledge."""

from datetime import UTC, datetime

from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import identity
from serving.cache.build import BuildReport, build_from_knowledge
from serving.call.runtime import Runtime
from serving.call.scope import scope_for
from serving.settings import Settings


def build_scope(settings: Settings, name: str, ref: str | int, *, actor: str) -> BuildReport:
    """Build the scope that calls with a version use, and publish it.

    Args:
        settings: the installation.
        name: registered model.
        ref: alias or number of the version.
        actor: for the cache's audit.

    Raises:
        MissingError: no such version.
    """
    version = AdapterRegistry.from_settings(settings).get(name, ref)
    adapter = identity(version.name, version.version, version.verify().sha256)
    runtime = Runtime(settings, voice=False)
    return build_from_knowledge(
        settings.home / "cache",
        scope_for(runtime.scope_parts, adapter),
        runtime.knowledge,
        runtime.signer,
        runtime.encoder,
        actor=actor,
        now=datetime.now(UTC),
    )
