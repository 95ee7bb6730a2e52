"""Where a number in a tool call may come from: the caller's words, or an earlier tool's result.

A language model that invents an amount, or takes a term for one, produces a confident wrong quote; this
check refuses it before the tool runs. It goes by what a number is, amount, rate or term, not by sentences.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from serving.language.protocols import ToolSchema
from serving.language.roles import LEAST_AMOUNT
from serving.spoken.values import Kind, TypedValue
from serving.tools.money import read_number

Ground = tuple[str, Decimal]
"""What a number is and the number: `("money", 20000)`, `("term", 60)` in months, `("given", 395.93)`."""
Grounds = frozenset[Ground]
GIVEN = "given"
"""Ground of a number that a tool worked out; it may be stated, and is no argument of another loan."""
GIVEN_TERM = "given_term"
_RATES = frozenset({"annual_rate", "rates"})
_TERMS = frozenset({"months", "terms", "months_saved", "from_month", "to_month"})
_AMOUNTS = frozenset({"principal", "extra"})


def grounds(
    values: Iterable[TypedValue], results: Iterable[Mapping[str, Any]], *, currency: str = "USD"
) -> Grounds:
    """Numbers that a tool call may use, and what they are.

    Args:
        values: everything the caller said in this call.
        results: values of the tools that ran before in this call.
        currency: of the bank's loans; an amount in another one is no amount of a loan.
    """
    found = {ground for value in values if (ground := ground_of(value, currency)) is not None}
    for result in results:
        for name, number in _numbers(result, ""):
            found.add((_kind_of(name), number))
    return frozenset(found)


def _kind_of(name: str) -> str:
    """What a number in a tool's result is, by its name there."""
    if name in _RATES:
        return Kind.RATE
    if name in _AMOUNTS:
        return Kind.MONEY
    return GIVEN_TERM if name in _TERMS else GIVEN


def ground_of(value: TypedValue, currency: str = "USD") -> Ground | None:
    """A said value as a ground; None where it is no number. Foreign money and days are kinds of their own."""
    if not isinstance(value.value, int | Decimal):
        return None
    usual = value.unit in {"", currency, "months"}
    return (str(value.kind) if usual else f"{value.kind}:{value.unit}"), Decimal(value.value)


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
            not _is_known(inner, number, known)
            and number != read_number(properties.get(name, {}).get("default"))
            for inner, number in _numbers(value, name)
        )
    ]


def _is_known(name: str, number: Decimal, known: Grounds) -> bool:
    """Whether somebody gave a number as what an argument of this name takes."""
    if name in _RATES:
        return (Kind.RATE, number) in known
    if name in _TERMS:
        return (Kind.TERM, number) in known or (Kind.COUNT, number) in known
    if name in _AMOUNTS:
        counted = number >= LEAST_AMOUNT and (Kind.COUNT, number) in known
        return (Kind.MONEY, number) in known or counted
    return any(number == other for _, other in known)


def _numbers(value: Any, name: str) -> set[tuple[str, Decimal]]:
    """Every number in a JSON value with the name it stands under; text counts where it is one as a whole."""
    if isinstance(value, Mapping):
        return set().union(*(_numbers(item, str(key)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return set().union(*(_numbers(item, name) for item in value))
    number = read_number(value)
    return set() if number is None else {(name, number)}
