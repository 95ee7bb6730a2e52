"""Whether a cache is what it should be: files, rows, embeddings, and the rules that it was made by.

It repairs nothing. Damage of derived files costs nobody an answer, the store is read instead; a row against
the rules is one that somebody put there by another door.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.cache.admission import entry_id
from serving.cache.figures import personal_kinds
from serving.cache.generation import generation_folder, read_manifest
from serving.cache.signature import Signer
from serving.cache.store import FILE, CacheStore
from serving.cache.store_rows import StoredEntry, are_unit
from serving.cache.types import CacheScope, exact_key
from serving.cache.wording import MAX_ANSWER_CHARS, MAX_QUESTION_CHARS, text_fault
from serving.errors import VoicebotError
from serving.language.knowledge import Cacheability, Knowledge


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        place: a file's name, a scope or an entry's id.
        what: in words, without a caller's.
    """

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Soundness:
    """What was looked at, and what was found."""

    files: int
    scopes: int
    entries: int
    problems: tuple[Problem, ...]


def check_cache(folder: Path, knowledge: Knowledge, signer: Signer, live: frozenset[str] | None) -> Soundness:
    """Look at everything.

    Args:
        folder: `home/cache`.
        knowledge: as it is now; only scopes in `live` are held to it.
        signer: as it is now; likewise.
        live: keys of the scopes that calls may use; None where they cannot be told.

    Raises:
        VoicebotError: the store cannot be read at all.
    """
    store = CacheStore(folder / FILE, read_only=True)
    files, problems = _files(folder)
    scopes, stored = store.scopes(), store.stored()
    for key, scope in scopes.items():
        problems += _scope(key, scope)
        ids, vectors = store.vectors(key)
        if ids and not are_unit(vectors):
            problems.append(Problem(key, "an embedding is not of length 1"))
    for item in stored:
        problems += [Problem(item.entry.id, what) for what in _row(item, scopes.get(item.entry.scope))]
        if live is not None and item.entry.scope in live:
            problems += [Problem(item.entry.id, what) for what in _against_rules(item, knowledge, signer)]
    return Soundness(files, len(scopes), len(stored), tuple(problems))


def _files(folder: Path) -> tuple[int, list[Problem]]:
    """Files of the live generation against the hashes of the manifest."""
    try:
        manifest = read_manifest(folder)
    except VoicebotError as error:
        return 0, [Problem("MANIFEST.json", error.message)]
    if manifest is None:
        return 0, [Problem("MANIFEST.json", "there is none: the index was never published")]
    problems = []
    for name, sha256 in sorted(manifest.files.items()):
        path = generation_folder(folder, manifest.generation) / name
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    problems.append(Problem(name, "it is not the file that was published"))
        except OSError as error:
            problems.append(Problem(name, f"it cannot be read: {error.strerror}"))
    return len(manifest.files), problems


def _scope(key: str, scope: CacheScope) -> list[Problem]:
    return [] if scope.key == key else [Problem(key, "its definition belongs to another key")]


def _row(item: StoredEntry, scope: CacheScope | None) -> Iterator[str]:
    """What must hold of an entry in any scope."""
    entry = item.entry
    if scope is None:
        yield "its scope is not there"
    elif entry.id != entry_id(scope, entry.intent, entry.question):
        yield "its id is not that of its words"
    if entry.cacheability is Cacheability.NEVER:
        yield "it must never be reused"
    if not 0 <= entry.accuracy <= 1:
        yield "its accuracy is no probability"
    for which, text, longest in (
        ("question", entry.question, MAX_QUESTION_CHARS),
        ("answer", entry.answer, MAX_ANSWER_CHARS),
    ):
        fault = text_fault(text, longest)
        if fault is not None:
            yield f"{which}: {fault[1]}"
    if personal_kinds(entry.question):
        yield "its question holds personal data"


def _against_rules(item: StoredEntry, knowledge: Knowledge, signer: Signer) -> Iterator[str]:
    """What must hold of an entry that callers can get today."""
    entry = item.entry
    if signer.sign(entry.question) != entry.signature:
        yield "its signature is not that of its question"
    allowed = knowledge.cacheability(entry.intent)
    if allowed is Cacheability.NEVER or (
        allowed is Cacheability.EXACT and entry.cacheability is Cacheability.SEMANTIC
    ):
        yield f"it may be reused as {entry.cacheability}, the knowledge allows {allowed}"
    if not exact_key(entry.question):
        yield "its question has no words"
