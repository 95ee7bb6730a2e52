"""`monitor-session`: calls in progress, one call as it goes on, and the figures of the day."""

import contextlib
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.console import command_errors, print_json, print_table, rich_console
from serving.errors import InvalidInputError, MissingError
from serving.plain import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serving.cli.call_sources import CallSource

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_INTERRUPTED = 130
"""Exit code by the shell's convention."""


@app.command()
def monitor_session(
    call_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A call; default: list those in progress.")
    ] = None,
    tail: Annotated[bool, typer.Option("--tail", help="Follow the call's states until it ends.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Calls in progress, and today's figures.")] = False,
    url: Annotated[
        str,
        typer.Option(help="Address of a server; default: VOICEBOT_REDIS_URL, else VOICEBOT_HOST and PORT."),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --tail one a line.")
    ] = False,
) -> None:
    """Look at calls without touching them; a call that ended is shown from the records.

    Without --url these are found in the database of the settings also where no server runs.

    Exit codes: 0 shown, 2 bad input, 3 no such call, 4 the server, Redis or the database does not answer.
    """
    with command_errors():
        _check(call_id, tail=tail, stats=stats)
        from serving.cli.call_sources import open_source
        from serving.settings import Settings

        with _stopped_quietly(), contextlib.closing(open_source(Settings.load(), url)) as source:
            if stats:
                _show_stats(source, as_json=as_json)
            elif call_id is None:
                _list_calls(source, as_json=as_json)
            elif tail:
                _follow(source, call_id, as_json=as_json)
            else:
                _show_call(source, call_id, as_json=as_json)


def _check(call_id: str | None, *, tail: bool, stats: bool) -> None:
    if stats and (call_id is not None or tail):
        raise InvalidInputError("--stats stands alone: it is about all calls.")
    if tail and call_id is None:
        raise InvalidInputError("--tail follows one call: name its ID.")
    if call_id is not None:
        from serving.call.live_state import CALL_ID

        if not re.fullmatch(CALL_ID, call_id) or call_id.endswith("\n"):
            raise InvalidInputError(
                "This is no call's ID: letters, digits, - and _ are expected, 64 at most.",
                advice="`monitor-session` lists the calls in progress.",
            )


@contextlib.contextmanager
def _stopped_quietly() -> "Iterator[None]":
    """Ctrl-C is how one stops watching, and a pipe that closes is how `head` does."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None


def _list_calls(source: "CallSource", *, as_json: bool) -> None:
    calls = source.calls()
    if as_json:
        print_json({"calls": calls})
        return
    print_table(
        "Calls in progress" if calls else "No call is in progress.",
        ("call", "began (UTC)", "phase", "turn", "last", "decision", "transport", "adapter", "arm", "server"),
        [
            (
                call["call_id"],
                _clock(call["started_at"]),
                call["phase"],
                call["turn"],
                call["happened"],
                call["decision"],
                call["transport"],
                call["adapter"],
                call.get("arm", ""),
                call["server"],
            )
            for call in calls
        ],
        right=("turn",),
    )


def _show_call(source: "CallSource", call_id: str, *, as_json: bool) -> None:
    state = source.live(call_id)
    record = None if state else source.record(call_id)
    if state is None and record is None:
        raise _unknown(call_id)
    if as_json:
        print_json({"in_progress": state is not None, "state": state, "record": record})
    elif state is not None:
        rows = [(name.replace("_", " "), value) for name, value in state.items()]
        print_table("In progress", ("what", "value"), rows)
    else:
        _print_record(record or {})


def _follow(source: "CallSource", call_id: str, *, as_json: bool) -> None:
    followed = False
    for state in source.states(call_id):
        followed = True
        _say(_json_line(state) if as_json else _state_line(state))
    record = source.record(call_id)
    if record is None:
        if not followed:
            raise _unknown(call_id)
        return
    if as_json:
        _say(_json_line(record))
    elif followed:
        _say(_end_line(record))
    else:
        _print_record(record)


def _show_stats(source: "CallSource", *, as_json: bool) -> None:
    figures = source.stats()
    if as_json:
        print_json(figures)
        return
    rows: list[tuple[str, object]] = [("calls in progress", figures["in_progress"])]
    rows += [(f"  {phase}", number) for phase, number in figures["phases"].items()]
    rows += [(f"  on {server or 'a server without a name'}", n) for server, n in figures["servers"].items()]
    rows += [
        ("longest", _seconds(figures["longest_s"], 0)),
        (f"ended since {_clock(figures['since'])} UTC", figures["ended"]),
    ]
    rows += [(f"  {ending.replace('_', ' ')}", number) for ending, number in figures["endings"].items()]
    rows += [
        ("spoken turns answered", figures["spoken_turns"]),
        ("voice-to-voice, median", _seconds(figures["voice_to_voice_median_s"], 2)),
        ("voice-to-voice, p95", _seconds(figures["voice_to_voice_p95_s"], 2)),
    ]
    print_table(f"Calls at {_clock(figures['at'])} UTC", ("what", "value"), rows, right=("value",))


def _print_record(record: "Mapping[str, Any]") -> None:
    """A call from the records, as `start-call` shows it."""
    from serving.call.record import call_of
    from serving.cli.turn_view import ConsoleObserver

    call = call_of(_harmless(record))
    console = rich_console()
    arm = f" ({call.arm} of the split {call.split})" if call.split else ""
    began = f"{call.started_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(f"{began}, {call.transport}, {call.adapter}{arm}", markup=False)
    console.print()
    view = ConsoleObserver(console)
    for turn in call.turns:
        view.turn_committed(turn)
    if call.transfer_summary:
        console.print(f"For the person who takes over: {call.transfer_summary}", markup=False)
    view.call_ended(call)


def _harmless(value: Any) -> Any:
    """JSON without control characters, which a terminal would obey."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {name: _harmless(item) for name, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list) else value


def _state_line(state: "Mapping[str, Any]") -> str:
    happened = str(state["happened"]).replace("_", " ")
    decision = f" → {state['decision']}" if state["decision"] else ""
    where = f"   ({state['server']})" if state["server"] else ""
    return (
        f"{_clock(state['at'], day=False)}  {state['phase']:<12} turn {state['turn']:<3}"
        f" epoch {state['epoch']:<4} {happened}{decision}{where}"
    )


def _end_line(record: "Mapping[str, Any]") -> str:
    if not record["ending"]:
        return "The call is no longer in progress; how it ended is not on record yet."
    ending = record["ending"].replace("_", " ")
    return f"ended: {ending} after {record['duration_s']:.1f} s, {len(record['turns'])} turns"


def _json_line(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _say(line: str) -> None:
    """One line, at once: somebody is waiting for it."""
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _clock(moment: str, *, day: bool = True) -> str:
    return f"{datetime.fromisoformat(moment):{'%Y-%m-%d %H:%M:%S' if day else '%H:%M:%S'}}"


def _seconds(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f} s"


def _unknown(call_id: str) -> MissingError:
    return MissingError(
        f"No call {call_id} is in progress or on record.", advice="`monitor-session` lists those in progress."
    )


if __name__ == "__main__":
    app()
