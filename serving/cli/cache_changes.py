"""The commands of `cache-manager` that change what is served: `evict`, `feedback`, `release`, `build`."""

import subprocess
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.cache_options import (
    SHORT_ID,
    AsJson,
    By,
    DryRun,
    MaxEntries,
    MaxFraction,
    Threshold,
    Which,
    acting,
    entry_named,
    open_settings,
    open_store,
    warn,
)
from serving.cli.console import command_errors, print_json, print_table

if TYPE_CHECKING:
    from serving.call.cache_upkeep import EvictionReport

_SHOWN = 50


class Said(StrEnum):
    """A person's verdict on an entry."""

    WRONG = "wrong"
    RIGHT = "right"


def evict(
    threshold: Threshold = 0.6,
    max_entries: MaxEntries = None,
    max_fraction: MaxFraction = 0.2,
    dry_run: DryRun = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let go of entries that are too often wrong, expired, of scopes that no adapter uses, or too many.

    Exit codes: 0 done (or nothing to do, or a dry run), 1 refused because it would take more than
    --max-fraction, 2 bad input, 3 there is no cache, 4 it cannot be written.
    """
    with command_errors():
        from serving.call.cache_upkeep import EvictionWish
        from serving.call.cache_upkeep import evict as carry_out

        wish = EvictionWish(threshold, max_entries, max_fraction, dry_run)
        settings = open_settings()
        actor = acting(settings, by)
        found = carry_out(settings, wish, actor=actor)
        if as_json:
            print_json(
                {
                    "dry_run": dry_run,
                    "entries": found.plan.entries,
                    "fraction": found.plan.fraction,
                    "planned": {cause: len(those) for cause, those in found.plan.by_cause().items()},
                    "removed": found.removed,
                    "renewed": found.renewed,
                    "scopes_known": found.scopes_known,
                    "generation": found.generation,
                    "refusal": found.refusal or None,
                    "evictions": found.plan.evictions,
                }
            )
            return
        _show_eviction(found, dry_run=dry_run)


def feedback(
    entry: Which,
    verdict: Annotated[Said, typer.Argument(help="Whether its answer is right for its question.")],
    note: Annotated[str, typer.Option(help="Why, for whoever looks later.")] = "",
    same_answer: Annotated[
        bool,
        typer.Option("--same-answer", help="Say it of all phrasings in its scope that have this answer."),
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Say that an entry is wrong, which stops it at once, or right, which lets it be served again.

    Exit codes: 0 recorded, 2 bad input, 3 no such entry, 4 the cache cannot be written.
    """
    with command_errors():
        from datetime import UTC, datetime

        from serving.cache.choice import prior_of_home
        from serving.cache.protocol import Feedback, Signal
        from serving.cache.telling import tell
        from serving.errors import InvalidInputError
        from serving.plain import plain
        from serving.settings import Settings
        from serving.telemetry.redaction import contains_personal

        if len(note) > 500 or (note and not note.isprintable()) or contains_personal(note):
            raise InvalidInputError("A note is one line of 500 characters at most, without personal data.")
        settings = Settings.load()
        actor = acting(settings, by)
        store = open_store(settings)
        found = entry_named(store, entry)
        now = datetime.now(UTC)
        signal = Signal.WRONG if verdict is Said.WRONG else Signal.RIGHT
        others = [
            item.entry.id
            for item in (store.stored(found.entry.scope) if same_answer else ())
            if item.entry.answer == found.entry.answer and item.entry.id != found.entry.id
        ]
        prior = prior_of_home(settings)
        writing, origin = open_store(settings, write=True), f"person:{actor}:{now.isoformat()}"
        belief, *more = [
            tell(writing, Feedback(id_, signal, now, origin, actor, note), prior=prior)
            for id_ in (found.entry.id, *others)
        ]
        if as_json:
            print_json(plain(belief) | {"others": more})
            return
        fate = "not served until somebody says that it is right" if belief.quarantined else "may be served"
        rows = [
            ("question", found.entry.question),
            ("answer", found.entry.answer),
            ("accuracy", f"{belief.accuracy:.3f}"),
            ("now", fate),
            ("other phrasings with this answer", len(others) if same_answer else "not touched"),
        ]
        print_table(f"Entry {belief.entry_id[:SHORT_ID]} is {verdict}", ["", "value"], rows)


def release(
    entry: Which,
    note: Annotated[str, typer.Option(help="Why, for whoever looks later.")] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a quarantined entry be served again: the same as `feedback ID right`."""
    feedback(entry, Said.RIGHT, note, by=by, as_json=as_json)


def build(
    name: Annotated[str, typer.Option(help="Registered model.")] = "banking-lora",
    ref: Annotated[
        str, typer.Option(help="Alias or number of the version whose scope is built.")
    ] = "champion",
    as_json: AsJson = False,
) -> None:
    """Fill the cache of an adapter's scope from the approved knowledge: what `voicebot build-cache` does.

    It is a flow, so it runs in a process of its own; the exit code is that of `voicebot build-cache`.
    """
    command = [sys.executable, "-m", "flows.cli", "build-cache", "--name", name, "--ref", ref]
    sys.stdout.flush()
    done = subprocess.run([*command, *(["--json"] if as_json else [])], check=False)  # noqa: S603  # our own module
    raise SystemExit(done.returncode)


def _show_eviction(found: "EvictionReport", *, dry_run: bool) -> None:
    if not found.scopes_known:
        warn("which scopes are in use cannot be told now, so no scope counts as orphaned")
    if found.refusal:
        warn(f"without --dry-run this is refused: {found.refusal} Raise --max-fraction if it is right.")
    gone = found.plan.evictions
    rows = [(it.entry_id[:SHORT_ID], it.intent, it.question, it.cause, it.detail) for it in gone[:_SHOWN]]
    word = "would go" if dry_run else "went"
    title = f"{len(gone)} of {found.plan.entries} entries {word} ({found.plan.fraction:.1%} of those in use)"
    if not gone:
        print_table(title, (), ())
        return
    print_table(title, ["id", "intent", "question", "cause", "why"], rows)
    if len(gone) > _SHOWN:
        print_table(f"… and {len(gone) - _SHOWN} more; --json lists all.", (), ())
