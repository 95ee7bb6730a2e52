"""Calls beside a vLLM server: which adapter they have, what they do without it, and what health says."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.adapters.live import LiveAdapter
from serving.adapters.registry import AdapterRegistry
from serving.call import runtime as module
from serving.call.caller import CallerLine
from serving.call.runtime import Runtime
from serving.language.encoder import SentenceEncoder
from serving.services.health import Health
from serving.services.open_calls import OpenCalls
from serving.settings import Settings
from tests.serving.adapters.conftest import DecisionMaker
from tests.serving.adapters.talk_bundles import TALK, promote_talk
from tests.serving.call.phone import KeywordTagger
from tests.serving.chat_server import Reply, text_reply
from tests.serving.vllm_server import BASE, VllmLike

ANSWER = "That is settled quickly."
QUESTION = CallerLine(None, "when is the branch open")
KEY = "sk-very-secret-key"
Open = Callable[..., Runtime]


@pytest.fixture
def server() -> Iterator[VllmLike]:
    with VllmLike(lambda _body, _mark: text_reply(ANSWER), key=KEY) as running:
        yield running


@pytest.fixture
def open_runtime(
    server: VllmLike, mlruns: Path, tmp_path: Path, encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """A typed server beside the vLLM server, with an intent tagger of the tests and an empty cache."""
    monkeypatch.setattr(module, "load_encoder", lambda _folder: encoder)
    served = SimpleNamespace(tagger=KeywordTagger(), version="keywords/1", identity="keywords", source="test")
    live = SimpleNamespace(start=lambda: None, close=lambda: None, current=served, problem="")
    monkeypatch.setattr(LiveAdapter, "from_settings", lambda *_: live)
    opened: list[Runtime] = []

    def make(**settings: object) -> Runtime:
        given = {"vllm_url": server.url, "vllm_model": BASE, "vllm_api_key": KEY, "registry_poll_s": 0.02}
        found = Settings(home=tmp_path / "var", mlruns=mlruns, **(given | settings))  # type: ignore[arg-type]
        opened.append(Runtime(found, voice=False))
        return opened[-1].start()

    yield make
    for runtime in opened:
        runtime.close()


def until(happened: Callable[[], bool], within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


def health(runtime: Runtime, *, answers: bool = True) -> dict[str, object]:
    return Health(
        runtime, OpenCalls(counted=lambda _number: None), None, lambda: {"vllm": answers}, None
    ).report()


def test_a_call_keeps_the_adapter_that_it_began_with_and_its_end_lets_the_server_forget_it(
    server: VllmLike,
    registry: AdapterRegistry,
    make_decision: DecisionMaker,
    tmp_path: Path,
    open_runtime: Open,
) -> None:
    promote_talk(registry, make_decision, tmp_path, 1)
    runtime = open_runtime(dialogue_adapter=f"{TALK}@champion")
    (old,) = server.loras
    first = runtime.open_call("text", typed=True)
    first.start()
    promote_talk(registry, make_decision, tmp_path, 2)
    until(lambda: runtime.dialogue.current.version == f"{TALK}/2")
    second = runtime.open_call("text", typed=True)
    second.start()
    proofs = server.chats(old)
    first.hear(QUESTION)
    second.hear(QUESTION)
    assert [call.turns[-1].llm_engine for call in (first, second)] == ["vllm", "vllm"]
    assert [call.turns[-1].answer for call in (first, second)] == [ANSWER, ANSWER]
    assert server.chats(old) == proofs + 1
    assert server.bodies[-1]["model"] == runtime.dialogue.current.identity
    assert first.call.engines["dialogue"] == f"{TALK}/1"
    assert second.call.engines["dialogue"] == f"{TALK}/2"
    assert old in server.loras
    first.hang_up()
    del first
    until(lambda: old not in server.loras)
    assert server.denied == 0


def test_health_names_the_engine_the_adapter_and_what_keeps_a_new_one_from_serving(
    server: VllmLike,
    registry: AdapterRegistry,
    make_decision: DecisionMaker,
    tmp_path: Path,
    open_runtime: Open,
) -> None:
    promote_talk(registry, make_decision, tmp_path, 1)
    runtime = open_runtime(dialogue_adapter=f"{TALK}@champion", profile="production")
    report = health(runtime)
    assert report["status"] == "ok"
    assert (report["dialogue_adapter"], report["dialogue_adapter_problem"]) == (f"{TALK}/1", None)
    assert "The vLLM server: vllm_url is set, with banking-dialogue-lora@champion." in str(report["engines"])
    assert KEY not in str(report)
    promote_talk(registry, make_decision, tmp_path, 2, rank=64)
    until(lambda: health(runtime)["dialogue_adapter_problem"] is not None)
    assert "max_lora_rank" in str(health(runtime)["dialogue_adapter_problem"])
    assert health(runtime)["dialogue_adapter"] == f"{TALK}/1"
    assert health(runtime, answers=False)["status"] == "degraded"


@pytest.mark.parametrize(
    "fault", [Reply(status=500), Reply(("junk",)), Reply(hang=True)], ids=["refused", "junk", "silent"]
)
def test_a_call_goes_on_with_the_fallback_while_the_server_fails(
    fault: Reply, server: VllmLike, open_runtime: Open
) -> None:
    runtime = open_runtime(vllm_timeout_s=0.5, vllm_max_retries=0)
    call = runtime.open_call("text", typed=True)
    call.start()
    server.faults = [fault]
    call.hear(QUESTION)
    call.hear(QUESTION)
    failed, answered = call.turns[-2:]
    assert failed.error.startswith("vllm: ")
    assert failed.llm_engine == "embedded"
    assert (answered.llm_engine, answered.answer) == ("vllm", ANSWER)
    assert health(runtime)["dialogue_adapter"] is None


def test_a_server_that_is_down_at_the_start_is_no_reason_to_take_no_calls(
    registry: AdapterRegistry, make_decision: DecisionMaker, tmp_path: Path, open_runtime: Open
) -> None:
    promote_talk(registry, make_decision, tmp_path, 1)
    runtime = open_runtime(dialogue_adapter=f"{TALK}@champion", vllm_url="http://127.0.0.1:1")
    call = runtime.open_call("text", typed=True)
    call.start()
    call.hear(QUESTION)
    assert call.turns[-1].llm_engine == "embedded"
    assert "cannot be reached" in str(health(runtime)["dialogue_adapter_problem"])
