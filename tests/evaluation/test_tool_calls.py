"""The judge of turns with tools: equal meaning is equal, each kind of mistake is counted as what it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.dialogue_engine import answer_of, predicted_cases
from evaluation.dialogues import Dialogue
from evaluation.tool_calls import (
    AssistantTurn,
    Given,
    TurnCase,
    by_group,
    invented_numbers,
    judge_turn,
    report,
)
from serving.errors import EngineError
from serving.language.embedded import EmbeddedResponder
from serving.language.knowledge import load_knowledge
from serving.language.lexicon import load_lexicon
from serving.language.protocols import IntentTag, LlmRequest, Message, ToolCall, ToolSchema
from serving.spoken import parse

SCHEMA = ToolSchema(
    "generate_plan",
    "A plan.",
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["principal", "rates"],
        "properties": {
            "principal": {"type": "number"},
            "rates": {"type": "array", "items": {"type": "number"}},
            "extra": {"type": "number", "default": 0},
            "product": {"type": "string", "default": ""},
        },
    },
)
OTHER = ToolSchema(
    "get_rate",
    "A rate.",
    {
        "type": "object",
        "properties": {"months": {"type": "integer"}, "product": {"type": "string", "default": ""}},
    },
)
TOOLS = (SCHEMA, OTHER)
HEARD = Given(parse("twenty thousand dollars at six percent over five years"))
PLAN = {"principal": 20_000, "rates": [0.06]}


def call(name: str = "generate_plan", arguments: Mapping[str, Any] = PLAN) -> ToolCall:
    return ToolCall("abcdefghi", name, arguments)


def case(reference: AssistantTurn, predicted: AssistantTurn, given_: Given = HEARD) -> TurnCase:
    return TurnCase("s", reference, predicted, TOOLS, given_)


CALLS = AssistantTurn(calls=(call(),))
SPEAKS = AssistantTurn("How much would you like to borrow?")


@pytest.mark.parametrize(
    "same",
    [
        {"rates": [Decimal("0.060")], "principal": Decimal("20000.00")},
        {"principal": "20,000", "rates": ["0.06"]},
        {"principal": 20_000.0, "rates": [0.06], "extra": 0, "product": ""},
    ],
)
def test_arguments_that_mean_the_same_are_the_same(same: Mapping[str, Any]) -> None:
    verdict = judge_turn(case(CALLS, AssistantTurn(calls=(call(arguments=same),))))
    assert verdict.exact
    assert (verdict.arguments, verdict.matched, verdict.invented) == (2, 2, ())


@pytest.mark.parametrize(
    "other",
    [
        {"principal": 20_001, "rates": [0.06]},
        {"principal": 20_000, "rates": [0.06, 0.06]},
        {"principal": 20_000, "rates": [0.06], "extra": 50},
        {"principal": True, "rates": [0.06]},
        {"rates": [0.06]},
    ],
)
def test_arguments_that_mean_something_else_are_not_the_same(other: Mapping[str, Any]) -> None:
    assert not judge_turn(case(CALLS, AssistantTurn(calls=(call(arguments=other),)))).exact


def test_each_mistake_is_counted_as_what_it_is() -> None:
    wrong = AssistantTurn(calls=(call("get_rate", {"months": 60}),))
    unknown = AssistantTurn(calls=(call("transfer_money", {"amount": 7_777}),))
    broken = AssistantTurn(failed="EngineError")
    found = report(
        judge_turn(case(reference, predicted))
        for reference, predicted in (
            (CALLS, CALLS), (CALLS, wrong), (CALLS, unknown), (CALLS, SPEAKS), (CALLS, broken),
            (SPEAKS, SPEAKS), (SPEAKS, CALLS), (SPEAKS, AssistantTurn("That is $4,321.99 a month.")),
        )
    )  # fmt: skip
    shares = {
        name: (round(share.estimate * share.items), share.items)
        for name in (
            "exact_call", "argument_match", "valid_schema", "wrong_tool", "missed_call", "no_tool_precision",
            "no_tool_recall", "hallucinated_number", "failed",
        )
        if (share := getattr(found, name))
    }  # fmt: skip
    assert shares == {
        "exact_call": (1, 5),
        "argument_match": (2, 10),
        "valid_schema": (3, 4),
        "wrong_tool": (2, 3),
        "missed_call": (2, 5),
        "no_tool_precision": (2, 3),
        "no_tool_recall": (2, 3),
        "hallucinated_number": (2, 8),
        "failed": (1, 8),
    }


def test_nothing_to_count_is_no_share() -> None:
    assert report([]).exact_call is None
    spoken = report([judge_turn(case(SPEAKS, SPEAKS))])
    assert spoken.exact_call is None
    assert spoken.no_tool_precision is not None
    assert list(by_group([judge_turn(case(SPEAKS, SPEAKS))])) == ["s"]


RESULT = {"monthly_payment": "395.93", "first_due": "2026-12-23", "payments": 53, "detail": "up to $75,000"}


@pytest.mark.parametrize(
    ("text", "invented"),
    [
        ("For $20,000 over 5 years at 6% you pay $395.93 a month.", ()),
        ("It goes up to $75,000, with 53 payments from December 23.", ()),
        ("One moment, these two things first.", ()),
        ("You pay $395.94 a month.", ("money:395.94:USD",)),
        ("At 6.1% it is cheaper.", ("rate:0.061",)),
        ("You make 54 payments.", ("count:54",)),
        ("The first is due on December 24.", ("date:",)),
    ],
)
def test_a_number_is_invented_where_nobody_gave_it(text: str, invented: tuple[str, ...]) -> None:
    found = invented_numbers(AssistantTurn(text), TOOLS, replace(HEARD, results=(RESULT,)))
    assert len(found) == len(invented)
    assert all(one.startswith(other) for one, other in zip(found, invented, strict=True))


def test_a_day_in_arguments_must_have_been_said() -> None:
    asked = Given(parse("call me on December third", today=date(2026, 11, 23)))
    for day, count in (("2026-12-03", 0), ("2026-12-04", 1)):
        turn = AssistantTurn(calls=(call("offer_callback", {"day": day}),))
        assert len(invented_numbers(turn, TOOLS, asked)) == count


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
turns = st.builds(
    AssistantTurn,
    st.text(max_size=30),
    st.lists(
        st.builds(
            call,
            st.sampled_from(["generate_plan", "get_rate", "nothing"]),
            st.dictionaries(st.sampled_from(["principal", "rates", "extra", "x"]), json_values, max_size=3),
        ),
        max_size=3,
    ).map(tuple),
)


@given(turns, turns)
def test_whatever_an_engine_does_is_judged_and_a_turn_equals_itself(
    one: AssistantTurn, other: AssistantTurn
) -> None:
    verdict = judge_turn(case(one, other))
    assert 0 <= verdict.matched <= verdict.arguments
    assert 0 <= verdict.valid <= verdict.calls
    assert not (verdict.exact and verdict.wrong_tool)
    same = judge_turn(case(one, one))
    assert same.exact
    assert same.matched == same.arguments
    found = report([verdict, same])
    for name in ("exact_call", "argument_match", "valid_schema", "hallucinated_number"):
        share = getattr(found, name)
        assert share is None or 0 <= share.low <= share.estimate <= share.high <= 1


class FixedTagger:
    version = "fixed"
    labels = ("loan_payment_quote",)

    def tag(self, text: str) -> IntentTag:
        return IntentTag("loan_payment_quote", 1.0, 1.0, True, "fixed")


def test_the_embedded_responder_is_put_to_each_turn_of_the_reference(data_dir: Path) -> None:
    asked = Message("user", "what is the monthly payment on twenty thousand dollars over five years")
    rated = call("get_rate", {"principal": 20_000, "months": 60})
    looked_up = {"found": True, "product": "personal_loan", "annual_rate": "0.0699"}
    dialogue = Dialogue(
        "d", "test", "quote", "bank", date(2026, 11, 23),
        (asked, Message("assistant", "", (rated,)),
         Message("tool", json.dumps(looked_up), tool_call_id="abcdefghi", name="get_rate"),
         Message("assistant", "That is 6.99%.")),
    )  # fmt: skip
    engine = EmbeddedResponder(load_knowledge(data_dir / "knowledge" / "answers.yaml").prompts)
    lexicon = load_lexicon(data_dir / "lexicons" / "signature.yaml")
    first, second = predicted_cases([dialogue], engine, FixedTagger(), lexicon, TOOLS)
    assert judge_turn(first).exact
    assert [made.name for made in second.predicted.calls] == ["calculate_payment"]
    assert not judge_turn(second).exact
    assert judge_turn(second).invented == ()


class Breaking:
    def stream(self, request: LlmRequest) -> Any:
        raise EngineError("no answer")
        yield


def test_an_engine_that_fails_gave_a_wrong_answer_and_not_an_exception() -> None:
    assert answer_of(Breaking(), LlmRequest((), ())) == AssistantTurn(failed="EngineError")  # type: ignore[arg-type]
