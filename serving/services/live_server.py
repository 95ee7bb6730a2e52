"""Live calls over web sockets: `/ws` for browsers, `/twilio/…` for telephones, and the page at `/static/`.

Who may open a line is decided, and a slot is taken, before a socket is accepted.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, WebSocket
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from loguru import logger

from serving.errors import UnavailableError, VoicebotError
from serving.services.call_socket import GONE, LATER, CallSocket, End, Times
from serving.services.live_calls import FarEnding, LiveCaller, LiveCalls
from serving.services.live_options import LiveOptions, may_open
from serving.services.twilio_voice import (
    STREAM_PATH,
    add_twilio_routes,
    stream_is_allowed,
)
from serving.transports.browser import BrowserLine, BrowserReader
from serving.transports.inbound import Opened, Reader
from serving.transports.outbox import CarriedLine, Outbox
from serving.transports.twilio import TwilioLine, TwilioReader

PAGE = Path(__file__).parent / "page"
_RETRY_S = "30"
_TURN_AWAY_S = 5.0
"""For a socket to open, or to take the word that it is not carried, seconds."""
TWILIO_TIMES = Times(idle_s=10.0)
"""Twilio sends sound fifty times a second, also of a silent caller."""

MakeLine = Callable[[Opened, Outbox], CarriedLine]


def add_live_routes(
    app: FastAPI, live: LiveCalls, options: LiveOptions, *, browser_times: Times | None = None
) -> None:
    """Serve live calls and the page."""
    browser_times = browser_times or Times()

    @app.websocket("/ws")
    async def browser(socket: WebSocket) -> None:
        origin = socket.headers.get("origin")
        if not may_open(origin, socket.headers.get("host", ""), options):
            logger.warning("a page of another site may not open a line; VOICEBOT_ALLOWED_ORIGINS lists pages")
            await _deny(socket, 403, "This page may not open a line.", "Add its origin to the settings.")
            return
        call_id = await _admitted(socket, live)
        if call_id:
            await _carry(
                socket, live, call_id, BrowserReader(), lambda _opened, box: BrowserLine(box), browser_times
            )

    @app.websocket(STREAM_PATH)
    async def telephone(socket: WebSocket) -> None:
        if not stream_is_allowed(socket, options):
            await _deny(socket, 403, "The request is not signed by Twilio.", "")
            return
        call_id = await _admitted(socket, live)
        if call_id:
            await _carry(
                socket,
                live,
                call_id,
                TwilioReader(),
                lambda opened, box: TwilioLine(opened.stream, box),
                TWILIO_TIMES,
            )

    add_twilio_routes(app, live, options)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("static/")

    app.mount("/static", StaticFiles(directory=PAGE, html=True, check_dir=False), name="page")


async def _admitted(socket: WebSocket, live: LiveCalls) -> str:
    """A call's id, or nothing where the caller was turned away.

    A browser does not show what a refused socket was answered, so a page is told over the open socket.
    """
    try:
        return await live.admit()
    except UnavailableError as error:
        if socket.headers.get("origin") is None:
            await _deny(socket, 503, error.message, error.advice)
        else:
            await _tell_and_close(socket, error)
        return ""


async def _deny(socket: WebSocket, status: int, error: str, advice: str) -> None:
    headers = {"retry-after": _RETRY_S} if status == 503 else None
    answer = JSONResponse({"error": error, "advice": advice}, status_code=status, headers=headers)
    with contextlib.suppress(*GONE):
        async with asyncio.timeout(_TURN_AWAY_S):
            await socket.send_denial_response(answer)


async def _tell_and_close(socket: WebSocket, error: VoicebotError) -> None:
    outbox = Outbox()
    BrowserLine(outbox).tell("error", {"error": error.message, "advice": error.advice})
    with contextlib.suppress(*GONE):
        async with asyncio.timeout(_TURN_AWAY_S):
            await socket.accept()
            await socket.send_text(str(outbox.take()))
            await socket.close(LATER, error.message)


async def _carry(
    socket: WebSocket, live: LiveCalls, call_id: str, reader: Reader, make_line: MakeLine, times: Times
) -> None:
    """Accept a socket whose call has a slot, carry it, and give the slot back whatever happens."""
    far_call = ""

    def open_call(line: CarriedLine, opened: Opened) -> LiveCaller:
        nonlocal far_call
        far_call = opened.far_call
        return live.open(line, call_id, opened.caller)

    try:
        try:
            async with asyncio.timeout(_TURN_AWAY_S):
                await socket.accept()
        except GONE:
            logger.info("a caller was gone before the line was open")
            return
        carried = CallSocket(socket, reader, make_line, open_call, times)
        live.carry(call_id, carried)
        with logger.contextualize(call=call_id):
            end = await carried.run()
        live.ended(far_call, _far_ending(end, transferred=carried.transferred))
        if end.why or reader.counts:
            logger.info("line of {}: {}; {}", call_id, end.why or "ended", dict(reader.counts))
    finally:
        live.leave(call_id)


def _far_ending(end: End, *, transferred: bool) -> FarEnding:
    if transferred:
        return FarEnding.TRANSFER
    return FarEnding.BROKEN if end.why else FarEnding.HANG_UP
