"""The vLLM client against a server on a real socket: answers, adapters, all that breaks."""

import contextlib
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from serving.errors import (
    EngineError,
    EngineTimeoutError,
    InvalidInputError,
    MissingError,
    RefusedError,
    UnavailableError,
    VoicebotError,
)
from serving.language.chat_http import Limits
from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta, ToolCall, ToolSchema, Usage
from serving.language.vllm import ServerAwayError, VllmServer
from serving.language.vllm_llm import VllmLlm
from tests.serving.chat_server import Reply, chunk, text_reply
from tests.serving.vllm_server import BASE, VllmLike, fragments, write_adapter

KEY = "sk-very-secret-key"
WORDS = "my mother's maiden name is Rumpelstiltskin"
TOOL = ToolSchema("calculate_payment", "Monthly payment.", {"type": "object", "properties": {}})
REQUEST = LlmRequest((Message("user", WORDS),), (), (TOOL,), ("Within one day.",), 64)
BUSY = Reply(status=500, body=b'{"error": {"message": "engine", "type": "InternalServerError"}}')


def engine(server: VllmLike | str, timeout_s: float = 5.0, retries: int = 2) -> VllmLlm:
    client = VllmServer(server, KEY) if isinstance(server, str) else server.client(KEY)
    limits = Limits(timeout_s, retries, backoff_s=0.005)
    return VllmLlm(client, BASE, limits, bank="Harbour Bank")


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def spoken(events: list[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def failure(llm: VllmLlm) -> VoicebotError:
    with pytest.raises(VoicebotError) as caught:
        list(llm.stream(REQUEST))
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert "Rumpelstiltskin" not in shown
    return caught.value


def test_a_request_carries_rules_knowledge_tools_and_the_key_and_asks_for_the_usage() -> None:
    with VllmLike(lambda _body, _mark: text_reply("One ", "day."), key=KEY) as server:
        events = list(engine(server).stream(REQUEST))
        (body,) = server.bodies
    assert events == [TextDelta("One "), TextDelta("day."), Usage(11, 2)]
    assert "Harbour Bank" in body["messages"][0]["content"]
    assert "Within one day." in body["messages"][0]["content"]
    assert (body["model"], body["max_tokens"], body["temperature"]) == (BASE, 64, 0.0)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert body["tools"][0]["function"]["name"] == "calculate_payment"
    assert body["tool_choice"] == "auto"


def test_a_tool_call_in_fragments_is_put_together_and_its_id_made_fit_for_mistral() -> None:
    reply = fragments("chatcmpl-tool-9f86d081884c", "calculate_payment", '{"principal": 20000}')
    with VllmLike(lambda _body, _mark: reply) as server:
        call, usage = list(engine(server).stream(REQUEST))
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, len(call.id)) == ("calculate_payment", {"principal": 20000}, 9)
    assert usage == Usage(9, 5)


def test_a_failing_server_and_a_stream_cut_before_the_first_word_are_tried_again() -> None:
    with VllmLike() as server:
        server.faults = [BUSY, Reply((), done=False)]
        assert spoken(list(engine(server).stream(REQUEST))) == "base " * 12
        assert server.chats(BASE) == 3


def test_a_stream_cut_after_the_first_word_is_not_repeated() -> None:
    with VllmLike() as server:
        server.faults = [text_reply("Your rate is", finish="", done=False)]
        stream = engine(server).stream(REQUEST)
        assert next(stream) == TextDelta("Your rate is")
        with pytest.raises(UnavailableError):
            list(stream)
        assert server.chats(BASE) == 1


@pytest.mark.parametrize(
    "silence",
    [Reply(hang_first=True), text_reply("Half an", finish="", hang=True)],
    ids=["before the first word", "in the middle"],
)
def test_a_silent_server_is_given_up_on_after_the_time_limit(silence: Reply) -> None:
    with VllmLike() as server:
        server.faults = [silence] * 3
        started = time.monotonic()
        assert isinstance(failure(engine(server, timeout_s=0.3)), EngineTimeoutError)
        assert 0.25 < time.monotonic() - started < 2


def test_a_server_that_dribbles_is_given_up_on_after_the_time_limit_too() -> None:
    with VllmLike() as server:
        server.pause_s = 0.05
        server.faults = [Reply(tuple(chunk({"content": ""}) for _ in range(400)))]
        started = time.monotonic()
        assert isinstance(failure(engine(server, timeout_s=0.4)), EngineTimeoutError)
        assert time.monotonic() - started < 5


def test_a_stream_that_is_left_at_an_interruption_ends_the_generation_at_the_server() -> None:
    with VllmLike() as server:
        server.faults = [text_reply("One", "two", hang=True)]
        stream: Any = engine(server, timeout_s=60).stream(REQUEST)
        assert next(stream) == TextDelta("One")
        assert not server.given_up.is_set()
        stream.close()
        assert server.given_up.wait(5)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(("this is no JSON",)),
        Reply(({"error": {"message": WORDS, "type": "InternalServerError", "code": 500}},)),
        Reply(("x" * 3_000_000,)),
        Reply(tuple(chunk({"content": "and so on "}) for _ in range(2_000))),
        Reply((), content_type="text/html"),
        fragments("a", "calculate_payment", '{"principal": 2'),
    ],
    ids=[
        "no JSON",
        "an error in the stream",
        "a line without end",
        "no end",
        "a web page",
        "broken arguments",
    ],
)
def test_what_is_no_answer_is_an_engine_error(reply: Reply) -> None:
    with VllmLike(lambda _body, _mark: reply) as server:
        assert isinstance(failure(engine(server)), EngineError)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(400, "--enable-auto-tool-choice"), (401, "VOICEBOT_VLLM_API_KEY"), (404, "vllm_model")],
)
def test_a_refusal_is_not_tried_again_and_says_what_to_check(status: int, advice: str) -> None:
    with VllmLike() as server:
        server.faults = [Reply(status=status, body=f"{KEY} {WORDS}".encode())] * 2
        error = failure(engine(server))
        assert server.chats(BASE) == 1
    assert advice in error.advice
    assert not error.retryable


