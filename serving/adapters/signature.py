"""Who vouches for a bundle: an Ed25519 signature over its manifest, beside the manifest.

The manifest vouches for every byte of a bundle; whoever can rewrite bundle, manifest and database together
could exchange all three. A signature ties the manifest to a key that only the signing side has (the machine
that trains and registers); servers need the public half and so can check, but not sign. The message is a
fixed prefix and the manifest's sha256. What a signature does not say: that this version shall be champion.
"""

import json
import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

from serving.adapters.manifest import MANIFEST_FILE, SIGNATURE_FILE, verify
from serving.errors import IntegrityError, InvalidInputError
from serving.files import write_atomically

if TYPE_CHECKING:
    from serving.settings import Settings

_ALGORITHM = "ed25519"
_PREFIX = b"voicebot adapter manifest, schema 1: "
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_MAX_BYTES = 4_096
_ADVICE = "Sign it where the key is: `adapter-control sign NAME@VERSION`; or register it again from its run."


class Standing(StrEnum):
    """What is known of a bundle's signature."""

    VALID = "valid"
    ABSENT = "absent"
    UNKNOWN_KEY = "unknown key"
    """Signed, with a key that this installation does not trust; it may be a forgery."""
    WRONG = "wrong"
    """The signature is damaged, or is not for this manifest."""


@dataclass(frozen=True, slots=True)
class Found:
    """The signature of one bundle as it was found.

    Attributes:
        standing: what it is worth.
        key: first digits of the key's id (sha256 of the public key); empty where there is no signature.
    """

    standing: Standing
    key: str = ""

    def __str__(self) -> str:
        return f"{self.standing.value} (key {self.key})" if self.key else self.standing.value


@dataclass(frozen=True, slots=True)
class Signatures:
    """What an installation signs with, trusts and demands.

    Attributes:
        private: private key, 32 bytes; None where this installation signs nothing.
        trusted: public keys whose signatures count, 32 bytes each; the private key's own half counts too.
        required: whether an adapter without a valid signature is refused.
    """

    private: bytes | None = None
    trusted: tuple[bytes, ...] = ()
    required: bool = False

    def __repr__(self) -> str:  # a private key never reaches a log
        held = "a" if self.private else "no"
        return f"Signatures({held} private key, {len(self.keys)} trusted, required={self.required})"

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """Keys and rule of an installation.

        Raises:
            InvalidInputError: a key is none, or signatures are required and no key is there to check with.
        """
        secret = settings.adapter_signing_key.get_secret_value() if settings.adapter_signing_key else ""
        texts = [text.strip() for text in settings.adapter_public_keys.split(",") if text.strip()]
        made = cls(
            private=_key(secret.strip(), "adapter_signing_key") if secret.strip() else None,
            trusted=tuple(_key(text, "adapter_public_keys") for text in texts),
            required=settings.require_signed_adapters,
        )
        if made.required and not made.keys:
            raise InvalidInputError(
                "Signed adapters are required, but there is no key to check them with.",
                advice="Set VOICEBOT_ADAPTER_PUBLIC_KEYS; `adapter-control new-key` makes a pair.",
            )
        return made

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Every public key that counts."""
        return (*self.trusted, *((public_key(self.private),) if self.private else ()))

    def sign(self, folder: Path) -> Found:
        """Write `signature.json` for the manifest of a verified bundle, replacing one that is there.

        Raises:
            InvalidInputError: there is no private key.
        """
        write_atomically(folder / SIGNATURE_FILE, self.signature_of(folder), private=True)
        return self.examine(folder)

    def signature_of(self, folder: Path) -> str:
        """What `sign` writes; the same key and manifest always give the same text. Errors as for `sign`."""
        if self.private is None:
            raise InvalidInputError(
                "There is no key to sign with.",
                advice="Set VOICEBOT_ADAPTER_SIGNING_KEY; `adapter-control new-key` makes one.",
            )
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.private)
        document = {
            "algorithm": _ALGORITHM,
            "key": key_id(public_key(self.private)),
            "signature": key.sign(_message(folder)).hex(),
        }
        return json.dumps(document, indent=2) + "\n"

    def examine(self, folder: Path) -> Found:
        """Look at the signature of a bundle; checking the files against the manifest is `verify`'s part."""
        try:
            document = json.loads(_read(folder / SIGNATURE_FILE))
            key, signature = str(document["key"]), str(document["signature"])
            readable = document["algorithm"] == _ALGORITHM and _KEY.fullmatch(key) is not None
        except FileNotFoundError:
            return Found(Standing.ABSENT)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return Found(Standing.WRONG)
        if not readable or not _SIGNATURE.fullmatch(signature):
            return Found(Standing.WRONG)
        public = next((known for known in self.keys if key_id(known) == key), None)
        if public is None:
            return Found(Standing.UNKNOWN_KEY, key[:12])
        valid = _is_valid(public, bytes.fromhex(signature), _message(folder))
        return Found(Standing.VALID if valid else Standing.WRONG, key[:12])

    def require(self, folder: Path, label: str) -> None:
        """Refuse a bundle without a valid signature where this installation demands one.

        Args:
            folder: the bundle.
            label: what the message calls it.

        Raises:
            IntegrityError: the signature is absent, wrong, or of a key that is not trusted.
        """
        if not self.required:
            return
        found = self.examine(folder)
        if found.standing == Standing.VALID:
            return
        told = {
            Standing.ABSENT: "carries no signature, and this installation requires one",
            Standing.UNKNOWN_KEY: f"is signed with the key {found.key}…, which is not trusted here",
            Standing.WRONG: "carries a signature that is not for its manifest: one of both was altered",
        }
        raise IntegrityError(f"The adapter {label} {told[found.standing]}.", advice=_ADVICE)


def require_signed_dialogue(settings: "Settings") -> None:
    """Hold the dialogue adapter of `local_llm_adapter`, which comes from a folder, to the same rule.

    Raises:
        IntegrityError: signatures are required, and that folder is no sealed bundle with a valid one.
        MissingError: it is not there.
        InvalidInputError: as for `Signatures.from_settings`.
    """
    folder = settings.local_llm_adapter
    if folder is None or not settings.require_signed_adapters or settings.llm not in ("auto", "local"):
        return
    verify(folder)
    Signatures.from_settings(settings).require(folder, folder.name)


def new_private_key() -> bytes:
    """A random private key, 32 bytes."""
    return os.urandom(32)  # every 32 bytes are an Ed25519 private key


def public_key(private: bytes) -> bytes:
    """The public half of a private key, 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return bytes(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def key_id(public: bytes) -> str:
    """Name of a key in signatures and messages: sha256 of its public half."""
    return sha256(public).hexdigest()


def _is_valid(public: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(folder: Path) -> bytes:
    return _PREFIX + sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest().encode()


def _read(path: Path) -> str:
    """A small regular file; links are not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("no regular file")
        return handle.read(_MAX_BYTES).decode()


def _key(text: str, setting: str) -> bytes:
    if not _KEY.fullmatch(text):
        raise InvalidInputError(
            f"Setting {setting!r} holds no Ed25519 key: 64 hexadecimal digits are expected.",
            advice="`adapter-control new-key` makes a pair of keys.",
        )
    return bytes.fromhex(text)
