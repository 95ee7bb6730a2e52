"""What every cache promises, wherever it runs: in this process, behind HTTP, shared by many replicas.

A cache never keeps a call from being answered: `lookup` does not raise, every doubt is a miss. What may
be reused is decided when it is offered, not when it is asked for: `insert` refuses with a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from serving.cache.types import CacheDecision, CacheEntry, CacheQuery, CacheScope, Reason
from serving.language.protocols import Embeddings


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer that somebody would like to reuse.

    Attributes:
        question: redacted text of the question that it answers.
        intent: the tagger's label of that question.
        answer: text without compliance wording.
        disclosures: ids of the wordings that must be said beside it.
        source: `knowledge:<answer id>`, or the engine that wrote it.
        tools: names of the tools that ran for it; an answer with any is never reused.
        expires_at: UTC time after which it must not be served; None for none.
        context_dependent: the question means nothing without the turns before it.
        personal: the question held personal data before it was redacted.
    """

    question: str
    intent: str
    answer: str
    disclosures: tuple[str, ...] = ()
    source: str = ""
    tools: tuple[str, ...] = ()
    expires_at: datetime | None = None
    context_dependent: bool = False
    personal: bool = False


class Refusal(StrEnum):
    """Why an offer was not taken; stable words, used as a metric label."""

    NOT_CACHEABLE = "not_cacheable"
    TOOL_RESULT = "tool_result"
    PERSONAL_QUESTION = "personal_question"
    PERSONAL_ANSWER = "personal_answer"
    NUMBER = "number_not_in_knowledge"
    CONTEXT = "context_dependent"
    EMPTY = "empty_text"
    TOO_LONG = "too_long"
    UNREADABLE = "unreadable"
    """Control characters, or words that no rule here can read: another script, symbols only."""
    INJECTION = "injection"
    EXPIRED = "expired"
    NO_SCOPE = "scope_does_not_exist"
    CONFLICT = "another_answer"
    """The scope holds another answer to the same words."""
    COMPLIANCE = "compliance_wording"
    """The answer holds wording that is only ever spoken verbatim from its own register."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """What became of an offer: an entry, or a refusal with its evidence."""

    entry: CacheEntry | None = None
    refusal: Refusal | None = None
    detail: str = ""


class Signal(StrEnum):
    """What tells whether a hit was right; stable words, stored and used as a metric label."""

    RIGHT = "right"
    """A person says so."""
    WRONG = "wrong"
    """A person says so; the entry is quarantined at once."""
    SHADOW_AGREES = "shadow_agrees"
    SHADOW_DISAGREES = "shadow_disagrees"
    """The engine, asked the same off the caller's time, answered something else."""
    SETTLED = "settled"
    """The caller went on to something else or said goodbye content."""
    REASKED = "reasked"
    """The caller asked the same again within two turns."""
    BARGED_IN = "barged_in"
    ESCALATED = "escalated"
    """The caller was put through to a person within two turns."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One observation of a hit.

    Attributes:
        entry_id: whose hit.
        at: UTC time of the observation.
        origin: what it was seen in (`call:<id>:<turn>`, `person:<operator>:<time>`); one origin counts once
            for an entry and a signal, however often it is told.
        actor: who tells it.
    """

    entry_id: str
    signal: Signal
    at: datetime
    origin: str
    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of an entry after feedback.

    Attributes:
        accuracy: posterior probability that a hit on it is right, 0 to 1.
        quarantined: it is not served until a person says that it is right.
    """

    entry_id: str
    accuracy: float
    quarantined: bool


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts of one cache, for people and monitoring.

    Attributes:
        generation: of the derived index; 0 before the first one.
        scopes: scope key → entries in it.
        lookups: (outcome, reason) as `hit:exact` → how often since this cache was opened.
        refusals: refusal → how often since this cache was opened.
    """

    generation: int
    entries: int
    quarantined: int
    scopes: Mapping[str, int] = field(default_factory=dict)
    lookups: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)


class Cache(Protocol):
    """The four things that a call, a flow or an operator does with a cache."""

    def lookup(self, query: CacheQuery, scope: CacheScope) -> CacheDecision:
        """Decide on one question; never raises."""
        ...

    def insert(self, offer: Offer, scope: CacheScope, *, actor: str) -> Insertion:
        """Take an answer for reuse, or refuse it; when this returns an entry, it is on disk.

        Raises:
            UnavailableError: the store cannot be written now.
        """
        ...

    def feedback(self, feedback: Feedback) -> Belief:
        """Count one observation.

        Raises:
            MissingError: no such entry.
            UnavailableError: the store cannot be written now.
        """
        ...

    def stats(self) -> CacheStats:
        """Counts."""
        ...


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the query's own bucket, near by cosine, with its stored vector of shape (dimension,)."""

    entry: CacheEntry
    similarity: float
    vector: Embeddings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a hit rule says of the neighbours.

    Attributes:
        neighbour: the one to serve; with `reason` set, the best one that was refused; None without any.
        reason: why nothing is served; None for a hit.
        detail: the evidence in words: which score, which threshold.
    """

    neighbour: Neighbour | None
    reason: Reason | None
    detail: str


class HitRule(Protocol):
    """Whether a question of the same intent and signature has the same answer.

    `fingerprint` changes with everything that the decision rests on.
    """

    fingerprint: str

    def judge(self, query: CacheQuery, vector: Embeddings, neighbours: Sequence[Neighbour]) -> Verdict:
        """Choose among the neighbours (best cosine first, all servable by accuracy and expiry), or none."""
        ...
