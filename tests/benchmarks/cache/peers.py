"""Our cache beside GPTCache and a plain FAISS cache: `python -m tests.benchmarks.cache.peers`.

All get the same vectors. First what they serve on the test split of data/cache_pairs, then how fast they are
without embedding, then how soon a saved one answers after a start and what an entry costs. Prints tables, and
what the figures mean beside what was expected; nothing here passes or fails. docs/benchmarks.md says why this
is fair.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.cache_pairs import CachePair, load_pairs
from evaluation.statistics import Interval
from serving.cache.signature import Signer
from serving.files import write_atomically
from serving.language.encoder import load_encoder, use_one_thread
from serving.language.encoder_backend import with_backend
from serving.language.knowledge import Cacheability, Knowledge, load_knowledge
from serving.language.protocols import Embeddings
from serving.settings import Settings
from tests.benchmarks.cache.peers_start import start_line, starts
from tests.benchmarks.cache.replay import (
    Contest,
    Judge,
    Nearest,
    Question,
    Served,
    Tally,
    alone,
    as_often_right,
    as_seldom_wrong,
    at_threshold,
    best_threshold,
    together,
)
from tests.benchmarks.cache.sides import TODAY, GptCache, OurCache, PlainFaiss
from tests.benchmarks.cache.texts import say, utterances
from tests.benchmarks.cache.workload import Speed, Workload, workload
from tests.benchmarks.peer_environment import ROOT, NoPeerError
from tests.serving.cache_world import make_signer

SIZES = (1_000, 10_000, 100_000)
ASKED = 1_000
PLAIN_DEFAULTS = (0.80, 0.85)
"""Cosines that tutorials and gateways use for a plain cache."""
OUT = ROOT / "var" / "bench" / "cache-peers.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One cache in one replay.

    Attributes:
        eligible: over the pairs of intents that may be answered for other words; else over all pairs.
    """

    replay: str
    side: str
    eligible: bool
    tally: Tally


class Comparison:
    """The pairs, and who judges.

    Args:
        pairs: of all splits; `test` is reported, the others choose the peers' best threshold.
        signer, knowledge: as serving uses them; they say which questions have the same approved answer.
    """

    def __init__(self, pairs: Sequence[CachePair], signer: Signer, knowledge: Knowledge) -> None:
        approved = _approved({(pair.stored, pair.intent) for pair in pairs}, signer, knowledge)
        self._judges = {
            True: Judge(pairs, approved, lambda pair: _is_semantic(knowledge, pair.intent)),
            False: Judge(pairs, approved),
        }
        self._test = [pair for pair in pairs if pair.split == "test"]
        self._other = [pair for pair in pairs if pair.split != "test"]

    def rows(self, ours: OurCache, plain: Sequence[PlainFaiss], gptcache: GptCache | None) -> list[Row]:
        """Every cache at its settings, in both replays, over eligible and over all pairs."""
        found = []
        for replay, arrange in (("alone", alone), ("together", together)):
            test, other = arrange(self._test), arrange(self._other)
            served: dict[str, Served] = {"ours": ours.served(test)}
            limits = self._judges[True].tally(test, served["ours"])
            # Alone there is one intent, so that an index for each changes nothing.
            for side in plain[: 1 if replay == "alone" else None]:
                nearest = side.nearest(test)
                chosen = self._settings(side.nearest(other), other, nearest, test, limits)
                for name, threshold in [*((f"at {each}", each) for each in PLAIN_DEFAULTS), *chosen]:
                    served[f"{side.name}, {name} ({threshold:.3f})"] = at_threshold(nearest, threshold)
                if gptcache is not None and side is plain[0]:
                    # The same nearest neighbour and another scale, so the same thresholds are the best.
                    scaled = [(name, gptcache.threshold(cosine)) for name, cosine in chosen]
                    for name, threshold in [("default", gptcache.default), *scaled]:
                        served[f"GPTCache, {name} ({threshold:.3f})"] = gptcache.served(test, threshold)
            for name, answers in served.items():
                for eligible, judge in self._judges.items():
                    found.append(Row(replay, name, eligible, judge.tally(test, answers)))
                    say(line(found[-1]))
        return found

    def _settings(
        self,
        other_nearest: Nearest,
        other: Sequence[Contest],
        nearest: Nearest,
        test: Sequence[Contest],
        ours: Tally,
    ) -> list[tuple[str, float]]:
        """A peer's best threshold, and two that are set by looking at the test split, in its favour."""
        judge, right, wrong = self._judges[True], ours.right.estimate, ours.wrong.estimate
        return [
            ("best", best_threshold(judge, other, other_nearest)),
            ("as often right", as_often_right(judge, test, nearest, right)),
            ("as seldom wrong", as_seldom_wrong(judge, test, nearest, wrong)),
        ]


def speeds(
    sizes: Sequence[int],
    ours: Callable[[Mapping[str, Embeddings]], OurCache],
    intents: Sequence[str],
    asked: int,
    *,
    gptcache: bool,
) -> list[Speed]:
    """Every cache at every size, one after the other.

    Args:
        ours: vectors by text → our cache.
        intents: whose answers may be reused for other words.
        gptcache: whether GPTCache is there.
    """
    made = _works(intents, asked)
    found = []
    for entries in sizes:
        work = made(entries)
        known = work.by_text()
        for side in (ours, PlainFaiss, *([GptCache] if gptcache else ())):
            found.append(side(known).speed(work))
            say(_speed_line(found[-1]))
    return found


