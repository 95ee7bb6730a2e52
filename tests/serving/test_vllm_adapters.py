"""Adapters at a vLLM server that come and go while it answers: no answer mixes two, none is lost or left."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response

from serving.errors import EngineError, VoicebotError
from serving.language.chat_http import Limits
from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta
from serving.language.vllm import ServerAwayError
from serving.language.vllm_llm import AdapterFolder, VllmLlm
from tests.serving.chat_server import Reply, text_reply
from tests.serving.vllm_server import BASE, VllmLike, write_adapter

REQUEST = LlmRequest((Message("user", "How long does a transfer take?"),), (), max_tokens=64)
MakeAdapter = Callable[..., AdapterFolder]


def engine(server: VllmLike, timeout_s: float = 10.0) -> VllmLlm:
    return VllmLlm(server.client(), BASE, Limits(timeout_s, 0))


def spoken(events: Iterator[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta)).strip()


def speakers(llm: VllmLlm) -> set[str]:
    """Whose words an answer holds."""
    return set(spoken(llm.stream(REQUEST)).split())


@pytest.fixture
def server() -> Iterator[VllmLike]:
    with VllmLike() as running:
        yield running


@pytest.fixture
def adapter(tmp_path: Path) -> MakeAdapter:
    def make(number: int, **options: Any) -> AdapterFolder:
        folder = write_adapter(tmp_path / f"v{number}", f"v{number}", **options)
        return AdapterFolder(f"talk-{number}-{number:012x}", f"talk/{number}", str(folder))

    return make


def test_each_engine_answers_with_its_own_adapter_and_the_base_with_none(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base = engine(server)
    first, second = base.with_folder(adapter(1)), base.with_folder(adapter(2))
    assert (first.info.model, second.info.model) == (f"{BASE} + talk/1", f"{BASE} + talk/2")
    for _ in range(2):
        assert [speakers(llm) for llm in (base, first, second)] == [{"base"}, {"v1"}, {"v2"}]
    assert server.denied == 0


def test_an_adapter_is_unloaded_when_its_last_engine_is_gone_and_not_before(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base, kept = engine(server), adapter(1)
    first, again, second = base.with_folder(kept), base.with_folder(kept), base.with_folder(adapter(2))
    assert base.unload_unused() == []
    del first
    assert base.unload_unused() == []
    assert speakers(again) == {"v1"}
    del again
    assert base.unload_unused() == [kept.name]
    assert base.unload_unused() == []
    assert speakers(second) == {"v2"}
    assert len(server.loras) == 1


def test_an_adapter_that_the_server_does_not_unload_keeps_no_other_one_loaded(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    """Newer versions answer so where the engine had dropped it by itself."""
    base = engine(server)
    base.with_folder(adapter(1))
    body = {"error": {"message": "Failed to remove lora adapter", "type": "InternalServerError"}}
    server.unload_fault = JSONResponse(body, 500)
    assert base.unload_unused() == []
    server.unload_fault = None
    second = adapter(2)
    base.with_folder(second)
    assert base.unload_unused() == [second.name]


def test_what_a_server_that_is_away_did_not_unload_is_unloaded_when_it_is_back(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base, kept = engine(server), adapter(1)
    base.with_folder(kept)
    server.unload_fault = Response("starting", 503)
    with pytest.raises(ServerAwayError):
        base.unload_unused()
    server.unload_fault = None
    assert base.unload_unused() == [kept.name]


def test_an_answer_in_progress_keeps_its_adapter_loaded(server: VllmLike, adapter: MakeAdapter) -> None:
    base, kept = engine(server), adapter(1)
    llm = base.with_folder(kept)
    stream = llm.stream(REQUEST)
    next(stream)
    del llm
    assert base.unload_unused() == []
    assert set(spoken(stream).split()) == {"v1"}
    del stream
    assert base.unload_unused() == [kept.name]


def test_an_engine_that_went_in_a_circle_of_references_is_noticed_too(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base, kept = engine(server), adapter(1)
    llm = base.with_folder(kept)
    circle: list[Any] = [llm]
    circle.append(circle)
    del llm, circle
    gc.collect()
    assert base.unload_unused() == [kept.name]


def test_an_adapter_that_does_not_load_is_an_error_and_the_one_before_goes_on(
    server: VllmLike, adapter: MakeAdapter, tmp_path: Path
) -> None:
    base = engine(server)
    first = base.with_folder(adapter(1))
    gone = AdapterFolder("talk-2-00", "talk/2", str(tmp_path / "gone"))
    for broken in (gone, adapter(3, rank=512)):
        with pytest.raises(VoicebotError):
            base.with_folder(broken)
    assert speakers(first) == {"v1"}
    assert base.unload_unused() == []


@pytest.mark.parametrize(
    "fault",
    [Reply(("junk",)), Reply(status=400, body=b"{}"), text_reply(), Reply((), done=False)],
    ids=["no answer", "refused", "empty", "cut"],
)
def test_an_adapter_that_loads_and_does_not_answer_is_never_handed_out_and_unloaded(
    fault: Reply, server: VllmLike, adapter: MakeAdapter
) -> None:
    base, mute = engine(server), adapter(2)
    server.faults = [fault]
    with pytest.raises(EngineError, match="talk/2 does not answer"):
        base.with_folder(mute)
    gc.collect()
    assert base.unload_unused() == [mute.name]
    assert speakers(base.with_folder(mute)) == {"v2"}  # once it answers, it is taken


def test_calls_are_answered_while_the_next_adapter_takes_its_time_to_load(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base = engine(server)
    first = base.with_folder(adapter(1))
    server.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(base.with_folder, adapter(2))
        assert speakers(first) == {"v1"}
        assert not loading.done()
        server.gate.set()
        assert speakers(loading.result(10)) == {"v2"}


def test_after_a_restart_of_the_server_every_engine_gets_its_own_adapter_back_by_one_load(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base, names = engine(server), (adapter(1), adapter(2))
    engines = [base.with_folder(name) for name in names]
    server.restart()
    server.asked.clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(speakers, engines * 8)) == [{"v1"}, {"v2"}] * 8
    loads = sorted(asked for asked in server.asked if asked.startswith("/v1/load"))
    assert loads == [f"/v1/load_lora_adapter {kept.name}" for kept in names]


def test_an_adapter_that_cannot_be_loaded_again_is_not_asked_for_again_either(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    kept = adapter(1)
    llm = engine(server).with_folder(kept)
    server.restart()
    (Path(kept.folder) / "adapter_config.json").unlink()
    asked = server.chats(kept.name)
    with pytest.raises(VoicebotError):
        list(llm.stream(REQUEST))
    assert server.chats(kept.name) == asked + 1


def test_a_server_that_always_denies_the_adapter_is_asked_twice_and_no_more(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    kept = adapter(1)
    llm = engine(server).with_folder(kept)
    asked = server.chats(kept.name)
    server.faults = [Reply(status=404, body=b"{}")] * 5
    with pytest.raises(EngineError, match="404"):
        list(llm.stream(REQUEST))
    assert server.chats(kept.name) == asked + 2


def test_a_server_that_loads_too_slowly_after_a_restart_costs_one_answer_its_time_and_no_more(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    llm = engine(server, timeout_s=0.4).with_folder(adapter(1))
    server.restart()
    server.gate.clear()
    with pytest.raises(VoicebotError):
        list(llm.stream(REQUEST))
    server.gate.set()
    assert speakers(llm) == {"v1"}


def test_a_hundred_calls_during_swaps_are_each_answered_by_one_adapter_from_begin_to_end(
    server: VllmLike, adapter: MakeAdapter
) -> None:
    base, versions = engine(server, timeout_s=30), [adapter(number) for number in range(1, 5)]
    serving = [(1, base.with_folder(versions[0]))]
    done = threading.Event()

    def swap() -> int:
        swaps = 0
        while not done.is_set():
            swaps += 1
            chosen = swaps % len(versions)
            serving[0] = (chosen + 1, base.with_folder(versions[chosen]))
            base.unload_unused()
        return swaps

    def call() -> tuple[int, list[str]]:
        number, llm = serving[0]
        return number, spoken(llm.stream(REQUEST)).split()

    def caller(_number: int) -> list[tuple[int, list[str]]]:
        return [call() for _ in range(2)]

    with ThreadPoolExecutor(101) as pool:
        swapping = pool.submit(swap)
        try:
            answers = [answer for said in pool.map(caller, range(100)) for answer in said]
        finally:
            done.set()
        assert swapping.result(30) > 1
    assert answers == [(number, [f"v{number}"] * 12) for number, _ in answers]
    assert len({number for number, _ in answers}) > 1
    assert server.denied == 0  # nothing was unloaded that a call still had
    base.unload_unused()
    assert len(server.loras) == 1
