"""Which dialogue adapter the language model of a home speaks with, fetched and checked for any engine.

The setting `dialogue_adapter` names it (`banking-dialogue-lora@champion`); without it the model speaks as it
is. What is fetched here is a private folder whose every byte was checked, and signed where that is required;
whether it fits a base is asked by the engine that loads it (`serving.language.dialogue_adapter`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.adapters.loader import LocalCopy, fetch
from serving.adapters.manifest import Kind, verify
from serving.adapters.pin import Reference, dialogue_reference
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import identity
from serving.errors import InvalidInputError

if TYPE_CHECKING:
    from serving.settings import Settings

NO_ADAPTER = "none"
"""Identity of a language model that speaks without a registered adapter; part of cache scopes."""


@dataclass(frozen=True, slots=True)
class DialogueAdapter:
    """A registered dialogue adapter, copied into this home and checked.

    Attributes:
        name: registered model's name.
        version: its number.
        folder: the private copy: `adapter_config.json` and `adapter_model.safetensors` as PEFT and vLLM read
            them, beside the manifest.
        sha256: of the manifest, which vouches for every file.
    """

    name: str
    version: int
    folder: Path
    sha256: str

    @property
    def label(self) -> str:
        """What records and metrics name it: `banking-dialogue-lora/3`."""
        return f"{self.name}/{self.version}"

    @property
    def identity(self) -> str:
        """Name, number and content, as cache scopes hold it; the number begins anew with a new registry."""
        return identity(self.name, self.version, self.sha256)


def dialogue_store(settings: "Settings") -> Path:
    """Folder of the private copies."""
    return settings.home / "dialogue-adapters"


def served_dialogue(settings: "Settings", registry: AdapterRegistry | None = None) -> DialogueAdapter | None:
    """The dialogue adapter that shall serve now: its version, its private folder, its checksum.

    Args:
        settings: what is named, and where copies lie.
        registry: of the installation; default: opened from the settings.

    Returns:
        None where the settings name none.

    Raises:
        MissingError: it is named, but was never registered or promoted.
        IntegrityError: it was altered, or a required signature is not there.
        InvalidInputError: the setting is wrong, or names an adapter of another kind.
        UnavailableError: the registry does not answer, or the home cannot be written.
    """
    reference = dialogue_reference(settings)
    if reference is None:
        return None
    registry = registry or AdapterRegistry.from_settings(settings)
    return fetch_dialogue(registry, reference, dialogue_store(settings))


def fetch_dialogue(registry: AdapterRegistry, reference: Reference, store: Path) -> DialogueAdapter:
    """Copy a version into a private folder and check it; errors as for `served_dialogue`."""
    version = registry.get(reference.name, reference.ref)
    return checked(registry, fetch(version, store, registry.signatures))


def checked(registry: AdapterRegistry, copied: LocalCopy) -> DialogueAdapter:
    """A private copy as what it must be: sound, signed where that is required, of kind `dialogue`.

    Raises:
        IntegrityError: it was altered, or a required signature is not there.
        InvalidInputError: it is of another kind.
    """
    manifest = verify(copied.folder)
    if manifest.provenance.kind != Kind.DIALOGUE:
        raise InvalidInputError(
            f"{copied.label} is an {manifest.provenance.kind.value} adapter; a language model needs one of "
            "kind dialogue.",
            advice="Name a dialogue adapter in VOICEBOT_DIALOGUE_ADAPTER; `adapter-control list` shows them.",
        )
    registry.signatures.require(copied.folder, copied.label)
    return DialogueAdapter(copied.name, copied.version, copied.folder, manifest.sha256)


def dialogue_identity(settings: "Settings", registry: AdapterRegistry) -> str:
    """What cache scopes call the dialogue adapter that shall serve, or `none`; nothing is copied.

    Raises:
        VoicebotError: as for `served_dialogue`.
    """
    reference = dialogue_reference(settings)
    if reference is None:
        return NO_ADAPTER
    version = registry.get(reference.name, reference.ref)
    return identity(version.name, version.version, version.verify().sha256)
