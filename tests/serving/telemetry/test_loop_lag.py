"""The event loop's lag is measured in time, not in looks."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from serving.telemetry.loop_lag import lags, watch_loop
from serving.telemetry.metrics import TurnMetrics


def value(metrics: TurnMetrics, sample: str) -> float:
    found = metrics.registry.get_sample_value(f"voicebot_event_loop_lag_seconds_{sample}")
    assert found is not None
    return found


async def watched(metrics: TurnMetrics, late: list[float]) -> None:
    """Watch a loop on a clock of its own that wakes as late as told, then stop."""
    clock = 0.0
    left: Iterator[float] = iter(late)

    async def sleep(seconds: float) -> None:
        nonlocal clock
        behind = next(left, None)
        if behind is None:
            raise asyncio.CancelledError
        clock += seconds + behind

    with contextlib.suppress(asyncio.CancelledError):
        await watch_loop(metrics, every_s=0.1, now=lambda: clock, sleep=sleep)


def test_each_look_is_a_sample() -> None:
    metrics = TurnMetrics()
    asyncio.run(watched(metrics, [0.0, 0.004, 0.03]))
    assert value(metrics, "count") == 3
    assert value(metrics, "sum") == pytest.approx(0.034)


def test_a_long_halt_weighs_as_long_as_it_was() -> None:
    metrics = TurnMetrics()
    asyncio.run(watched(metrics, [0.45]))
    assert value(metrics, "count") == 5
    assert value(metrics, "sum") == pytest.approx(0.45 + 0.35 + 0.25 + 0.15 + 0.05)


def test_a_clock_that_jumps_costs_neither_memory_nor_a_negative_lag() -> None:
    assert lags(-5.0, 0.1) == [0.0]
    assert len(lags(1e9, 0.1)) == 600


def test_a_blocked_loop_is_seen() -> None:
    metrics = TurnMetrics()

    async def blocked() -> None:
        task = asyncio.create_task(watch_loop(metrics, every_s=0.005))
        await asyncio.sleep(0)
        until = time.monotonic() + 0.06
        while time.monotonic() < until:
            pass
        while value(metrics, "count") < 1:
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(asyncio.wait_for(blocked(), 20))
    assert value(metrics, "sum") > 0.05
