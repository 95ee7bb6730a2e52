"""`cache-manager`: what is in the semantic cache, and why a question would or would not hit."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table

if TYPE_CHECKING:
    from serving.cache.store import CacheStore

app = typer.Typer(
    name="cache-manager",
    help="Look into the semantic cache of this home.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Count scopes, entries and intents, and name the live generation."""
    with command_errors():
        from serving.cache.generation import read_manifest

        store = _store()
        manifest = read_manifest(store.path.parent)
        entries = store.entries()
        scopes = [
            {
                "scope": key,
                "adapter": scope.intent_adapter,
                "engine": scope.base_model,
                "entries": sum(entry.scope == key for entry in entries),
                "intents": len({entry.intent for entry in entries if entry.scope == key}),
            }
            for key, scope in store.scopes().items()
        ]
        generation = manifest.generation if manifest else 0
        if as_json:
            print_json({"generation": generation, "entries": len(entries), "scopes": scopes})
            return
        columns = ["scope", "adapter", "engine", "entries", "intents"]
        rows = [[str(item[column])[:40] for column in columns] for item in scopes]
        print_table(f"Cache, generation {generation}", columns, rows, right=["entries", "intents"])


@app.command("list")
def list_entries(
    intent: Annotated[str, typer.Option(help="Only entries of this intent.")] = "",
    limit: Annotated[int, typer.Option(help="Show at most this many.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries: question, signature, how far they may be reused, and where they came from."""
    with command_errors():
        entries = [entry for entry in _store().entries() if not intent or entry.intent == intent]
        if as_json:
            print_json(entries[:limit])
            return
        rows = [
            (entry.id[:12], entry.intent, entry.cacheability, entry.question, _facets(entry.signature.facets))
            for entry in entries[:limit]
        ]
        title = f"{min(limit, len(entries))} of {len(entries)} entries"
        print_table(title, ["id", "intent", "reuse", "question", "signature"], rows)


@app.command()
def explain(question: str, as_json: AsJson = False) -> None:
    """Say what the cache would decide for a question as the first one of a call, and why.

    Loads the adapter that serves now. Exit code 0 whatever the decision.
    """
    with command_errors():
        from serving.call.explain import explain as explain_lookup
        from serving.call.runtime import Runtime
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        configure_logs(settings)
        with Runtime(settings, voice=False) as runtime:
            found = explain_lookup(runtime, question)
        if as_json:
            print_json(found)
            return
        decision = found.decision
        rows = [
            ("question, redacted", found.text),
            (
                "intent",
                f"{found.intent} {found.probability:.2f}{'' if found.in_scope else ' (out of scope)'}",
            ),
            ("reuse of that intent", found.cacheability),
            ("signature", _facets(found.signature.facets)),
            ("decision", f"{decision.outcome} ({decision.reason})"),
            ("evidence", decision.detail),
            ("answer", decision.entry.answer if decision.entry else "-"),
        ]
        print_table("Cache decision", ["", "value"], rows)


def _facets(facets: tuple[tuple[str, str], ...]) -> str:
    return " ".join(f"{name}={value}" for name, value in facets) or "-"


def _store() -> "CacheStore":
    from serving.cache.store import CacheStore
    from serving.errors import MissingError, UnavailableError
    from serving.settings import Settings

    path = Settings.load().home / "cache" / "cache.sqlite"
    try:
        path.stat()
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no cache at {path}.", advice="Build it with `voicebot build-cache`."
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"The cache {path} cannot be read: {error.strerror}.",
            advice="Give this user the right to read that folder.",
        ) from error
    return CacheStore(path, read_only=True)


if __name__ == "__main__":
    app()
