"""Publishing: a new generation is written beside the old ones, then the manifest is replaced.

Replacing MANIFEST.json is the only commit point: a reader sees the old generation or the new one, never a
part. One process publishes at a time, and a crash at any step leaves the generation before, which goes on
answering together with the rows that it does not hold yet.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from serving.cache.generation import (
    MANIFEST,
    Manifest,
    generation_folder,
    generation_number,
    read_manifest,
    spans_document,
)
from serving.cache.rows import SearchRows, sorted_rows
from serving.cache.store import CacheStore
from serving.cache.store_file import Steps, no_steps
from serving.cache.store_reader import StoreReader
from serving.errors import IntegrityError, UnavailableError
from serving.files import remove_leftovers, replacing, sync

LOCK = "LOCK"
_LOCK_WAIT_S = 30.0
_LOCK_RETRY_S = 0.05
_ABANDONED_S = 3_600.0


def publish(store: CacheStore, folder: Path, *, steps: Steps = no_steps) -> Manifest:
    """Derive a new generation from the store and make it live; one process at a time.

    A damaged manifest is replaced. The generation before stays, for readers that are just opening it.

    Args:
        store: the truth.
        folder: `home/cache`.
        steps: told before each step.

    Raises:
        UnavailableError: another process has been publishing for long, or the disk is full or read-only.
        IntegrityError: the store is damaged.
    """
    try:
        with _lock(folder):
            return _publish(store, folder, steps)
    except OSError as error:
        raise UnavailableError(
            f"The cache {folder} cannot be published: {error}.",
            advice="The generation before goes on answering.",
        ) from error


def _publish(store: CacheStore, folder: Path, steps: Steps) -> Manifest:
    current = _live_generation(folder)
    # Beyond every folder: what a crash left must not pass for the new generation.
    generation = max(current, *map(generation_number, folder.glob("gen-*")), 0) + 1
    target = generation_folder(folder, generation)
    steps("publish: folder")
    target.mkdir(parents=True)
    files = {}
    reader = StoreReader(store.path)
    with reader.view() as view:
        last_seq = view.last_seq()
        for scope in view.scopes():
            rows = sorted_rows(view.searchable(scope, 0))
            if len(rows.names):
                files.update(_write_scope(target, scope, rows, steps))
    reader.forget()
    steps("publish: sync folder")
    sync(target)
    sync(folder)
    manifest = Manifest(generation, last_seq, files, view.identity)
    steps("publish: manifest")
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_bytes(json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())
        steps("publish: rename manifest")
    steps("publish: clean")
    for old in folder.glob("gen-*"):
        if generation_number(old) not in {current, generation}:
            steps(f"publish: remove {old.name}")
            shutil.rmtree(old, ignore_errors=True)
    remove_leftovers(folder, _ABANDONED_S, time.time())
    steps("publish: done")
    return manifest


def _write_scope(target: Path, scope: str, rows: SearchRows, steps: Steps) -> dict[str, str]:
    """Write the files of a scope; file name → SHA-256."""
    contents = {
        "vectors": rows.vectors.tobytes(),
        "names": rows.names.tobytes(),
        "spans": spans_document(rows),
    }
    files = {}
    for part, content in contents.items():
        path = target / f"{scope}.{part}"
        steps(f"publish: write {part}")
        path.write_bytes(content)
        steps(f"publish: sync {part}")
        sync(path)
        files[path.name] = hashlib.sha256(content).hexdigest()
    return files


def _live_generation(folder: Path) -> int:
    try:
        manifest = read_manifest(folder)
    except IntegrityError:
        return 0
    return manifest.generation if manifest else 0


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
