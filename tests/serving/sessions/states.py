"""Live states for tests."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from serving.call.live_state import LiveSnapshot

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def state(
    call_id: str, happened: str = "greeting", *, turn: int = 0, began: datetime = BEGAN, server: str = "a"
) -> LiveSnapshot:
    """A call that stands somewhere."""
    return LiveSnapshot(
        call_id=call_id,
        started_at=began,
        at=began + timedelta(seconds=turn),
        transport="browser",
        adapter="banking-lora@3",
        phase="speaking",
        turn=turn,
        epoch=turn + 1,
        happened=happened,
        server=server,
    )


def eventually(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait for something that another thread or process does."""
    pause = threading.Event()
    for _ in range(round(within_s / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError(f"it did not come true within {within_s:g} s")
