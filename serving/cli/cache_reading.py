"""The commands of `cache-manager` that only look: `stats`, `list`, `inspect`, `explain`."""

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.cache_options import (
    SHORT_ID,
    AsJson,
    Intent,
    ScopeBegin,
    Which,
    cache_file,
    entry_named,
    facets,
    open_settings,
    open_store,
    scope_named,
    state_of,
    warn,
)
from serving.cli.console import command_errors, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serving.cache.store import CacheStore
    from serving.cache.store_rows import StoredEntry
    from serving.cache.types import CacheScope
    from serving.call.explain import Asked, Explanation, Guard
    from serving.language.knowledge import Knowledge
    from serving.settings import Settings

_AUDIT_ROWS = 500
"""Changes that are looked through for those of one entry."""


def stats(as_json: AsJson = False) -> None:
    """Count scopes, entries, hits and evictions, and name the live generation and the bound of false hits."""
    with command_errors():
        store = open_store()
        stored = store.stored()
        scopes = [
            {
                "scope": key,
                "adapter": scope.intent_adapter,
                "engine": scope.base_model,
                **_counts([item for item in stored if item.entry.scope == key]),
            }
            for key, scope in store.scopes().items()
        ]
        found: dict[str, Any] = {
            "generation": _generation(store),
            "entries": len(stored),
            "quarantined": store.quarantined(),
            "hits": sum(item.hits for item in stored),
            "evicted": store.evicted(),
            "shadow": _shadow(store),
            "scopes": scopes,
        }
        if as_json:
            print_json(found)
            return
        columns = ["scope", "adapter", "engine", "entries", "intents", "hits", "quarantined"]
        rows = [[str(item[column])[:40] for column in columns] for item in scopes]
        title = f"Cache, generation {found['generation']}"
        print_table(title, columns, rows, right=columns[3:])
        evicted = ", ".join(f"{count} {cause}" for cause, count in found["evicted"].items())
        shadow = found["shadow"]
        print_table(
            "",
            ["", "value"],
            [
                ("evicted so far", evicted or "none"),
                ("shadow checks", f"{shadow['checks']}, {shadow['disagreements']} disagree"),
                (
                    "false hits, 95 % upper bound",
                    f"{shadow['upper_bound']:.2%}" if shadow["checks"] else "not known yet",
                ),
            ],
        )


