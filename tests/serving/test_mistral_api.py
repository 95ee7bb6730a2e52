"""The Mistral client against a real server on a real socket: streams, tool calls, all that breaks."""

import json
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from serving.errors import (
    EngineError,
    EngineTimeoutError,
    InvalidInputError,
    UnavailableError,
    VoicebotError,
)
from serving.language.protocols import (
    LlmEvent,
    LlmRequest,
    Message,
    TextDelta,
    ToolCall,
    ToolSchema,
    Usage,
)
from tests.serving.chat_server import ChatServer, Reply, call_reply, chunk, text_reply

pytest.importorskip("mistralai.client")

from serving.language.mistral_api import MistralLlm

KEY = "sk-very-secret-key"
WORDS = "my mother's maiden name is Rumpelstiltskin"
QUOTE = ToolSchema(
    "calculate_payment",
    "Monthly payment of a loan.",
    {"type": "object", "properties": {"principal": {"type": "number"}}, "required": ["principal"]},
)
BUSY = Reply(status=503, body=b"{}", content_type="application/json")


def engine(server: ChatServer | str, **options: Any) -> MistralLlm:
    url = server if isinstance(server, str) else server.url
    settings: dict[str, Any] = {"model": "tiny", "timeout_s": 5.0, "max_retries": 2, "backoff_s": 0.005}
    return MistralLlm(KEY, server_url=url, **(settings | options))


def asking(*messages: Message, tools: Sequence[ToolSchema] = (QUOTE,), max_tokens: int = 64) -> LlmRequest:
    system = Message("system", "Be brief.")
    return LlmRequest((system, *(messages or (Message("user", WORDS),))), (), tuple(tools), (), max_tokens)


