"""docs/tools.md shows what the commands print today, the schema engines get, and each tool's arguments."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from serving.plain import plain
from serving.settings import default_data_dir
from serving.tools.bank import bank_tools
from serving.tools.compliance import FlowType, ParameterType, load_compliance
from serving.tools.rates import NoRateReason, load_rates
from tests.docs_check import (
    ROOT,
    DocumentedCommand,
    Outcome,
    difference,
    documented_commands,
    fenced_blocks,
    project_scripts,
    run,
)

PAGE = ROOT / "docs" / "tools.md"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = documented_commands(PAGE)
SCHEMAS = {
    tool.schema.name: tool.schema
    for tool in bank_tools(
        load_rates(default_data_dir() / "knowledge" / "rates.yaml"),
        load_compliance(default_data_dir() / "compliance"),
        bank_name="Harbour Bank",
        jurisdiction="US",
        today=date.today,
    )
}


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: f"line {shown.line}")
def test_a_command_prints_what_the_page_shows(shown: DocumentedCommand, tmp_path: Path) -> None:
    assert difference(shown, run(shown, tmp_path)) == ""


def test_the_page_shows_each_tool_command_its_failures_and_both_worked_plans() -> None:
    assert {shown.name for shown in SHOWN} == {"loan-calc", "payment-plan", "compliance-test"}
    assert {shown.exit_code for shown in SHOWN} == {0, 2, 3}
    worked = [shown for shown in SHOWN if "--schedule" in shown.command]
    assert len(worked) == 2
    assert ["--extra" in shown.command for shown in worked] == [False, True]


def test_the_schema_on_the_page_is_the_one_that_engines_get() -> None:
    blocks = [json.loads("\n".join(block.lines)) for block in fenced_blocks(PAGE) if block.info == "json"]
    assert blocks
    for block in blocks:
        assert block == plain(SCHEMAS[block["name"]])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_page_lists_each_tool_with_its_arguments_and_which_are_optional(name: str) -> None:
    parameters = SCHEMAS[name].parameters
    expected = ", ".join(
        f"`{argument}`" + ("" if argument in parameters["required"] else " (optional)")
        for argument in parameters["properties"]
    )
    assert f"| `{name}` | {expected} |" in TEXT


def test_the_page_names_every_occasion_parameter_type_and_reason() -> None:
    for word in (*FlowType, *ParameterType, *NoRateReason):
        assert f"`{word}`" in TEXT


def test_the_page_mentions_no_command_that_does_not_exist() -> None:
    mentioned = set(re.findall(r"`([a-z]+-[a-z]+)`", TEXT))
    assert mentioned <= project_scripts().keys()


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text)
    return path


def test_a_block_may_hold_several_commands_and_a_command_several_lines(tmp_path: Path) -> None:
    text = "Text.\n\n```console exit=2\n$ a --x \\\n    --y\none\n\ntwo\n\n$ b\n```\n\n```\nno command\n```\n"
    first, second = documented_commands(page(tmp_path, text))
    assert (first.command, first.output, first.line) == ("a --x --y", ("one", "", "two"), 4)
    assert (second.command, second.output, second.line) == ("b", (), 10)
    assert first.exit_code == second.exit_code == 2


def test_prompts_outside_a_block_and_blocks_inside_a_longer_fence_are_no_commands(tmp_path: Path) -> None:
    text = "$ a\n\n````\n```console\n$ b\n```\n````\n"
    assert documented_commands(page(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        (("a", "b"), ("a", "b"), True),
        (("a", "b"), ("a", "b "), True),
        (("a", "b"), ("a", "c"), False),
        (("a",), ("a", "b"), False),
        (("a", "b"), ("a",), False),
        ((), ("a",), False),
        (("a", "…", "c"), ("a", "b", "b", "c"), True),
        (("a", "…", "c"), ("a", "c"), True),
        (("a", "…", "c"), ("a", "b"), False),
        (("a", "…"), ("a", "b", "c"), True),
        (("a.c",), ("abc",), False),
        (("a…",), ("abc",), False),
    ],
)
def test_output_agrees_line_by_line_and_an_ellipsis_stands_for_any_lines(
    shown: tuple[str, ...], printed: tuple[str, ...], agree: bool
) -> None:
    command = DocumentedCommand("page.md", 1, "loan-calc", shown)
    assert (difference(command, Outcome(printed, 0)) == "") == agree
    assert "ended with 1, the page says 0" in difference(command, Outcome(printed, 1))


def test_a_command_of_somebody_else_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rm is none of the project's commands"):
        run(DocumentedCommand("page.md", 7, "rm -rf /", ()), tmp_path)
