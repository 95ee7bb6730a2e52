"""A replica as a process of its own: it carries out lines of JSON from stdin and answers each.

A line is `[name, *arguments]`; `insert` and its like answer when it is on disk.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.cache.protocol import Signal
from tests.serving.cache.replicas import Replica


def main(folder: str, url: str, namespace: str) -> None:
    """Serve until stdin ends."""
    replica = Replica(Path(folder), url, namespace, key=b"a key of the tests")
    operations: dict[str, Callable[..., Any]] = {
        "insert": replica.insert,
        "quarantine": lambda id_: replica.store.quarantine(id_, actor="other", why="test"),
        "wrong": lambda id_: replica.tell(id_, Signal.WRONG, "person:other:1"),
        "remove": lambda *ids: replica.store.remove(ids, actor="other", why="test"),
        "state": replica.state,
    }
    print("ready", flush=True)  # noqa: T201  # the other side reads it
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(operations[name](*arguments)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
