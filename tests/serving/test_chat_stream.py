"""Reading a streamed chat completion: any cut of the bytes, any nonsense in them."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import VoicebotError
from serving.language.chat_stream import answer_events
from serving.language.protocols import TextDelta, ToolCall
from tests.serving.chat_server import chunk

STREAM = (
    "".join(
        f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n"
        for event in (
            chunk({"content": "Zoë pays "}),
            chunk({"content": "€5 \U0001f600"}),
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": "abc123XYZ", "function": {"name": "f", "arguments": '{"a":'}}
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "ü"}'}}]}, "tool_calls"),
        )
    ).encode()
    + b": a comment\n\ndata: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_where_the_network_cuts_the_stream_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    events = list(answer_events(pieces, (), max_tokens=99))
    assert events == [
        TextDelta("Zoë pays "),
        TextDelta("€5 \U0001f600"),
        ToolCall("abc123XYZ", "f", {"a": "ü"}),
    ]


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"data: {text}\n".encode()))
def test_no_bytes_make_anything_else_than_events_or_our_errors(body: bytes) -> None:
    try:
        list(answer_events([body], (), max_tokens=9))
    except VoicebotError:
        return
    pytest.fail("garbage was taken for an answer")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON, JSON)
def test_no_odd_chunk_makes_anything_else_than_our_errors(delta: Any, call: Any, finish: Any) -> None:
    chunks = [
        {"choices": [{"delta": delta, "finish_reason": finish}], "usage": delta},
        {"choices": [{"delta": {"content": call, "tool_calls": [call, {"index": call, "function": call}]}}]},
        {"choices": call},
    ]

    def body() -> Iterator[bytes]:
        for item in chunks:
            yield f"data: {json.dumps(item)}\n\n".encode()

    with contextlib.suppress(VoicebotError):
        list(answer_events(body(), (), max_tokens=9))
