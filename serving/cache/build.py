"""Filling a scope from the approved knowledge: one entry for each phrasing of each cacheable answer.

The same knowledge and scope give the same entries, so building twice changes nothing but the generation.
What the cache would answer is what the knowledge answers: a question for which it would choose another
answer, or one that holds personal data, stops the build before anything is written.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from serving.cache.admission import KNOWLEDGE
from serving.cache.publishing import publish
from serving.cache.signature import Signer
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, CacheScope, exact_key
from serving.errors import InvalidInputError
from serving.language.knowledge import Answer, Cacheability, Knowledge
from serving.language.protocols import Embedder
from serving.telemetry.redaction import contains_personal


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build put into a scope.

    Attributes:
        entries: entries in the scope now.
        intents: intents with at least one entry.
        left_out: answers that are never reused, or expired.
        generation: the published generation.
    """

    scope: str
    entries: int
    intents: int
    left_out: int
    generation: int


def build_from_knowledge(
    folder: Path,
    scope: CacheScope,
    knowledge: Knowledge,
    signer: Signer,
    embedder: Embedder,
    *,
    actor: str,
    now: datetime,
) -> BuildReport:
    """Make the approved answers of the knowledge those of a scope, and publish a new generation.

    What else was admitted into the scope stays: the same scope means the same knowledge.

    Args:
        folder: `home/cache`.
        scope: where the entries go; other scopes stay as they are.
        knowledge: approved answers.
        signer: makes the signatures of the questions.
        embedder: must match `scope.embedder`.
        actor: who builds, for the audit.
        now: UTC time of the build.

    Raises:
        ValueError: the embedder is not the scope's.
        InvalidInputError: a question of the knowledge that must not become an entry.
    """
    if embedder.fingerprint != scope.embedder:
        raise ValueError("the embedder is not the one that the scope names")
    usable = [answer for answer in knowledge.answers if _usable(answer, now.date())]
    for answer in usable:
        _check(answer, knowledge, signer, now.date())
    # By id: questions that differ in punctuation alone are one entry.
    found = [
        _entry(question, answer, scope, signer, now) for answer in usable for question in answer.questions
    ]
    store = CacheStore(folder / "cache.sqlite")
    entries = list({entry.id: entry for entry in found}.values())
    approved = {(entry.source, entry.answer) for entry in entries}

    def keep(source: str, answer: str) -> bool:
        return not source.startswith(KNOWLEDGE) or (source, answer) in approved

    vectors = embedder.embed([entry.question for entry in entries])
    # What stays is decided when it is replaced: embedding takes time, in which others add and remove.
    held = store.replace_scope(scope, entries, vectors, actor=actor, keep=keep)
    manifest = publish(store, folder)
    return BuildReport(
        scope=scope.key,
        entries=held,
        intents=len({entry.intent for entry in entries}),
        left_out=len(knowledge.answers) - len(usable),
        generation=manifest.generation,
    )


def _usable(answer: Answer, today: date) -> bool:
    expired = answer.valid_until is not None and answer.valid_until < today
    return answer.cacheability is not Cacheability.NEVER and not expired


def _check(answer: Answer, knowledge: Knowledge, signer: Signer, today: date) -> None:
    """Refuse questions that the knowledge would answer otherwise, and personal ones."""
    for question in answer.questions:
        if contains_personal(question):
            raise InvalidInputError(f"A question of the approved answer {answer.id} holds personal data.")
        best = knowledge.best(answer.intent, signer.lexicon.found(question), today)
        if best is not answer:
            raise InvalidInputError(
                f"Question {question!r} of the approved answer {answer.id} belongs to "
                f"{best.id if best else 'none'}, by the words in it.",
                advice="Move it there, or change `applies_to` or the lexicon.",
            )


def _entry(question: str, answer: Answer, scope: CacheScope, signer: Signer, now: datetime) -> CacheEntry:
    identity = "\x1f".join((scope.key, answer.intent, exact_key(question)))
    end = answer.valid_until
    return CacheEntry(
        id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        scope=scope.key,
        intent=answer.intent,
        cacheability=answer.cacheability,
        question=question,
        signature=signer.sign(question),
        answer=answer.text,
        disclosures=answer.disclosures,
        source=f"{KNOWLEDGE}{answer.id}",
        created_at=now,
        expires_at=datetime.combine(end, time.max, UTC) if end else None,
    )
