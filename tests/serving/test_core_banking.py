"""The tools of a bank's customers: only for a verified one, with nothing personal in what is recorded."""

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.language.protocols import ToolCall
from serving.spoken import verbalise
from serving.tools.core_banking import PartOfDay
from serving.tools.customer_tools import customer_tools
from serving.tools.executor import MemoryIdempotencyStore, ToolExecutor
from serving.tools.hiding import Hidden, concealed, placeholder_for
from serving.tools.protocols import Effect, ToolContext, ToolResult
from serving.tools.sandbox_bank import SandboxBank
from serving.tools.sandbox_people import FIRST

TODAY = date(2026, 11, 20)
ALMA = "c00001"
IDENTITY = {"<account>": FIRST.number, "<birth_date>": FIRST.birth_date.isoformat(), "<card_id>": "c00001-k0"}
WRITES = {
    "block_card": {"card": "<card_id>", "reason": "lost"},
    "agree_payment_plan": {"monthly_payment": "50", "payments": 7},
    "request_callback": {"day": "2026-11-23", "part": "morning"},
}
READS: dict[str, dict[str, Any]] = {
    "get_balance": {},
    "list_transactions": {},
    "list_cards": {},
    "offer_payment_plan": {"monthly_payment": "50"},
    "offer_callback": {"part": "morning"},
}


@pytest.fixture
def bank(tmp_path: Path) -> SandboxBank:
    return SandboxBank(tmp_path / "bank.db", today=lambda: TODAY, customers=3)


@pytest.fixture
def executor(bank: SandboxBank) -> ToolExecutor:
    return ToolExecutor(customer_tools(bank), timeout_s=5.0)


def context(customer: str = ALMA, confirming_turn: int | None = None) -> ToolContext:
    return ToolContext("call", 4, confirming_turn=confirming_turn, placeholders=IDENTITY, customer=customer)


def run(
    executor: ToolExecutor, name: str, *, customer: str = ALMA, turn: int | None = None, **arguments: Any
) -> ToolResult:
    return executor.execute(ToolCall("abcdefgh1", name, arguments), context(customer, turn))


def test_the_schemas_are_valid_and_tell_nothing_of_the_context(executor: ToolExecutor) -> None:
    assert {schema.name for schema in executor.schemas} == {"verify_caller", *READS, *WRITES}
    for schema in executor.schemas:
        jsonschema.Draft202012Validator.check_schema(dict(schema.parameters))
        assert not {"context", "customer"} & set(schema.parameters["properties"])


@pytest.mark.parametrize(("name", "arguments"), [*READS.items(), *WRITES.items()])
def test_without_a_verified_customer_every_tool_refuses(
    executor: ToolExecutor, bank: SandboxBank, name: str, arguments: dict[str, Any]
) -> None:
    result = run(executor, name, customer="", turn=4, **arguments)
    assert result.error == "The caller has not been verified."
    assert (dict(result.value), bank.audit()) == ({}, ())


def test_no_argument_can_name_another_customer(executor: ToolExecutor) -> None:
    for name, arguments in READS.items():
        for more in ({"customer": "c00002"}, {"context": {"customer": "c00002"}}):
            call = ToolCall("abcdefgh1", name, {**arguments, **more})
            assert not executor.execute(call, context()).ok


@pytest.mark.parametrize(("name", "arguments"), WRITES.items())
def test_a_write_needs_a_confirming_turn_and_happens_once_for_it(
    executor: ToolExecutor, bank: SandboxBank, name: str, arguments: dict[str, Any]
) -> None:
    assert run(executor, name, **arguments).error == "The caller has not confirmed this yet."
    first = run(executor, name, turn=7, **arguments)
    assert run(executor, name, turn=7, **arguments) == first or first.ok
    assert first.value["possible"] is True
    (row,) = bank.audit()
    assert (row["action"], row["idempotency_key"]) == (name, first.idempotency_key)


@pytest.mark.parametrize(("name", "arguments"), WRITES.items())
def test_the_bank_itself_refuses_to_act_twice_when_the_server_has_forgotten(
    bank: SandboxBank, name: str, arguments: dict[str, Any]
) -> None:
    """A crash loses the executor's keys; the bank keeps its own."""
    results = [
        run(ToolExecutor(customer_tools(bank), timeout_s=5.0), name, turn=7, **arguments) for _ in range(2)
    ]
    assert [dict(result.value) for result in results] == [dict(results[0].value)] * 2
    assert len(bank.audit()) == 1


