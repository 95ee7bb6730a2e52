"""`replay-session`: a recorded call through today's code, and what would be decided differently."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.console import command_errors, print_json, rich_console

if TYPE_CHECKING:
    from serving.call.replay import Replayed
    from serving.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def replay_session(
    call_id: Annotated[str, typer.Argument(help="The call's id, as in its record.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Replay a call on a virtual clock, from its sound where it was kept, else from its transcripts.

    Nothing is recorded and nothing is done at the bank. Something else stands for what the record has
    redacted; what cannot be replayed is noted, and is no difference. Exit codes: 0 nothing differs, 1
    something does, 2 bad input, 3 no such call or something is missing, 4 the database does not answer.
    """
    with command_errors():
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        configure_logs(settings)
        replayed = _replayed(settings, call_id)
    if as_json:
        print_json(
            {
                "call_id": replayed.call.call_id,
                "source": replayed.source,
                "recorded_adapter": replayed.call.adapter,
                "adapter": replayed.adapter,
                "turns": len(replayed.turns),
                "differences": replayed.differences,
                "notes": replayed.notes,
            }
        )
    else:
        _show(replayed)
    raise typer.Exit(1 if replayed.differences else 0)


def _replayed(settings: "Settings", call_id: str) -> "Replayed":
    from serving.call.rehearsal import Rehearsal
    from serving.call.replay import has_sound, replay
    from serving.call.runtime import Runtime
    from serving.call.store import CallStore

    records = CallStore(settings.records_url)
    try:
        call = records.call(call_id)
    finally:
        records.close()
    day = settings.today(call.started_at)  # rates and wordings as they were, so that only code differs
    with Runtime(settings, voice=has_sound(call), today=lambda: day) as runtime:
        return replay(call, Rehearsal(runtime))


def _show(replayed: "Replayed") -> None:
    from rich.table import Table

    console = rich_console()
    call = replayed.call
    console.print(
        f"Call {call.call_id} of {call.started_at:%Y-%m-%d %H:%M} UTC, {len(call.turns)} turns, "
        f"replayed from {replayed.source}; adapter then {call.adapter}, now {replayed.adapter}."
    )
    for note in replayed.notes:
        console.print(note, markup=False)
    if not replayed.differences:
        console.print("Nothing is decided differently.")
        return
    table = Table("Turn", "What", "Recorded", "Replayed", title="Decisions that differ")
    for item in replayed.differences:
        table.add_row(str(item.turn or "call"), item.what, item.recorded or "-", item.replayed or "-")
    console.print(table)


if __name__ == "__main__":
    app()
