"""The sealed bundle: a folder with an adapter and the manifest that vouches for every byte in it.

`seal` writes the manifest last, so a folder without one is not a bundle; `verify` refuses a bundle with
a missing, altered or additional file. The checksums show damage and careless edits; against someone who
can also rewrite the manifest, the registry keeps the manifest's own sha256 with the version.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.files import write_atomically

SCHEMA = 1
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "signature.json"
"""Signs the manifest (`serving/adapters/signature.py`), so it is the one other file that it cannot list."""
ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
METRICS_FILE = "metrics.json"
CARD_FILE = "card.md"
_REBUILD = "Register the adapter again from its training run; do not repair a bundle by hand."
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_MANIFEST_BYTES = 1 << 20
_DATA_ONLY = (".safetensors", ".json", ".md")
"""What a bundle may hold. Pickles and code run when they are loaded, and their endings are without number."""


class Kind(StrEnum):
    """What an adapter adapts."""

    INTENT = "intent"
    """Encoder + LoRA + classification head."""
    DIALOGUE = "dialogue"
    """Causal language model + LoRA."""


REQUIRED_FILES: Mapping[Kind, frozenset[str]] = {
    Kind.INTENT: frozenset(
        {
            ADAPTER_CONFIG_FILE,
            ADAPTER_FILE,
            METRICS_FILE,
            CARD_FILE,
            "intent.json",
            "baseline.safetensors",
        }
    ),
    Kind.DIALOGUE: frozenset({ADAPTER_CONFIG_FILE, ADAPTER_FILE, METRICS_FILE, CARD_FILE}),
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an adapter comes from; the trainer states it, the manifest keeps it.

    Attributes:
        kind: what it adapts.
        name: registered model's name, such as `banking-lora`.
        base_model: the base's own name, for people.
        base_sha256: the base's weights before training (`SentenceEncoder.base_sha256` for intent).
        base_sha256_after: the same weights after training; must be equal.
        trainable_parameters: number of parameters that training could change.
        changed_tensors: names of the tensors that training did change, as PEFT saves them.
        dataset_sha256: the rows that were trained on.
        labels_sha256: the labels in their order; empty for a dialogue adapter.
        seed: seed of the run.
        git_sha: commit of the code, `unknown` outside a checkout.
        git_dirty: whether the checkout differed from that commit.
    """

    kind: Kind
    name: str
    base_model: str
    base_sha256: str
    base_sha256_after: str
    trainable_parameters: int
    changed_tensors: tuple[str, ...]
    dataset_sha256: str
    labels_sha256: str
    seed: int
    git_sha: str = "unknown"
    git_dirty: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        for field in ("base_sha256", "base_sha256_after", "dataset_sha256"):
            if not _SHA256.fullmatch(getattr(self, field)):
                raise InvalidInputError(f"{field} must be 64 hexadecimal digits.")
        if self.base_sha256 != self.base_sha256_after:
            raise InvalidInputError(
                "The base's weights changed during training: base_sha256 and base_sha256_after differ.",
                advice="Train again with every weight but LoRA and the head frozen.",
            )
        if self.trainable_parameters <= 0 or not self.changed_tensors:
            raise InvalidInputError("Training changed nothing: no trainable parameter or changed tensor.")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Checksum and size of one file of a bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        schema: version of this format.
        created: when the bundle was sealed, UTC.
        provenance: where the adapter comes from.
        files: every other file by its path below the bundle, with forward slashes.
        sha256: sha256 of `manifest.json` itself; stands for the whole bundle. Not stored inside.
    """

    schema: int
    created: datetime
    provenance: Provenance
    files: Mapping[str, FileRecord]
    sha256: str

    @property
    def adapter_sha256(self) -> str:
        """Checksum of the adapter's weights."""
        return self.files[ADAPTER_FILE].sha256


def check_name(name: str) -> str:
    """A registered model's name, which also becomes part of folder names.

    Raises:
        InvalidInputError: it is not lower-case letters, digits, `.`, `_`, `-` (63 at most).
    """
    if not is_name(name):
        raise InvalidInputError(
            f"{name[:80]!r} is no adapter name.",
            advice="Use lower-case letters, digits, '-', '_' and '.', such as banking-lora.",
        )
    return name


