"""A second server as a process of its own: it carries out lines of JSON from stdin and answers each.

A line is `[name, *arguments]`; the answer is what the operation gave, or the error's type and message.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.errors import VoicebotError
from serving.language.protocols import ToolCall
from serving.plain import plain
from serving.services.redis_state import RedisLiveState
from serving.services.redis_writes import RedisIdempotencyStore
from serving.tools.executor import ToolExecutor
from serving.tools.protocols import Effect, Tool, ToolContext, ToolResult
from serving.tools.schema import tool_schema
from tests.serving.sessions.states import state


def write_tool(book: Path) -> Tool:
    """A tool whose every run leaves a line."""

    def block_card(reason: str) -> dict[str, str]:
        """Block the caller's card.

        Args:
            reason: why.
        """
        with book.open("a") as lines:
            lines.write(reason + "\n")
        return {"blocked": reason}

    return Tool(tool_schema(block_card), block_card, Effect.WRITE)


def main(url: str, namespace: str, book: str) -> None:
    """Serve until stdin ends."""
    live = RedisLiveState(url, namespace=namespace, timeout_s=5.0)
    writes = RedisIdempotencyStore(url, namespace=namespace, timeout_s=5.0)
    executor = ToolExecutor([write_tool(Path(book))], timeout_s=5.0, writes=writes)

    def admitted(prefix: str, calls: int, most: int) -> int:
        got = 0
        for number in range(calls):
            try:
                live.admit(f"{prefix}{number}", most)
            except VoicebotError:
                continue
            got += 1
        return got

    def executed(reason: str) -> ToolResult:
        call = ToolCall("1", "block_card", {"reason": reason})
        return executor.execute(call, ToolContext("call", 2, confirming_turn=2))

    operations: dict[str, Callable[..., Any]] = {
        "admitted": admitted,
        "admit": live.admit,
        "release": live.release,
        "publish": lambda call_id, happened, turn: live.publish(state(call_id, happened, turn=turn)),
        "drain": live.drain,
        "begin": writes.begin,
        "finish": lambda key, value: writes.finish(
            key, ToolResult("block_card", {}, value, "", 0.1, Effect.WRITE, key)
        ),
        "fail": lambda key: writes.finish(
            key, ToolResult("block_card", {}, {}, "it failed", 0.1, Effect.WRITE, key)
        ),
        "execute": executed,
    }
    print("ready", flush=True)  # noqa: T201 (what the test waits for)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"ok": plain(operations[name](*arguments))}
        except VoicebotError as error:
            answer = {"error": type(error).__name__, "message": error.message}
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
