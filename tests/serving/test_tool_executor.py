"""The tool executor: arguments, invented numbers, reads and writes, time limits, counting."""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import Field

from serving.errors import RefusedError
from serving.language.protocols import ToolCall
from serving.spoken.values import Kind, TypedValue
from serving.tools.executor import ToolExecutor
from serving.tools.grounding import grounds, ungrounded
from serving.tools.protocols import Effect, Tool, ToolContext
from serving.tools.schema import tool_schema

CONTEXT = ToolContext(call_id="call", turn=2)
CONFIRMED = ToolContext(call_id="call", turn=3, confirming_turn=3)


def double(
    amount: Annotated[Decimal, Field(gt=0, le=1000, description="What to double.")],
    note: Annotated[str, Field(description="Kept as it is.", max_length=20)] = "",
    extra: Annotated[Decimal, Field(ge=0, description="Added.")] = Decimal(0),
) -> Mapping[str, Any]:
    """Double an amount.

    Nothing of this paragraph belongs in the schema.
    """
    return {"amount": amount * 2 + extra, "note": note}


def executor(*tools: Tool, timeout_s: float = 5.0) -> ToolExecutor:
    return ToolExecutor(tools or (Tool(tool_schema(double), double, Effect.READ),), timeout_s=timeout_s)


def call(name: str = "double", **arguments: Any) -> ToolCall:
    return ToolCall("abcdefgh1", name, arguments)


def test_the_schema_says_what_mistral_function_calling_needs() -> None:
    schema = tool_schema(double)
    assert (schema.name, schema.description) == ("double", "Double an amount.")
    jsonschema.Draft202012Validator.check_schema(dict(schema.parameters))
    assert schema.parameters["required"] == ["amount"]
    assert schema.parameters["additionalProperties"] is False
    amount = schema.parameters["properties"]["amount"]
    assert amount == {
        "type": "number",
        "exclusiveMinimum": 0.0,
        "maximum": 1000.0,
        "description": "What to double.",
    }


def test_a_number_reaches_the_tool_as_the_decimal_that_was_written() -> None:
    result = executor().execute(call(amount=0.1), CONTEXT)
    assert result.ok
    assert result.value == {"amount": "0.2", "note": ""}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "amount: Field required"),
        ({"amount": "plenty"}, "amount"),
        ({"amount": -1}, "greater than 0"),
        ({"amount": float("nan")}, "finite"),
        ({"amount": 1, "colour": "red"}, "colour: Extra inputs"),
        ({"amount": 1, "note": "x" * 21}, "note"),
    ],
)
def test_invented_or_impossible_arguments_are_refused_in_words(arguments: dict[str, Any], said: str) -> None:
    result = executor().execute(call(**arguments), CONTEXT)
    assert not result.ok
    assert said in result.error


def test_a_refusal_does_not_repeat_the_value_it_refuses() -> None:
    result = executor().execute(call(amount="4111 1111 1111 1111"), CONTEXT)
    assert "4111" not in result.error


def test_an_unknown_tool_is_refused_with_the_names_that_exist() -> None:
    result = executor().execute(call("transfer_everything"), CONTEXT)
    assert "There is no tool 'transfer_everything'; there are: double." in result.error


def test_a_number_that_nobody_said_is_refused() -> None:
    said = [TypedValue(Kind.MONEY, Decimal(20), "USD", 0, 5)]
    context = ToolContext("call", 1, grounds=grounds(said, [{"annual_rate": "0.0699"}]))
    tools = executor()
    assert tools.execute(call(amount=20), context).ok
    assert tools.execute(call(amount=0.0699), context).ok
    refused = tools.execute(call(amount=21), context)
    assert "Nobody said the value of amount" in refused.error


def test_a_default_value_needs_no_ground_but_another_does() -> None:
    schema = tool_schema(double)
    known = frozenset({Decimal(20)})
    assert ungrounded({"amount": 20, "extra": 0}, schema, known) == []
    assert ungrounded({"amount": 20, "extra": 5}, schema, known) == ["extra"]
    assert ungrounded({"amount": [20, 30]}, schema, known) == ["amount"]


