"""The bank's tools as engines see them: schemas that fit function calling, results that fit JSON."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from serving.language.protocols import ToolCall, ToolSchema
from serving.plain import plain
from serving.tools.bank import bank_tools
from serving.tools.compliance import load_compliance
from serving.tools.executor import ToolExecutor
from serving.tools.loan import calculate_payment
from serving.tools.money import read_number
from serving.tools.plan import generate_plan
from serving.tools.protocols import Effect, ToolContext, ToolResult
from serving.tools.rates import load_rates
from serving.tools.schema import arguments_model, validated

D = Decimal
DATA = Path(__file__).resolve().parents[2] / "data"
TODAY = date(2026, 11, 20)
TOOLS = {
    tool.schema.name: tool
    for tool in bank_tools(
        load_rates(DATA / "knowledge" / "rates.yaml"),
        load_compliance(DATA / "compliance"),
        bank_name="Harbour Bank",
        jurisdiction="US",
        today=lambda: TODAY,
    )
}
EXECUTOR = ToolExecutor(TOOLS.values(), timeout_s=5)
CONTEXT = ToolContext(call_id="call", turn=1)
SIMPLE = frozenset({"string", "number", "integer", "boolean", "array", "object"})
"""Types that Mistral function calling knows."""
WORDS = frozenset(
    {
        "type", "description", "properties", "required", "additionalProperties", "items", "enum", "default",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "maxLength",
    }
)  # fmt: skip
"""Keywords that every engine we name can read: no $ref, no anyOf, no pattern."""
GOOD: dict[str, list[dict[str, Any]]] = {
    "get_rate": [
        {"principal": 20000, "months": 60},
        {"principal": 20000.5, "months": 60, "product": "car_loan"},
        {"principal": 1, "months": 600, "product": ""},
    ],
    "calculate_payment": [
        {"principal": 20000, "annual_rate": 0.0699, "months": 60},
        {"principal": 100_000_000, "annual_rate": 0, "months": 1},
        {"principal": 1, "annual_rate": 1, "months": 600},
    ],
    "generate_plan": [
        {"principal": 10000, "rates": [0.08, 0.06], "terms": [24, 36]},
        {"principal": 10000, "rates": [0.08], "terms": [24], "extra": 50.25},
    ],
    "get_prompt": [
        {"flow_type": "KYC"},
        {"flow_type": "KYC", "notice": "kyc_notice_business", "params": {"company": "Acme"}},
        {"flow_type": "RECORDING_OPT_OUT", "params": {}},
    ],
}
BAD: dict[str, list[dict[str, Any]]] = {
    "get_rate": [
        {},
        {"principal": 20000},
        {"principal": 0.99, "months": 60},
        {"principal": 100_000_001, "months": 60},
        {"principal": 20000, "months": 0},
        {"principal": 20000, "months": 601},
        {"principal": 20000, "months": 10**9},
        {"principal": 20000, "months": 60.5},
        {"principal": 20000, "months": True},
        {"principal": True, "months": 60},
        {"principal": None, "months": 60},
        {"principal": [20000], "months": 60},
        {"principal": "plenty", "months": 60},
        {"principal": 20000, "months": 60, "product": "x" * 41},
        {"principal": 20000, "months": 60, "product": 7},
        {"principal": 20000, "months": 60, "colour": "red"},
    ],
    "calculate_payment": [
        {"principal": 20000, "annual_rate": 6.99, "months": 60},
        {"principal": 20000, "annual_rate": -0.01, "months": 60},
        {"principal": -1, "annual_rate": 0.06, "months": 60},
        {"principal": 20000, "annual_rate": True, "months": 60},
    ],
    "generate_plan": [
        {"principal": 10000, "rates": [], "terms": []},
        {"principal": 10000, "rates": [0.05] * 13, "terms": [12] * 13},
        {"principal": 10000, "rates": 0.05, "terms": 12},
        {"principal": 10000, "rates": ["low"], "terms": [12]},
        {"principal": 10000, "rates": [True], "terms": [12]},
        {"principal": 10000, "rates": [0.05], "terms": [12], "extra": -1},
        {"principal": 10000, "rates": [0.05], "terms": [12], "extra": None},
    ],
    "get_prompt": [
        {},
        {"flow_type": "MIRANDA"},
        {"flow_type": "kyc"},
        {"flow_type": "KYC", "params": []},
        {"flow_type": "KYC", "params": {"company": 7}},
        {"flow_type": "KYC", "notice": "x" * 61},
        {"flow_type": "KYC", "jurisdiction": "US"},
    ],
}


def nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and the schemas inside it."""
    yield schema
    for part in schema.get("properties", {}).values():
        yield from nodes(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from nodes(schema[key])


def cases(table: dict[str, list[dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, arguments) for name, examples in table.items() for arguments in examples]


def fits(schema: ToolSchema, arguments: Mapping[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(dict(schema.parameters)).is_valid(arguments)


def execute(name: str, context: ToolContext = CONTEXT, /, **arguments: Any) -> ToolResult:
    return EXECUTOR.execute(ToolCall("abcdefgh1", name, arguments), context)


def test_the_tools_are_the_four_of_the_bank_and_none_of_them_changes_anything() -> None:
    assert sorted(TOOLS) == ["calculate_payment", "generate_plan", "get_prompt", "get_rate"]
    assert {tool.effect for tool in TOOLS.values()} == {Effect.READ}


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_a_schema_uses_only_what_every_engine_reads(name: str) -> None:
    schema = TOOLS[name].schema
    jsonschema.Draft202012Validator.check_schema(dict(schema.parameters))
    assert schema.parameters["type"] == "object"
    assert schema.parameters["additionalProperties"] is False
    assert json.loads(json.dumps(schema.parameters)) == schema.parameters
    for node in nodes(schema.parameters):
        assert node["type"] in SIMPLE
        assert node.keys() <= WORDS


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_argument_and_every_tool_is_described(name: str) -> None:
    schema = TOOLS[name].schema
    assert 20 <= len(schema.description) <= 200
    assert all(part["description"] for part in schema.parameters["properties"].values())


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_a_default_fits_its_own_schema(name: str) -> None:
    for part in TOOLS[name].schema.parameters["properties"].values():
        if "default" in part:
            jsonschema.validate(part["default"], part)


@pytest.mark.parametrize(("name", "arguments"), cases(GOOD))
def test_good_arguments_fit_the_schema_and_give_a_result(name: str, arguments: dict[str, Any]) -> None:
    assert fits(TOOLS[name].schema, arguments)
    result = execute(name, **arguments)
    assert result.error == ""
    assert json.loads(json.dumps(result.value, allow_nan=False)) == result.value


@pytest.mark.parametrize(("name", "arguments"), cases(BAD))
def test_bad_arguments_do_not_fit_the_schema_and_do_not_reach_the_tool(
    name: str, arguments: dict[str, Any]
) -> None:
    assert not fits(TOOLS[name].schema, arguments)
    with pytest.raises(InvalidInputError):
        validated(arguments_model(TOOLS[name].function), arguments)


json_values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**9), st.floats(-1, 10**9), st.text(max_size=5)
)


@given(
    arguments=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("principal", "annual_rate", "months", "colour"), json_values)
    )
)
def test_what_fits_the_schema_is_accepted_and_what_does_not_is_refused(arguments: dict[str, Any]) -> None:
    tool = TOOLS["calculate_payment"]
    # The one leniency: an engine may write a number as text.
    as_sent = {k: _number_of(v) if k != "colour" else v for k, v in arguments.items()}
    try:
        validated(arguments_model(tool.function), arguments)
    except InvalidInputError:
        assert not fits(tool.schema, as_sent)
    else:
        assert fits(tool.schema, as_sent)


