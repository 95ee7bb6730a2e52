"""Generations: search rows of every scope as files in a folder, and the manifest that makes one live.

A reader maps the files of its scope into memory once it has seen that they are those of the manifest, by
SHA-256. They are derived: whatever is wrong with them, the rows come from the store instead. `publish`
writes them (`serving.cache.publishing`).
"""

import hashlib
import json
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.cache.rows import NAMES, VECTOR, SearchRows, Span
from serving.errors import IntegrityError, UnavailableError

MANIFEST = "MANIFEST.json"
PARTS = ("vectors", "names", "spans")
"""Suffixes of a scope's files: the matrix, what its rows are called, which rows are of which bucket."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the live generation is.

    Attributes:
        generation: number of the folder `gen-000001`.
        last_seq: newest entry of the store that it covers.
        files: file name → SHA-256; each scope has `<key>.<part>` for every one of `PARTS`.
        store: identity of the file that it was derived from.
    """

    generation: int
    last_seq: int
    files: dict[str, str]
    store: str = ""


def read_manifest(folder: Path) -> Manifest | None:
    """The live generation, or None before the first `publish`.

    Raises:
        IntegrityError: the file is not what `publish` writes.
        UnavailableError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        files = {str(name): str(sha256) for name, sha256 in found["files"].items()}
        return Manifest(int(found["generation"]), int(found["last_seq"]), files, str(found.get("store", "")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(
            f"Cache manifest {path} cannot be read: {error.strerror}.",
            advice="Give this user the right to read the cache folder.",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(
            f"Cache manifest {path} is damaged.", advice="Run `voicebot build-cache`."
        ) from error


def generation_folder(folder: Path, generation: int) -> Path:
    """Where the files of a generation lie."""
    return folder / f"gen-{generation:06d}"


def generation_number(folder: Path) -> int:
    """Number of a generation's folder; 0 for any other."""
    digits = folder.name.removeprefix("gen-")
    return int(digits) if digits.isdecimal() else 0


def spans_document(rows: SearchRows) -> bytes:
    """The third file of a scope."""
    document = {"dimension": rows.vectors.shape[1], "buckets": rows.buckets, "intents": rows.intents}
    return json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogatepass")


def holds_scope(manifest: Manifest, scope: str) -> bool:
    """Whether a generation has files of a scope."""
    return all(f"{scope}.{part}" in manifest.files for part in PARTS)


def open_rows(folder: Path, manifest: Manifest, scope: str) -> SearchRows:
    """The rows of a scope that the generation holds, with the matrix mapped into memory.

    Raises:
        IntegrityError: files that are gone, or not those that were published.
    """
    place = generation_folder(folder, manifest.generation)
    vectors, names, spans = (_verified(place / f"{scope}.{part}", manifest) for part in PARTS)
    try:
        table = json.loads(bytes(spans).decode("utf-8", "surrogatepass"))
        named = np.frombuffer(names, NAMES)
        matrix = np.frombuffer(vectors, VECTOR).reshape(len(named), int(table["dimension"]))
        buckets, intents = (_spans(table[what], len(named)) for what in ("buckets", "intents"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # a hash of nonsense
        raise IntegrityError(f"Cache generation {place} holds no search rows.") from error
    return SearchRows(matrix, named, buckets, intents)


def _spans(table: dict[str, list[int]], rows: int) -> dict[str, Span]:
    spans = {str(key): (int(first), int(behind)) for key, (first, behind) in table.items()}
    if not all(0 <= first <= behind <= rows for first, behind in spans.values()):
        raise ValueError("rows that are not there")
    return spans


def _verified(path: Path, manifest: Manifest) -> mmap.mmap | bytes:
    """A file's content, mapped, after a look at all of it.

    It is read, not only mapped, for the hash: pages that nobody searches need not stay in memory.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != manifest.files.get(path.name):
                raise IntegrityError(f"Cache file {path} is not the one that was published.")
            if not os.fstat(file.fileno()).st_size:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise IntegrityError(f"Cache file {path} cannot be read: {error.strerror}.") from error
