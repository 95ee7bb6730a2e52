"""The caches that are compared, each behind the same two questions: what do you serve, and how fast.

All get the same vectors, looked up by text: embedding is measured apart (`embedder`).
"""

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving.cache.admission import entry_id
from serving.cache.alone import open_cache, scope_of
from serving.cache.local import LocalCache
from serving.cache.protocol import Offer
from serving.cache.publishing import publish
from serving.cache.signature import Signature
from serving.cache.types import CacheEntry, CacheQuery, CacheScope
from serving.language.knowledge import Cacheability
from serving.language.protocols import Embeddings
from serving.settings import Settings
from tests.benchmarks.cache.replay import NOTHING, Contest, Nearest, Question, Served
from tests.benchmarks.cache.stopwatch import Stopwatch
from tests.benchmarks.cache.workload import Speed, Workload
from tests.benchmarks.peer_environment import ROOT, peer_environment

REQUIREMENTS = Path(__file__).with_name("gptcache-requirements.txt")
FOLDER = ROOT / "var" / "bench" / "gptcache"
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where hundreds of small caches do not wait for a disk; what is timed lies on one."""
TODAY = datetime.now(UTC).date()


class Looked:
    """An embedder that knows the vector of each text that is asked; implements `Embedder`."""

    def __init__(self, vectors: Mapping[str, Embeddings], fingerprint: str) -> None:
        self._vectors = vectors
        self.fingerprint = fingerprint
        self.dimension = len(next(iter(vectors.values())))

    def embed(self, texts: Sequence[str]) -> Embeddings:
        if len(texts) == 1:
            return self._vectors[texts[0]].reshape(1, -1)
        return np.stack([self._vectors[text] for text in texts])


class OurCache:
    """The semantic cache as shipped: its door, its signatures, its hit rule, its files.

    Args:
        settings: data and rule; the home is another one.
        vectors: of all texts that are stored or asked.
        fingerprint: of the encoder that made them.
    """

    name = "ours"

    def __init__(self, settings: Settings, vectors: Mapping[str, Embeddings], fingerprint: str) -> None:
        self._settings = settings
        self._embedder = Looked(vectors, fingerprint)
        self.refused: Counter[str] = Counter()
        """Why questions were not stored, over all contests."""

    def served(self, contests: Sequence[Contest]) -> Served:
        """A scope for each contest; probes are asked with the intent of their stored question."""
        with self._opened(MEMORY) as cache:
            scopes = [scope_of(cache, f"contest {at}") for at in range(len(contests))]
            for contest, scope in zip(contests, scopes, strict=True):
                self._fill(cache, contest.stored, scope)
            publish(cache.writer.store, cache.folder)
            results = []
            for contest, scope in zip(contests, scopes, strict=True):
                at = {(text, intent): place for place, (text, intent) in enumerate(contest.stored)}
                row = []
                for pair in contest.probes:
                    found = cache.lookup(cache.query(pair.probe, pair.intent), scope).entry
                    row.append(at[found.question, found.intent] if found else NOTHING)
                results.append(row)
            return results

    def speed(self, work: Workload) -> Speed:
        """Fill a scope and publish it, ask, then insert one by one, each on disk when it returns.

        Intent and signature are given, as they are in a call before the cache is asked.
        """
        with self._opened() as cache:
            scope = scope_of(cache, "speed")
            rows = list(zip(work.stored, work.intents, strict=True))
            entries = [entry_of(text, intent, scope) for text, intent in rows]
            begin = time.perf_counter()
            # Not the writer's own way, which would publish aside, while lookups are timed.
            cache.writer.store.insert(scope, entries, self._embedder.embed(work.stored), actor="benchmark")
            publish(cache.writer.store, cache.folder)
            filled = time.perf_counter() - begin
            cache.warm(scope)
            watch, hits = Stopwatch(), 0
            for text, intent in zip(work.asked, work.asked_intents, strict=True):
                query = CacheQuery(text, intent, Cacheability.SEMANTIC, Signature(()))
                found = watch.time(partial(cache.lookup, query, scope)).entry
                hits += found is not None
            more = [entry_of(text, work.intents[at], scope) for at, text in enumerate(work.more)]
            begin = time.perf_counter()
            for entry in more:
                vector = self._embedder.embed([entry.question])
                cache.writer.insert(scope, [entry], vector, actor="benchmark")
            inserted = (time.perf_counter() - begin) / len(more)
        return Speed.of(self.name, work, filled, watch, hits, inserted)

    @contextmanager
    def _opened(self, parent: Path | None = None) -> Iterator[LocalCache]:
        with tempfile.TemporaryDirectory(dir=parent) as home:
            settings = self._settings.model_copy(update={"home": Path(home)})
            with closing(open_cache(settings, embedder=self._embedder)) as cache:
                yield cache

    def _fill(self, cache: LocalCache, questions: Sequence[Question], scope: CacheScope) -> None:
        cache.create_scope(scope, actor="benchmark")
        knowledge, lexicon = cache.admission.knowledge, cache.admission.signer.lexicon
        for text, intent in questions:
            best = knowledge.best(intent, lexicon.found(text), TODAY)
            answer, disclosures = (best.text, best.disclosures) if best else ("We will tell you.", ())
            offer = Offer(text, intent, answer, disclosures)
            refusal = cache.insert(offer, scope, actor="benchmark").refusal
            if refusal is not None:
                self.refused[refusal.value] += 1


class PlainFaiss:
    """FAISS, exact inner product, one threshold: what an afternoon gives; in memory only.

    Args:
        by_intent: an index for each intent, and the probe's intent is known, as it is to ours.
    """

    def __init__(self, vectors: Mapping[str, Embeddings], *, by_intent: bool = False) -> None:
        self.name = "FAISS + threshold" + (", by intent" if by_intent else "")
        self._vectors = vectors
        self._by_intent = by_intent

    def nearest(self, contests: Sequence[Contest]) -> Nearest:
        return [self._nearest(contest) for contest in contests]

    def _nearest(self, contest: Contest) -> list[tuple[int, float]]:
        import faiss

        groups: dict[str, list[int]] = {}
        for at, (_, intent) in enumerate(contest.stored):
            groups.setdefault(intent if self._by_intent else "", []).append(at)
        indexes = {}
        for name, members in groups.items():
            indexes[name] = faiss.IndexFlatIP(len(self._vectors[contest.stored[0][0]]))
            indexes[name].add(np.stack([self._vectors[contest.stored[at][0]] for at in members]))
        found = []
        for pair in contest.probes:
            name = pair.intent if self._by_intent else ""
            scores, rows = indexes[name].search(self._vectors[pair.probe].reshape(1, -1), 1)
            found.append((groups[name][rows[0][0]], float(scores[0][0])))
        return found

    def speed(self, work: Workload, threshold: float = 0.8) -> Speed:
        import faiss

        answers = [f"The answer to: {text}" for text in work.stored]
        begin = time.perf_counter()
        index = faiss.IndexFlatIP(work.vectors.shape[1])
        index.add(work.vectors[: len(work.stored)])
        filled = time.perf_counter() - begin
        watch, hits = Stopwatch(), 0

        def look_up(text: str) -> str | None:
            scores, rows = index.search(self._vectors[text].reshape(1, -1), 1)
            return answers[rows[0][0]] if scores[0][0] >= threshold else None

        for text in work.asked:
            hits += watch.time(partial(look_up, text)) is not None
        begin = time.perf_counter()
        for text in work.more:
            index.add(self._vectors[text].reshape(1, -1))
            answers.append(text)
        inserted = (time.perf_counter() - begin) / len(work.more)
        return Speed.of(self.name, work, filled, watch, hits, inserted)


class GptCache:
    """GPTCache in a process and an environment of its own.

    Raises:
        NoPeerError: it cannot be had here.
    """

    name = "GPTCache"
    default = 0.8
    """Its `similarity_threshold` unless told otherwise; of (4 - squared L2 distance) / 4, so cosine 0.6."""

    def __init__(self, vectors: Mapping[str, Embeddings]) -> None:
        self._vectors = vectors
        self._python = self.python()

    @classmethod
    def python(cls) -> Path:
        """The interpreter of its environment; raises as making one does."""
        return peer_environment(cls.name, REQUIREMENTS, FOLDER)

    @staticmethod
    def threshold(cosine: float) -> float:
        """Its threshold for a cosine: its score is (4 - d) / 4, and d = 2 - 2·cosine for unit vectors."""
        return (1 + cosine) / 2

    def served(self, contests: Sequence[Contest], threshold: float) -> Served:
        """What it serves at a threshold of its own scale."""
        job = {
            "do": "replay",
            "threshold": threshold,
            "contests": [
                {
                    "stored": [text for text, _ in contest.stored],
                    "probes": [pair.probe for pair in contest.probes],
                }
                for contest in contests
            ],
        }
        return [[at for at, _ in row] for row in self._run(job, MEMORY)]

    def speed(self, work: Workload) -> Speed:
        job = {
            "do": "speed",
            "threshold": self.default,
            "stored": work.stored,
            "asked": work.asked,
            "more": work.more,
        }
        found = self._run(job)
        watch = Stopwatch(found["took_s"], found["disturbed"])
        return Speed.of(self.name, work, found["fill_s"], watch, found["hits"], found["insert_s"])

    def save(self, work: Workload, folder: Path) -> None:
        """Fill a cache whose files lie in a folder, and leave them there."""
        self._run({"do": "save", "threshold": self.default, "stored": work.stored, "saved": str(folder)})

    def _run(self, job: dict[str, Any], parent: Path | None = None) -> Any:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            place = Path(folder)
            job |= {"texts": list(self._vectors), "folder": folder}
            (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
            np.save(place / "vectors.npy", np.stack(list(self._vectors.values())))
            files = [str(place / name) for name in ("job.json", "vectors.npy", "out.json")]
            done = subprocess.run(
                [str(self._python), "-m", "tests.benchmarks.cache.gptcache_peer", *files],
                check=False,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=3_600,
            )
            if done.returncode or not (place / "out.json").is_file():
                raise RuntimeError(f"GPTCache: {(done.stderr or done.stdout).strip()[-2_000:]}")
            return json.loads((place / "out.json").read_text(encoding="utf-8"))


def entry_of(text: str, intent: str, scope: CacheScope) -> CacheEntry:
    """An entry as an engine would have it stored."""
    return CacheEntry(
        id=entry_id(scope, intent, text),
        scope=scope.key,
        intent=intent,
        cacheability=Cacheability.SEMANTIC,
        question=text,
        signature=Signature(()),
        answer=f"The answer to: {text}",
        disclosures=(),
        source="benchmark",
        created_at=datetime.now(UTC),
        expires_at=None,
    )