def _number_of(value: object) -> object:
    number = read_number(value) if isinstance(value, str) else None
    return value if number is None else float(number)


@given(
    amount=st.decimals(1, 100_000, places=2),
    rate=st.decimals(0, "0.4", places=4),
    months=st.integers(1, 120),
)
def test_a_quote_of_the_tool_is_the_calculators_to_the_cent(
    amount: Decimal, rate: Decimal, months: int
) -> None:
    quote = calculate_payment(amount, rate, months)
    value = execute(
        "calculate_payment", principal=float(amount), annual_rate=float(rate), months=months
    ).value
    for name in ("principal", "monthly_payment", "last_payment", "total_paid", "total_interest"):
        assert value[name] == str(getattr(quote, name))
    assert D(value["annual_rate"]) == rate
    assert value["months"] == months


def test_a_plan_of_the_tool_is_the_calculators_and_starts_in_a_month() -> None:
    value = execute("generate_plan", principal=10000, rates=[0.08, 0.06], terms=[24, 36], extra=50).value
    plan = plain(
        generate_plan(D(10_000), [D("0.08"), D("0.06")], [24, 36], D(50), first_payment=date(2026, 12, 20))
    )
    plan.pop("schedule")
    assert value == plan


def test_a_rate_of_the_sheet_is_found_with_its_row() -> None:
    assert execute("get_rate", principal=20000, months=60).value == {
        "found": True,
        "product": "personal_loan",
        "annual_rate": "0.0699",
        "row": "personal_loan_large",
    }
    assert execute("get_rate", principal=20000, months=60, product="Car Loan").value["row"] == "car_loan"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"principal": 20000, "months": 60, "product": "boat loan"}, "product"),
        ({"principal": 200000, "months": 60}, "amount"),
        ({"principal": 20000, "months": 600}, "term"),
    ],
)
def test_a_rate_that_no_sheet_holds_is_a_result_without_a_rate(
    arguments: dict[str, Any], reason: str
) -> None:
    result = execute("get_rate", **arguments)
    assert result.ok
    assert result.value["found"] is False
    assert result.value["reason"] == reason
    assert result.value["detail"].startswith(("A personal loan", "The rate sheet"))
    assert "annual_rate" not in result.value


