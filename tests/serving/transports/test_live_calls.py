"""Admission: servers share the slots, each gives back what it took; how calls ended is kept for a while."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from serving.call.live_background import BackgroundState
from serving.call.live_memory import MemoryLiveState
from serving.errors import UnavailableError
from serving.services.live_calls import MAX_ENDINGS, FarEnding, LiveCalls
from tests.serving.transports.loopback import until


def never(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("no call is opened here")


@pytest.fixture
def shared() -> MemoryLiveState:
    return MemoryLiveState()


@pytest.fixture
def state(shared: MemoryLiveState) -> Iterator[BackgroundState]:
    with closing(BackgroundState(shared)) as background:
        yield background


def test_two_servers_share_their_slots(shared: MemoryLiveState, state: BackgroundState) -> None:
    with closing(BackgroundState(shared)) as second:
        one, other = LiveCalls(never, state, most=1), LiveCalls(never, second, most=1)
        call_id = asyncio.run(one.admit())
        with pytest.raises(UnavailableError, match="busy"):
            asyncio.run(other.admit())
        one.leave(call_id)
        one.leave(call_id)
        until(lambda: asyncio.run(other.could_take()))


def test_many_at_the_same_moment_get_no_more_slots_than_there_are(state: BackgroundState) -> None:
    refused: list[str] = []
    counted: list[int] = []
    live = LiveCalls(never, state, most=3, counted=counted.append, refused=refused.append)

    async def rush() -> list[Any]:
        return await asyncio.gather(*(live.admit() for _ in range(10)), return_exceptions=True)

    taken = [found for found in asyncio.run(rush()) if isinstance(found, str)]
    assert len(taken) == len(live) == 3
    assert refused == ["full"] * 7
    assert counted[-1] == 3


def test_a_shared_state_that_is_out_of_reach_refuses_and_keeps_no_slot(shared: MemoryLiveState) -> None:
    class Gone(MemoryLiveState):
        def admit(self, call_id: str, most: int) -> None:
            raise UnavailableError("Redis does not answer.")

    with closing(BackgroundState(Gone())) as state:
        refused: list[str] = []
        live = LiveCalls(never, state, most=3, refused=refused.append)
        with pytest.raises(UnavailableError, match="Redis"):
            asyncio.run(live.admit())
        assert not live.busy
        assert refused == ["unavailable"]


def test_a_server_that_drains_takes_none(state: BackgroundState) -> None:
    refused: list[str] = []
    live = LiveCalls(never, state, most=3, refused=refused.append)
    live.drain()
    live.drain()
    assert not asyncio.run(live.could_take())
    assert refused == ["draining"]


def test_a_call_that_cannot_be_made_is_not_waited_for(state: BackgroundState) -> None:
    live = LiveCalls(never, state, most=1)
    with pytest.raises(AssertionError):
        live.open(None, "a", "")  # type: ignore[arg-type]
    assert not live.busy


def test_a_call_that_cannot_be_filed_keeps_no_other_from_it(state: BackgroundState) -> None:
    told: list[str] = []

    class Breaking:
        def abandon(self, why: str) -> None:
            told.append(why)
            raise RuntimeError

    live = LiveCalls(lambda *_line, **_options: Breaking(), state, most=2)  # type: ignore[arg-type]
    for call_id in ("a", "b"):
        live.open(None, call_id, "")  # type: ignore[arg-type]
    live.abandon("the server stops")
    assert told == ["the server stops"] * 2


def test_the_first_word_about_a_calls_end_counts_and_old_ones_are_forgotten(state: BackgroundState) -> None:
    live = LiveCalls(never, state, most=1)
    live.ended("CA0", FarEnding.TRANSFER)
    live.ended("CA0", FarEnding.HANG_UP)
    live.ended("", FarEnding.HANG_UP)
    assert live.ending("CA0") is FarEnding.TRANSFER
    assert live.ending("") is None
    for number in range(MAX_ENDINGS):
        live.ended(f"CB{number}", FarEnding.HANG_UP)
    assert live.ending("CA0") is None
