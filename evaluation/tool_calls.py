"""Judge of an engine's turns in dialogues with tools: right call, right arguments, no invented number.

Pure functions over what was predicted and what the reference says. Arguments are compared as the values they
stand for: 20000, 20000.0 and "20,000" are one amount, an argument equal to the schema's default is none.
Words are not compared, only whether a turn speaks or calls, and whether its numbers were given by anybody.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from evaluation.dialogues import json_arguments
from evaluation.statistics import Interval, wilson
from serving.call.policy import DECISIVE, ungrounded_numbers
from serving.language.protocols import ToolCall, ToolSchema
from serving.plain import plain
from serving.spoken import Kind, TypedValue, parse
from serving.tools.grounding import grounds, ungrounded
from serving.tools.money import read_number

SMALL_COUNT = 3
"""Counts up to here are words of a sentence ("one moment", "these two") and not claims."""


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """What an engine does when it is its turn: words, calls, or (badly) both.

    Attributes:
        failed: the engine gave nothing that can be read, such as a broken call; why.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What numbers of a turn may come from.

    Attributes:
        values: what the caller said so far.
        results: what tools gave so far.
        approved: texts that the engine was given.
    """

    values: tuple[TypedValue, ...] = ()
    results: tuple[Mapping[str, Any], ...] = ()
    approved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnCase:
    """One assistant turn to judge.

    Attributes:
        group: what the report is broken down by, such as the situation.
        tools: schemas of the tools on offer.
    """

    group: str
    reference: AssistantTurn
    predicted: AssistantTurn
    tools: tuple[ToolSchema, ...]
    given: Given = Given()


@dataclass(frozen=True, slots=True)
class TurnVerdict:
    """What is right and wrong about one turn; counts, so that verdicts add up.

    Attributes:
        wanted: the reference calls a tool.
        called: the prediction calls a tool.
        exact: both call the same tools in the same order with the same arguments (or both speak).
        wrong_tool: both call, and not the same tools.
        arguments: arguments of the reference's calls.
        matched: those that the prediction gives the same value.
        calls: predicted calls.
        valid: those of a tool on offer with arguments that its schema takes.
        invented: numbers that nobody gave.
        failed: the engine gave nothing that can be read.
    """

    group: str
    wanted: bool
    called: bool
    exact: bool
    wrong_tool: bool
    arguments: int
    matched: int
    calls: int
    valid: int
    invented: tuple[str, ...]
    failed: bool


@dataclass(frozen=True, slots=True)
class ToolCallReport:
    """Shares with 95 % Wilson intervals; None where nothing could be counted.

    Attributes:
        exact_call: of the turns that should call: same tools, same arguments.
        argument_match: of the arguments of these turns: given with the same value.
        valid_schema: of the predicted calls: of a tool on offer and accepted by its schema.
        wrong_tool: of the turns that should call and do: another tool.
        missed_call: of the turns that should call: none was made.
        no_tool_precision: of the turns in which nothing was called: rightly so.
        no_tool_recall: of the turns that should only speak: nothing was called.
        hallucinated_number: of all turns: a number in arguments or words that nobody gave.
        failed: of all turns: nothing readable.
    """

    turns: int
    exact_call: Interval | None
    argument_match: Interval | None
    valid_schema: Interval | None
    wrong_tool: Interval | None
    missed_call: Interval | None
    no_tool_precision: Interval | None
    no_tool_recall: Interval | None
    hallucinated_number: Interval | None
    failed: Interval | None


def judge_turn(case: TurnCase) -> TurnVerdict:
    """Compare one predicted turn with its reference."""
    schemas = {schema.name: schema for schema in case.tools}
    wanted, made = case.reference.calls, case.predicted.calls
    total, matched = _arguments(wanted, made, schemas)
    same_tools = [call.name for call in wanted] == [call.name for call in made]
    exact = same_tools and all(
        _normal(one, schemas) == _normal(other, schemas) for one, other in zip(wanted, made, strict=True)
    )
    failed = bool(case.predicted.failed)
    return TurnVerdict(
        group=case.group,
        wanted=bool(wanted),
        called=bool(made),
        exact=exact and not failed,
        wrong_tool=bool(wanted) and bool(made) and not same_tools,
        arguments=total,
        matched=matched,
        calls=len(made),
        valid=sum(is_valid(call, schemas.get(call.name)) for call in made),
        invented=invented_numbers(case.predicted, case.tools, case.given),
        failed=failed,
    )


def report(verdicts: Iterable[TurnVerdict]) -> ToolCallReport:
    """Add verdicts up."""
    found = tuple(verdicts)
    wanted = [item for item in found if item.wanted]
    silent = [item for item in found if not item.called and not item.failed]
    spoken = [item for item in found if not item.wanted]
    both = [item for item in wanted if item.called]
    return ToolCallReport(
        turns=len(found),
        exact_call=_share(item.exact for item in wanted),
        argument_match=_ratio(sum(i.matched for i in wanted), sum(i.arguments for i in wanted)),
        valid_schema=_ratio(sum(i.valid for i in found), sum(i.calls for i in found)),
        wrong_tool=_share(item.wrong_tool for item in both),
        missed_call=_share(not item.called for item in wanted),
        no_tool_precision=_share(not item.wanted for item in silent),
        no_tool_recall=_share(not item.called and not item.failed for item in spoken),
        hallucinated_number=_share(bool(item.invented) for item in found),
        failed=_share(item.failed for item in found),
    )


def by_group(verdicts: Iterable[TurnVerdict]) -> dict[str, ToolCallReport]:
    """A report for each group, in the order of their first turns."""
    groups: dict[str, list[TurnVerdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.group, []).append(verdict)
    return {group: report(items) for group, items in groups.items()}


def is_valid(call: ToolCall, schema: ToolSchema | None) -> bool:
    """Whether a call is one of this tool with arguments that its JSON schema takes."""
    if schema is None:
        return False
    validator = _validator(json.dumps(plain(schema.parameters), sort_keys=True))
    return bool(validator.is_valid(json_arguments(call.arguments)))


def invented_numbers(turn: AssistantTurn, tools: Sequence[ToolSchema], given: Given) -> tuple[str, ...]:
    """Numbers and days of a turn, in arguments or words, that neither the caller nor a tool gave."""
    schemas = {schema.name: schema for schema in tools}
    known = grounds(given.values, given.results)
    days = _days(given)
    found = []
    for call in turn.calls:
        schema = schemas.get(call.name) or ToolSchema(call.name, "", {})
        found += [f"{call.name}.{name}" for name in ungrounded(call.arguments, schema, known)]
        found += [
            f"{call.name}.{name}"
            for name, value in call.arguments.items()
            if (day := _iso_day(value)) is not None and day not in days
        ]
    return (*found, *_invented_words(turn.text, given, days))


def _invented_words(text: str, given: Given, days: frozenset[date]) -> tuple[str, ...]:
    """Amounts, rates and terms by serving's own rule; counts and days by their value alone."""
    approved = (*given.approved, *(leaf for result in given.results for leaf in _texts(result)))
    found = list(ungrounded_numbers(text, approved, given.values, given.results))
    numbers = {number for _, number in grounds(given.values, given.results)}
    numbers |= {Decimal(day.year) for day in days}
    for words in approved:
        numbers |= {Decimal(v.value) for v in parse(words) if isinstance(v.value, int | Decimal)}
    near = {(day.month, day.day) for day in days}
    for value in parse(text):
        if value.kind in DECISIVE:
            continue
        if value.kind is Kind.COUNT and isinstance(value.value, int | Decimal):
            if value.value > SMALL_COUNT and Decimal(value.value) not in numbers:
                found.append(value.canonical())
        elif isinstance(value.value, date) and (value.value.month, value.value.day) not in near:
            found.append(value.canonical())
    return tuple(found)