def test_what_is_told_of_a_customer_is_hidden_in_every_result(executor: ToolExecutor) -> None:
    for name, arguments in READS.items():
        result = run(executor, name, **arguments)
        shown = json.dumps(dict(result.value)) + repr(replace(result, seconds=0.0))
        assert result.ok, result.error
        assert result.hidden
        for secret in ("1834", "1,834", "7210", "4821", "9034", "342", "Bakery", "45.10", "c00001", "0142"):
            assert secret not in shown, name


def test_a_verified_customer_is_hidden_too(executor: ToolExecutor) -> None:
    result = run(
        executor, "verify_caller", customer="", customer_number="<account>", birth_date="<birth_date>"
    )
    assert dict(result.value) == {"verified": True, "customer": "<customer>"}
    assert result.hidden == {"<customer>": ALMA}
    assert FIRST.number not in repr(result)


def test_a_stored_write_keeps_nothing_hidden() -> None:
    from serving.tools.protocols import Tool
    from serving.tools.schema import tool_schema

    def write() -> dict[str, Any]:
        """Write."""
        return {"told": Hidden("ending", "4821")}

    stored = MemoryIdempotencyStore()
    executor = ToolExecutor([Tool(tool_schema(write), write, Effect.WRITE)], timeout_s=5.0, writes=stored)
    first = run(executor, "write", turn=3)
    assert first.hidden == {"<ending>": "4821"}
    assert not run(executor, "write", turn=3).hidden


def test_a_refusal_of_the_bank_is_a_result_with_a_reason(executor: ToolExecutor) -> None:
    small = run(executor, "offer_payment_plan", monthly_payment="1")
    assert dict(small.value) == {"possible": False, "reason": "payment_too_small", "least": "<least>"}
    nothing = run(executor, "get_balance", account="credit card")
    assert dict(nothing.value) == {"possible": False, "reason": "no_such_account"}
    assert run(executor, "get_balance", account="vault").error


@pytest.mark.parametrize("part", list(PartOfDay))
def test_a_callback_is_offered_for_every_part_of_a_day(executor: ToolExecutor, part: PartOfDay) -> None:
    assert run(executor, "offer_callback", part=part.value).value["part"] == part


def test_a_bank_that_does_not_answer_fails_the_tool_and_not_the_call(
    executor: ToolExecutor, bank: SandboxBank
) -> None:
    bank.close()
    assert "closed" in run(executor, "get_balance").error


def test_a_negative_balance_is_said_with_its_sign(bank: SandboxBank, monkeypatch: pytest.MonkeyPatch) -> None:
    account = replace(bank.accounts(ALMA)[0], balance=Decimal("-45.10"))
    monkeypatch.setattr(bank, "accounts", lambda _customer: (account,))
    result = run(ToolExecutor(customer_tools(bank), timeout_s=5.0), "get_balance")
    assert [verbalise(text) for text in result.hidden.values()] == ["minus forty five dollars and ten cents"]


# Placeholders


@given(texts=st.lists(st.text(max_size=4), max_size=80))
def test_equal_texts_have_one_placeholder_and_different_ones_never_share_it(texts: list[str]) -> None:
    shown, hidden = concealed([Hidden("balance", text) for text in texts], {})
    assert [hidden[name] for name in shown] == texts
    assert len(hidden) == len(set(texts))
    assert concealed([Hidden("balance", text) for text in texts], hidden)[0] == shown


@given(number=st.integers(min_value=0, max_value=60))
def test_a_placeholder_passes_through_the_voices_text_unchanged(number: int) -> None:
    known = {placeholder_for(Hidden("balance", "x"), {}): "x"}
    for at in range(number):
        known[placeholder_for(Hidden("balance", f"y{at}"), known)] = f"y{at}"
    name = list(known)[-1]
    assert verbalise(f"On November 3 it was {name}, and 2 more.") == (
        f"On November third it was {name}, and two more."
    )