def test_after_the_sheet_expired_the_tool_says_so() -> None:
    late = bank_tools(
        load_rates(DATA / "knowledge" / "rates.yaml"),
        load_compliance(DATA / "compliance"),
        bank_name="Harbour Bank",
        jurisdiction="US",
        today=lambda: date(2030, 1, 1),
    )
    result = ToolExecutor(late, timeout_s=5).execute(
        ToolCall("abcdefgh1", "get_rate", {"principal": 20000, "months": 60}), CONTEXT
    )
    assert (result.value["found"], result.value["reason"]) == (False, "day")


def test_a_wording_comes_with_its_reference_and_hash_and_says_when_it_is_the_fallback() -> None:
    full = execute("get_prompt", flow_type="KYC").value
    assert full["reference"] == "kyc_notice@US/1"
    assert "with Harbour Bank, we will ask" in full["text"]
    assert len(full["sha256"]) == 64
    assert full["used_fallback"] is False
    bare = execute("get_prompt", flow_type="KYC", notice="kyc_notice_business").value
    assert bare["used_fallback"] is True


def test_an_engine_cannot_rename_the_bank() -> None:
    value = execute("get_prompt", flow_type="KYC", params={"bank_name": "Evil Bank"}).value
    assert "Harbour Bank" in value["text"]
    assert "Evil" not in value["text"]


def test_an_engine_cannot_put_an_amount_nobody_said_into_a_wording() -> None:
    context = ToolContext("call", 1, grounds=frozenset({("money", D(20_000))}))
    for amount in ("77000", "77,000", "7.7e4", " 77000 "):
        result = execute(
            "get_prompt",
            context,
            flow_type="LEGAL_NOTICE",
            notice="credit_representative_example",
            params={"amount": amount},
        )
        assert "Nobody said the value of params" in result.error


def test_a_placeholder_that_nothing_replaced_is_not_spoken_in_a_wording() -> None:
    result = execute(
        "get_prompt", flow_type="KYC", notice="kyc_notice_business", params={"company": "<name>"}
    )
    assert "plain text" in result.error


@pytest.mark.parametrize("name", ["get_rate", "get_prompt"])
def test_a_personal_value_in_the_wrong_argument_is_never_in_the_result(name: str) -> None:
    context = ToolContext("call", 1, placeholders={"<name>": "Ada Lovelace"})
    arguments = (
        {"principal": 5000, "months": 12, "product": "<name>"}
        if name == "get_rate"
        else {"flow_type": "KYC", "notice": "<name>"}
    )
    result = execute(name, context, **arguments)
    assert "ada" not in f"{result.value} {result.error} {result.arguments}".lower()


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("calculate_payment", {"principal": 10.005, "annual_rate": 0.06, "months": 12}, "whole cents"),
        ("calculate_payment", {"principal": 10, "annual_rate": 0.069900000001, "months": 12}, "8 decimals"),
        ("generate_plan", {"principal": 10, "rates": [0.1], "terms": [1, 2]}, "as many rates as terms"),
        ("generate_plan", {"principal": 10, "rates": [0.1], "terms": [1], "extra": 11}, "extra must be"),
        ("generate_plan", {"principal": 10, "rates": [0.1] * 2, "terms": [301] * 2}, "600 months together"),
        ("get_prompt", {"flow_type": "KYC", "params": {"colour": "red"}}, "has no parameter 'colour'"),
        ("get_prompt", {"flow_type": "KYC", "notice": "privacy_notice"}, "No approved wording"),
    ],
)
def test_what_a_schema_cannot_say_is_refused_by_the_tool_in_words(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    result = execute(name, **arguments)
    assert said in result.error
    assert result.value == {}
