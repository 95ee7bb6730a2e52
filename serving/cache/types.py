"""The words of the semantic cache: scope, entry, query, decision.

A scope is a world of its own: nothing of one scope is ever served in another. A decision always
carries the reason for it, and every doubt is a miss.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from serving.cache.signature import Signature
from serving.language.knowledge import Cacheability


@dataclass(frozen=True, slots=True)
class CacheScope:
    """Everything whose change makes an old answer doubtful.

    Attributes:
        tenant: the bank.
        locale: language and region of the answers.
        knowledge: hash of approved answers, rate sheet and legal texts.
        prompt: hash of the system prompt and the bot's phrases.
        intent_adapter: version and manifest hash of the intent adapter.
        dialogue_adapter: the same of the dialogue adapter, or `none`.
        base_model: the answering engine and its model.
        embedder: fingerprint of the sentence encoder.
    """

    tenant: str
    locale: str
    knowledge: str
    prompt: str
    intent_adapter: str
    dialogue_adapter: str
    base_model: str
    embedder: str

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of all fields."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def knowledge_of(sheets: Iterable[str]) -> str:
    """`CacheScope.knowledge` of calls.

    Args:
        sheets: hashes of answers, rates, wordings and lexicon, and the version of the signature's rules.
    """
    return hashlib.sha256("\n".join(sheets).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An approved answer to one phrasing of a question.

    Attributes:
        id: hash of scope, intent and normalised question.
        answer: text without compliance wording; `disclosures` name what must be said beside it.
        signature: of `question`; only a turn of the same signature may get the answer.
        source: `knowledge:<answer id>`, or the engine that wrote it.
        expires_at: UTC time after which it is not served; absolute, a hit never extends it.
        accuracy: belief that a hit on it is right, 0 to 1.
    """

    id: str
    scope: str
    intent: str
    cacheability: Cacheability
    question: str
    signature: Signature
    answer: str
    disclosures: tuple[str, ...]
    source: str
    created_at: datetime
    expires_at: datetime | None
    accuracy: float = 1.0


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """A caller's turn as the cache sees it.

    Attributes:
        text: redacted text.
        intent: the tagger's label.
        cacheability: what the knowledge says of that intent.
        signature: values and facets of the true text, personal ones hashed.
        context_dependent: the turn means nothing without the ones before it ("and for seven years?").
        personal: the text held personal data.
    """

    text: str
    intent: str
    cacheability: Cacheability
    signature: Signature
    context_dependent: bool = False
    personal: bool = False


class Outcome(StrEnum):
    """What a lookup came to."""

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"
    """The question must not be answered from a cache at all; it is no failed lookup."""


class Reason(StrEnum):
    """Why; stable words, used as a metric label."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    NOT_CACHEABLE = "not_cacheable"
    PERSONAL = "personal"
    CONTEXT = "context_dependent"
    EMPTY_TEXT = "empty_text"
    NO_SCOPE = "scope_not_built"
    NO_ENTRY = "no_entry_with_this_signature"
    SIGNATURE = "signature_differs"
    THRESHOLD = "below_threshold"
    ACCURACY = "accuracy_floor"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    UNCERTIFIED = "no_certified_threshold"
    """Nothing shows that answering other words than the stored ones is safe for this intent."""
    UNREADABLE = "unreadable"
    TOO_LONG = "too_long"
    INJECTION = "injection"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CacheDecision:
    """The outcome of a lookup with its evidence.

    Attributes:
        similarity: cosine to the entry served, or to the nearest one refused.
        detail: the evidence in words: which facet differs, which threshold was missed.
        neighbour: id of the nearest entry that was refused.
    """

    outcome: Outcome
    reason: Reason
    detail: str = ""
    similarity: float | None = None
    entry: CacheEntry | None = None
    neighbour: str = ""


def exact_key(text: str) -> str:
    """A text without case, width, punctuation and spacing: what "the same words" means."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if _says_something(c) else " " for c in folded).split())


def _says_something(character: str) -> bool:
    return character.isalnum() or character in "%<>_" or unicodedata.category(character) in {"Sc", "Mn", "Mc"}


def bucket(intent: str, signature: Signature) -> str:
    """Entries compete only inside one bucket: same intent, same signature."""
    return f"{intent}:{signature.key[:32]}"
