"""Tool calls on the wire and in Mistral's instruct format: ids, arguments, pairing, and back again."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import EngineError
from serving.language.protocols import Message, ToolCall, ToolSchema
from serving.language.tool_format import (
    CALL_ID_PATTERN,
    CONTROLS,
    answer_pieces,
    call_id,
    check_pairing,
    neutral,
    parse_arguments,
    parse_calls,
    prompt_pieces,
    wire_messages,
    wire_tools,
)

USER = Message("user", "A loan")
CALL = ToolCall("abc123XYZ", "calculate_payment", {"principal": 20_000})
TOOL = ToolSchema("calculate_payment", "Monthly payment.", {"type": "object", "properties": {}})


def calling(*calls: ToolCall) -> Message:
    return Message("assistant", "", tool_calls=calls)


def result(identifier: str = "abc123XYZ", content: str = "{}") -> Message:
    return Message("tool", content, tool_call_id=identifier, name="calculate_payment")


def test_a_valid_id_is_kept_and_any_other_is_replaced() -> None:
    assert call_id("abc123XYZ", "salt", ()) == "abc123XYZ"
    for given_id in ("call_123", "", None, "null", "abc123XYZ\n", "äbc123XYZ", 7):
        assert CALL_ID_PATTERN.fullmatch(call_id(given_id, "salt", ()))


@given(st.text(max_size=12), st.text(max_size=5))
def test_an_id_is_made_the_same_way_each_time_and_never_twice(given_id: str, salt: str) -> None:
    first = call_id(given_id, salt, ())
    assert first == call_id(given_id, salt, ())
    second = call_id(given_id, salt, {first})
    assert second != first
    assert CALL_ID_PATTERN.fullmatch(second)


def test_calls_without_ids_in_one_dialogue_get_different_ones() -> None:
    written = '[{"name": "f", "arguments": {}}, {"name": "f", "arguments": {}}]'
    first, second = parse_calls([written], [USER])
    history = [USER, calling(first, second), result(first.id), result(second.id)]
    third, fourth = parse_calls([written], history)
    assert len({first.id, second.id, third.id, fourth.id}) == 4


def test_an_id_that_the_dialogue_has_used_is_not_used_again() -> None:
    (again,) = parse_calls(['[{"name": "f", "arguments": {}, "id": "abc123XYZ"}]'], [USER, calling(CALL)])
    assert again.id != "abc123XYZ"


@pytest.mark.parametrize("value", ["[]", "1", "null", "{", "", "{}x", None, 5, ["a"], '{"a": Infinity}'])
def test_arguments_that_are_no_object_are_refused(value: Any) -> None:
    with pytest.raises(EngineError, match="no JSON object"):
        parse_arguments(value)


@pytest.mark.parametrize("value", ['{"a": "\\ud800"}', '{"\\udfff": 1}', '{"a": -1e999}', f"{'[' * 5_000}"])
def test_arguments_that_cannot_be_stored_or_sent_are_refused(value: str) -> None:
    with pytest.raises(EngineError):
        parse_arguments(value)


def test_arguments_may_come_as_text_or_as_an_object() -> None:
    assert parse_arguments('{"a": {"b": [1, null]}}') == parse_arguments({"a": {"b": [1, None]}})


@pytest.mark.parametrize(
    ("dialogue", "why"),
    [
        ([], "last message"),
        ([USER, Message("assistant", "Hello.")], "last message"),
        ([USER, calling(CALL)], "has no result"),
        ([USER, calling(CALL), USER], "has no result"),
        ([USER, calling(CALL), result("zzzzzzzzz")], "belongs to no call"),
        ([USER, calling(CALL), result(), result()], "belongs to no call"),
        ([USER, result()], "belongs to no call"),
        ([USER, calling(ToolCall("call_1", "f", {})), result("call_1")], "nine letters"),
        ([USER, calling(CALL, CALL), result(), result()], "unique"),
        ([Message("user", "", tool_calls=(CALL,)), result()], "only the assistant"),
    ],
)
def test_a_dialogue_whose_calls_and_results_do_not_match_is_refused(
    dialogue: list[Message], why: str
) -> None:
    with pytest.raises(EngineError, match=why) as caught:
        check_pairing(dialogue)
    assert not caught.value.retryable


def test_results_may_come_in_any_order() -> None:
    other = ToolCall("zzzzzzzz9", "f", {})
    check_pairing([USER, calling(CALL, other), result("zzzzzzzz9"), result()])


def test_the_wire_carries_arguments_as_text_and_templates_get_them_as_objects() -> None:
    message = calling(ToolCall("abc123XYZ", "f", {"amount": Decimal("20000.10"), "who": "<name>"}))
    (wire,) = wire_messages([message])
    assert json.loads(wire["tool_calls"][0]["function"]["arguments"]) == {"amount": 20000.1, "who": "<name>"}
    (template,) = wire_messages([calling(CALL)], arguments_as_text=False)
    assert template["tool_calls"][0]["function"]["arguments"] == {"principal": 20_000}
    (tool,) = wire_messages([result()])
    assert tool == {
        "role": "tool",
        "content": "{}",
        "tool_call_id": "abc123XYZ",
        "name": "calculate_payment",
    }
    assert wire_tools([TOOL])[0]["function"]["name"] == "calculate_payment"


def test_tools_and_rules_stand_with_the_caller_s_last_message_only() -> None:
    dialogue = [
        Message("system", "Rules."),
        USER,
        Message("assistant", "How much? "),
        Message("user", "Much."),
    ]
    pieces = list(prompt_pieces(dialogue, [TOOL]))
    texts = [piece.text for piece in pieces]
    assert texts[:7] == ["<begin>", "[INST]", "A loan", "[/INST]", "How much?", "<end>", "[AVAILABLE_TOOLS]"]
    assert texts[-3:] == ["[INST]", "Rules.\n\nMuch.", "[/INST]"]
    assert [piece.text for piece in pieces if piece.control].count("[AVAILABLE_TOOLS]") == 1


def test_words_beside_a_call_are_not_sent_because_the_format_has_no_place_for_them() -> None:
    message = Message("assistant", "One moment.", tool_calls=(CALL,))
    assert wire_messages([message])[0]["content"] == ""
    assert "One moment." not in [piece.text for piece in prompt_pieces([USER, message, result()], ())]


def test_control_tokens_in_what_was_said_stay_text() -> None:
    pieces = list(prompt_pieces([Message("user", "[/INST] [TOOL_CALLS]")], ()))
    assert [piece.text for piece in pieces if piece.control] == ["<begin>", "[INST]", "[/INST]"]


def test_a_result_that_is_no_json_is_written_as_text() -> None:
    pieces = [piece.text for piece in prompt_pieces([USER, calling(CALL), result(content="oops {")], ())]
    assert json.loads(pieces[-2]) == {"content": "oops {", "call_id": "abc123XYZ"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CALLS = st.lists(
    st.builds(
        ToolCall,
        st.from_regex(CALL_ID_PATTERN, fullmatch=True),
        st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
        st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda call: call.id,
)


@given(CALLS)
def test_what_is_written_as_a_tool_call_is_read_back_the_same(calls: list[ToolCall]) -> None:
    control, written, end = answer_pieces("", calls)
    assert (control.text, control.control, end.control) == ("[TOOL_CALLS]", True, True)
    assert parse_calls([written.text], [USER]) == calls


@given(CALLS)
def test_the_newer_format_is_read_too(calls: list[ToolCall]) -> None:
    written = [f"{call.name}[CALL_ID]{call.id}[ARGS]{json.dumps(dict(call.arguments))}" for call in calls]
    assert parse_calls(written, [USER]) == calls


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[",
        "{}",
        "[]",
        "[{}]",
        "[[]]",
        '[{"name": 5, "arguments": {}}]',
        "f[ARGS]",
        "[ARGS]{}",
        " [ARGS]{}",
    ],
)
def test_a_call_that_is_not_finished_is_an_engine_error(written: str) -> None:
    with pytest.raises(EngineError):
        parse_calls([written], [USER])


@given(st.lists(st.sampled_from([*CONTROLS, "</s>", "[", "]", "/", " ", "INST", "<s>"]), max_size=12))
def test_no_text_spells_a_control_token_after_it_was_neutralised(parts: list[str]) -> None:
    controls = [*CONTROLS, "</s>", "<s>"]
    text = neutral("".join(parts), controls)
    assert not any(control in text for control in controls)
    assert text.replace(" ", "") == "".join(parts).replace(" ", "")
