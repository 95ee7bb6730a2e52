"""What every answering engine keeps to; a new engine is one more entry of `ENGINES`.

An engine's factory gives a running engine that answers two kinds of request: `QUESTION`, to which the
approved answer is `ANSWER`, and `QUOTE`, which needs the tool `calculate_payment` and then its result. The
sentences are the engine's own business.
"""

import contextlib
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from serving.errors import EngineError, UnavailableError
from serving.language.protocols import (
    IntentTag,
    Llm,
    LlmEvent,
    LlmRequest,
    Message,
    TextDelta,
    ToolCall,
    ToolSchema,
    Usage,
    UserTurn,
)
from serving.language.tool_format import CALL_ID_PATTERN
from serving.spoken.values import Kind, TypedValue
from tests.serving import tiny_llm
from tests.serving.chat_server import ChatServer, Reply, call_reply, text_reply

QUESTION = "how long does a transfer take"
ANSWER = "A transfer takes one working day."
QUOTE = "what do I pay each month for twenty thousand dollars over five years at six percent"
ARGUMENTS = {"principal": 20_000, "annual_rate": 0.06, "months": 60}
RESULT = {
    "principal": "20000",
    "annual_rate": "0.06",
    "months": 60,
    "monthly_payment": "386.66",
    "total_paid": "23199.60",
    "total_interest": "3199.60",
}
TOOL = ToolSchema(
    "calculate_payment",
    "Monthly payment of a loan.",
    {
        "type": "object",
        "properties": {name: {"type": "number"} for name in ARGUMENTS},
        "required": list(ARGUMENTS),
    },
)


def turn(text: str, label: str, *values: TypedValue, task: str = "") -> UserTurn:
    return UserTurn(text, IntentTag(label, 0.99, 9.0, True, "test"), values, task=task)


QUOTE_TURN = turn(
    QUOTE,
    "loan_payment_quote",
    TypedValue(Kind.MONEY, Decimal(20_000), "USD", 28, 51),
    TypedValue(Kind.TERM, 60, "months", 57, 67),
    TypedValue(Kind.RATE, Decimal("0.06"), "", 71, 82),
    task="loan_payment_quote",
)
QUESTION_REQUEST = LlmRequest(
    (Message("user", QUESTION),), (turn(QUESTION, "transfer_timing"),), knowledge=(ANSWER,), max_tokens=64
)
QUOTE_REQUEST = LlmRequest((Message("user", QUOTE),), (QUOTE_TURN,), tools=(TOOL,), max_tokens=128)


@contextlib.contextmanager
def mistral(_folder: Path) -> Iterator[Llm]:
    from serving.language.mistral_api import MistralLlm

    def respond(body: Mapping[str, Any]) -> Reply:
        last = body["messages"][-1]
        if last["role"] == "tool":
            return text_reply("You pay ", "386.66 dollars ", "a month.")
        if body.get("tools"):
            return call_reply(("abc123XYZ", "calculate_payment", json.dumps(ARGUMENTS)))
        return text_reply("A transfer ", "takes one ", "working day.")

    with ChatServer(respond) as server:
        llm = MistralLlm("key", server_url=server.url, model="tiny", timeout_s=20, max_retries=0)
        yield llm
        llm.close()


@contextlib.contextmanager
def vllm(folder: Path) -> Iterator[Llm]:
    from serving.language.chat_http import Limits
    from serving.language.vllm_llm import AdapterFolder, VllmLlm
    from tests.serving.vllm_server import BASE, VllmLike, fragments, write_adapter

    def respond(body: Mapping[str, Any], mark: str) -> Reply:
        assert mark == "talk"
        last = body["messages"][-1]
        if last["role"] == "tool":
            return text_reply("You pay ", "386.66 dollars ", "a month.")
        if {tool["function"]["name"] for tool in body.get("tools", ())} == {"calculate_payment"}:
            return fragments("chatcmpl-tool-0f1e2d3c", "calculate_payment", json.dumps(ARGUMENTS))
        return text_reply("A transfer ", "takes one ", "working day.")

    with VllmLike(respond) as server:
        base = VllmLlm(server.client(), BASE, Limits(20, 0))
        loaded = write_adapter(folder / "talk", "talk")
        yield base.with_folder(AdapterFolder("talk-1-0f1e2d3c4b5a", "talk/1", str(loaded)))


@contextlib.contextmanager
def local(folder: Path) -> Iterator[Llm]:
    from serving.language.local_llm import LocalLlm

    call = json.dumps([{"name": "calculate_payment", "arguments": ARGUMENTS}])
    table = {
        f"{QUESTION}\x00": "A transfer ",
        "A transfer ": "takes one ",
        "takes one ": "working day.",
        f"{QUOTE}\x00": "[TOOL_CALLS]",
        "[TOOL_CALLS]": call,
        "[/TOOL_RESULTS]": "You pay ",
        "You pay ": "386.66 dollars ",
        "386.66 dollars ": "a month.",
    }
    # The tiny model looks at one token only, so the template ends a prompt with the question itself.
    template = (
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'tool' %}[TOOL_RESULTS]"
        "{{ message.content }}[/TOOL_RESULTS]{% elif message.role == 'user' %}{{ message.content }}\x00"
        "{% endif %}{% endfor %}"
    )
    yield LocalLlm(tiny_llm.follow(folder, table, template=template), timeout_s=20)


@contextlib.contextmanager
def embedded(_folder: Path) -> Iterator[Llm]:
    from serving.language.embedded import EmbeddedResponder

    yield EmbeddedResponder({"quote": "For {amount} over {term} at {rate} you pay {payment} a month."})


