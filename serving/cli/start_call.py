"""`start-call`: one call from files, typed lines or a script, or a server for many."""

import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from serving.cli.console import command_errors, print_json, rich_console
from serving.errors import InvalidInputError

if TYPE_CHECKING:
    from serving.call.caller import Caller
    from serving.settings import Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def start_call(
    files: Annotated[list[Path] | None, typer.Argument(help="Further files of --wav.")] = None,
    wav: Annotated[list[Path] | None, typer.Option(help="Audio files of the caller, in order.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Type the caller's turns, one a line.")] = False,
    script: Annotated[str, typer.Option(help="A script of data/calls, spoken by a synthetic caller.")] = "",
    typed: Annotated[bool, typer.Option("--typed", help="With --script: type it instead.")] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Serve the page, live calls from browsers and telephones, and typed calls over HTTP.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the call's record as JSON at the end.")
    ] = False,
) -> None:
    """Take a call through the whole loop and store its records.

    Choose one of --wav, --text, --script or --serve. Exit codes: 0 the call went through, 2 bad input,
    3 something is missing (an adapter, a model, a script), 4 something does not answer.
    """
    with command_errors():
        wavs = [*(wav or []), *(files or [])]
        if [bool(wavs), text, bool(script), serve].count(True) != 1:
            raise InvalidInputError("Choose exactly one of --wav FILE…, --text, --script NAME and --serve.")
        if wavs and not wav:
            raise InvalidInputError("Files need --wav before them.")
        if typed and not script:
            raise InvalidInputError("--typed belongs to --script; to type the turns yourself, use --text.")
        if as_json and serve:
            raise InvalidInputError("--json prints one call's record; --serve takes many calls.")
        from serving.settings import Settings
        from serving.telemetry.logs import configure_logs

        settings = Settings.load()
        configure_logs(settings)
        if serve:
            from serving.services.orchestrator import serve as serve_http

            serve_http(settings, listening=_tell_page)
        else:
            _one_call(settings, wavs, script, typed=typed or text, as_json=as_json)


def _tell_page(url: str) -> None:
    """Say on stderr where the page is; logs go to a file."""
    from rich.console import Console
    from rich.text import Text

    # Rich itself keeps bold and dim under NO_COLOR.
    styled = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    console = Console(stderr=True, highlight=False, color_system="auto" if styled else None, soft_wrap=True)
    line = Text.assemble("Calls are taken; the page is at ", (url, "bold"), " (Ctrl-C ends).")
    console.print(line)


def _one_call(settings: "Settings", wavs: list[Path], script: str, *, typed: bool, as_json: bool) -> None:
    from serving.call.runtime import Runtime
    from serving.cli.turn_view import ConsoleObserver
    from serving.services.stopping import KILLED_BY_SIGTERM, stopped_by_sigterm

    caller = _caller(settings, wavs, script, typed=typed)  # bad input is told before models are loaded
    console = rich_console()
    with stopped_by_sigterm(KILLED_BY_SIGTERM), Runtime(settings, voice=not typed) as runtime:
        if not as_json:
            for choice in runtime.choices:
                console.print(f"{choice.role}: {choice.name} ({choice.model}): {choice.reason}", style="dim")
            console.print()
        observers = () if as_json else (ConsoleObserver(console),)
        session = runtime.open_call(caller.transport, script=script, observers=observers, typed=typed)
        record = session.run(caller)
    if as_json:
        print_json(record)


def _caller(settings: "Settings", wavs: list[Path], script: str, *, typed: bool) -> "Caller":
    from serving.transports.files import TextCaller, WavCaller

    if wavs:
        return WavCaller(wavs, max_seconds=settings.max_wav_s)
    if not script:
        return TextCaller(_typed_lines(sys.stdin))
    from serving.call.script import load_script
    from serving.speech.engines import caller_tts
    from serving.transports.scripted import ScriptCaller

    found = load_script(settings.data / "calls", script)
    return ScriptCaller(found, None if typed else caller_tts(settings))


def _typed_lines(source: TextIO) -> Iterator[str]:
    """Lines from the terminal with a prompt, or from a pipe; end of file hangs up.

    A line that is longer than any turn is cut as it is read: somebody pasted a file.
    """
    from serving.call.line import MOST_TYPED

    if isinstance(source, TextIOWrapper):
        source.reconfigure(errors="replace")  # a byte that is no text is a turn not understood
    while True:
        if source.isatty():
            sys.stderr.write("you> ")
            sys.stderr.flush()
        line = rest = source.readline(MOST_TYPED)
        if not line:
            return
        while rest and not rest.endswith("\n"):
            rest = source.readline(MOST_TYPED)
        yield line


if __name__ == "__main__":
    app()
