"""The commands of `cache-manager` about files: `verify`, `export`, `import`."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.cache_options import (
    AsJson,
    By,
    DryRun,
    ScopeBegin,
    acting,
    cache_file,
    open_settings,
    open_store,
    scope_named,
)
from serving.cli.console import command_errors, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.cache.transfer import Transfer
    from serving.cache.types import CacheScope
    from serving.language.protocols import Embedder
    from serving.settings import Settings

_UNSOUND = 5
_NOT_ALL = 1
_SHOWN = 50


def verify(as_json: AsJson = False) -> None:
    """Check files against their hashes, rows against the rules, signatures and embeddings.

    Exit codes: 0 sound, 3 there is no cache, 4 it cannot be read, 5 something is not as it should be.
    """
    with command_errors():
        from serving.cache.alone import signer_of
        from serving.cache.soundness import check_cache
        from serving.call.cache_upkeep import live_scopes
        from serving.language.knowledge import load_knowledge

        settings = open_settings()
        folder = cache_file(settings).parent
        knowledge = load_knowledge(settings.data / "knowledge" / "answers.yaml")
        found = check_cache(folder, knowledge, signer_of(settings), live_scopes(settings))
        if as_json:
            print_json(found)
        else:
            title = f"{found.files} files, {found.scopes} scopes, {found.entries} entries: "
            title += f"{len(found.problems)} problems" if found.problems else "sound"
            rows = [(it.place, it.what) for it in found.problems[:_SHOWN]]
            print_table(title, ["where", "what"] if rows else (), rows)
        if found.problems:
            raise SystemExit(_UNSOUND)


def export(
    file: Annotated[Path, typer.Argument(help="JSONL file to write; it must not exist.")],
    scope: ScopeBegin = "",
    as_json: AsJson = False,
) -> None:
    """Write the entries of a scope to a file: questions and answers, no embeddings, no feedback.

    Exit codes: 0 written, 2 bad input, 3 no cache or no such scope, 4 a file cannot be read or written.
    """
    with command_errors():
        from serving.cache.transfer import to_lines
        from serving.errors import InvalidInputError
        from serving.files import make_folder, write_once, writing_to

        store = open_store()
        chosen = scope_named(store, scope)
        entries = [item.entry for item in store.stored(chosen.key) if item.quarantined_at is None]
        with writing_to(file.parent):
            make_folder(file.parent)
            content = "".join(f"{line}\n" for line in to_lines(chosen, entries))
            if not write_once(file, content):
                raise InvalidInputError(f"{file} exists already.", advice="Name another file.")
        if as_json:
            print_json({"file": file, "scope": chosen.key, "entries": len(entries)})
        else:
            print_table(f"{len(entries)} entries of scope {chosen.key[:12]}… are in {file}.", (), ())


def import_entries(
    file: Annotated[Path, typer.Argument(help="What `cache-manager export` wrote.")],
    alone: Annotated[
        bool,
        typer.Option("--alone", help="For a cache that no calls are answered from: no adapter is needed."),
    ] = False,
    dry_run: DryRun = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Offer the entries of a file to the scope that calls use now; each passes admission like any other.

    A file of another scope (another knowledge, adapter, engine or encoder) is refused as a whole. With
    --alone no adapter is loaded, and the file's own scope is filled. Exit codes: 0 all are in, 1 some or
    all were refused, 2 bad input, 3 no adapter, 4 not to be written.
    """
    with command_errors():
        from serving.cache.alone import open_cache
        from serving.cache.transfer import read_transfer
        from serving.call.looking import untouched

        found = read_transfer(file)
        settings = open_settings(looking=dry_run)
        actor = acting(settings, by)
        where = untouched(settings) if dry_run else settings
        with (
            _import_scope(settings, found, file.name, alone=alone) as (scope, encoder),
            open_cache(where, embedder=encoder) as cache,
        ):
            if not dry_run:
                cache.create_scope(scope, actor=actor)
                made = [cache.insert(it, scope, actor=actor) for it in found.offers]
                cache.writer.publish()
            else:
                made = [cache.would_insert(it, scope) for it in found.offers]
        refused = Counter(it.refusal.value for it in made if it.refusal is not None)
        if as_json:
            taken = len(made) - refused.total()
            refusals = [
                {"line": line, "refusal": it.refusal, "detail": it.detail}
                for line, it in enumerate(made, 2)
                if it.refusal is not None
            ]
            print_json({"dry_run": dry_run, "scope": scope.key, "taken": taken, "refusals": refusals})
        else:
            word = "would be taken" if dry_run else "are in"
            title = f"{len(made) - refused.total()} of {len(made)} entries {word}"
            rows = [
                (line, it.refusal, it.detail) for line, it in enumerate(made, 2) if it.refusal is not None
            ][:_SHOWN]
            print_table(title, ["line", "refused", "evidence"] if rows else (), rows, right=["line"])
    if refused:
        raise SystemExit(_NOT_ALL)


@contextmanager
def _import_scope(
    settings: "Settings", found: "Transfer", name: str, *, alone: bool
) -> "Iterator[tuple[CacheScope, Embedder | None]]":
    """The scope that a file goes into, and the encoder that is loaded for it, if any.

    Raises:
        RefusedError: the file is of another scope than the one that calls use.
        MissingError: there is no adapter.
    """
    from serving.call.looking import looking
    from serving.errors import RefusedError

    if alone:
        yield found.scope, None
        return
    with looking(settings) as runtime:
        scope = runtime.scope(runtime.adapter.current)
        if found.scope.key != scope.key:
            raise RefusedError(
                f"{name} is of another scope: {_difference(found.scope, scope)}.",
                advice="Build the cache of this scope instead: `cache-manager build`.",
            )
        yield scope, runtime.encoder


def _difference(theirs: "CacheScope", ours: "CacheScope") -> str:
    """The parts of two scopes that differ; hashes are short."""
    from dataclasses import asdict

    mine = asdict(ours)
    parts = [
        f"{name} {str(value)[:24]} ≠ {str(mine[name])[:24]}"
        for name, value in asdict(theirs).items()
        if value != mine[name]
    ]
    return "; ".join(parts)