def test_a_wrong_key_is_said_so_by_every_part() -> None:
    with VllmLike(key="another") as server:
        assert "VOICEBOT_VLLM_API_KEY" in failure(engine(server)).advice
        with pytest.raises(EngineError, match="401") as caught:
            server.client(KEY).load("a-1-00", "/adapters/a", soon())
        assert "VOICEBOT_VLLM_API_KEY" in caught.value.advice


def test_nobody_listening_is_said_so() -> None:
    error = failure(engine("http://127.0.0.1:1"))
    assert isinstance(error, UnavailableError)
    assert "vllm_url" in error.advice


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_v1(ending: str) -> None:
    with VllmLike() as server, contextlib.closing(VllmServer(server.url + ending)) as client:
        client.check()
        assert client.models() == {BASE: "/models/ministral"}


@pytest.mark.parametrize("url", ["llm:8000", "http://", "http://user:hunter2@llm.internal:8000"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="vllm_url") as caught:
        VllmServer(url)
    assert "hunter2" not in str(caught.value)


def test_health_is_what_the_server_says() -> None:
    with VllmLike() as server:
        client = server.client()
        client.check()
        server.healthy = False
        with pytest.raises(UnavailableError, match="503"):
            client.check()


@pytest.mark.parametrize("flat", [False, True], ids=["nested errors", "flat errors of older versions"])
def test_adapters_are_loaded_listed_and_unloaded_and_twice_does_no_harm(flat: bool, tmp_path: Path) -> None:
    folder = str(write_adapter(tmp_path / "one", "one"))
    with VllmLike() as server:
        server.flat_errors = flat
        client = server.client()
        for _ in range(2):
            client.load("talk-1-abc", folder, soon())
        assert client.models() == {BASE: "/models/ministral", "talk-1-abc": folder}
        for _ in range(2):
            client.unload("talk-1-abc")
        assert client.models() == {BASE: "/models/ministral"}


@pytest.mark.parametrize("flat", [False, True], ids=["nested errors", "flat errors of older versions"])
def test_what_the_server_cannot_load_is_told_in_its_words(flat: bool, tmp_path: Path) -> None:
    with VllmLike() as server:
        server.flat_errors = flat
        client = server.client()
        with pytest.raises(MissingError, match="No adapter found") as caught:
            client.load("talk-1-abc", str(tmp_path / "not there"), soon())
        assert "vllm_adapters_seen_as" in caught.value.advice
        wide = write_adapter(tmp_path / "wide", "wide", rank=64)
        with pytest.raises(EngineError, match="greater than max_lora_rank 16"):
            client.load("talk-2-abc", str(wide), soon())


def test_a_name_that_stands_for_another_folder_is_never_taken_for_ours(tmp_path: Path) -> None:
    with VllmLike() as server:
        client = server.client()
        client.load("talk-1-abc", str(write_adapter(tmp_path / "theirs", "theirs")), soon())
        with pytest.raises(RefusedError, match="another folder"):
            client.load("talk-1-abc", str(write_adapter(tmp_path / "ours", "ours")), soon())


def test_a_server_without_runtime_loading_says_how_to_start_it(tmp_path: Path) -> None:
    with VllmLike(runtime_lora=False) as server, pytest.raises(MissingError) as caught:
        server.client().load("talk-1-abc", str(tmp_path), soon())
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in caught.value.advice


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Response("{", 500), ServerAwayError),
        (JSONResponse({"error": {"message": "a\nb\x1b[31m" + "x" * 9_000}}, 500), EngineError),
        (Response("x" * 3_000_000, 400), EngineError),
        (Response("[" * 100_000, 400), EngineError),
        (Response(status_code=302, headers={"Location": "http://elsewhere.example/"}), EngineError),
    ],
    ids=["no JSON", "control characters", "huge", "nested without end", "a redirect"],
)
def test_nonsense_about_adapters_is_an_error_of_ours_on_one_short_line(
    reply: Response, kind: type[VoicebotError], tmp_path: Path
) -> None:
    with VllmLike() as server:
        server.load_fault = reply
        with pytest.raises(kind) as caught:
            server.client().load("talk-1-abc", str(tmp_path), soon())
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


