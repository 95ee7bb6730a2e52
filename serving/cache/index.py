"""The derived search index of the cache: FAISS files in a folder per generation.

`publish` writes a new generation beside the old ones and then replaces MANIFEST.json, which is the
only commit point: a reader sees the old generation or the new one, never a part. Vectors are unit
length, so inner product is cosine; search is exact (flat), because embedding, not search, is the cost
below 100,000 entries.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.cache.store import CacheStore, bucket
from serving.cache.types import CacheEntry
from serving.errors import IntegrityError
from serving.language.protocols import Embeddings

MANIFEST = "MANIFEST.json"
KEPT_GENERATIONS = 2
"""The live one and the one before it, for readers that are just opening it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the live generation is.

    Attributes:
        generation: number of the folder `gen-000001`.
        last_seq: newest entry of the store that it covers.
        files: file name → SHA-256, one FAISS file for each scope (named by the scope's key).
    """

    generation: int
    last_seq: int
    files: dict[str, str]


class ScopeIndex:
    """Search inside one scope: by bucket for answering, over all for explaining a miss."""

    def __init__(self, entries: list[CacheEntry], vectors: Embeddings) -> None:
        import faiss

        self.entries = entries
        self._all = faiss.IndexFlatIP(vectors.shape[1]) if len(entries) else None
        self._buckets: dict[str, tuple[Any, list[int]]] = {}
        if self._all is None:
            return
        self._all.add(vectors)
        rows: dict[str, list[int]] = {}
        for row, entry in enumerate(entries):
            rows.setdefault(bucket(entry.intent, entry.signature), []).append(row)
        for key, members in rows.items():
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(vectors[members])
            self._buckets[key] = (index, members)

    def nearest_in_bucket(self, key: str, vector: Embeddings, k: int) -> list[tuple[CacheEntry, float]]:
        """Best entries of a bucket with their cosine, best first; empty where the bucket is unknown."""
        if key not in self._buckets:
            return []
        index, members = self._buckets[key]
        scores, rows = index.search(vector.reshape(1, -1), min(k, len(members)))
        return [(self.entries[members[row]], float(s)) for s, row in zip(scores[0], rows[0], strict=True)]

    def nearest(self, vector: Embeddings, k: int) -> list[tuple[CacheEntry, float]]:
        """Best entries of the whole scope, for explanations only: they may answer something else."""
        if self._all is None:
            return []
        scores, rows = self._all.search(vector.reshape(1, -1), min(k, len(self.entries)))
        return [(self.entries[row], float(s)) for s, row in zip(scores[0], rows[0], strict=True)]


def read_manifest(folder: Path) -> Manifest | None:
    """The live generation, or None before the first `publish`."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, TypeError) as error:
        raise IntegrityError(
            f"Cache manifest {folder / MANIFEST} is damaged.", advice="Run `voicebot build-cache`."
        ) from error


def publish(store: CacheStore, folder: Path) -> Manifest:
    """Derive a new generation from the store and make it live."""
    import faiss

    current = read_manifest(folder)
    generation = (current.generation if current else 0) + 1
    target = folder / f"gen-{generation:06d}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    last_seq, files = store.last_seq(), {}
    for scope in store.scopes():
        ids, vectors = store.vectors(scope)
        if not ids:
            continue
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        path = target / f"{scope}.faiss"
        faiss.write_index(index, str(path))
        (target / f"{scope}.ids").write_text("\n".join(ids))
        for written in (path, target / f"{scope}.ids"):
            files[written.name] = _sha256(written)
            _fsync(written)
    _fsync(target)
    manifest = Manifest(generation, last_seq, files)
    _replace(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, sort_keys=True))
    for old in sorted(folder.glob("gen-*"))[:-KEPT_GENERATIONS]:
        shutil.rmtree(old, ignore_errors=True)
    return manifest


def load_scope(store: CacheStore, folder: Path, manifest: Manifest, scope: str) -> ScopeIndex | None:
    """The index of one scope, or None where the generation does not hold it.

    Files whose hash differs from the manifest are not trusted: the vectors then come from the store.
    """
    import faiss

    name = f"{scope}.faiss"
    if name not in manifest.files:
        return None
    by_id = {entry.id: entry for entry in store.entries(scope)}
    target = folder / f"gen-{manifest.generation:06d}"
    paths = [target / name, target / f"{scope}.ids"]
    if all(path.is_file() and _sha256(path) == manifest.files.get(path.name) for path in paths):
        ids = paths[1].read_text().splitlines()
        index = faiss.read_index(str(paths[0]))
        vectors = index.reconstruct_n(0, index.ntotal)
    else:
        ids, vectors = store.vectors(scope)
    rows = [row for row, id_ in enumerate(ids) if id_ in by_id]
    return ScopeIndex([by_id[ids[row]] for row in rows], np.ascontiguousarray(vectors[rows], np.float32))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: Path, text: str) -> None:
    """Write, flush to disk, rename: after a crash the file is the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    _fsync(temporary)
    temporary.replace(path)
    _fsync(path.parent)
