"""Which kind of adapter a registered model holds: one kind for all of its versions, for ever.

An alias says "this serves now" without saying as what, so a dialogue adapter under the intent model's name
would become the tagger's champion. Names that this program itself uses have their kind from the start; any
other model has that of its first version.
"""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from serving.adapters.manifest import Kind, Manifest
from serving.adapters.versions import KIND_TAG, AdapterVersion
from serving.errors import InvalidInputError, MissingError

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry

INTENT_NAME = "banking-lora"
DIALOGUE_NAME = "banking-dialogue-lora"
RESERVED: Mapping[str, Kind] = {INTENT_NAME: Kind.INTENT, DIALOGUE_NAME: Kind.DIALOGUE}
"""Models of this program: the intent tagger's and the language model's."""


def require_kind(registry: "AdapterRegistry", manifest: Manifest) -> None:
    """Refuse a bundle whose kind is not that of its registered model.

    Raises:
        InvalidInputError: the model holds, or is meant for, adapters of another kind.
        UnavailableError: the registry does not answer.
    """
    name, kind = manifest.provenance.name, manifest.provenance.kind
    if RESERVED.get(name, kind) != kind:
        raise _another(name, kind, RESERVED[name])
    with contextlib.suppress(MissingError):  # no such model yet
        for other in Kind:
            if other != kind and registry.tagged(name, KIND_TAG, other.value):
                raise _another(name, kind, other)


def require_model_kind(version: AdapterVersion) -> None:
    """Refuse a version that stands under a name reserved for another kind, however it came there.

    Raises:
        InvalidInputError: it is of another kind than its model's name says.
    """
    expected, kind = RESERVED.get(version.name), kind_of(version)
    if expected is not None and kind != expected:
        raise _another(version.name, kind, expected)


def kind_of(version: AdapterVersion) -> Kind:
    """The kind of a registered version, as its manifest says."""
    return version.verify().provenance.kind if KIND_TAG not in version.tags else Kind(version.tags[KIND_TAG])


def _another(name: str, kind: Kind, expected: Kind) -> InvalidInputError:
    return InvalidInputError(
        f"{name} holds {expected.value} adapters; this is one of kind {kind.value}.",
        advice=f"Register it under a name of its own, such as {DIALOGUE_NAME} for dialogue adapters.",
    )