def is_name(text: str) -> bool:
    """Whether a text can be a registered model's name; others may keep more in the same database."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def seal(folder: Path, provenance: Provenance) -> Manifest:
    """Record every file of a finished bundle and write `manifest.json`, last and atomically.

    Raises:
        InvalidInputError: a required file is missing, the folder is sealed already, or it holds
            something that does not belong into a bundle (links, pickles, code).
    """
    if (folder / MANIFEST_FILE).exists():
        raise InvalidInputError(
            f"{folder} is sealed already.", advice="Write a changed adapter to a new folder."
        )
    found = _files_below(folder, InvalidInputError)
    found.pop(SIGNATURE_FILE, None)
    missing = sorted(REQUIRED_FILES[provenance.kind] - found.keys())
    if missing:
        raise InvalidInputError(f"The bundle lacks {', '.join(missing)}.")
    document = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": asdict(provenance),
        "files": {name: asdict(_record(path)) for name, path in sorted(found.items())},
    }
    write_atomically(folder / MANIFEST_FILE, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return read_manifest(folder)


def verify(folder: Path, *, base_sha256: str | None = None) -> Manifest:
    """Check a bundle byte by byte.

    Args:
        folder: the bundle.
        base_sha256: the base that the adapter is meant to run on, where it is known.

    Raises:
        MissingError: there is no such folder.
        IntegrityError: a file is missing, altered or additional, is a link, or the adapter belongs
            to another base; the message names the file.
    """
    manifest = read_manifest(folder)
    found = _files_below(folder, IntegrityError)
    found.pop(MANIFEST_FILE)
    found.pop(SIGNATURE_FILE, None)
    for name in sorted(manifest.files.keys() - found.keys()):
        raise IntegrityError(f"The adapter's file {name} is missing.", advice=_REBUILD)
    for name in sorted(found.keys() - manifest.files.keys()):
        raise IntegrityError(
            f"The bundle holds {name}, which its manifest does not know.",
            advice="Remove that file if you know where it comes from; otherwise register the adapter again.",
        )
    for name, record in manifest.files.items():
        actual = _record(found[name])
        if actual != record:
            raise IntegrityError(
                f"The adapter's file {name} was altered: its sha256 is {actual.sha256[:12]}… over "
                f"{actual.bytes} bytes, recorded were {record.sha256[:12]}… over {record.bytes}.",
                advice=_REBUILD,
            )
    if base_sha256 is not None and manifest.provenance.base_sha256 != base_sha256:
        raise IntegrityError(
            f"The adapter was trained on another base: {manifest.provenance.base_model} "
            f"({manifest.provenance.base_sha256[:12]}…); this server runs {base_sha256[:12]}….",
            advice="Set VOICEBOT_ENCODER to the adapter's base, or train the adapter on this one.",
        )
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` without checking the files that it lists.

    Raises:
        MissingError: there is no such folder.
        IntegrityError: it is missing, of another schema or not what `seal` writes.
    """
    if not folder.is_dir():
        raise MissingError(f"There is no adapter bundle in {folder}.", advice=_REBUILD)
    path = folder / MANIFEST_FILE
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size > _MAX_MANIFEST_BYTES:
            raise IntegrityError(f"{MANIFEST_FILE} is no regular file of a plausible size.", advice=_REBUILD)
        data = path.read_bytes()
        return _parse(json.loads(data), hashlib.sha256(data).hexdigest())
    except (OSError, ValueError, TypeError, KeyError, RecursionError, InvalidInputError) as error:
        raise IntegrityError(f"{MANIFEST_FILE} cannot be used: {error}", advice=_REBUILD) from error


def _parse(document: Mapping[str, Any], sha256: str) -> Manifest:
    if document["schema"] != SCHEMA:
        raise IntegrityError(
            f"The manifest has schema {document['schema']!r}; this program reads {SCHEMA}.",
            advice="Use the version of voicebot that made the adapter, or train it again.",
        )
    fields = dict(document["provenance"])
    fields["kind"] = Kind(fields["kind"])
    fields["changed_tensors"] = tuple(fields["changed_tensors"])
    manifest = Manifest(
        schema=SCHEMA,
        created=datetime.fromisoformat(document["created"]),
        provenance=Provenance(**fields),
        files={_safe(name): FileRecord(**record) for name, record in document["files"].items()},
        sha256=sha256,
    )
    missing = sorted(REQUIRED_FILES[manifest.provenance.kind] - manifest.files.keys())
    if missing:
        raise IntegrityError(f"The manifest does not list {', '.join(missing)}.", advice=_REBUILD)
    return manifest


def _safe(name: str) -> str:
    """A path that stays inside the bundle and has one spelling only."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or "\0" in name:
        raise IntegrityError(f"The manifest lists {name[:120]!r}, which leaves the bundle.", advice=_REBUILD)
    return name


def _files_below(folder: Path, error: type[InvalidInputError | IntegrityError]) -> dict[str, Path]:
    """Every file of a bundle by its relative path; anything that is no plain data file is refused."""
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise error(
                    f"{relative} is a link or a special file; a bundle holds plain files only.",
                    advice="Replace it by the file itself before sealing, or register the adapter again.",
                )
            if path.suffix not in _DATA_ONLY:
                raise error(
                    f"{relative} may be a pickle or code; a bundle holds data only: {', '.join(_DATA_ONLY)}.",
                    advice="Save weights as .safetensors; register a bundle without other files.",
                )
            found[relative] = path
    return found


def _record(path: Path) -> FileRecord:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return FileRecord(digest, handle.tell())
