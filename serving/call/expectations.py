"""What a call script expects of a turn, held against the turn's record.

Scenario testing shows it, tests demand it. An expectation that nobody here understands counts as unmet: a
misspelt one must not pass for ever.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from serving.call.record import Decision, ToolRecord, TurnRecord
from serving.call.script import ScriptTurn

DECISIONS: Mapping[str, frozenset[Decision]] = {
    "tool": frozenset({Decision.TOOL}),
    "disclosure": frozenset({Decision.DISCLOSURE}),
    "reprompt": frozenset({Decision.REPROMPT, Decision.CLARIFY}),
    "out_of_scope": frozenset({Decision.OUT_OF_SCOPE}),
    "transfer": frozenset({Decision.TRANSFER}),
    "end": frozenset({Decision.CONTROL}),
    "hit": frozenset({Decision.CACHE_HIT}),
}
"""A script's word to the decisions that a record may show (data/calls/README.md)."""
_NO_HIT = {"miss": "", "refused": "signature_differs"}
"""A script's word for what the cache did not serve, and the reason that it needs; any, where empty."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that a line expects.

    Attributes:
        what: `intent`, `decision`, `tool` or `says`.
        expected: in the script's words.
        found: what the record shows instead, or just the same.
    """

    what: str
    expected: str
    found: str
    met: bool


def expectations(turn: TurnRecord, line: ScriptTurn) -> tuple[Expectation, ...]:
    """Everything that a line expects, each met or not by its turn."""
    checked: list[Expectation] = []
    for what, wanted in line.expect.items():
        if what == "intent":
            checked.append(Expectation(what, str(wanted), turn.intent or "none", turn.intent == wanted))
        elif what == "decision":
            checked.append(_decision(turn, str(wanted)))
        elif what == "tool":
            checked.append(_tool(turn, str(wanted), _arguments(line)))
        elif what == "says":
            checked += [_says(turn, said) for said in _each(wanted)]
        elif what != "arguments" or "tool" not in line.expect:
            checked.append(Expectation(what, str(wanted), "no expectation that scripts know", met=False))
    return tuple(checked)


def unmet(turn: TurnRecord, line: ScriptTurn) -> list[str]:
    """What a turn's record does not show although its script expects it, in words."""
    return [
        f"{item.what}: {item.found}, expected {item.expected}"
        for item in expectations(turn, line)
        if not item.met
    ]


def _decision(turn: TurnRecord, wanted: str) -> Expectation:
    if wanted in _NO_HIT:
        reason = _NO_HIT[wanted]
        cache = turn.cache
        met = cache is not None and cache.outcome != "hit" and (not reason or cache.reason == reason)
        found = f"cache {cache.outcome}, {cache.reason}" if cache else "the cache was not asked"
        return Expectation("decision", wanted, found, met)
    met = turn.decision in DECISIONS.get(wanted, frozenset())
    return Expectation("decision", wanted, turn.decision.value, met)


def _tool(turn: TurnRecord, name: str, arguments: Mapping[str, Any]) -> Expectation:
    met = any(_fits(tool, name, arguments) for tool in turn.tools)
    found = "; ".join(
        _call(tool.name, tool.arguments) + ("" if tool.ok else " failed") for tool in turn.tools
    )
    return Expectation("tool", _call(name, arguments), found or "none", met)


def _says(turn: TurnRecord, said: object) -> Expectation:
    return Expectation("says", str(said), turn.answer, _flat(str(said)) in _flat(turn.answer))


def _arguments(line: ScriptTurn) -> Mapping[str, Any]:
    arguments = line.expect.get("arguments", {})
    return arguments if isinstance(arguments, Mapping) else {"arguments": arguments}


def _each(wanted: object) -> Sequence[object]:
    """A single phrase without its list is one phrase, not so many letters."""
    return wanted if isinstance(wanted, list | tuple) else [wanted]


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in arguments.items() if value != "")
    return f"{name}({shown})"


def _fits(tool: ToolRecord, name: str, arguments: Mapping[str, Any]) -> bool:
    return (
        tool.ok
        and tool.name == name
        and all(_same(tool.arguments.get(key), value) for key, value in arguments.items())
    )


def _same(found: Any, wanted: Any) -> bool:
    """Equal by value: "0.0699" and 0.06990 are one rate."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_same, found, wanted))
    try:
        return Decimal(str(found)) == Decimal(str(wanted))
    except InvalidOperation:
        return str(found) == str(wanted)


def _flat(text: str) -> str:
    return re.sub(r"[$,]", "", text.lower())
