"""Commands that the documentation shows with their output, and a way to run them.

The convention: a fenced block whose first line is `$ command`, followed by what the command prints on
stdout and stderr together. A block may hold several commands. In the output a line that is only `…` stands
for any number of lines. A command that ends with another exit code than 0 has it beside the fence's
language: "```console exit=2".

    for shown in documented_commands(Path("docs/tools.md")):
        assert difference(shown, run(shown, tmp_path)) == ""
"""

import difflib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ELLIPSIS = "…"
_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_EXIT = re.compile(r"\bexit=(\d+)\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        info: what stands behind the opening fence.
        line: number of the opening fence's line, from 1.
    """

    info: str
    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentedCommand:
    """A command as a page shows it.

    Attributes:
        page: file name, for messages.
        line: number of the command's line, from 1.
        command: without the prompt; lines joined where they end with a backslash.
        output: the lines shown below it.
        exit_code: what it ends with.
    """

    page: str
    line: int
    command: str
    output: tuple[str, ...]
    exit_code: int = 0

    @property
    def name(self) -> str:
        """The program."""
        return shlex.split(self.command)[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its lines (stdout and stderr) and its exit code."""

    output: tuple[str, ...]
    exit_code: int


def fenced_blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page, in order; a fence that is never closed ends with the page."""
    blocks: list[Block] = []
    fence, info, start, lines = "", "", 0, list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = _FENCE.match(line)
        if not fence and found:
            fence, info, start, lines = found["fence"], found["info"].strip(), number, []
        elif fence and found and found["fence"].startswith(fence) and not found["info"].strip():
            blocks.append(Block(info, start, tuple(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append(Block(info, start, tuple(lines)))
    return blocks


def documented_commands(path: Path) -> list[DocumentedCommand]:
    """All commands that a page shows with a prompt."""
    found: list[DocumentedCommand] = []
    for block in fenced_blocks(path):
        if not block.lines or not block.lines[0].startswith("$ "):
            continue
        stated = _EXIT.search(block.info)
        exit_code = int(stated[1]) if stated else 0
        starts = [index for index, line in enumerate(block.lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(block.lines)], strict=True):
            command, body = block.lines[start][2:], start + 1
            while command.endswith("\\") and body < end:
                command, body = command[:-1] + block.lines[body].strip(), body + 1
            output = _without_blank_ends(block.lines[body:end])
            found.append(DocumentedCommand(path.name, block.line + 1 + start, command, output, exit_code))
    return found


def project_scripts() -> dict[str, str]:
    """The project's commands: name → module:function."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {str(name): str(target) for name, target in project["scripts"].items()}


def run(shown: DocumentedCommand, folder: Path, *, timeout_s: float = 60) -> Outcome:
    """Run one of the project's own commands in a folder, as its console script would.

    No shell takes part: `|`, `>` and variables are not supported. Settings of the environment are left out.

    Raises:
        ValueError: the command is none of the project's scripts.
    """
    scripts = project_scripts()
    words = shlex.split(shown.command)
    if words[0] not in scripts:
        raise ValueError(f"{shown.page}:{shown.line}: {words[0]} is none of the project's commands")
    module, _, attribute = scripts[words[0]].partition(":")
    code = f"import sys; from {module} import {attribute}; sys.argv = {words!r}; {attribute}()"
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("VOICEBOT_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**inherited, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=timeout_s,
    )
    return Outcome(_without_blank_ends(done.stdout.splitlines()), done.returncode)


def difference(shown: DocumentedCommand, outcome: Outcome) -> str:
    """Where the page and the outcome differ; empty when they agree."""
    where = f"{shown.page}:{shown.line}: $ {shown.command}\n"
    if outcome.exit_code != shown.exit_code:
        end = "\n".join(outcome.output[-20:])
        return f"{where}ended with {outcome.exit_code}, the page says {shown.exit_code}:\n{end}"
    if _agree(shown.output, outcome.output):
        return ""
    return where + "\n".join(
        difflib.unified_diff(shown.output, outcome.output, "the page", "the command", lineterm="")
    )


def _agree(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the printed lines are the shown ones; a line with only an ellipsis stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ELLIPSIS else re.escape(line.rstrip()) + r"\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None


def _without_blank_ends(lines: Sequence[str]) -> tuple[str, ...]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return tuple(kept)