def spoken(events: Sequence[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def failure(llm: MistralLlm, request: LlmRequest | None = None) -> VoicebotError:
    with pytest.raises(VoicebotError) as caught:
        list(llm.stream(request or asking()))
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert "Rumpelstiltskin" not in shown
    return caught.value


def test_text_arrives_piece_by_piece_and_the_usage_last() -> None:
    with ChatServer([text_reply("Good ", "morn", "ing.")]) as server:
        events = list(engine(server).stream(asking()))
    assert events == [TextDelta("Good "), TextDelta("morn"), TextDelta("ing."), Usage(11, 3)]


def test_the_first_piece_is_there_before_the_server_has_finished() -> None:
    with ChatServer([text_reply("First", hang=True)]) as server:
        stream = engine(server, timeout_s=30).stream(asking())
        assert next(stream) == TextDelta("First")
        stream.close()


def test_the_request_carries_rules_knowledge_tools_limits_and_the_key() -> None:
    request = LlmRequest(
        (Message("user", "How long does a transfer take?"),), (), (QUOTE,), ("Within one day.",), 33
    )
    with ChatServer([text_reply("One day.")]) as server:
        list(engine(server, bank="Harbour Bank").stream(request))
        seen = server.seen[0]
    assert seen.path.partition("#")[0] == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    system, user = seen.body["messages"]
    assert "Harbour Bank" in system["content"]
    assert "1. Within one day." in system["content"]
    assert user == {"role": "user", "content": "How long does a transfer take?"}
    assert (seen.body["model"], seen.body["max_tokens"], seen.body["stream"]) == ("tiny", 33, True)
    assert seen.body["temperature"] == 0.0
    assert seen.body["tools"][0]["function"]["name"] == "calculate_payment"
    assert seen.body["tools"][0]["function"]["parameters"] == QUOTE.parameters


def test_without_tools_none_are_offered() -> None:
    with ChatServer([text_reply("Yes.")]) as server:
        list(engine(server).stream(asking(tools=())))
        assert "tools" not in server.seen[0].body


def test_a_tool_call_its_result_and_the_answer_go_round() -> None:
    replies = [call_reply(("abc123XYZ", "calculate_payment", '{"principal": 20000}')), text_reply("386.66.")]
    with ChatServer(replies) as server:
        llm = engine(server)
        calls = list(llm.stream(asking(Message("user", "A loan of 20000"))))
        assert calls == [ToolCall("abc123XYZ", "calculate_payment", {"principal": 20000})]
        dialogue = (
            Message("user", "A loan of 20000"),
            Message("assistant", "", tool_calls=(calls[0],)),  # type: ignore[arg-type]
            Message("tool", '{"monthly": "386.66"}', tool_call_id="abc123XYZ", name="calculate_payment"),
        )
        assert spoken(list(llm.stream(asking(*dialogue)))) == "386.66."
        sent = server.seen[1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    function = sent[2]["tool_calls"][0]["function"]
    assert json.loads(function["arguments"]) == {"principal": 20000}
    assert sent[2]["tool_calls"][0]["id"] == sent[3]["tool_call_id"] == "abc123XYZ"


def test_a_tool_call_in_nameless_fragments_is_put_together() -> None:
    """As vLLM sends it; Mistral's own SDK cannot read these."""
    events = (
        chunk({"content": "One moment. "}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "chatcmpl-tool-1", "function": {"name": "calculate_payment"}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"princ'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ipal": 5}'}}]}),
        chunk({"tool_calls": [{"index": 1, "function": {"name": "other", "arguments": "{}"}}]}),
        chunk({"content": None}, "tool_calls"),
    )
    with ChatServer([Reply(events)]) as server:
        text, first, second = list(engine(server).stream(asking()))
    assert text == TextDelta("One moment. ")
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (first.name, first.arguments) == ("calculate_payment", {"principal": 5})
    assert (second.name, second.arguments) == ("other", {})
    assert len({first.id, second.id}) == 2
    assert all(len(call.id) == 9 and call.id.isalnum() for call in (first, second))


def test_calls_that_share_an_index_but_not_an_id_stay_apart() -> None:
    calls = [
        {"index": 0, "id": "aaaaaaaa1", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"index": 0, "id": "aaaaaaaa2", "function": {"name": "g", "arguments": '{"b": 2}'}},
    ]
    with ChatServer([Reply((chunk({"tool_calls": calls}, "tool_calls"),))]) as server:
        events = list(engine(server).stream(asking()))
    assert events == [ToolCall("aaaaaaaa1", "f", {"a": 1}), ToolCall("aaaaaaaa2", "g", {"b": 2})]


def test_two_refusals_and_a_broken_connection_are_survived() -> None:
    cut = Reply((), done=False)
    with ChatServer([BUSY, cut, BUSY, text_reply("Here.")]) as server:
        assert spoken(list(engine(server, max_retries=3).stream(asking()))) == "Here."
        assert len(server.seen) == 4


def test_retries_end_with_an_error_that_names_the_status() -> None:
    with ChatServer([BUSY] * 3) as server:
        error = failure(engine(server))
        assert len(server.seen) == 3
    assert isinstance(error, UnavailableError)
    assert error.retryable
    assert "503" in str(error)


def test_the_server_s_wish_to_wait_is_followed() -> None:
    busy = Reply(status=429, headers={"Retry-After": "0.06"}, content_type="application/json")
    with ChatServer([busy, text_reply("Here.")]) as server:
        started = time.monotonic()
        assert spoken(list(engine(server).stream(asking()))) == "Here."
        assert time.monotonic() - started >= 0.06


@pytest.mark.parametrize("wait", ["3600", "inf"])
def test_a_wish_to_wait_longer_than_the_call_can_is_an_error_at_once(wait: str) -> None:
    busy = Reply(status=429, headers={"Retry-After": wait}, content_type="application/json")
    with ChatServer([busy]) as server:
        started = time.monotonic()
        assert isinstance(failure(engine(server)), UnavailableError)
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("wait", ["soon", "nan", "-3", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wish_to_wait_that_is_no_number_of_seconds_is_ignored(wait: str) -> None:
    busy = Reply(status=429, headers={"Retry-After": wait}, content_type="application/json")
    with ChatServer([busy, text_reply("Here.")]) as server:
        assert spoken(list(engine(server).stream(asking()))) == "Here."


@pytest.mark.parametrize(
    "silence",
    [Reply(hang_first=True), Reply(hang=True), text_reply("Half an", finish="", hang=True)],
    ids=["before the headers", "before the first word", "in the middle"],
)
def test_a_silent_server_is_given_up_on_after_the_time_limit(silence: Reply) -> None:
    with ChatServer([silence] * 3) as server:
        started = time.monotonic()
        error = failure(engine(server, timeout_s=0.2))
        assert 0.15 < time.monotonic() - started < 2
    assert isinstance(error, EngineTimeoutError)
    assert "0.2 s" in str(error)


def test_the_time_limit_covers_all_retries_together() -> None:
    with ChatServer([BUSY] * 50) as server:
        started = time.monotonic()
        failure(engine(server, timeout_s=0.8, max_retries=10, backoff_s=0.1))
        assert time.monotonic() - started < 3
        assert 2 <= len(server.seen) < 10


def test_nobody_listening_is_said_so_without_waiting_for_the_time_limit() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        error = failure(engine(address))
    assert isinstance(error, UnavailableError)
    assert "mistral_server_url" in error.advice
    assert time.monotonic() - started < 3


def test_a_stream_cut_after_the_first_word_is_not_repeated() -> None:
    with ChatServer([text_reply("Your rate is", finish="", done=False), text_reply("never asked")]) as server:
        stream = engine(server).stream(asking())
        assert next(stream) == TextDelta("Your rate is")
        with pytest.raises(UnavailableError):
            list(stream)
        assert len(server.seen) == 1


@pytest.mark.parametrize(("status", "advice"), [(401, "API key"), (403, "API key"), (404, "mistral_model")])
def test_a_refusal_is_not_tried_again_and_says_what_to_check(status: int, advice: str) -> None:
    body = json.dumps({"message": f"bad {KEY} for: {WORDS}"}).encode()
    with ChatServer([Reply(status=status, body=body, content_type="application/json")]) as server:
        error = failure(engine(server))
        assert len(server.seen) == 1
    assert isinstance(error, EngineError)
    assert not error.retryable
    assert advice in error.advice
    assert str(status) in str(error)


def test_a_redirect_does_not_carry_the_dialogue_elsewhere() -> None:
    with ChatServer([text_reply("stolen")]) as other:
        away = Reply(status=307, headers={"Location": f"{other.url}/v1/chat/completions"})
        with ChatServer([away]) as server:
            assert isinstance(failure(engine(server)), EngineError)
        assert other.seen == []


@pytest.mark.parametrize(
    "arguments", ["{", '{"principal": 20000', "[1]", "20000", "", '{"a": NaN}', '{"a": 1e999}', "[" * 9_999]
)
def test_broken_arguments_are_an_engine_error(arguments: str) -> None:
    with ChatServer([call_reply(("abc123XYZ", "calculate_payment", arguments))]) as server:
        assert isinstance(failure(engine(server)), EngineError)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(("this is no JSON",)),
        Reply(("[1, 2]",)),
        Reply(({"error": {"message": WORDS}},)),
        Reply((chunk({"content": "I"}), chunk({}, "error"))),
        text_reply(),
        call_reply(("abc123XYZ", "", "{}")),
        Reply((), content_type="text/html"),
    ],
    ids=["no JSON", "no object", "an error", "gave up", "nothing", "nameless tool", "a web page"],
)
def test_what_is_no_answer_is_an_engine_error(reply: Reply) -> None:
    with ChatServer([reply]) as server:
        assert isinstance(failure(engine(server)), EngineError)


def test_an_answer_without_end_is_cut_off() -> None:
    endless = Reply(tuple(chunk({"content": "and so on "}) for _ in range(2_000)))
    with ChatServer([endless]) as server:
        error = failure(engine(server), asking(max_tokens=16))
    assert isinstance(error, EngineError)
    assert "longer" in str(error)


def test_a_line_without_end_is_cut_off() -> None:
    with ChatServer([Reply(("x" * 3_000_000,))]) as server:
        assert "longer" in str(failure(engine(server), asking(max_tokens=16)))


def test_an_answer_that_fills_its_token_limit_is_an_answer() -> None:
    with ChatServer([text_reply("cut sho", finish="length")]) as server:
        assert spoken(list(engine(server).stream(asking()))) == "cut sho"


@pytest.mark.parametrize(
    "dialogue",
    [
        (Message("user", "hi"), Message("assistant", "hello")),
        (Message("user", "hi"), Message("assistant", "", tool_calls=(ToolCall("call_1", "f", {}),))),
        (
            Message("user", "hi"),
            Message("assistant", "", tool_calls=(ToolCall("abc123XYZ", "f", {}),)),
            Message("tool", "{}", tool_call_id="zzzzzzzzz"),
        ),
        (Message("assistant", "hello"),),
    ],
    ids=["nothing to answer", "no result", "a foreign result", "nobody spoke"],
)
def test_a_broken_dialogue_is_never_sent(dialogue: tuple[Message, ...]) -> None:
    with ChatServer([text_reply("never")]) as server:
        error = failure(engine(server), asking(*dialogue))
        assert server.seen == []
    assert isinstance(error, EngineError)
    assert not error.retryable


@pytest.mark.parametrize(
    "address", ["llm.internal:8000", "ftp://x", "http://", "http://x:port", "http://[", ""]
)
def test_an_address_that_is_none_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(InvalidInputError, match="mistral_server_url"):
        engine(address)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_v1(ending: str) -> None:
    with ChatServer([text_reply("Yes.")]) as server:
        assert spoken(list(engine(server.url + ending).stream(asking()))) == "Yes."


def test_the_engine_s_note_holds_no_password_of_the_address() -> None:
    info = engine("http://user:hunter2@llm.internal:8000").info
    assert "hunter2" not in repr(info)
    assert (info.name, info.model) == ("mistral", "tiny")


def test_without_a_key_the_one_in_the_environment_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "of-somebody-else")
    with ChatServer([text_reply("Yes.")]) as server:
        llm = MistralLlm("", server_url=server.url, model="tiny", timeout_s=5, max_retries=0)
        list(llm.stream(asking()))
        assert "of-somebody-else" not in server.seen[0].headers["authorization"]


def test_the_sdk_s_debug_switch_does_not_log_the_dialogue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MISTRAL_DEBUG", "1")
    with caplog.at_level("DEBUG"), ChatServer([text_reply("Yes.")]) as server:
        list(engine(server).stream(asking()))
    assert KEY not in caplog.text
    assert "Rumpelstiltskin" not in caplog.text


def test_closing_early_ends_the_connection_and_leaves_no_thread() -> None:
    def watchers() -> int:
        return sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())

    before = watchers()
    with ChatServer([text_reply("One", "two", hang=True)]) as server:
        stream = engine(server, timeout_s=60).stream(asking())
        assert next(stream) == TextDelta("One")
        assert watchers() == before + 1
        stream.close()
        assert watchers() == before


def test_streams_of_two_callers_do_not_mix() -> None:
    def echo(body: Any) -> Reply:
        return text_reply(*[body["messages"][-1]["content"]] * 20)

    answers: dict[str, str] = {}
    with ChatServer(echo) as server:
        llm = engine(server)

        def talk(word: str) -> None:
            answers[word] = spoken(list(llm.stream(asking(Message("user", word)))))

        threads = [threading.Thread(target=talk, args=(word,)) for word in ("ay", "bee", "see", "dee")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {word: word * 20 for word in ("ay", "bee", "see", "dee")}
