"""Signing a version that is registered: when keys were made or exchanged; audited like any change."""

import hashlib

from serving.adapters.audit import Act, Action
from serving.adapters.manifest import SIGNATURE_FILE
from serving.adapters.registry import AdapterRegistry
from serving.adapters.signature import Found
from serving.files import write_atomically, writing_to


def sign_version(registry: AdapterRegistry, name: str, version: int, *, by: str, reason: str) -> Found:
    """Give a version this installation's signature, in place of one that it has.

    Only a bundle that is still what was registered is signed.

    Raises:
        InvalidInputError: there is no key to sign with.
        IntegrityError: the bundle was altered.
        MissingError: no such model or version.
        UnavailableError: the registry, its lock or its folder is not to be had.
    """
    with registry.writing():
        act = signing_act(registry, name, version, by=by, reason=reason)
        folder = registry.get(name, version).bundle
        text = registry.signatures.signature_of(folder)
        with writing_to(registry.folder):
            registry.carry_out(act, lambda: write_atomically(folder / SIGNATURE_FILE, text, private=True))
        return registry.signatures.examine(folder)


def signing_act(registry: AdapterRegistry, name: str, version: int, *, by: str, reason: str) -> Act:
    """What `sign_version` would do now, after all its checks; changes nothing. Errors likewise."""
    found = registry.get(name, version)
    found.verify()
    text = registry.signatures.signature_of(found.bundle)
    evidence = {
        "manifest": found.tags["manifest.sha256"],
        "signature": hashlib.sha256(text.encode()).hexdigest(),
    }
    return Act(Action.SIGN, name, version, by, reason, evidence=evidence)
