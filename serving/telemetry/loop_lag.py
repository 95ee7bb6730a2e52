"""How late the event loop is: a task that sleeps a known time and measures how much longer it took.

A loop that is late plays late for every call at once. The task belongs to the server, which starts it beside
its other work and cancels it at the end; it never touches a call.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.telemetry.metrics import TurnMetrics

EVERY_S = 0.1
"""Time between two looks, seconds."""
_MOST_SAMPLES = 600
"""Samples of one wait: a minute. A longer one is no lag but a machine that slept."""


async def watch_loop(
    metrics: "TurnMetrics",
    *,
    every_s: float = EVERY_S,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Observe the lag of the loop that this runs on, until cancelled.

    Args:
        metrics: whose `loop_lag` is told.
        every_s: time between two looks, seconds.
        now: monotonic seconds.
        sleep: how to wait.
    """
    while True:
        due = now() + every_s
        await sleep(every_s)
        for lag in lags(now() - due, every_s):
            metrics.loop_lag.observe(lag)


def lags(late: float, every_s: float) -> list[float]:
    """The lag, and what the looks that it swallowed would have found, seconds.

    One sample for a loop that stood still for a second would weigh as much as one for a tenth of it, and a
    percentile of such samples hides what callers hear (coordinated omission).
    """
    late = max(0.0, late)
    return [late - i * every_s for i in range(min(_MOST_SAMPLES, 1 + int(late / every_s)))]
