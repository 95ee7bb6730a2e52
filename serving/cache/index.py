"""The derived search index of the cache: FAISS files in a folder per generation.

`publish` writes a new generation beside the old ones and then replaces MANIFEST.json, which is the
only commit point: a reader sees the old generation or the new one, never a part. Vectors are unit
length, so inner product is cosine; search is exact (flat), because embedding, not search, is the cost
below 100,000 entries.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, bucket
from serving.errors import IntegrityError, UnavailableError
from serving.files import sync, write_atomically
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

MANIFEST = "MANIFEST.json"
LOCK = "LOCK"
_LOCK_WAIT_S = 30.0
_LOCK_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the live generation is.

    Attributes:
        generation: number of the folder `gen-000001`.
        last_seq: newest entry of the store that it covers.
        files: file name → SHA-256; each scope has its vectors in `<key>.faiss`, their ids in `<key>.ids`.
    """

    generation: int
    last_seq: int
    files: dict[str, str]


class ScopeIndex:
    """Search inside one scope: by bucket for answering, over all for explaining a miss.

    A bucket holds only what may be reused for other words (`SEMANTIC`).
    """

    def __init__(self, entries: list[CacheEntry], vectors: Embeddings) -> None:
        self.entries = entries
        self._all = _flat(vectors) if entries else None
        rows: dict[str, list[int]] = {}
        for row, entry in enumerate(entries):
            if entry.cacheability is Cacheability.SEMANTIC:
                rows.setdefault(bucket(entry.intent, entry.signature), []).append(row)
        self._buckets = {key: (_flat(vectors[members]), members) for key, members in rows.items()}

    def nearest_in_bucket(self, key: str, vector: Embeddings, k: int) -> list[tuple[CacheEntry, float]]:
        """Best entries of a bucket with their cosine, best first; empty where the bucket is unknown."""
        if key not in self._buckets:
            return []
        index, members = self._buckets[key]
        return [(self.entries[members[row]], score) for row, score in _search(index, vector, k)]

    def nearest(self, vector: Embeddings, k: int) -> list[tuple[CacheEntry, float]]:
        """Best entries of the whole scope, for explanations only: they may answer something else."""
        if self._all is None:
            return []
        return [(self.entries[row], score) for row, score in _search(self._all, vector, k)]


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
        return Manifest(int(found["generation"]), int(found["last_seq"]), files)
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


def publish(store: CacheStore, folder: Path) -> Manifest:
    """Derive a new generation from the store and make it live; one process at a time.

    A damaged manifest is replaced. The generation before stays, for readers that are just opening it.

    Raises:
        UnavailableError: another process has been publishing for long, or the disk is full or read-only.
    """
    try:
        with _lock(folder):
            return _publish(store, folder)
    except OSError as error:
        raise UnavailableError(
            f"The cache {folder} cannot be published: {error}.",
            advice="The generation before goes on answering.",
        ) from error


def load_scope(store: CacheStore, folder: Path, manifest: Manifest, scope: str) -> ScopeIndex | None:
    """The index of one scope, or None where the generation does not hold it.

    Files that are gone or whose hash differs from the manifest are not trusted: the vectors then come
    from the store.
    """
    if f"{scope}.faiss" not in manifest.files:
        return None
    by_id = {entry.id: entry for entry in store.entries(scope)}
    found = _read_generation(folder, manifest, scope)
    if found is None:
        logger.warning("cache generation {} is damaged; reading the store instead", manifest.generation)
        found = store.vectors(scope)
    ids, vectors = found
    rows = [row for row, id_ in enumerate(ids) if id_ in by_id]
    return ScopeIndex([by_id[ids[row]] for row in rows], np.ascontiguousarray(vectors[rows], np.float32))


def _publish(store: CacheStore, folder: Path) -> Manifest:
    current = _live_generation(folder)
    # Beyond every folder: what a crash left must not pass for the new generation.
    generation = max(current, *map(_number, folder.glob("gen-*")), 0) + 1
    last_seq = store.last_seq()
    files = _write_generation(store, _generation_folder(folder, generation))
    sync(folder)
    manifest = Manifest(generation, last_seq, files)
    write_atomically(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, sort_keys=True))
    for old in folder.glob("gen-*"):
        if _number(old) not in {current, generation}:
            shutil.rmtree(old, ignore_errors=True)
    return manifest


def _flat(vectors: Embeddings) -> Any:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _search(index: Any, vector: Embeddings, k: int) -> Iterator[tuple[int, float]]:
    """Row and cosine, best first; a row that FAISS could not rank (-1) is none."""
    scores, rows = index.search(vector.reshape(1, -1), min(k, index.ntotal))
    return ((int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0)


def _write_generation(store: CacheStore, target: Path) -> dict[str, str]:
    """Write every scope that has entries; file name → SHA-256."""
    import faiss

    target.mkdir(parents=True)
    files = {}
    for scope in store.scopes():
        ids, vectors = store.vectors(scope)
        if not ids:
            continue
        faiss_bytes = faiss.serialize_index(_flat(vectors)).tobytes()
        for name, content in ((f"{scope}.faiss", faiss_bytes), (f"{scope}.ids", "\n".join(ids).encode())):
            (target / name).write_bytes(content)
            sync(target / name)
            files[name] = hashlib.sha256(content).hexdigest()
    sync(target)
    return files


def _read_generation(folder: Path, manifest: Manifest, scope: str) -> tuple[list[str], Embeddings] | None:
    """Ids and vectors from the files, or None where they are not those that were published."""
    import faiss

    contents = []
    for name in (f"{scope}.faiss", f"{scope}.ids"):
        try:
            content = (_generation_folder(folder, manifest.generation) / name).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
            return None
        contents.append(content)
    index = faiss.deserialize_index(np.frombuffer(contents[0], np.uint8))
    return contents[1].decode().split("\n"), index.reconstruct_n(0, index.ntotal)


def _live_generation(folder: Path) -> int:
    try:
        manifest = read_manifest(folder)
    except IntegrityError:
        return 0
    return manifest.generation if manifest else 0


def _generation_folder(folder: Path, generation: int) -> Path:
    return folder / f"gen-{generation:06d}"


def _number(generation: Path) -> int:
    digits = generation.name.removeprefix("gen-")
    return int(digits) if digits.isdecimal() else 0


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the writer's lock; the kernel frees it when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Another process has been publishing the cache {folder} for {_LOCK_WAIT_S:g} s.",
                    advice="Try again when it is done.",
                )
            time.sleep(_LOCK_RETRY_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
