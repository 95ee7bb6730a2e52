"""`recording-manager`: how much sound of callers is kept, and the end of what is past its time.

A running server does the same once an hour; this is for the night when none runs, and for a look before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table
from serving.errors import InvalidInputError, MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.call.retention import ExpiredRecording
    from serving.call.store import CallStore
    from serving.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_NOT_ALL = 1


@app.command()
def recordings(
    expire: Annotated[
        bool, typer.Option("--expire", help="Remove the recordings that are past their time.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --expire: only show them.")] = False,
    older_than_days: Annotated[
        int | None,
        typer.Option(min=0, max=36_500, help="Default: setting recording_retention_days."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Remove recordings of callers that are past their time, and note in the records that they are gone.

    Exit codes: 0 done, 1 some could not be removed, 2 bad input, 3 there are no call records here,
    4 the database does not answer.
    """
    with command_errors():
        if not expire:
            raise InvalidInputError("Name what to do: --expire, or --expire --dry-run to look first.")
        from datetime import UTC, datetime, timedelta

        from serving.call.retention import expire_recordings
        from serving.settings import Settings

        settings = Settings.load()
        days = settings.recording_retention_days if older_than_days is None else older_than_days
        store = _records(settings)
        found = expire_recordings(
            settings.home, store, older_than=timedelta(days=days), now=datetime.now(UTC), dry_run=dry_run
        )
        store.close()
    if as_json:
        print_json({"older_than_days": days, "dry_run": dry_run, "recordings": found})
    else:
        _print(found, days)
    if any(item.problem for item in found):
        raise SystemExit(_NOT_ALL)


def _records(settings: "Settings") -> "CallStore":
    """The database; a clean-up does not make one."""
    from serving.call.store import CallStore

    path = Path(settings.records_url.removeprefix("sqlite:///"))
    if settings.database_url is None and not path.is_file():
        raise MissingError(
            f"There are no call records in {settings.home}.",
            advice="Set VOICEBOT_HOME or VOICEBOT_DATABASE_URL as the server has it.",
        )
    return CallStore(settings.records_url)


def _print(found: "Sequence[ExpiredRecording]", days: int) -> None:
    if not found:
        print_table(f"No recording is older than {days} days.", (), ())
        return
    size = sum(item.size for item in found) / 1e6
    print_table(
        f"{len(found)} recordings older than {days} days, {size:.1f} MB",
        ("recording", "call", "bytes", "what became of it"),
        [
            (item.path, item.call_id or "none on record", item.size, item.problem or _fate(item))
            for item in found
        ],
        right=("bytes",),
    )


def _fate(item: "ExpiredRecording") -> str:
    return "removed" if item.removed else "would be removed"


if __name__ == "__main__":
    app()
