"""What the cache would decide for one question, with everything that leads to the decision.

It asks as the first turn of a call would, counts nothing and changes nothing. Neighbours are searched in all
of the scope, whatever their intent and signature, so that a reader sees what was kept apart and by what.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from serving.cache.lookup import SemanticCache
from serving.cache.nearby import ACCURACY_FLOOR
from serving.cache.protocol import Neighbour
from serving.cache.signature import Signature
from serving.cache.store import FILE, CacheStore
from serving.cache.store_rows import StoredEntry
from serving.cache.types import CacheDecision, CacheQuery, CacheScope, exact_key
from serving.cache.wording import text_fault
from serving.call.caching import lookup, query_of
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.runtime import Runtime
from serving.call.understanding import Understood, understand
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings

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
        asked: whether a call would ask the cache at all; words against the rules, and what is like nothing
            that was trained, are answered before it.
    """

    text: str
    intent: str
    probability: float
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


def explain(runtime: Runtime, question: str, neighbours: int = NEIGHBOURS) -> Explanation:
    """Look a question up as the first turn of a call would.

    Args:
        runtime: started.
        question: true text.
        neighbours: how many near entries to name.
    """
    heard, scope = _heard(runtime, question)
    query = query_of(runtime.box, heard)
    guards = _guards(runtime, heard, query)
    return Explanation(
        text=heard.user.text,
        intent=heard.tag.label,
        probability=heard.tag.probability,
        in_scope=heard.tag.in_scope,
        cacheability=query.cacheability,
        signature=heard.signature,
        decision=lookup(runtime.box, heard, scope),
        asked=all(it.passed for it in guards if it.name in _BEFORE_THE_CACHE),
        scope=scope.key,
        guards=guards,
        neighbours=_near(runtime, query, scope, neighbours),
    )


def explain_entry(runtime: Runtime, stored: StoredEntry, question: str) -> EntryVerdict:
    """Say why one entry would or would not answer a question.

    Args:
        runtime: started.
        stored: the entry.
        question: true text.
    """
    heard, scope = _heard(runtime, question)
    query, entry = query_of(runtime.box, heard), stored.entry
    guards = [*_guards(runtime, heard, query)]
    now = "the one that calls use now"
    guards.append(_guard("scope", entry.scope == scope.key, now, f"calls use {scope.key[:12]}… now"))
    apart = entry.signature.difference(query.signature)
    guards.append(
        _guard("intent", entry.intent == query.intent, entry.intent, f"{query.intent} ≠ {entry.intent}")
    )
    guards.append(_guard("signature", not apart, "nothing sets them apart", apart))
    doubt = _doubt(stored)
    guards.append(_guard("servable", not doubt, f"accuracy {entry.accuracy:.2f}", doubt))
    same = exact_key(query.text) == exact_key(entry.question)
    cache, decision = runtime.cache, lookup(runtime.box, heard, scope)
    if same:
        guards.append(Guard("words", True, "the same"))
    elif query.cacheability is not Cacheability.SEMANTIC:
        guards.append(Guard("words", False, "this intent is answered for the same words only"))
    elif not isinstance(cache, SemanticCache):
        guards.append(Guard("hit rule", decision.entry is not None, "that of the cache service"))
    else:
        vectors = runtime.encoder.embed([query.text, entry.question])
        near = Neighbour(entry, float(vectors[0] @ vectors[1]), vectors[1])
        verdict = cache.rule.judge(query, vectors[0], [near])
        guards.append(Guard("hit rule", verdict.reason is None, verdict.detail))
    return EntryVerdict(all(it.passed for it in guards), tuple(guards), decision)


def _heard(runtime: Runtime, question: str) -> tuple[Understood, CacheScope]:
    served = runtime.adapter.current
    turn = HeardTurn("explain", 1, question, 1.0)
    heard = understand(turn, DialogueState(), served.tagger, runtime.box, Laps(FileClock(), 0.0))
    return heard, runtime.scope(served)


def _guards(runtime: Runtime, heard: Understood, query: CacheQuery) -> tuple[Guard, ...]:
    """What is asked before any entry is looked at."""
    fault = text_fault(query.text)
    injected = runtime.box.guard.found(heard.user.text)
    tag, reuse = heard.tag, query.cacheability
    told = f"{tag.label} {tag.probability:.2f}"
    return (
        _guard(_INJECTION, not injected, "no words against the rules", injected),
        _guard(_IN_SCOPE, tag.in_scope, told, f"{told}: like nothing that was trained"),
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


def _near(runtime: Runtime, query: CacheQuery, scope: CacheScope, most: int) -> tuple[NearEntry, ...]:
    """The nearest entries of the scope, best first; none where it cannot be searched."""
    path = runtime.settings.home / "cache" / FILE
    if query.personal or not exact_key(query.text) or not path.exists():
        return ()
    store = CacheStore(path, read_only=True)
    ids, vectors = store.vectors(scope.key)
    if not ids:
        return ()
    scores: Embeddings = vectors @ runtime.encoder.embed([query.text])[0]
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