def test_a_placeholder_reaches_the_tool_as_its_value_and_the_record_as_itself() -> None:
    context = ToolContext("call", 1, placeholders={"<name>": "Ada"})
    result = executor().execute(call(amount=1, note="<name>"), context)
    assert result.value["note"] == "Ada"
    assert result.arguments["note"] == "<name>"


class Ledger:
    """A write tool that counts what it did and can be held up or made to fail."""

    def __init__(self) -> None:
        self.paid: list[Decimal] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.broken = False

    def pay(self, amount: Annotated[Decimal, Field(gt=0)]) -> Mapping[str, Any]:
        """Pay an amount."""
        self.entered.set()
        self.go.wait(10)
        if self.broken:
            raise RefusedError("The account is closed.")
        self.paid.append(amount)
        return {"paid": sum(self.paid)}

    def tool(self, timeout_s: float | None = None) -> Tool:
        return Tool(tool_schema(self.pay), self.pay, Effect.WRITE, timeout_s)


def test_a_write_without_the_callers_confirmation_never_runs() -> None:
    ledger = Ledger()
    result = executor(ledger.tool()).execute(call("pay", amount=5), CONTEXT)
    assert "not confirmed" in result.error
    assert ledger.paid == []


def test_a_write_repeated_in_the_same_turn_runs_once_and_gives_the_same_result() -> None:
    ledger = Ledger()
    tools = executor(ledger.tool())
    first = tools.execute(call("pay", amount=5), CONFIRMED)
    again = tools.execute(call("pay", amount=5.0), CONFIRMED)
    assert ledger.paid == [5]
    assert again.replayed
    assert again.value == first.value
    assert again.idempotency_key == first.idempotency_key != ""


def test_the_same_write_confirmed_in_another_turn_is_another_write() -> None:
    ledger = Ledger()
    tools = executor(ledger.tool())
    tools.execute(call("pay", amount=5), CONFIRMED)
    tools.execute(call("pay", amount=5), ToolContext("call", 4, confirming_turn=4))
    assert ledger.paid == [5, 5]


def test_a_duplicate_of_a_running_write_is_refused_and_the_first_still_commits() -> None:
    ledger = Ledger()
    ledger.go.clear()
    tools = executor(ledger.tool(timeout_s=0.05))
    late = tools.execute(call("pay", amount=5), CONFIRMED)
    assert "took longer" in late.error
    duplicate = tools.execute(call("pay", amount=5), CONFIRMED)
    assert "already being carried out" in duplicate.error
    ledger.go.set()
    tools.close()
    assert ledger.paid == [5]


def test_a_failed_write_may_be_tried_again() -> None:
    ledger = Ledger()
    ledger.broken = True
    tools = executor(ledger.tool())
    assert "account is closed" in tools.execute(call("pay", amount=5), CONFIRMED).error
    ledger.broken = False
    assert tools.execute(call("pay", amount=5), CONFIRMED).ok


def test_a_slow_read_gives_a_time_out_and_the_call_goes_on() -> None:
    gate = threading.Event()

    def slow() -> Mapping[str, Any]:
        """Wait."""
        gate.wait(10)
        return {}

    tools = executor(Tool(tool_schema(slow), slow, Effect.READ), timeout_s=0.05)
    result = tools.execute(call("slow"), CONTEXT)
    gate.set()
    assert "slow took longer than 0.05 s" in result.error
    assert tools.invocations[("slow", "timeout")] == 1


def test_a_bug_in_a_tool_is_an_error_without_the_exceptions_text() -> None:
    def broken() -> Mapping[str, Any]:
        """Fail."""
        raise KeyError("4111111111111111")

    result = executor(Tool(tool_schema(broken), broken, Effect.READ)).execute(call("broken"), CONTEXT)
    assert result.error == "broken failed (KeyError)."


def test_every_invocation_is_counted_by_its_outcome() -> None:
    tools = executor()
    tools.execute(call(amount=1), CONTEXT)
    tools.execute(call(amount=-1), CONTEXT)
    tools.execute(call("nothing"), CONTEXT)
    assert tools.invocations == {("double", "ok"): 1, ("double", "refused"): 1, ("unknown", "refused"): 1}