@dataclass(frozen=True)
class Engine:
    """How to start an engine, the package it needs, and whether its text comes in more than one piece."""

    name: str
    start: Callable[[Path], AbstractContextManager[Llm]]
    package: str = "serving"
    streams: bool = True


ENGINES = (
    Engine("mistral", mistral, "mistralai"),
    Engine("vllm", vllm, "httpx"),
    Engine("local", local, "transformers"),
    Engine("embedded", embedded, streams=False),
)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    if importlib.util.find_spec(chosen.package) is None:
        pytest.skip(f"{chosen.package} is not installed")
    return chosen


@pytest.fixture(scope="module")
def llm(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llm]:
    with engine.start(tmp_path_factory.mktemp(engine.name)) as started:
        yield started


def spoken(events: Sequence[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def called(events: Sequence[LlmEvent]) -> ToolCall:
    (call,) = [event for event in events if isinstance(event, ToolCall)]
    return call


def with_result(call: ToolCall, request: LlmRequest = QUOTE_REQUEST) -> LlmRequest:
    result = Message("tool", json.dumps(RESULT), tool_call_id=call.id, name=call.name)
    return replace(
        request, messages=(*request.messages, Message("assistant", "", tool_calls=(call,)), result)
    )


def test_an_engine_names_itself(llm: Llm) -> None:
    assert llm.info.name
    assert llm.info.name == llm.info.name.lower()
    assert llm.info.model


def test_a_stream_holds_nothing_but_events(llm: Llm) -> None:
    for request in (QUESTION_REQUEST, QUOTE_REQUEST):
        events = list(llm.stream(request))
        assert events
        assert all(isinstance(event, TextDelta | ToolCall | Usage) for event in events)


def test_the_pieces_of_text_make_the_answer(llm: Llm, engine: Engine) -> None:
    events = list(llm.stream(QUESTION_REQUEST))
    assert spoken(events) == ANSWER
    assert all(event.text for event in events if isinstance(event, TextDelta))
    assert not engine.streams or sum(isinstance(event, TextDelta) for event in events) > 1


def test_a_usage_comes_last_and_counts_something(llm: Llm) -> None:
    events = list(llm.stream(QUESTION_REQUEST))
    assert not any(isinstance(event, Usage) for event in events[:-1])
    if isinstance(events[-1], Usage):
        assert events[-1].prompt_tokens > 0
        assert events[-1].completion_tokens > 0


def test_a_tool_call_is_whole_and_fit_to_be_sent_back(llm: Llm) -> None:
    call = called(list(llm.stream(QUOTE_REQUEST)))
    assert CALL_ID_PATTERN.fullmatch(call.id)
    assert call.name == "calculate_payment"
    assert isinstance(call.arguments, Mapping)
    assert json.loads(json.dumps(dict(call.arguments))) == ARGUMENTS


def test_the_result_of_a_tool_leads_to_an_answer_with_its_number(llm: Llm) -> None:
    call = called(list(llm.stream(QUOTE_REQUEST)))
    assert "386.66" in spoken(list(llm.stream(with_result(call))))


def test_a_turn_after_a_tool_round_is_answered(llm: Llm) -> None:
    first = with_result(called(list(llm.stream(QUOTE_REQUEST))))
    later = replace(
        QUESTION_REQUEST,
        messages=(*first.messages, Message("assistant", "386.66 dollars."), *QUESTION_REQUEST.messages),
        turns=(*first.turns, *QUESTION_REQUEST.turns),
    )
    assert spoken(list(llm.stream(later))) == ANSWER


def test_an_interrupted_turn_does_not_break_the_next(llm: Llm) -> None:
    first = with_result(called(list(llm.stream(QUOTE_REQUEST))))
    later = replace(
        QUESTION_REQUEST,
        messages=(*first.messages, *QUESTION_REQUEST.messages),
        turns=(*first.turns, *QUESTION_REQUEST.turns),
    )
    assert spoken(list(llm.stream(later))) == ANSWER


def test_requests_one_after_another_do_not_influence_each_other(llm: Llm) -> None:
    once = spoken(list(llm.stream(QUESTION_REQUEST)))
    called(list(llm.stream(QUOTE_REQUEST)))
    assert spoken(list(llm.stream(QUESTION_REQUEST))) == once


def test_a_stream_that_is_closed_early_leaves_no_thread_and_a_working_engine(llm: Llm) -> None:
    list(llm.stream(QUESTION_REQUEST))
    before = {thread.name for thread in threading.enumerate()}
    for _ in range(3):
        stream = llm.stream(QUESTION_REQUEST)
        assert isinstance(next(stream), TextDelta)
        stream.close()  # type: ignore[attr-defined]  # generators have it; the protocol does not ask
    left = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in left if "process_request_thread" not in name]  # the test's own server
    assert spoken(list(llm.stream(QUESTION_REQUEST))) == ANSWER


def test_a_stream_that_is_never_read_costs_nothing(llm: Llm) -> None:
    before = threading.active_count()
    streams = [llm.stream(QUESTION_REQUEST) for _ in range(5)]
    assert threading.active_count() == before
    del streams
    assert spoken(list(llm.stream(QUESTION_REQUEST))) == ANSWER


def test_placeholders_and_hostile_text_are_answered_or_refused_by_our_errors_only(llm: Llm) -> None:
    for text in ("<card> <name>", "[INST] [TOOL_CALLS] </s>", "\x00", "\ud800", "x" * 2_000, "{{ 7*7 }}"):
        request = replace(QUESTION_REQUEST, messages=(Message("user", text), *QUESTION_REQUEST.messages))
        with contextlib.suppress(EngineError, UnavailableError):
            list(llm.stream(request))
