"""Twilio's side of a stream, after its documentation: replays a capture in time, plays, answers marks.

It shares no code with the server that it tests.
"""

import asyncio
import base64
import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CAPTURES = Path(__file__).parent / "captures"
FRAME_S = 0.02


@dataclass
class FarEnd:
    """A phone call of a capture.

    Attributes:
        received: seconds since the start, and the message, of all that came.
        frames: payloads, decoded.
        most_ahead_s: how far the sound that came was ever ahead of what was played, seconds.
        cleared: seconds at which a clear came.
        code: with which the server closed.
    """

    received: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    most_ahead_s: float = 0.0
    cleared: list[float] = field(default_factory=list)
    code: int | None = None
    _until: float = 0.0
    _waiting: list[tuple[float, str]] = field(default_factory=list)

    async def call(
        self, address: str, capture: str, headers: dict[str, str], *, patience_s: float = 5.0
    ) -> None:
        """Send the capture, then wait for the server to close, or for `patience_s`."""
        lines = [json.loads(line) for line in (CAPTURES / f"{capture}.jsonl").read_text().splitlines()]
        async with connect(address, additional_headers=headers, compression=None, close_timeout=1) as line:
            self._loop = asyncio.get_running_loop()
            self._began = self._loop.time()
            self._stream = next(item["streamSid"] for item in lines if item["event"] == "start")
            tasks = [asyncio.create_task(self._listen(line)), asyncio.create_task(self._answer_marks(line))]
            with contextlib.suppress(ConnectionClosed):
                await self._say(line, lines)
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                await asyncio.wait_for(asyncio.shield(tasks[0]), patience_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.code = line.close_code

    def _now(self) -> float:
        return self._loop.time() - self._began

    async def _say(self, line: ClientConnection, lines: list[dict[str, Any]]) -> None:
        for message in lines:
            if message["event"] == "media":
                await asyncio.sleep(int(message["media"]["timestamp"]) / 1000 - self._now())
            await line.send(json.dumps(message))

    async def _listen(self, line: ClientConnection) -> None:
        async for raw in line:
            assert isinstance(raw, str), "Twilio takes no binary message"
            message = json.loads(raw)
            assert message["streamSid"] == self._stream
            now = self._now()
            self.received.append((now, message))
            if message["event"] == "media":
                assert set(message) == {"event", "streamSid", "media"}
                self.frames.append(base64.b64decode(message["media"]["payload"], validate=True))
                self._until = max(self._until, now) + len(self.frames[-1]) / 8000
                self.most_ahead_s = max(self.most_ahead_s, self._until - now)
            elif message["event"] == "mark":
                self._waiting.append((max(self._until, now), message["mark"]["name"]))
            else:
                assert message == {"event": "clear", "streamSid": self._stream}
                self.cleared.append(now)
                self._until = now
                self._waiting = [(now, name) for _, name in self._waiting]

    async def _answer_marks(self, line: ClientConnection) -> None:
        number = 10_000
        while True:
            await asyncio.sleep(0.005)
            due = [name for at, name in self._waiting if at <= self._now()]
            self._waiting = [(at, name) for at, name in self._waiting if name not in due]
            for name in due:
                number += 1
                self.marks.append(name)
                await line.send(
                    json.dumps(
                        {
                            "event": "mark",
                            "sequenceNumber": str(number),
                            "streamSid": self._stream,
                            "mark": {"name": name},
                        }
                    )
                )
