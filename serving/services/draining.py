"""A server that lets calls end before it stops: told to, it takes no more and waits for those in progress."""

import logging
import socket
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import uvicorn
import uvicorn.config
from fastapi import FastAPI

from serving.services.live_calls import LiveCalls

MAX_SOCKET_MESSAGE = 1 << 20
"""Bytes; the connection is closed on a larger one (1009). Smaller ones that are too large are refused."""
PING_S = 20.0
_POLITE_S = 5.0
"""For calls that were told to end, to end, seconds."""
_FILING_S = 2.0
"""For records of calls whose answers are waited for no more, seconds."""
WHY = "the server stops"


class DrainingServer(uvicorn.Server):
    """Stops in steps: no new calls; after `drain_s` those left are ended; the end, when all are on record.

    The second SIGINT (Ctrl-C) stops at once.

    Args:
        config: uvicorn's.
        live: the live calls.
        drain_s: how long calls in progress may go on, seconds.
        on_drain: called once when no more calls are to be taken.
        on_start: called once when callers are listened to.
        now: monotonic seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        live: LiveCalls,
        drain_s: float,
        *,
        on_drain: Callable[[], None] = lambda: None,
        on_start: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._live = live
        self._drain_s = drain_s
        self._on_drain = on_drain
        self._on_start = on_start
        self._now = now
        self._asked: float | None = None
        self._ended: float | None = None
        self._abandoned = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop now; uvicorn asks ten times a second."""
        if not await super().on_tick(counter):
            return False
        now = self._now()
        if self._asked is None:
            self._asked = now
            self._live.drain()
            self._on_drain()
        if self.force_exit or not self._live.busy:
            return True
        if self._ended is None and now >= self._asked + self._drain_s:
            self._ended = now
            self._live.stop(WHY)
        if self._ended is None or now < self._ended + _POLITE_S:
            return False
        if not self._abandoned:
            self._abandoned = True
            self._live.abandon(WHY)
        return now >= self._ended + _POLITE_S + _FILING_S


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """How calls are served: bounded messages, no compression of sound, dead connections found by pings."""
    return uvicorn.Config(
        app,
        log_level="warning",
        log_config=_log_config(),
        ws_max_size=MAX_SOCKET_MESSAGE,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


class WithoutDenials(logging.Filter):
    """Drops uvicorn's complaint about each socket that was refused with a status, which is meant."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is kept."""
        return "without completing handshake" not in record.getMessage()


def _log_config() -> dict[str, Any]:
    config = deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["filters"] = {"denials": {"()": WithoutDenials}}
    config["handlers"]["default"]["filters"] = ["denials"]
    return config