def _works(intents: Sequence[str], asked: int) -> Callable[[int], Workload]:
    """Number of entries → what a cache of that size holds and is asked."""
    texts = utterances(Settings().data, at_least=1_000)
    vectors = load_encoder().embed(texts)
    return lambda entries: workload(texts, vectors, intents, entries, asked)


def main() -> None:
    import faiss

    arguments = _arguments()
    use_one_thread()
    faiss.omp_set_num_threads(1)
    settings = Settings()
    data = settings.data
    knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
    signer = make_signer()
    encoder = with_backend(load_encoder(), settings)
    try:
        GptCache({"": np.zeros(1, np.float32)})
        has_peer = True
    except NoPeerError as error:
        say(f"Without GPTCache: {error}")
        has_peer = False
    result: dict[str, Any] = {"machine": _machine()}
    say(f"load {os.getloadavg()[0]:.1f}")
    if not (arguments.only_speed or arguments.only_start):
        pairs = load_pairs(data / "cache_pairs" / "pairs.jsonl")
        texts = list(dict.fromkeys(text for pair in pairs for text in (pair.stored, pair.probe)))
        known = dict(zip(texts, encoder.embed(texts), strict=True))
        ours = OurCache(settings, known, encoder.reference)
        plain = [PlainFaiss(known), PlainFaiss(known, by_intent=True)]
        comparison = Comparison(pairs, signer, knowledge)
        rows = comparison.rows(ours, plain, GptCache(known) if has_peer else None)
        result["rows"] = [asdict(row) for row in rows]
        result["refused"] = dict(ours.refused)
        say(f"not stored by ours, over all replays: {dict(ours.refused)}")
        say("\n".join(told(rows)))
    semantic = sorted({each.intent for each in knowledge.answers if _is_semantic(knowledge, each.intent)})
    if not (arguments.only_replay or arguments.only_start):
        timed = speeds(
            arguments.sizes,
            lambda known: OurCache(settings, known, encoder.reference),
            semantic,
            arguments.asked,
            gptcache=has_peer,
        )
        result["speeds"] = [asdict(each) for each in timed]
    if not (arguments.only_replay or arguments.only_speed):
        works = _works(semantic, asked=2)
        opened = starts(works, max(arguments.sizes), encoder.reference, gptcache=has_peer)
        say("\n".join(map(start_line, opened)))
        result["starts"] = [asdict(each) for each in opened]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(OUT, json.dumps(result, indent=1))
    say(f"{OUT.relative_to(ROOT)} holds all figures")


def told(rows: Sequence[Row]) -> list[str]:
    """Our wrong reuse beside each peer's, with what was expected."""
    sentences = []
    for replay in dict.fromkeys(row.replay for row in rows):
        own = [row for row in rows if row.replay == replay and row.eligible]
        ours = next(row.tally for row in own if row.side == "ours")
        for row in own:
            theirs = row.tally
            if row.side == "ours" or not theirs.wrong.estimate:
                continue
            ratio = ours.wrong.estimate / theirs.wrong.estimate
            right = ours.right.estimate - theirs.right.estimate
            sentences.append(
                f"{replay}, {row.side}: our wrong reuse is {ratio:.3f} of its own (at most 0.050 expected), "
                f"right reuse {100 * right:+.1f} points"
            )
    return sentences


def _is_semantic(knowledge: Knowledge, intent: str) -> bool:
    return knowledge.cacheability(intent) is Cacheability.SEMANTIC


def _approved(stored: set[Question], signer: Signer, knowledge: Knowledge) -> dict[Question, str]:
    """Stored question → its approved answer."""
    found = {}
    for text, intent in stored:
        answer = knowledge.best(intent, signer.lexicon.found(text), TODAY)
        if answer is not None:
            found[text, intent] = answer.id
    return found


def line(row: Row) -> str:
    tally = row.tally
    pairs = "eligible" if row.eligible else "all pairs"
    return (
        f"{row.replay:<9}{pairs:<10}{row.side:<42} right {_share(tally.right)}  wrong {_share(tally.wrong)}  "
        f"astray {_share(tally.astray)}  unjudged {tally.unjudged}"
    )


def _share(share: Interval) -> str:
    count = round(share.estimate * share.items)
    return f"{count:>4}/{share.items:<4} {share.estimate:6.1%} [{share.low:5.1%}, {share.high:5.1%}]"


def _speed_line(found: Speed) -> str:
    return (
        f"{found.entries:>7} entries  {found.side:<18} p50 {found.p50:8.3f}  p99 {found.p99:8.3f} ms  "
        f"{found.per_s:8.0f} lookups/s ({found.hit_share:.0%} hits; with the {found.disturbed:.0%} disturbed "
        f"p99 {found.p99_all:.3f} ms)  filled {found.fill_per_s:8.0f}/s  "
        f"inserted {found.insert_per_s:8.0f}/s"
    )


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=SIZES)
    parser.add_argument("--asked", type=int, default=ASKED, help="questions that are timed at each size")
    parser.add_argument("--only-replay", action="store_true", help="what they serve, no times")
    parser.add_argument("--only-speed", action="store_true", help="times, not what they serve")
    parser.add_argument("--only-start", action="store_true", help="saved caches opened: time and memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
