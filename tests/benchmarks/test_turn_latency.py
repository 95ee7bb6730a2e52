"""Typed turns on one thread with warm models, beside a plain semantic cache in the same run.

The table's numbers in brackets are ratios to the fastest of the group. Aims (issue of the first circle): a
cache hit under 60 ms, a tool turn under 100 ms, as medians.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.record import Decision
from serving.call.responder import Responder
from serving.call.runtime import Runtime
from tests.circle.fixtures import Circle

HIT = "can i pay off my personal loan early"
TOOL = "what is the monthly payment on twenty thousand dollars over five years"


@pytest.fixture(scope="module")
def runtime(finished_circle: Circle) -> Iterator[Runtime]:
    with Runtime(finished_circle.settings, voice=False) as opened:
        yield opened


@pytest.fixture
def answer(runtime: Runtime) -> Callable[[str], Decision]:
    """One turn from the text's arrival to the reply, as the first turn of a call."""
    served = runtime.adapter.current
    responder = Responder(runtime.box, served.tagger, runtime.scope(served))

    def take(text: str) -> Decision:
        turn = HeardTurn("benchmark", 1, text, 1.0)
        return responder.answer(turn, DialogueState(), Laps(FileClock(), 0.0)).decision

    return take


@pytest.fixture(scope="module")
def plain_cache(runtime: Runtime) -> Callable[[str], str | None]:
    """What an afternoon gives: sentence-transformers and FAISS with one threshold, no guard at all."""
    import faiss
    from sentence_transformers import SentenceTransformer

    from serving.language.encoder import default_encoder_dir

    model = SentenceTransformer(str(default_encoder_dir()), device="cpu")
    answers = [
        (question, answer.text) for answer in runtime.knowledge.answers for question in answer.questions
    ]
    vectors = model.encode([question for question, _ in answers], normalize_embeddings=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def ask(text: str) -> str | None:
        scores, rows = index.search(model.encode([text], normalize_embeddings=True), 1)
        return answers[rows[0][0]][1] if scores[0][0] >= 0.75 else None

    return ask


@pytest.mark.benchmark(group="a typed turn that the cache answers")
def test_our_cache_hit(benchmark: Any, answer: Callable[[str], Decision]) -> None:
    assert benchmark.pedantic(answer, (HIT,), rounds=200, warmup_rounds=20) is Decision.CACHE_HIT


@pytest.mark.benchmark(group="a typed turn that the cache answers")
def test_a_plain_cache_without_intent_signature_or_redaction(
    benchmark: Any, plain_cache: Callable[[str], str | None]
) -> None:
    assert benchmark.pedantic(plain_cache, (HIT,), rounds=200, warmup_rounds=20)


@pytest.mark.benchmark(group="a typed turn that tools answer")
def test_our_tool_turn(benchmark: Any, answer: Callable[[str], Decision]) -> None:
    assert benchmark.pedantic(answer, (TOOL,), rounds=200, warmup_rounds=20) is Decision.TOOL


@pytest.mark.benchmark(group="one sentence to a vector")
def test_our_encoder(benchmark: Any, runtime: Runtime) -> None:
    vector = benchmark.pedantic(runtime.encoder.embed, ([HIT],), rounds=200, warmup_rounds=20)
    assert np.isclose(np.linalg.norm(vector), 1.0, atol=1e-5)


@pytest.mark.benchmark(group="one sentence to a vector")
def test_sentence_transformers(benchmark: Any, runtime: Runtime) -> None:
    from sentence_transformers import SentenceTransformer

    from serving.language.encoder import default_encoder_dir

    model = SentenceTransformer(str(default_encoder_dir()), device="cpu")
    theirs = benchmark.pedantic(model.encode, ([HIT],), rounds=200, warmup_rounds=20)
    ours = runtime.encoder.embed([HIT])
    assert np.allclose(ours[0], theirs[0] / np.linalg.norm(theirs[0]), atol=1e-4)
