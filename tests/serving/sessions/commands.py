"""Running the commands of this folder against an installation of the test's own."""

import typer
from typer.testing import CliRunner, Result


def run(command: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))
