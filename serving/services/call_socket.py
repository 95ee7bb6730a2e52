"""One web socket and the call that it carries, until either ends.

The reader hands over what comes in and never waits for the writer; the writer sends what waits in the
outbox, each message within a time limit. Whatever happens to the socket, the call hears of it once, and no
exception of a message or of a call leaves here.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import WebSocket, WebSocketDisconnect
from loguru import logger

from serving.call.faults import fault
from serving.errors import VoicebotError
from serving.services.live_calls import LiveCaller
from serving.transports.inbound import (
    Closed,
    Digit,
    Inbound,
    Marked,
    Opened,
    ProtocolError,
    Reader,
    Refused,
    Sound,
    Typed,
)
from serving.transports.outbox import CarriedLine, Outbox

NORMAL, GOING_AWAY, POLICY, BROKEN, RESTART, LATER = 1000, 1001, 1008, 1011, 1012, 1013
"""Close codes (RFC 6455 and its registry)."""
_HUNG_UP = frozenset({NORMAL, GOING_AWAY})
_LOOK_S = 0.02
GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What a socket that is gone, or takes nothing in time, raises; the words of Starlette and asyncio."""


@dataclass(frozen=True, slots=True)
class Times:
    """Time limits of a socket, in seconds.

    Attributes:
        start_s: until the far end has said who it is.
        idle_s: without any message; dead connections are found by the server's pings before.
        send_s: for one message to be taken by the connection.
        close_s: for the rest, once the call is over.
    """

    start_s: float = 10.0
    idle_s: float = 600.0
    send_s: float = 5.0
    close_s: float = 2.0


@dataclass(frozen=True, slots=True)
class End:
    """Why a line is closed.

    Attributes:
        code: for the far end.
        why: for the call and the far end; empty for a plain hang-up or the call's own end. Where it is
            not, the caller may still be there.
        gone: the far end is not there any more.
    """

    code: int
    why: str = ""
    gone: bool = False


class CallSocket:
    """Carries one call.

    Args:
        socket: accepted.
        reader: of the socket's format.
        make_line: once the far end has said who it is.
        open_call: makes the call on that line, not started; may raise.
        times: limits.
    """

    def __init__(
        self,
        socket: WebSocket,
        reader: Reader,
        make_line: Callable[[Opened, Outbox], CarriedLine],
        open_call: Callable[[CarriedLine, Opened], LiveCaller],
        times: Times,
    ) -> None:
        self._socket = socket
        self._reader = reader
        self._make_line = make_line
        self._open_call = open_call
        self._times = times
        self._awake = asyncio.Event()
        self._outbox = Outbox(self._awake.set)
        self._over: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._line: CarriedLine | None = None
        self._call: LiveCaller | None = None

    @property
    def transferred(self) -> bool:
        """The call ended with a transfer to a person."""
        return self._line is not None and self._line.transferred

    def stop(self, why: str) -> None:
        """End the call now: the server stops."""
        self._settle(End(RESTART, why))

    async def run(self) -> End:
        """Carry the call to its end; returns how the line ended."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            end = await self._over
        except asyncio.CancelledError:
            end = End(RESTART, "the server stops")
        self._tell_call(end)
        tasks[0].cancel()
        try:
            if not end.gone:
                await asyncio.wait_for(self._finish(end, tasks[1]), self._times.close_s)
        except (asyncio.CancelledError, *GONE):
            pass  # it is being left in any case
        finally:
            self._outbox.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return end

    def _settle(self, end: End) -> None:
        if not self._over.done():
            self._over.set_result(end)

    def _tell_call(self, end: End) -> None:
        if end.why and self._line is not None:
            self._line.tell("error", {"error": f"The call is over: {end.why}.", "advice": "Call again."})
        if self._call is None:
            return
        try:
            self._call.gone(end.why)
        except Exception as error:
            logger.error("a call did not take its end: {}", fault("gone", error))

    async def _finish(self, end: End, writer: "asyncio.Task[None]") -> None:
        """Send what the call still has to say, and close."""
        while self._call is not None and not (self._call.ended or self._outbox.ended):
            await asyncio.sleep(_LOOK_S)
        self._outbox.end()
        await writer
        await self._socket.close(end.code, end.why[:100])

    # Inwards

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._times.start_s) as limit:
                while True:
                    message = await self._socket.receive()
                    if message["type"] == "websocket.disconnect":
                        code = message.get("code") or 1005
                        why = "" if code in _HUNG_UP else "the line broke"
                        return self._settle(End(code, why, gone=True))
                    text = message.get("text")
                    data = text if text is not None else message.get("bytes") or b""
                    for event in self._reader.read(data, time.monotonic()):
                        self._take(event)
                    if self._call is not None:
                        limit.reschedule(asyncio.get_running_loop().time() + self._times.idle_s)
        except TimeoutError:
            why = "nothing came in any more" if self._call else "no start came in"
            self._settle(End(POLICY, why))
        except ProtocolError as error:
            self._settle(End(POLICY, str(error)))
        except VoicebotError as error:  # the call could not be opened
            logger.error("a call could not be opened: {}", fault("open", error))
            self._settle(End(BROKEN, "the call could not be opened"))
        except Exception as error:
            logger.error("a call failed: {}", fault("socket", error))
            self._settle(End(BROKEN, "the call failed"))

    def _take(self, event: Inbound) -> None:
        if isinstance(event, Opened):
            self._line = self._make_line(event, self._outbox)
            self._call = self._open_call(self._line, event)
            self._call.start()
            return
        if isinstance(event, Closed):
            self._settle(End(NORMAL))
            return
        if isinstance(event, Refused):
            if self._line is not None:
                self._line.tell("error", {"error": f"Not used: {event.why}.", "advice": ""})
            return
        call = self._call
        if call is None:
            return
        match event:
            case Sound(samples):
                call.sound(samples)
            case Typed(text):
                call.typed(text)
            case Digit(digit):
                call.digit(digit)
            case Marked(name):
                call.marked(name)

    # Outwards

    async def _write(self) -> None:
        outbox = self._outbox
        try:
            while True:
                message = outbox.take()
                if message is None:
                    if outbox.full:
                        return self._settle(End(LATER, "the far end does not take what is sent"))
                    if outbox.ended:
                        return self._settle(End(NORMAL))
                    self._awake.clear()
                    await self._awake.wait()
                    continue
                async with asyncio.timeout(self._times.send_s):
                    await self._send(message)
        except TimeoutError:
            outbox.full = True
            outbox.close()
            self._settle(End(LATER, "the far end does not take what is sent"))
        except GONE:
            outbox.close()
            self._settle(End(GOING_AWAY, "the line broke", gone=True))

    async def _send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._socket.send_text(message)
        else:
            await self._socket.send_bytes(message)
