"""What all commands share: errors become one line and an exit code, results become a table or JSON.

Only the standard library at module level; rich is imported when a table is really printed, so that
`--help` stays quick.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from serving.errors import VoicebotError
from serving.plain import plain, printable

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 140
"""Columns of a table that goes to a file or a pipe, which has no width of its own."""


@contextlib.contextmanager
def command_errors() -> Iterator[None]:
    """Turn a `VoicebotError` into its message on stderr and its exit code.

    Raises:
        SystemExit: with the error's exit code.
    """
    try:
        yield
    except VoicebotError as error:
        sys.stderr.write(printable(f"error: {error.message}\n"))
        if error.advice:
            sys.stderr.write(printable(f"  try: {error.advice}\n"))
        raise SystemExit(error.exit_code) from error


def print_json(value: object) -> None:
    """Print a result for machines: one JSON document on stdout."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def rich_console() -> "Console":
    """The terminal; no escape codes at all where `NO_COLOR` is set or the output is no terminal."""
    from rich.console import Console

    if sys.stdout.isatty():
        # Rich itself keeps bold and dim under NO_COLOR.
        return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
    return Console(highlight=False, color_system=None, width=PIPED_WIDTH)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print rows for people; `right` names the columns that are aligned right.

    Cells are shown as they are: brackets are no markup, control characters are spelled out.
    """
    from rich.table import Table
    from rich.text import Text

    console = rich_console()
    if title:
        console.print(Text(printable(title), style="bold"), soft_wrap=True)
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console.print(table)