def test_a_load_that_takes_too_long_is_given_up_in_time(tmp_path: Path) -> None:
    with VllmLike() as server:
        server.gate.clear()
        started = time.monotonic()
        with pytest.raises(ServerAwayError, match="in time"):
            server.client().load("talk-1-abc", str(tmp_path), soon(0.2))
        assert time.monotonic() - started < 2


def test_a_list_of_models_that_is_none_is_an_error() -> None:
    with pytest.raises(ServerAwayError):
        VllmServer("http://127.0.0.1:1").models()


@pytest.mark.parametrize("key", ["sk-schlüssel", "sk-two\nlines", "sk-\x7f"])
def test_a_key_that_no_header_can_hold_is_refused_at_once_and_not_shown(key: str) -> None:
    """Such as one read from a file with two lines; the network is not to blame for it."""
    with pytest.raises(InvalidInputError, match="VOICEBOT_VLLM_API_KEY") as caught:
        VllmServer("http://127.0.0.1:1", key)
    assert "sk-" not in "".join(traceback.format_exception(caught.value))


def test_where_no_thread_can_be_had_to_watch_an_answer_its_connection_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise each such answer would keep one of the client's connections for good."""

    def no_thread(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    with VllmLike() as server:
        llm = engine(server)
        server.faults = [text_reply("One", "two", hang=True)]
        with monkeypatch.context() as patch:
            patch.setattr("serving.language.chat_http.threading.Timer.start", no_thread)
            assert isinstance(failure(llm), EngineError)
        assert server.given_up.wait(5)
        assert spoken(list(llm.stream(REQUEST))) == "base " * 12
