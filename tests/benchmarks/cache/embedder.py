"""One sentence to a vector, torch beside ONNX Runtime: `python -m tests.benchmarks.cache.embedder`.

One thread, both in one run and in turns. Prints times, how far the vectors are apart, and what 8-bit weights
would change: the hit decisions on data/cache_pairs by signature and cosine. Nothing here passes or fails.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.cache_pairs import load_pairs
from serving.cache.types import bucket
from serving.language.encoder import SentenceEncoder, load_encoder, use_one_thread
from serving.language.encoder_onnx import in_onnx
from serving.language.knowledge import Cacheability, load_knowledge
from serving.language.protocols import Embeddings
from serving.settings import default_data_dir
from tests.benchmarks.cache.int8 import in_int8
from tests.benchmarks.cache.stopwatch import Stopwatch
from tests.benchmarks.cache.texts import say, utterances
from tests.serving.cache_world import make_signer

SHORT = "can i pay off my personal loan early"
MEDIUM = "what is the monthly payment on twenty thousand dollars over five years"
LONG = " ".join([MEDIUM] * 10)
ROUNDS = 300
THRESHOLDS = np.arange(0.60, 0.951, 0.01)


def main() -> None:
    use_one_thread()
    reference = load_encoder()
    backends = {"torch": reference, "onnx": in_onnx(reference), "onnx, int8": in_int8(reference)}
    say(f"load {os.getloadavg()[0]:.1f}; times of one sentence in ms")
    for name, sentence in (("short", SHORT), ("medium", MEDIUM), ("long", LONG)):
        tokens = len(reference.batcher(reference.max_length).ids([sentence])[0])
        times = timed(list(backends.values()), sentence, ROUNDS if name != "long" else ROUNDS // 3)
        for backend, row in zip(backends, times, strict=True):
            p50, p95 = np.percentile(row, [50, 95])
            say(
                f"{name:<7}{tokens:>4} tokens  {backend:<11} p50 {p50:6.2f}  p95 {p95:6.2f}   "
                f"{np.median(times[0]) / p50:.2f} times torch"
            )
    sentences = utterances(default_data_dir(), at_least=1_000)
    vectors = {name: encoder.embed(sentences) for name, encoder in backends.items()}
    for name in ("onnx", "onnx, int8"):
        say(_apart(name, vectors["torch"], vectors[name]))
    decisions = {name: _decisions(encoder, default_data_dir()) for name, encoder in backends.items()}
    for name in ("onnx", "onnx, int8"):
        changed = (decisions[name] != decisions["torch"]).sum(axis=1)
        say(
            f"{name}: hit decisions on {decisions['torch'].shape[1]} pairs that differ from torch's: "
            f"{int(changed.sum())} over {len(THRESHOLDS)} thresholds, {int(changed.max())} at the worst"
        )


def timed(encoders: Sequence[SentenceEncoder], sentence: str, rounds: int) -> list[list[float]]:
    """Milliseconds of each encoder, in turns, without the first five and those that the kernel disturbed."""
    watches = [Stopwatch() for _ in encoders]
    for _ in range(rounds + 5):
        for watch, encoder in zip(watches, encoders, strict=True):
            watch.time(partial(encoder.embed, [sentence]))
    return [watch.quiet_ms()[5:] for watch in watches]


def _apart(name: str, reference: Embeddings, vectors: Embeddings) -> str:
    cosines = np.sum(reference.astype(np.float64) * vectors, axis=1)
    same = np.mean(_nearest(reference) == _nearest(vectors))
    return (
        f"{name}: {len(vectors)} sentences, least cosine to torch's vector {cosines.min():.7f}, "
        f"same nearest neighbour {same:.1%}"
    )


def _nearest(vectors: Embeddings) -> np.ndarray:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    nearest: np.ndarray = cosines.argmax(axis=1)
    return nearest


def _decisions(encoder: SentenceEncoder, data: Path) -> np.ndarray:
    """Hit or not for every threshold and pair, by signature and cosine."""
    signer = make_signer()
    knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
    pairs = [
        pair
        for pair in load_pairs(data / "cache_pairs" / "pairs.jsonl")
        if knowledge.cacheability(pair.intent) is Cacheability.SEMANTIC
        and bucket(pair.intent, signer.sign(pair.stored)) == bucket(pair.intent, signer.sign(pair.probe))
    ]
    stored, probes = (encoder.embed([getattr(pair, side) for pair in pairs]) for side in ("stored", "probe"))
    cosines = np.sum(stored * probes, axis=1)
    return np.asarray([cosines >= threshold for threshold in THRESHOLDS])


if __name__ == "__main__":
    main()
