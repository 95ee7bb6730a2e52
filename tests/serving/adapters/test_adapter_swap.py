"""Two hundred concurrent requests during a hundred adapter swaps: no answer mixes two versions."""

import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.adapters.live import LiveAdapter
from serving.adapters.loader import LocalCopy, load_tagger
from serving.adapters.pin import Reference, write_pin
from serving.adapters.registry import AdapterRegistry
from serving.language.encoder import SentenceEncoder

NAME = "banking-lora"
REQUESTS = 200
SWAPS = 100
TEXTS = [f"i lost my card {word} what would a loan cost" for word in ("so", "um", "yes", "the", "")]
BundleMaker = Callable[[int], Path]


@pytest.fixture
def live(challenged: AdapterRegistry, tiny_encoder: SentenceEncoder, tmp_path: Path) -> LiveAdapter:
    live = LiveAdapter(challenged, tiny_encoder, tmp_path / "adapters", poll_s=1e6)
    return live.start()


@pytest.fixture
def swap(live: LiveAdapter, tmp_path: Path) -> Callable[[int], None]:
    def swap_to(version: int) -> None:
        reference = Reference(NAME, version)
        write_pin(tmp_path / "adapters", reference, enabled=True, by="test", reason="swap")
        assert live.check()

    return swap_to


def test_every_answer_belongs_wholly_to_one_version(
    live: LiveAdapter,
    swap: Callable[[int], None],
    sealed: BundleMaker,
    tiny_encoder: SentenceEncoder,
) -> None:
    expected = {
        f"{NAME}/{number}": load_tagger(LocalCopy(NAME, number, sealed(number)), tiny_encoder)
        for number in (1, 2)
    }
    answers = {
        version: np.stack([tagger.logits([text])[0] for text in TEXTS])
        for version, tagger in expected.items()
    }
    assert np.abs(answers[f"{NAME}/1"] - answers[f"{NAME}/2"]).max(axis=1).min() > 1
    go = threading.Semaphore(0)
    swapped = threading.Semaphore(0)

    def request(_: int) -> tuple[str, bool]:
        """One call: its adapter is read once and answers before, during and after the next swaps."""
        go.acquire()
        served = live.current
        right = True
        for _ in range(3):
            for text, wanted in zip(TEXTS, answers[served.version], strict=True):
                right &= bool(np.array_equal(served.tagger.logits([text])[0], wanted))
                right &= served.tagger.tag(text).version == served.version
            swapped.acquire(timeout=0.05)
        return served.version, right

    with ThreadPoolExecutor(REQUESTS) as pool:
        calls = [pool.submit(request, number) for number in range(REQUESTS)]
        for number in range(SWAPS):
            go.release(REQUESTS // SWAPS)
            swap(1 + number % 2)
            swapped.release(REQUESTS // SWAPS)
        outcomes = [call.result() for call in calls]
    assert len(outcomes) == REQUESTS
    assert all(right for _, right in outcomes)
    served = Counter(version for version, _ in outcomes)
    assert min(served[version] for version in answers) > REQUESTS // 5


def test_an_adapter_that_was_replaced_is_freed_once_no_call_holds_it(
    live: LiveAdapter, swap: Callable[[int], None]
) -> None:
    held = live.current
    replaced = []
    for number in range(10):
        swap(1 + number % 2)
        replaced.append(weakref.ref(live.current.tagger))
    gc.collect()
    assert [seen() for seen in replaced[:-1]] == [None] * 9
    assert replaced[-1]() is live.current.tagger
    assert held.tagger.tag(TEXTS[0]).version == held.version