def _days(given: Given) -> frozenset[date]:
    said = {value.value for value in given.values if isinstance(value.value, date)}
    told = {day for result in given.results for leaf in _texts(result) if (day := _iso_day(leaf))}
    return frozenset(said | told)


def _texts(value: Any) -> Iterable[str]:
    """Every text in a JSON value that is more than a number."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and read_number(value) is None:
        yield value


def _iso_day(value: object) -> date | None:
    if isinstance(value, str) and len(value) == len("2026-11-21"):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return None


def _arguments(
    wanted: Sequence[ToolCall], made: Sequence[ToolCall], schemas: Mapping[str, ToolSchema]
) -> tuple[int, int]:
    """Arguments of the reference, and those that the first unused call of the same tool matches."""
    left, total, matched = list(made), 0, 0
    for call in wanted:
        normal = _normal(call, schemas)[1]
        total += len(normal)
        same = next((other for other in left if other.name == call.name), None)
        if same is not None:
            left.remove(same)
            theirs = _normal(same, schemas)[1]
            matched += sum(name in theirs and theirs[name] == value for name, value in normal.items())
    return total, matched


def _normal(call: ToolCall, schemas: Mapping[str, ToolSchema]) -> tuple[str, dict[str, Any]]:
    """A call as values that are equal where they mean the same; arguments equal to their default left out."""
    schema = schemas.get(call.name)
    properties = schema.parameters.get("properties", {}) if schema else {}
    normal = {name: _value(value) for name, value in call.arguments.items()}
    return call.name, {
        name: value
        for name, value in normal.items()
        if not ("default" in properties.get(name, {}) and value == _value(properties[name]["default"]))
    }


def _value(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    number = read_number(value)
    if number is not None:
        return ("number", number)
    if isinstance(value, Mapping):
        return {str(name): _value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return " ".join(str(value).casefold().replace("_", " ").split())


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))


def _share(flags: Iterable[bool]) -> Interval | None:
    counted = list(flags)
    return _ratio(sum(counted), len(counted))


def _ratio(hits: int, items: int) -> Interval | None:
    return wilson(hits, items) if items else None
