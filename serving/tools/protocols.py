"""What a tool declares and what an execution leaves behind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from serving.language.protocols import ToolSchema


class Effect(StrEnum):
    """Whether a tool changes anything outside the call (design D8)."""

    READ = "read"
    """May be repeated and cancelled."""
    WRITE = "write"
    """Never cancelled once begun, runs once per idempotency key, its result is always committed."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function with the contract that engines and operators see.

    Attributes:
        schema: name, description and argument schema, generated from the function's types.
        function: keyword arguments as validated Python values; returns a JSON-able mapping, in which
            `serving.tools.hiding.Hidden` texts are for the caller only. A parameter annotated `ToolContext`
            is no argument of the schema: the executor fills it.
        effect: read or write.
        timeout_s: time limit in seconds; None takes the executor's.
    """

    schema: ToolSchema
    function: Callable[..., Mapping[str, Any]]
    effect: Effect
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where a call comes from.

    Attributes:
        call_id: the phone call.
        turn: index of the turn.
        confirming_turn: index of the turn in which the caller agreed; None for reads.
        placeholders: what `<card>` and the like stand for in this call, for resolving arguments.
        grounds: numbers that arguments may hold, with what they are (see `serving.tools.grounding`); None
            allows all.
        customer: the bank's id of the verified caller; empty while nobody is verified.
        idempotency_key: of the write in work, for systems that keep one themselves; the executor sets it.
    """

    call_id: str
    turn: int
    confirming_turn: int | None = None
    placeholders: Mapping[str, str] | None = None
    grounds: frozenset[tuple[str, Decimal]] | None = None
    customer: str = field(default="", repr=False)
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call, success or not; safe to record (arguments as the engine gave them).

    Attributes:
        value: the tool's result; empty where it failed.
        error: why it failed, in words for the engine and the record; empty on success.
        seconds: time taken.
        idempotency_key: hash of call, tool, normalised arguments and confirming turn; writes only.
        hidden: placeholder in `value` → what the caller is told in its place; never stored, and not part of
            the stored result of a write.
        begun: false where the tool never ran and never will: nothing was changed.
    """

    name: str
    arguments: Mapping[str, Any]
    value: Mapping[str, Any]
    error: str
    seconds: float
    effect: Effect
    idempotency_key: str = ""
    hidden: Mapping[str, str] = field(default_factory=dict, repr=False)
    begun: bool = True

    @property
    def ok(self) -> bool:
        """Whether the tool ran and returned."""
        return not self.error
