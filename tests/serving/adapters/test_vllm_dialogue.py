"""From a promotion in the registry to the adapter that a vLLM server answers with, and back."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.adapters.live_dialogue import LiveDialogue
from serving.adapters.pin import Reference
from serving.adapters.promotion import rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.vllm_dialogue import AdaptableVllm, VllmFolder
from serving.errors import EngineError, IntegrityError, UnavailableError
from serving.language.chat_http import Limits
from serving.language.protocols import Llm, LlmRequest, Message, TextDelta
from serving.language.vllm import VllmServer
from serving.language.vllm_llm import VllmLlm
from tests.serving.adapters.conftest import DecisionMaker
from tests.serving.adapters.talk_bundles import TALK, promote_talk, talk_bundle
from tests.serving.chat_server import Reply
from tests.serving.vllm_server import BASE, VllmLike

NEVER = 1e6
REQUEST = LlmRequest((Message("user", "How long does a transfer take?"),), (), max_tokens=64)
Promote = Callable[..., None]
Opened = Callable[..., LiveDialogue]


@pytest.fixture
def promoted(registry: AdapterRegistry, make_decision: DecisionMaker, tmp_path: Path) -> Promote:
    """Registers version `number` of the dialogue adapter and makes it the champion."""

    return lambda number, **options: promote_talk(registry, make_decision, tmp_path, number, **options)


@pytest.fixture
def server() -> Iterator[VllmLike]:
    with VllmLike() as running:
        yield running


@pytest.fixture
def opened(registry: AdapterRegistry, server: VllmLike, tmp_path: Path) -> Iterator[Opened]:
    """What keeps the champion in service at the server; its watcher sleeps unless `poll_s` is given."""
    made: list[LiveDialogue] = []

    def make(client: VllmServer | None = None, poll_s: float = NEVER, seen_as: str = "") -> LiveDialogue:
        llm = VllmLlm(client or server.client(), BASE, Limits(5.0, 0))
        engine = AdaptableVllm(llm, VllmFolder(tmp_path / "shared", seen_as))
        reference = Reference(TALK, "champion")
        made.append(LiveDialogue(engine, registry, tmp_path / "store", reference, poll_s=poll_s))
        return made[-1]

    yield make
    for live in made:
        live.close()


def mark(server: VllmLike, llm: Llm) -> str:
    """What the server read from the folder of the adapter that answers, and that nothing else answers."""
    words = {event.text for event in llm.stream(REQUEST) if isinstance(event, TextDelta)}
    assert len(words) == 1
    return words.pop()


def until(happened: Callable[[], bool], within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


def test_the_champion_is_loaded_under_a_name_of_version_and_checksum(
    server: VllmLike, promoted: Promote, opened: Opened, registry: AdapterRegistry, tmp_path: Path
) -> None:
    promoted(1)
    live = opened().start()
    sha256 = registry.get(TALK).verify().sha256
    (name,) = server.loras
    assert name == f"{TALK}-1-{sha256[:12]}" == live.current.identity
    assert (live.current.version, live.problem) == (f"{TALK}/1", "")
    folder = tmp_path / "shared" / name
    assert server.loras[name].folder == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    mark(server, live.current.llm)
    assert server.bodies[-1]["model"] == name
    assert server.chats(BASE) == 0


def test_a_promotion_and_a_rollback_reach_new_calls_and_leave_calls_in_progress_alone(
    server: VllmLike, promoted: Promote, opened: Opened, registry: AdapterRegistry
) -> None:
    promoted(1)
    live = opened().start()
    held = live.current
    promoted(2)
    assert live.check()
    assert live.current.version == f"{TALK}/2"
    mark(server, held.llm)
    assert server.bodies[-1]["model"] == held.identity
    rollback(registry, TALK, by="ann", reason="worse")
    assert live.check()
    assert live.current.identity == held.identity
    assert server.denied == 0


def test_the_watcher_unloads_an_adapter_after_the_last_call_that_held_it(
    server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    promoted(1)
    live = opened(poll_s=0.01).start()
    held = live.current
    old = held.identity
    promoted(2)
    until(lambda: live.current.version == f"{TALK}/2")
    looks = len(server.asked)
    mark(server, held.llm)
    assert old in server.loras
    del held
    until(lambda: old not in server.loras)
    assert f"/v1/unload_lora_adapter {old}" in server.asked[looks:]
    assert set(server.loras) == {live.current.identity}


def test_an_adapter_that_the_server_refuses_leaves_the_one_before_and_says_why(
    server: VllmLike, promoted: Promote, opened: Opened, registry: AdapterRegistry
) -> None:
    promoted(1)
    live = opened().start()
    promoted(2, rank=64)
    assert not live.check()
    assert "greater than max_lora_rank 16" in live.problem
    assert live.current.version == f"{TALK}/1"
    mark(server, live.current.llm)
    rollback(registry, TALK, by="ann", reason="cannot be served")
    assert not live.check()
    assert live.problem == ""


def test_an_adapter_that_does_not_answer_leaves_the_one_before(
    server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    promoted(1)
    live = opened().start()
    promoted(2)
    server.faults = [Reply(("junk",))]
    assert not live.check()
    assert "does not answer" in live.problem
    assert live.current.version == f"{TALK}/1"


def test_a_server_that_is_not_up_yet_is_waited_for_and_its_base_never_speaks_alone(
    server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    promoted(1)
    client = server.client()
    with pytest.MonkeyPatch.context() as away:
        away.setattr(client, "load", VllmServer("http://127.0.0.1:1").load)
        live = opened(client, poll_s=0.01).start()
        assert live.current.version == ""
        assert "cannot be reached" in live.problem
        with pytest.raises(UnavailableError, match="not loaded yet"):
            list(live.current.llm.stream(REQUEST))
    until(lambda: live.current.version == f"{TALK}/1")
    until(lambda: live.problem == "")
    mark(server, live.current.llm)
    assert server.chats(BASE) == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_overloaded_at_the_start_is_waited_for_too(
    status: int, server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    """It loads the adapter, and has no room for an answer: a restart at the busiest hour must not fail."""
    promoted(1)
    live = opened()
    server.faults = [Reply(status=status, body=b"{}")]
    live.start()
    assert (live.current.version, "does not answer" in live.problem) == ("", True)
    assert live.check()
    assert (live.current.version, live.problem) == (f"{TALK}/1", "")


def test_a_server_that_is_overloaded_at_the_start_speaks_with_the_last_good_adapter_if_that_answers(
    server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    promoted(1)
    opened().start()
    promoted(2)
    live = opened()
    server.faults = [Reply(status=500, body=b"{}")]
    assert live.start().current.version == f"{TALK}/1"
    assert live.check()
    assert live.current.version == f"{TALK}/2"


def test_a_server_that_cannot_take_tool_calls_at_all_is_said_at_the_start(
    server: VllmLike, promoted: Promote, opened: Opened
) -> None:
    promoted(1)
    server.faults = [Reply(status=400, body=b"{}")]
    with pytest.raises(EngineError, match="--tool-call-parser"):
        opened().start()


def test_an_altered_adapter_never_reaches_the_server(
    server: VllmLike, promoted: Promote, opened: Opened, registry: AdapterRegistry
) -> None:
    promoted(1)
    weights = registry.get(TALK).bundle / "adapter_model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="altered"):
        opened().start()
    assert server.loras == {}


def test_the_server_is_told_the_folder_as_it_sees_it(
    server: VllmLike, promoted: Promote, opened: Opened, tmp_path: Path
) -> None:
    promoted(1)
    (tmp_path / "mounted").symlink_to(tmp_path / "shared")
    opened(seen_as=f"{tmp_path}/mounted/").start()
    (lora,) = server.loras.values()
    assert lora.folder.startswith(f"{tmp_path}/mounted/{TALK}-1-")


@pytest.mark.parametrize(("mode", "shared"), [(None, False), (0o700, False), (0o750, True)])
def test_the_group_reads_adapters_only_where_it_may_read_their_folder(
    mode: int | None, shared: bool, server: VllmLike, promoted: Promote, opened: Opened, tmp_path: Path
) -> None:
    promoted(1)
    if mode is not None:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(mode)
    opened().start()
    (folder,) = (tmp_path / "shared").iterdir()
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == (0o750 if shared else 0o700)
    assert modes == {0o640 if shared else 0o600}


def test_only_the_newest_folders_are_kept(tmp_path: Path) -> None:
    shared = VllmFolder(tmp_path / "shared")
    for number in range(1, 12):
        shared.write(talk_bundle(tmp_path / f"talk-{number}", number), f"{TALK}/{number}")
    left = {int(folder.name.split("-")[3]) for folder in (tmp_path / "shared").iterdir()}
    assert left == set(range(4, 12))


def test_servers_that_write_the_same_adapter_at_once_all_have_it_whole(tmp_path: Path) -> None:
    """A promotion reaches every server of a shared folder within the same second."""
    bundle = talk_bundle(tmp_path / "talk", 1)
    begin = threading.Barrier(8)

    def server(_number: int) -> list[str]:
        begin.wait(10)
        return [VllmFolder(tmp_path / "shared").write(bundle, f"{TALK}/1").folder for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        folders = {folder for written in pool.map(server, range(8)) for folder in written}
    (folder,) = folders
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [Path(folder).name]
    weights = (bundle / "adapter_model.safetensors").read_bytes()
    assert (Path(folder) / "adapter_model.safetensors").read_bytes() == weights


def test_a_folder_that_is_whole_is_left_alone_and_one_that_was_altered_is_replaced(tmp_path: Path) -> None:
    """vLLM may be reading it for another server."""
    bundle, shared = talk_bundle(tmp_path / "talk", 1), VllmFolder(tmp_path / "shared")
    folder = Path(shared.write(bundle, f"{TALK}/1").folder)
    before = folder.stat().st_ino
    shared.write(bundle, f"{TALK}/1")
    assert folder.stat().st_ino == before
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-2] + b"x\n")
        shared.write(bundle, f"{TALK}/1")
        assert (folder / name).read_bytes() == whole


def test_a_group_that_may_read_the_folder_later_may_read_what_lies_there_then(tmp_path: Path) -> None:
    bundle, shared = talk_bundle(tmp_path / "talk", 1), VllmFolder(tmp_path / "shared")
    folder = Path(shared.write(bundle, f"{TALK}/1").folder)
    (tmp_path / "shared").chmod(0o750)
    shared.write(bundle, f"{TALK}/1")
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o750, 0o640, 0o640]


def test_folders_of_a_model_whose_name_only_begins_alike_are_never_removed(tmp_path: Path) -> None:
    shared = VllmFolder(tmp_path / "shared")
    other = tmp_path / "shared" / f"{TALK}-de-1-0123456789ab"
    other.mkdir(parents=True)
    (other / "adapter_model.safetensors").write_bytes(b"weights")
    os.utime(other, (1, 1))
    bundle = talk_bundle(tmp_path / "talk", 1)
    for number in range(1, 12):
        shared.write(bundle, f"{TALK}/{number}")
    assert other.is_dir()


def test_an_adapter_that_another_user_s_server_wrote_long_ago_is_not_removed_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = VllmFolder(tmp_path / "shared")
    bundle = talk_bundle(tmp_path / "talk", 1)
    first = Path(shared.write(bundle, f"{TALK}/1").folder)
    for number in range(2, 9):
        shared.write(bundle, f"{TALK}/{number}")
    (tmp_path / "shared" / f"{TALK}-9-0123456789ab").mkdir()

    def not_ours(_path: Path) -> None:
        raise PermissionError("Operation not permitted")

    os.utime(first, (1, 1))
    monkeypatch.setattr("serving.adapters.vllm_dialogue.os.utime", not_ours)
    assert Path(shared.write(bundle, f"{TALK}/1").folder).is_dir()
