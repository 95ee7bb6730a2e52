"""Rows that can be searched: the vectors of a scope in the order of their buckets, and where each lies.

A bucket is one contiguous slice, searched exactly; so are all buckets of one intent. What is found are
proposals: sequence number, fingerprint of the id, cosine. Whether such an entry is still there, and may be
served, is for the store to say.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import numpy as np
from numpy.typing import NDArray

from serving.cache.store_reader import Row
from serving.language.protocols import Embeddings

NAMES = np.dtype([("seq", "<i8"), ("id", "<u8")])
"""What a row is called: its primary key, and a fingerprint of its id."""
VECTOR = np.dtype("<f4")
"""A number of an embedding."""

Span = tuple[int, int]
"""First row and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A row that is near.

    Attributes:
        seq: primary key in the store.
        id_print: `id_print` of the entry that the vector was made of.
        similarity: cosine, exact.
        vector: float32, shape (dimension,).
    """

    seq: int
    id_print: int
    similarity: float
    vector: Embeddings


@dataclass(frozen=True, slots=True)
class SearchRows:
    """Vectors of one scope, sorted by intent and bucket.

    Attributes:
        vectors: float32, shape (rows, dimension), unit rows; may lie in a mapped file.
        names: `NAMES`, shape (rows,).
        buckets: bucket → its rows.
        intents: intent → its rows.
    """

    vectors: Embeddings
    names: NDArray[np.void]
    buckets: Mapping[str, Span]
    intents: Mapping[str, Span]

    def nearest(self, span: Span | None, vector: Embeddings, k: int) -> list[Proposal]:
        """The rows of a span that are nearest by cosine, best first; all rows where there are few.

        Args:
            span: rows to search; None finds nothing.
            vector: float32, shape (dimension,), of length 1.
            k: most rows.
        """
        if span is None or span[0] == span[1] or len(vector) != self.vectors.shape[1]:
            return []
        import faiss

        first, behind = span
        query = vector.reshape(1, -1)
        scores, rows = faiss.knn(
            query, self.vectors[first:behind], min(k, behind - first), metric=faiss.METRIC_INNER_PRODUCT
        )
        return [
            Proposal(int(name["seq"]), int(name["id"]), float(score), self.vectors[first + row])
            for row, score in zip(rows[0], scores[0], strict=True)
            if row >= 0  # faiss could not rank it
            for name in (self.names[first + row],)
        ]


def sorted_rows(found: Iterable[tuple[str, str, Row]]) -> SearchRows:
    """Rows in any order, given as intent, bucket and row, made searchable.

    Raises:
        ValueError: embeddings of different lengths, or no embeddings.
    """
    rows = sorted(found, key=lambda row: (row[0], row[1], row[2].seq))
    names = np.array([(row.seq, id_print(row.id)) for _, _, row in rows], NAMES)
    vectors = np.frombuffer(b"".join(row.embedding for _, _, row in rows), VECTOR)
    if rows and (not vectors.size or len({len(row.embedding) for _, _, row in rows}) > 1):
        raise ValueError("embeddings of different lengths")
    shaped = vectors.reshape(len(rows), -1) if rows else vectors.reshape(0, 0)
    return SearchRows(
        cast(Embeddings, shaped),
        names,
        _spans(bucket for _, bucket, _ in rows),
        _spans(intent for intent, _, _ in rows),
    )


def id_print(entry_id: str) -> int:
    """64 bits of an entry's id: enough to see that a row was made of another entry."""
    digest = hashlib.blake2b(entry_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _spans(keys: Iterable[str]) -> dict[str, Span]:
    spans, first = {}, 0
    for key, rows in groupby(keys):
        behind = first + sum(1 for _ in rows)
        spans[key] = (first, behind)
        first = behind
    return spans