def list_entries(
    intent: Annotated[str, typer.Option(help="Only entries of this intent.")] = "",
    scope: Annotated[str, typer.Option(help="Only entries of the scope that begins so.")] = "",
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only those that wait for a person.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Show at most this many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries: question, signature, accuracy, whether they are served, and where they came from."""
    with command_errors():
        found = [
            item
            for item in open_store().stored()
            if (not intent or item.entry.intent == intent)
            and item.entry.scope.startswith(scope)
            and (not quarantined or item.quarantined_at is not None)
        ]
        if as_json:
            print_json([_described(item) for item in found[:limit]])
            return
        rows = [
            (
                item.entry.id[:SHORT_ID],
                item.entry.intent,
                item.entry.cacheability,
                item.entry.question,
                facets(item.entry.signature.facets),
                f"{item.entry.accuracy:.2f}",
                item.hits,
                state_of(item),
            )
            for item in found[:limit]
        ]
        columns = ["id", "intent", "reuse", "question", "signature", "accuracy", "hits", "state"]
        title = f"{min(limit, len(found))} of {len(found)} entries"
        print_table(title, columns, rows, right=["accuracy", "hits"])


def inspect(
    entry: Which,
    question: Annotated[
        str | None, typer.Option(help="Say also why this text would or would not be answered with it.")
    ] = None,
    intent: Intent = "",
    as_json: AsJson = False,
) -> None:
    """Show an entry: what it answers, what was told of it, what was done to it, and whether a text would hit.

    With --question the adapter that serves now is loaded, unless --intent says what it would say. Exit code 0
    whatever the verdict. The text is shown redacted.
    """
    with command_errors():
        from serving.call.explain import explain_entry
        from serving.errors import InvalidInputError

        if intent and question is None:
            raise InvalidInputError("--intent is the intent of a --question.")
        store = open_store()
        stored = entry_named(store, entry)
        id_ = stored.entry.id
        told = store.feedback(id_)
        changes = [row for row in store.audit_rows(_AUDIT_ROWS) if _concerns(row.detail, id_)]
        verdict = redacted = None
        if question is not None:
            settings, scope = open_settings(looking=True), store.scopes()[stored.entry.scope]
            with _asked(settings, question, intent, scope) as asked:
                redacted, verdict = asked.query.text, explain_entry(asked, stored)
        if as_json:
            document = {"feedback": told, "audit": changes, "asked": redacted, "verdict": verdict}
            print_json({**_described(stored), **document})
            return
        _show_entry(stored)
        if told:
            said = [(_minute(it.at), it.signal, it.actor, it.origin, it.note) for it in told]
            print_table("Feedback", ["at", "signal", "by", "seen in", "note"], said)
        if changes:
            rows = [(_minute(row.at), row.actor, row.action) for row in changes]
            print_table("Changes", ["at", "by", "what"], rows)
        if verdict is not None:
            _show_guards(f"{'Would' if verdict.hits else 'Would not'} answer: {redacted}", verdict.guards)
            decision = verdict.decision
            print_table("", ["the cache's decision", "evidence"], [(_decided(decision), decision.detail)])


def explain(question: str, intent: Intent = "", scope: ScopeBegin = "", as_json: AsJson = False) -> None:
    """Say what the cache would decide for a question as the first one of a call, and why.

    Loads the adapter that serves now; with --intent no adapter, and --scope says which scope is asked.
    Nothing is written. Exit code 0 whatever the decision.
    """
    with command_errors():
        from serving.call.explain import explain as explain_lookup
        from serving.errors import InvalidInputError

        if scope and not intent:
            raise InvalidInputError("--scope belongs to --intent: a call asks the scope of its adapter.")
        settings = open_settings(looking=True)
        if intent or not settings.cache_url:
            cache_file(settings)  # before models are loaded
        named = scope_named(open_store(settings), scope) if intent else None
        with _asked(settings, question, intent, named) as asked:
            found = explain_lookup(asked)
        if as_json:
            print_json(found)
            return
        _show_decision(found)


def _show_decision(found: "Explanation") -> None:
    decision = found.decision
    sure = f"{found.intent}, as given"
    if found.probability is not None:
        sure = f"{found.intent} {found.probability:.2f}{'' if found.in_scope else ' (out of scope)'}"
    rows = [
        ("question, redacted", found.text),
        ("intent", sure),
        ("reuse of that intent", found.cacheability),
        ("signature", facets(found.signature.facets)),
        ("scope", found.scope),
        ("decision", _decided(decision)),
        ("evidence", decision.detail),
        ("in a call", "the cache is asked" if found.asked else "the cache is not asked: see the guards"),
        ("answer", decision.entry.answer if decision.entry else "-"),
    ]
    print_table("Cache decision", ["", "value"], rows)
    _show_guards("Guards", found.guards)
    near = [
        (f"{it.similarity:.3f}", it.id[:SHORT_ID], it.question, it.apart or "nothing but the hit rule")
        for it in found.neighbours
    ]
    print_table("Nearest entries", ["cosine", "id", "question", "set apart by"], near, right=["cosine"])


def _show_entry(stored: "StoredEntry") -> None:
    entry = stored.entry
    rows = [
        ("question", entry.question),
        ("answer", entry.answer),
        ("wordings behind it", ", ".join(entry.disclosures) or "-"),
        ("intent", entry.intent),
        ("reuse", entry.cacheability),
        ("signature", facets(entry.signature.facets)),
        ("source", entry.source),
        ("scope", entry.scope),
        ("since", _minute(entry.created_at)),
        ("until", _minute(entry.expires_at) if entry.expires_at else "-"),
        ("accuracy", f"{entry.accuracy:.3f}"),
        ("state", state_of(stored)),
        ("hits", f"{stored.hits}, last {_minute(stored.last_hit_at) if stored.last_hit_at else '-'}"),
    ]
    print_table(f"Entry {entry.id}", ["", "value"], rows)


def _show_guards(title: str, guards: "Sequence[Guard]") -> None:
    words = {True: "yes", False: "NO", None: "-"}
    print_table(
        title, ["guard", "passed", "evidence"], [(it.name, words[it.passed], it.evidence) for it in guards]
    )


@contextmanager
def _asked(settings: "Settings", question: str, intent: str, scope: "CacheScope | None") -> "Iterator[Asked]":
    """The question as a call would ask it; with an intent, as the cache alone is asked in a scope.

    Raises:
        InvalidInputError: neither an approved answer nor an entry has that intent.
        MissingError: there is no adapter, and no intent was given.
    """
    from serving.call.explain import asked_alone, asked_in_call
    from serving.call.looking import looking, untouched

    if not intent or scope is None:
        with looking(settings) as runtime:
            yield asked_in_call(runtime, question)
        return
    from serving.cache.alone import open_cache

    with open_cache(untouched(settings)) as cache:
        _check_intent(intent, cache.admission.knowledge, open_store(settings))
        yield asked_alone(cache, scope, question, intent)


def _check_intent(intent: str, knowledge: "Knowledge", store: "CacheStore") -> None:
    from difflib import get_close_matches

    from serving.errors import InvalidInputError

    known = {it.intent for it in knowledge.answers} | {it.entry.intent for it in store.stored()}
    if intent not in known:
        near = ", ".join(get_close_matches(intent, sorted(known)))
        raise InvalidInputError(
            f"No approved answer and no entry has the intent {intent[:60]!r}.",
            advice=f"Did you mean: {near}?" if near else "`cache-manager list` shows those of the entries.",
        )


def _described(item: "StoredEntry") -> dict[str, Any]:
    """An entry with what became of it, for machines."""
    from serving.plain import plain

    described: dict[str, Any] = plain(item.entry)
    described |= {"state": state_of(item), "hits": item.hits}
    described["last_hit_at"] = plain(item.last_hit_at)
    described["quarantined_at"] = plain(item.quarantined_at)
    return described


def _concerns(detail: object, id_: str) -> bool:
    """Whether a change names an entry."""
    if isinstance(detail, dict):
        return any(key == id_ or _concerns(value, id_) for key, value in detail.items())
    if isinstance(detail, list):
        return id_ in detail
    return detail == id_


def _counts(items: "Sequence[StoredEntry]") -> dict[str, int]:
    return {
        "entries": len(items),
        "intents": len(Counter(item.entry.intent for item in items)),
        "hits": sum(item.hits for item in items),
        "quarantined": sum(item.quarantined_at is not None for item in items),
    }


def _generation(store: "CacheStore") -> int:
    """Number of the live generation; 0 where there is none to be read, which stops no lookup either."""
    from serving.cache.generation import read_manifest
    from serving.errors import IntegrityError

    try:
        manifest = read_manifest(store.path.parent)
    except IntegrityError as error:
        warn(f"{error} Lookups read the store instead.")
        return 0
    return manifest.generation if manifest else 0


def _shadow(store: "CacheStore") -> dict[str, Any]:
    from datetime import UTC, datetime

    from serving.cache.belief import SHADOW_WINDOW, ShadowTally

    agreed, disagreed = store.shadow_checks(datetime.now(UTC) - SHADOW_WINDOW)
    tally = ShadowTally(agreed + disagreed, disagreed)
    return {"checks": tally.checks, "disagreements": tally.disagreements, "upper_bound": tally.upper_bound()}


def _decided(decision: Any) -> str:
    return f"{decision.outcome} ({decision.reason})"


def _minute(at: Any) -> str:
    return str(at.strftime("%Y-%m-%d %H:%M:%S"))
