"""What the cache would decide for one question, with everything that leads to the decision.

It asks as the first turn of a call would, or as whoever uses the cache alone, counts nothing and changes
nothing. Neighbours are searched in all of the scope, whatever their intent and signature, so that a reader
sees what was kept apart and by what.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from serving.cache.local import LocalCache
from serving.cache.lookup import SemanticCache
from serving.cache.nearby import ACCURACY_FLOOR
from serving.cache.protocol import Neighbour
from serving.cache.signature import Signature
from serving.cache.store import FILE, CacheStore
from serving.cache.store_rows import StoredEntry
from serving.cache.types import CacheDecision, CacheQuery, CacheScope, exact_key
from serving.cache.wording import text_fault
from serving.call.caching import query_of
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.ports import AskedCache
from serving.call.runtime import Runtime
from serving.call.understanding import understand
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embedder, Embeddings, IntentTag
from serving.telemetry.redaction import redact

NEIGHBOURS = 5
_INJECTION, _IN_SCOPE = _BEFORE_THE_CACHE = ("injection", "in scope")
"""Guards of a call that the cache knows nothing of, or hears of too late."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing that decides whether a question may be answered from the cache.

    Attributes:
        passed: None where it was not asked, because another one had decided.
        evidence: in words.
    """

    name: str
    passed: bool | None
    evidence: str


@dataclass(frozen=True, slots=True)
class NearEntry:
    """An entry near to the question.

    Attributes:
        similarity: cosine.
        apart: what keeps it from answering; empty where nothing does.
    """

    id: str
    intent: str
    question: str
    similarity: float
    apart: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A lookup with its inputs; the text is redacted.

    Attributes:
        probability: of the intent; None where it was given.
        asked: whether a call would ask the cache at all; words against the rules, and what is like nothing
            that was trained, are answered before it.
    """

    text: str
    intent: str
    probability: float | None
    in_scope: bool
    cacheability: Cacheability
    signature: Signature
    decision: CacheDecision
    asked: bool
    scope: str = ""
    guards: tuple[Guard, ...] = ()
    neighbours: tuple[NearEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryVerdict:
    """Why one entry would or would not answer a question.

    Attributes:
        hits: it would be served.
        guards: in the order in which they are asked.
        decision: what the cache would really decide; another entry may be nearer.
    """

    hits: bool
    guards: tuple[Guard, ...]
    decision: CacheDecision


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a cache is asked it.

    Attributes:
        tag: what the tagger made of it; None where its intent was given.
        injected: the words that try to change what the assistant does; empty for none.
        cache: what decides; it counts nothing.
        folder: `home/cache`.
    """

    query: CacheQuery
    scope: CacheScope
    tag: IntentTag | None
    injected: str
    cache: AskedCache
    embedder: Embedder
    folder: Path


def asked_in_call(runtime: Runtime, question: str) -> Asked:
    """A question as the first turn of a call.

    Args:
        runtime: with an adapter.
        question: true text.
    """
    served, box = runtime.adapter.current, runtime.box
    turn = HeardTurn("explain", 1, question, 1.0)
    heard = understand(turn, DialogueState(), served.tagger, box, Laps(FileClock(), 0.0))
    return Asked(
        query=query_of(box, heard),
        scope=runtime.scope(served),
        tag=heard.tag,
        injected=box.guard.found(heard.user.text),
        cache=runtime.cache,
        embedder=runtime.encoder,
        folder=runtime.settings.home / "cache",
    )


def asked_alone(cache: LocalCache, scope: CacheScope, question: str, intent: str) -> Asked:
    """A question as whoever uses the cache without the rest asks it; no adapter takes part.

    Args:
        cache: of the home.
        scope: one that it holds.
        question: true text.
        intent: of the question.
    """
    redacted = redact(question)
    query = replace(cache.query(question, intent), text=redacted.text)
    return Asked(
        query=replace(query, personal=query.personal or any(it.personal for it in redacted.values)),
        scope=scope,
        tag=None,
        injected=cache.admission.guard.found(redacted.text),
        cache=cache.reader,
        embedder=cache.reader.embedder,
        folder=cache.folder,
    )


def explain(asked: Asked, neighbours: int = NEIGHBOURS) -> Explanation:
    """Look a question up, with everything that leads to the decision.

    Args:
        asked: the question.
        neighbours: how many near entries to name.
    """
    query, tag, guards = asked.query, asked.tag, _guards(asked)
    return Explanation(
        text=query.text,
        intent=query.intent,
        probability=tag.probability if tag else None,
        in_scope=tag.in_scope if tag else True,
        cacheability=query.cacheability,
        signature=query.signature,
        decision=asked.cache.lookup(query, asked.scope),
        asked=all(it.passed for it in guards if it.name in _BEFORE_THE_CACHE),
        scope=asked.scope.key,
        guards=guards,
        neighbours=_near(asked, neighbours),
    )


def explain_entry(asked: Asked, stored: StoredEntry) -> EntryVerdict:
    """Say why one entry would or would not answer a question.

    Args:
        asked: the question.
        stored: the entry.
    """
    query, entry, scope = asked.query, stored.entry, asked.scope
    guards = [*_guards(asked)]
    now = "the one that calls use now" if asked.tag else "its own"
    guards.append(_guard("scope", entry.scope == scope.key, now, f"calls use {scope.key[:12]}… now"))
    apart = entry.signature.difference(query.signature)
    guards.append(
        _guard("intent", entry.intent == query.intent, entry.intent, f"{query.intent} ≠ {entry.intent}")
    )
    guards.append(_guard("signature", not apart, "nothing sets them apart", apart))
    doubt = _doubt(stored)
    guards.append(_guard("servable", not doubt, f"accuracy {entry.accuracy:.2f}", doubt))
    same = exact_key(query.text) == exact_key(entry.question)
    cache, decision = asked.cache, asked.cache.lookup(query, scope)
    if same:
        guards.append(Guard("words", True, "the same"))
    elif query.cacheability is not Cacheability.SEMANTIC:
        guards.append(Guard("words", False, "this intent is answered for the same words only"))
    elif not isinstance(cache, SemanticCache):
        guards.append(Guard("hit rule", decision.entry is not None, "that of the cache service"))
    else:
        vectors = asked.embedder.embed([query.text, entry.question])
        near = Neighbour(entry, float(vectors[0] @ vectors[1]), vectors[1])
        verdict = cache.rule.judge(query, vectors[0], [near])
        guards.append(Guard("hit rule", verdict.reason is None, verdict.detail))
    return EntryVerdict(all(it.passed for it in guards), tuple(guards), decision)


def _guards(asked: Asked) -> tuple[Guard, ...]:
    """What is asked before any entry is looked at."""
    query, tag = asked.query, asked.tag
    fault, reuse = text_fault(query.text), query.cacheability
    told = f"{tag.label} {tag.probability:.2f}" if tag else f"{query.intent}, as given"
    return (
        _guard(_INJECTION, not asked.injected, "no words against the rules", asked.injected),
        _guard(_IN_SCOPE, tag is None or tag.in_scope, told, f"{told}: like nothing that was trained"),
        _guard(
            "cacheable",
            reuse is not Cacheability.NEVER,
            reuse.value,
            "answers of this intent are never reused",
        ),
        _guard("no personal data", not query.personal, "none", "the question holds some"),
        _guard("readable", fault is None, "yes", fault[1] if fault else ""),
        _guard("stands alone", not query.context_dependent, "yes", "it points back to an earlier turn"),
    )


def _guard(name: str, passed: bool, yes: str, no: str) -> Guard:
    return Guard(name, passed, yes if passed else no)


def _near(asked: Asked, most: int) -> tuple[NearEntry, ...]:
    """The nearest entries of the scope, best first; none where it cannot be searched."""
    query, path = asked.query, asked.folder / FILE
    if query.personal or not exact_key(query.text) or not path.exists():
        return ()
    store = CacheStore(path, read_only=True)
    ids, vectors = store.vectors(asked.scope.key)
    if not ids:
        return ()
    scores: Embeddings = vectors @ asked.embedder.embed([query.text])[0]
    found = []
    for row in (-scores).argsort()[:most]:
        stored = store.get(ids[row])
        if stored is not None:
            apart = _apart(query, stored)
            entry = stored.entry
            found.append(NearEntry(entry.id, entry.intent, entry.question, float(scores[row]), apart))
    return tuple(found)


def _apart(query: CacheQuery, stored: StoredEntry) -> str:
    entry = stored.entry
    if entry.intent != query.intent:
        return f"intent {entry.intent}"
    return query.signature.difference(entry.signature) or _doubt(stored)


def _doubt(stored: StoredEntry) -> str:
    """Why an entry is not served, whoever asks; empty where it is."""
    entry = stored.entry
    if stored.quarantined_at is not None:
        return f"quarantined since {stored.quarantined_at.isoformat(timespec='seconds')}"
    if entry.accuracy < ACCURACY_FLOOR:
        return f"accuracy {entry.accuracy:.2f} is under {ACCURACY_FLOOR}"
    if entry.expires_at is not None and entry.expires_at <= datetime.now(UTC):
        return f"expired at {entry.expires_at.isoformat(timespec='seconds')}"
    return ""
