"""A saved cache, opened by a fresh process and asked once; runs in each side's own environment.

Nothing but the standard library is imported before the clock runs: a side's imports are part of its start.

    python -c "from tests.benchmarks.cache.peers_opened import main; main()" SIDE FOLDER
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ASKED = "asked.json"
"""The question with its vector and intent; no other vector is loaded, so that none counts as memory."""
ANSWERS = "answers.json"
INDEX = "plain.index"


def main() -> None:
    """Print seconds to the first answer, processor time among them, and the memory in bytes that it left."""
    begin = time.perf_counter()
    side, folder = sys.argv[1], Path(sys.argv[2])
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    # What holds the cache must be alive when memory is read.
    cache = {"ours": _ours, "GPTCache": _gptcache, "FAISS": _faiss}[side](folder, asked)
    took_s = time.perf_counter() - begin
    told = {"answered_s": took_s, "worked_s": time.process_time(), **memory(), "cache": type(cache).__name__}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    os._exit(0)  # GPTCache would write its index once more


def memory() -> dict[str, int]:
    """Bytes of this process: its own, and with files that are mapped."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Rss", "VmRSS"))}
    return {"own": int(sizes["RssAnon"]) * 1024, "resident": int(sizes["VmRSS"]) * 1024}


class _Given:
    """An embedder that knows the one vector; implements `Embedder`."""

    def __init__(self, vectors: Any, asked: dict[str, Any]) -> None:
        self.fingerprint = str(asked["fingerprint"])
        self.dimension = int(vectors.shape[1])
        self._vectors = vectors

    def embed(self, texts: Sequence[str]) -> Any:
        assert len(texts) == 1
        return self._vectors


def _ours(folder: Path, asked: dict[str, Any]) -> object:
    import numpy as np

    from serving.cache.alone import open_cache, scope_of
    from serving.cache.signature import Signature
    from serving.cache.types import CacheQuery, Reason
    from serving.language.knowledge import Cacheability
    from serving.settings import Settings

    cache = open_cache(
        Settings(home=folder), embedder=_Given(np.asarray([asked["vector"]], np.float32), asked)
    )
    query = CacheQuery(asked["text"], asked["intent"], Cacheability.SEMANTIC, Signature(()))
    found = cache.lookup(query, scope_of(cache, asked["tenant"]))
    assert found.reason in {Reason.SEMANTIC, Reason.THRESHOLD}, found  # it was searched for
    return cache


def _gptcache(folder: Path, asked: dict[str, Any]) -> object:
    import numpy as np

    from tests.benchmarks.cache.gptcache_peer import Peer

    peer = Peer(str(folder), {asked["text"]: np.asarray(asked["vector"], np.float32)}, asked["threshold"])
    assert peer.ask(asked["text"])[0] >= 0
    return peer


def _faiss(folder: Path, asked: dict[str, Any]) -> object:
    import faiss
    import numpy as np

    index = faiss.read_index(str(folder / INDEX))
    answers = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
    _, rows = index.search(np.asarray([asked["vector"]], np.float32), 1)
    assert answers[rows[0][0]]
    return index, answers
