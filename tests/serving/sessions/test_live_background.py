"""A live state on an event loop: nobody waits for the network, and no slot is lost."""

import asyncio
import threading
import time

import pytest

from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.call.live_state import LiveSnapshot
from serving.errors import UnavailableError
from tests.serving.sessions.states import eventually, state

MANY = 100


class HangingState(MemoryLiveState):
    """A state whose network stands still until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.network = threading.Event()
        self.seen: list[str] = []

    def admit(self, call_id: str, most: int) -> None:
        self.network.wait(10)
        super().admit(call_id, most)

    def publish(self, snapshot: LiveSnapshot) -> None:
        self.network.wait(10)
        self.seen.append(snapshot.happened)
        super().publish(snapshot)

    def release(self, call_id: str) -> None:
        self.network.wait(10)
        self.seen.append(f"release {call_id}")
        super().release(call_id)


def test_publishing_and_releasing_return_at_once_while_the_network_hangs() -> None:
    hanging = HangingState()
    live = BackgroundState(hanging)
    start = time.perf_counter()
    for turn in range(500):
        live.publish(state("a", turn=turn))
    live.release("a")
    assert time.perf_counter() - start < 5, "half of what one of them waits for"
    hanging.network.set()
    live.close()


def test_what_is_published_leaves_in_its_order() -> None:
    hanging = HangingState()
    live = BackgroundState(hanging)
    hanging.network.set()
    live.admit("a", MANY)
    hanging.network.clear()
    live.publish(state("a", "one"))
    live.publish(state("a", "two"))
    live.release("a")
    live.publish(state("b", "other"))
    hanging.network.set()
    live.close()
    assert hanging.seen == ["one", "two", "release a", "other"]


def test_the_oldest_states_give_way_and_no_release_does() -> None:
    hanging = HangingState()
    live = BackgroundState(hanging, most_queued=3)
    live.publish(state("a", "on its way"))
    eventually(lambda: not live._states)
    for number in range(10):
        live.publish(state("a", str(number)))
        live.release(f"call{number}")
    hanging.network.set()
    live.close()
    assert live.dropped == 7
    assert [line for line in hanging.seen if "release" not in line] == ["on its way", "7", "8", "9"]
    assert [line for line in hanging.seen if "release" in line] == [f"release call{n}" for n in range(10)]


def test_a_state_that_breaks_does_not_keep_the_next_ones() -> None:
    class Broken(HangingState):
        def publish(self, snapshot: LiveSnapshot) -> None:
            if snapshot.happened == "broken":
                raise ZeroDivisionError
            super().publish(snapshot)

    broken = Broken()
    broken.network.set()
    live = BackgroundState(broken)
    live.publish(state("a", "broken"))
    live.publish(state("a", "whole"))
    live.close()
    assert broken.seen == ["whole"]


def test_an_admission_on_the_event_loop_leaves_it_free() -> None:
    hanging = HangingState()
    live = BackgroundState(hanging)

    async def serve() -> int:
        admission = asyncio.ensure_future(live.admitted("a", 1))
        ticks = 0
        while ticks < 20:
            await asyncio.sleep(0)
            ticks += 1
        assert not admission.done()
        hanging.network.set()
        await admission
        with pytest.raises(UnavailableError):
            await live.admitted("b", 1)
        return ticks

    assert asyncio.run(serve()) == 20
    live.close()


def test_the_slot_of_a_caller_who_left_while_waiting_for_it_is_given_back() -> None:
    hanging = HangingState()
    live = BackgroundState(hanging)

    async def serve() -> None:
        admission = asyncio.ensure_future(live.admitted("a", 1))
        await asyncio.sleep(0)
        admission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admission
        hanging.network.set()
        await asyncio.to_thread(eventually, lambda: "release a" in hanging.seen)
        await live.admitted("b", 1)

    asyncio.run(serve())
    live.close()


def test_closing_twice_and_using_it_afterwards_harms_nobody() -> None:
    live = BackgroundState(MemoryLiveState())
    live.publish(state("a"))
    live.close()
    live.close()
    live.publish(state("a"))
    live.release("a")


def test_a_thread_that_cannot_be_had_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = threading.Thread.start, [True]

    def once(thread: threading.Thread) -> None:
        if thread.name == "live-state" and refused:
            refused.clear()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", once)
    memory = MemoryLiveState()
    live = BackgroundState(memory)
    live.admit("a", 1)
    live.release("a")
    live.publish(state("b"))
    eventually(lambda: not _busy(memory))
    live.close()


def _busy(memory: MemoryLiveState) -> bool:
    try:
        memory.admit("c", 1)
    except UnavailableError:
        return True
    return False
