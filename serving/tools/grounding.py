"""Where a number in a tool call may come from: the caller's words, or an earlier tool's result.

A language model that invents an amount produces a confident wrong quote; this check refuses it before
the tool runs. It looks at numbers only, and never at what they mean.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from serving.language.protocols import ToolSchema
from serving.spoken.values import TypedValue
from serving.tools.money import read_number

Grounds = frozenset[Decimal]


def grounds(values: Iterable[TypedValue], results: Iterable[Mapping[str, Any]]) -> Grounds:
    """Numbers that a tool call may use.

    Args:
        values: everything the caller said in this call.
        results: values of the tools that ran before in this call.
    """
    numbers = {Decimal(value.value) for value in values if isinstance(value.value, int | Decimal)}
    for result in results:
        numbers.update(_numbers(result))
    return frozenset(numbers)


def ungrounded(arguments: Mapping[str, Any], schema: ToolSchema, known: Grounds | None) -> list[str]:
    """Names of numeric arguments whose value nobody gave; empty when `known` is None (an operator calls).

    A value equal to the parameter's default is no claim and needs no ground.
    """
    if known is None:
        return []
    properties = schema.parameters.get("properties", {})
    return [
        name
        for name, value in arguments.items()
        if any(
            number not in known and number != read_number(properties.get(name, {}).get("default"))
            for number in _numbers(value)
        )
    ]


def _numbers(value: Any) -> set[Decimal]:
    """Every number in a JSON value; text counts where it is a number as a whole."""
    if isinstance(value, Mapping):
        return set().union(*(_numbers(item) for item in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_numbers(item) for item in value))
    number = read_number(value)
    return set() if number is None else {number}
