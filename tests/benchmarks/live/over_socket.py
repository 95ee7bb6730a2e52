"""A caller's end of the browser protocol: what is measured of a call is measured through a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from serving.audio import Samples
from tests.benchmarks.live.engines import ToneLine


class FarCall:
    """A call at the other end of a socket: takes what the line hears, as `LiveCall` does in this process."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sending: set[asyncio.Task[None]] = set()

    def sound(self, samples: Samples) -> None:
        """Send 20 ms of the caller's sound."""
        self._send(samples.tobytes())

    def marked(self, name: str) -> None:
        """Tell that what came before a mark was played."""
        self._send(json.dumps({"event": "mark", "name": name}))

    def gone(self) -> None:
        """Hang up."""
        self._send(json.dumps({"event": "stop"}))

    def _send(self, message: str | bytes) -> None:
        async def send() -> None:
            with suppress(ConnectionClosed):
                await self._socket.send(message)

        task = asyncio.ensure_future(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


@asynccontextmanager
async def called(address: str, line: ToneLine) -> AsyncIterator[FarCall]:
    """A call that has started; what the server sends reaches the line.

    Args:
        address: of the server's socket.
        line: plays, and tells what it has played.
    """
    async with connect(address, compression=None) as socket:
        call = FarCall(socket)
        line.call = call  # type: ignore[assignment]  # it is only told of marks

        async def listen() -> None:
            with suppress(ConnectionClosed):
                async for message in socket:
                    if isinstance(message, bytes):
                        line.play(np.frombuffer(message, np.int16))
                        continue
                    event = json.loads(message)
                    if event["event"] == "mark":
                        line.mark(event["name"])
                    elif event["event"] == "clear":
                        line.clear()
                    else:
                        line.tell(event["event"], event)

        await socket.send(json.dumps({"event": "start"}))
        listening = asyncio.ensure_future(listen())
        try:
            yield call
        finally:
            call.gone()
            await listening
