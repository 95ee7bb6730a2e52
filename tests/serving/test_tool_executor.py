"""The tool executor: arguments, invented numbers, reads and writes, time limits, counting."""

import threading
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import Field

from serving.errors import RefusedError, UnavailableError
from serving.language.protocols import ToolCall
from serving.settings import default_data_dir
from serving.spoken.values import Kind, TypedValue
from serving.tools.executor import MemoryIdempotencyStore, ToolExecutor
from serving.tools.grounding import grounds, ungrounded
from serving.tools.protocols import Effect, Tool, ToolContext, ToolResult
from serving.tools.rates import load_rates
from serving.tools.schema import Personal, tool_schema

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
    known = frozenset({("money", Decimal(20))})
    assert ungrounded({"amount": 20, "extra": 0}, schema, known) == []
    assert ungrounded({"amount": 20, "extra": 5}, schema, known) == ["extra"]
    assert ungrounded({"amount": [20, 30]}, schema, known) == ["amount"]


def test_a_placeholder_reaches_the_tool_as_its_value_and_the_record_as_itself() -> None:
    given: list[str] = []

    def greet(caller: Annotated[str, Personal]) -> Mapping[str, Any]:
        """Greet."""
        given.append(caller)
        return {"said": [f"Hello {caller}."]}

    context = ToolContext("call", 1, placeholders={"<name>": "Ada"})
    result = executor(Tool(tool_schema(greet), greet, Effect.READ)).execute(
        call("greet", caller="<name>"), context
    )
    assert given == ["Ada"]
    assert result.arguments == {"caller": "<name>"}
    assert result.value == {"said": ["Hello <name>."]}


def test_an_error_that_repeats_a_personal_value_is_recorded_with_its_placeholder() -> None:
    def find(account: Annotated[str, Personal]) -> Mapping[str, Any]:
        """Look up an account."""
        raise RefusedError(f"There is no account {account}.")

    context = ToolContext("call", 1, placeholders={"<account>": "12345678"})
    result = executor(Tool(tool_schema(find), find, Effect.READ)).execute(
        call("find", account="<account>"), context
    )
    assert result.error == "There is no account <account>."


def test_a_parameter_that_wants_nothing_personal_keeps_the_placeholder() -> None:
    """The rate sheet writes the product in its own way, so masking its answer would miss the address."""
    sheet = load_rates(default_data_dir() / "knowledge" / "rates.yaml")

    def get_rate(product: str) -> Mapping[str, Any]:
        """Rate."""
        return {"rate": sheet.rate(product, Decimal(5000), 12, date(2026, 1, 1)).annual_rate}

    context = ToolContext("call", 1, placeholders={"<email>": "a_b@x.com"})
    result = executor(Tool(tool_schema(get_rate), get_rate, Effect.READ)).execute(
        call("get_rate", product="<email>"), context
    )
    assert "no loan rate for <email>" in result.error
    assert "x.com" not in repr(result)


def test_a_personal_number_is_never_resolved_into_an_amount() -> None:
    context = ToolContext("call", 1, placeholders={"<card>": "411"})
    result = executor().execute(call(amount="<card>"), context)
    assert not result.ok
    assert "411" not in result.error


@pytest.mark.parametrize(
    "amount", ["1e999999999", 10**5000, "9" * 5000, "-1e-999999999"], ids=["1e9", "int", "text", "tiny"]
)
def test_a_number_of_absurd_size_is_a_refusal_and_not_an_exception(amount: object) -> None:
    context = ToolContext("call", 1, grounds=frozenset({("money", Decimal(20))}))
    assert not executor().execute(call(amount=amount), context).ok


def test_a_truth_value_is_checked_as_the_number_that_the_tool_would_get() -> None:
    def count(months: int) -> Mapping[str, Any]:
        """Count."""
        return {"months": months}

    context = ToolContext("call", 1, grounds=frozenset({("money", Decimal(20))}))
    result = executor(Tool(tool_schema(count), count, Effect.READ)).execute(
        call("count", months=True), context
    )
    assert "Nobody said the value of months" in result.error


def test_a_refusal_of_hundreds_of_invented_arguments_stays_short() -> None:
    result = executor().execute(call(amount=1, **{f"{'x' * 200}{n}": n for n in range(300)}), CONTEXT)
    assert not result.ok
    assert len(result.error) < 500


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
    assert tools.invocations[("pay", "replayed")] == 1
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


class BrokenStore(MemoryIdempotencyStore):
    """A store of idempotency keys that fails when it begins or when it finishes."""

    def __init__(self, *, at_begin: bool) -> None:
        super().__init__()
        self._at_begin = at_begin

    def begin(self, key: str) -> ToolResult | None:
        if self._at_begin:
            raise UnavailableError("The store does not answer.")
        return super().begin(key)

    def finish(self, key: str, result: ToolResult) -> None:
        raise UnavailableError("The store does not answer.")


def test_a_write_does_not_run_when_its_key_cannot_be_claimed() -> None:
    ledger = Ledger()
    tools = ToolExecutor([ledger.tool()], timeout_s=5, writes=BrokenStore(at_begin=True))
    assert "does not answer" in tools.execute(call("pay", amount=5), CONFIRMED).error
    assert ledger.paid == []


def test_a_write_whose_result_cannot_be_stored_has_happened_and_happens_once() -> None:
    ledger = Ledger()
    tools = ToolExecutor([ledger.tool()], timeout_s=5, writes=BrokenStore(at_begin=False))
    assert tools.execute(call("pay", amount=5), CONFIRMED).ok
    assert not tools.execute(call("pay", amount=5), CONFIRMED).ok
    assert ledger.paid == [5]


def test_every_invocation_is_counted_by_its_outcome() -> None:
    tools = executor()
    tools.execute(call(amount=1), CONTEXT)
    tools.execute(call(amount=-1), CONTEXT)
    tools.execute(call("nothing"), CONTEXT)
    assert tools.invocations == {("double", "ok"): 1, ("double", "refused"): 1, ("unknown", "refused"): 1}
