"""What a call script expects of a turn, checked against the turn's record."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from serving.call.record import Decision, ToolRecord, TurnRecord
from serving.call.script import ScriptTurn

DECISIONS = {
    "tool": {Decision.TOOL},
    "disclosure": {Decision.DISCLOSURE},
    "reprompt": {Decision.REPROMPT, Decision.CLARIFY},
    "out_of_scope": {Decision.OUT_OF_SCOPE},
    "transfer": {Decision.TRANSFER},
    "end": {Decision.CONTROL},
    "hit": {Decision.CACHE_HIT},
}


def unmet(turn: TurnRecord, line: ScriptTurn) -> list[str]:
    """Everything that a turn's record does not show although its script expects it."""
    expect = line.expect
    problems = []
    if "intent" in expect and turn.intent != expect["intent"]:
        problems.append(f"intent {turn.intent}, expected {expect['intent']}")
    decision = expect.get("decision")
    if decision in DECISIONS and turn.decision not in DECISIONS[decision]:
        problems.append(f"decision {turn.decision}, expected {decision}")
    if decision == "refused" and (turn.cache is None or turn.cache.reason != "signature_differs"):
        problems.append(f"cache {turn.cache}, expected a near miss that the signature refused")
    if "tool" in expect and not any(_fits(tool, expect) for tool in turn.tools):
        problems.append(f"tools {turn.tools}, expected {expect['tool']} {expect.get('arguments')}")
    problems += [
        f"{said!r} not in {turn.answer!r}"
        for said in expect.get("says", ())
        if _flat(said) not in _flat(turn.answer)
    ]
    return problems


def _fits(tool: ToolRecord, expect: Mapping[str, Any]) -> bool:
    wanted = expect.get("arguments", {})
    return (
        tool.ok
        and tool.name == expect["tool"]
        and all(_same(tool.arguments.get(name), value) for name, value in wanted.items())
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
