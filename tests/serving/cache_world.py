"""A small cache to test with: all of it real, but for an embedder whose cosines one can choose."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from serving.cache.generation import Manifest
from serving.cache.lookup import SemanticCache
from serving.cache.publishing import publish
from serving.cache.signature import Signer
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, CacheQuery, CacheScope, exact_key
from serving.language.knowledge import Cacheability
from serving.language.lexicon import load_lexicon
from serving.language.protocols import Embeddings
from serving.settings import default_data_dir
from serving.spoken import Kind
from serving.telemetry.redaction import keyed_hash

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEE = "What does a wire transfer cost?"
FEE_ANSWER = "A wire transfer costs 25 dollars."
INTENT = "transfer_fee_charged"


class WordEmbedder:
    """Cosine is the share of common words, unless a text was placed at a chosen cosine from another."""

    dimension = 256
    fingerprint = "words:256"

    def __init__(self) -> None:
        self._placed: dict[str, Embeddings] = {}
        self.embedded = 0

    def place(self, text: str, other: str, cosine: float) -> None:
        """Give `text` a cosine to `other` that is exact in float32 where `cosine` is."""
        vector = np.zeros(self.dimension, np.float32)
        at = self._placed.setdefault(other, np.eye(1, self.dimension, dtype=np.float32)[0])
        vector += np.float32(cosine) * at
        vector[self.dimension - 1 - len(self._placed)] = np.sqrt(1 - cosine**2)
        self._placed[text] = vector

    def embed(self, texts: Sequence[str]) -> Embeddings:
        self.embedded += len(texts)
        rows = [self._placed[text] if text in self._placed else self._bag(text) for text in texts]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.dimension), np.float32)

    def _bag(self, text: str) -> Embeddings:
        vector = np.zeros(self.dimension, np.float32)
        for word in exact_key(text).split() or ["-"]:
            vector[zlib.crc32(word.encode("utf-8", "surrogatepass")) % self.dimension] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def make_signer(key: bytes = b"sixteen bytes ok") -> Signer:
    lexicon = load_lexicon(default_data_dir() / "lexicons" / "signature.yaml")

    def personal(kind: Kind, value: str) -> str:
        return keyed_hash(kind, value, key)

    return Signer(lexicon, personal)


SIGNER = make_signer()
SCOPE = CacheScope(
    tenant="harbour",
    locale="en-US",
    knowledge="k1",
    prompt="p1",
    intent_adapter="banking-lora/1",
    dialogue_adapter="none",
    base_model="embedded:approved answers",
    embedder=WordEmbedder.fingerprint,
)


def entry(
    question: str = FEE, answer: str = FEE_ANSWER, scope: CacheScope = SCOPE, **changes: object
) -> CacheEntry:
    intent = str(changes.get("intent", INTENT))
    made = CacheEntry(
        id=hashlib.sha256(f"{scope.key}{intent}{exact_key(question)}".encode()).hexdigest()[:32],
        scope=scope.key,
        intent=intent,
        cacheability=Cacheability.SEMANTIC,
        question=question,
        signature=SIGNER.sign(question),
        answer=answer,
        disclosures=(),
        source="knowledge:test",
        created_at=NOON,
        expires_at=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


AFTER = replace(SCOPE, intent_adapter="banking-lora/2")
"""The scope after a promotion."""
PARAPHRASE = "So what does a wire transfer cost?"


def ask(text: str = FEE, **changes: object) -> CacheQuery:
    made = CacheQuery(text, INTENT, Cacheability.SEMANTIC, SIGNER.sign(text))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def fill(
    folder: Path,
    entries: Sequence[CacheEntry],
    scope: CacheScope = SCOPE,
    embedder: WordEmbedder | None = None,
) -> Manifest:
    """Make these all entries of a scope and publish."""
    store = CacheStore(folder / "cache.sqlite")
    vectors = (embedder or WordEmbedder()).embed([item.question for item in entries])
    store.replace_scope(scope, entries, vectors, actor="test")
    return publish(store, folder)


def open_cache(
    folder: Path, embedder: WordEmbedder | None = None, *, threshold: float = 0.75, at: datetime = NOON
) -> SemanticCache:
    return SemanticCache(folder, embedder or WordEmbedder(), threshold=threshold, now=lambda: at)


def served(cache: SemanticCache, scope: CacheScope = SCOPE, text: str = PARAPHRASE) -> str | None:
    """The answer that a caller would get from the cache."""
    found = cache.lookup(ask(text), scope).entry
    return found.answer if found else None
