"""The questions that callers really ask, answered ahead for a new scope: the cache is warm before the flip.

Questions come from the records of calls, redacted, and only those that several calls asked. The engine of the
scope answers each once, as in a call; what passes the door of admission goes in. It never moves an alias.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flows.cache_scope import adapters_of, scope_between
from serving.adapters.dialogue import dialogue_store, fetch_dialogue
from serving.adapters.live_dialogue import AdaptableLlm
from serving.adapters.loader import fetch, load_tagger
from serving.adapters.pin import Reference
from serving.adapters.registry import AdapterRegistry
from serving.adapters.versions import AdapterVersion
from serving.adapters.vllm_dialogue import adaptable
from serving.cache.alone import open_cache
from serving.cache.local import LocalCache
from serving.cache.protocol import Insertion, Offer, Refusal
from serving.cache.same_answer import AnswerJudge
from serving.cache.types import CacheScope, exact_key
from serving.call.caching import approved_for, query_of
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.generation import generate, request_for
from serving.call.record import CallRecord, Decision
from serving.call.runtime import Runtime
from serving.call.store import CallStore
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood, understand
from serving.errors import InvalidInputError
from serving.language.protocols import IntentTagger, Llm
from serving.settings import Settings
from serving.telemetry.redaction import redact

WINDOW = timedelta(days=30)
"""How far back callers' questions are looked for."""
LEAST_CALLS = 3
"""Calls that must have asked the same words; what one caller says stays that caller's."""
MOST = 200
"""Questions that are answered ahead, the most asked first."""
CONTRADICTS = "contradicts_approved"
"""Why an engine's answer is left out though admission would take it."""
FAILED = "engine_failed"
_ANSWERED = frozenset({Decision.CACHE_HIT, Decision.ANSWER, Decision.DISCLOSURE})


@dataclass(frozen=True, slots=True)
class WarmOutcome:
    """What became of the questions.

    Attributes:
        scope: key of the scope.
        questions: distinct questions that enough calls asked.
        known: of these, questions that the scope held already.
        entered: new entries.
        refused: reason → questions that stay out.
    """

    scope: str
    questions: int
    known: int
    entered: int
    refused: dict[str, int]


def top_questions(
    calls: Iterable[CallRecord], *, least_calls: int = LEAST_CALLS, most: int = MOST
) -> tuple[str, ...]:
    """Redacted questions that were answered, the most asked first; each as it was said first.

    Args:
        calls: with their turns.
        least_calls: calls that must have asked the same words; the same call counts once.
        most: how many questions.
    """
    asked: dict[str, set[str]] = {}
    words: dict[str, str] = {}
    for call in calls:
        for turn in call.turns:
            if turn.in_scope and turn.decision in _ANSWERED:
                key = exact_key(turn.text)
                asked.setdefault(key, set()).add(call.call_id)
                words.setdefault(key, turn.text)
    often = sorted(
        (key for key, ids in asked.items() if len(ids) >= least_calls), key=lambda it: -len(asked[it])
    )
    return tuple(words[key] for key in often[:most])


def answer_ahead(
    box: Toolbox,
    tagger: IntentTagger,
    cache: LocalCache,
    scope: CacheScope,
    questions: Sequence[str],
    *,
    actor: str,
) -> WarmOutcome:
    """Ask the engine each question as the first one of a call, and admit what it answers.

    Args:
        box: what calls share, with the engine of the scope.
        tagger: the adapter of the scope.
        cache: where answers go; the scope must be made.
        scope: whose questions they become.
        questions: redacted.
        actor: for the audit.
    """
    judge = AnswerJudge(box.signer, cache.reader.embedder)
    refused: dict[str, int] = {}
    known = entered = 0
    for text in questions:
        turn = HeardTurn("warm-cache", 1, text, 1.0)
        heard = understand(turn, DialogueState(), tagger, box, Laps(FileClock(), 0.0))
        if cache.reader.lookup(query_of(box, heard), scope).similarity == 1.0:
            known += 1
            continue
        made = _answered(box, cache, scope, heard, judge, actor=actor)
        if isinstance(made, str):
            refused[made] = refused.get(made, 0) + 1
        elif made.refusal is not None:
            refused[made.refusal] = refused.get(made.refusal, 0) + 1
        else:
            entered += 1
    return WarmOutcome(scope.key, len(questions), known, entered, dict(sorted(refused.items())))


def warm_scope(settings: Settings, name: str, ref: str | int, *, actor: str) -> WarmOutcome:
    """Answer callers' questions of the last days for the scope of a version, and put the answers into it.

    Args:
        settings: the installation.
        name: registered model.
        ref: alias or number of the version.
        actor: for the cache's audit.

    Raises:
        VoicebotError: the version, the engine or the records cannot be had.
    """
    intent, dialogue = adapters_of(settings, name, ref)
    registry = AdapterRegistry.from_settings(settings)
    runtime = Runtime(settings, voice=False)
    cache = open_cache(settings, embedder=runtime.encoder)
    try:
        scope = scope_between(runtime.scope_parts, intent, dialogue)
        cache.create_scope(scope, actor=actor)
        copied = fetch(intent, settings.home / "adapters", registry.signatures)
        registry.signatures.require(copied.folder, copied.label)
        tagger = load_tagger(copied, runtime.encoder)
        llm = _speaking(settings, registry, runtime.box.llm, dialogue)
        calls = CallStore(settings.records_url).calls(since=datetime.now(UTC) - WINDOW)
        box = replace(runtime.box, llm=llm)
        found = answer_ahead(box, tagger, cache, scope, top_questions(calls), actor=actor)
        cache.writer.publish()
        return found
    finally:
        cache.close()
        runtime.close()


def _answered(
    box: Toolbox, cache: LocalCache, scope: CacheScope, turn: Understood, judge: AnswerJudge, *, actor: str
) -> Insertion | str:
    """What became of one question: an insertion, or why its answer was not even offered."""
    approved = approved_for(box, turn)
    if approved is None or not turn.tag.in_scope or turn.user.task or box.guard.attempted(turn.user.text):
        return Refusal.NOT_CACHEABLE
    made = generate(box, turn, request_for(turn, approved.text), Laps(FileClock(), 0.0))
    if made.error:
        return FAILED
    own = made.engine != box.fallback.info.name
    text = redact(made.text).text if own else made.text
    if own and not judge.compare(approved.text, text).agrees:
        return CONTRADICTS
    offer = Offer(
        turn.user.text,
        turn.tag.label,
        text,
        context_dependent=turn.points_back,
        personal=turn.personal,
        disclosures=approved.disclosures,
        source=f"engine:{made.engine}" if own else f"knowledge:{approved.id}",
        tools=tuple(tool.name for tool in made.tools),
    )
    return cache.insert(offer, scope, actor=actor)


def _speaking(
    settings: Settings, registry: AdapterRegistry, engine: Llm, dialogue: AdapterVersion | None
) -> Llm:
    """The engine as calls of the scope speak with it.

    Raises:
        InvalidInputError: it takes no adapter, and the scope has one.
    """
    if dialogue is None:
        return engine
    able = adaptable(settings, engine)
    if not isinstance(able, AdaptableLlm):
        raise InvalidInputError(f"The engine {engine.info.name} takes no adapter.")
    reference = Reference(dialogue.name, dialogue.version)
    adapter = fetch_dialogue(registry, reference, dialogue_store(settings))
    return able.with_adapter(adapter.folder, adapter.label)
