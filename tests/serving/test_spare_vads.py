"""Voice detectors made beforehand: fresh for each call, no more than needed, none loaded on the way."""

import gc
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from serving.audio import Samples
from serving.errors import MissingError
from serving.speech.spare_vads import FEWEST, SpareVads
from serving.speech.vad import CHUNK_SAMPLES, SileroVad


class Made:
    """A detector of the tests, and which thread made it."""

    chunk_samples = CHUNK_SAMPLES

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def probability(self, chunk: Samples) -> float:
        return float(chunk[0])

    def reset(self) -> None:
        pass


@pytest.fixture
def spares() -> Iterator[SpareVads]:
    made = SpareVads(Made)
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(2_000):
        if true():
            return
        waiting.wait(0.005)
    raise AssertionError("it did not happen")


def test_calls_that_begin_at_once_load_nothing_themselves(spares: SpareVads) -> None:
    spares.keep(12)
    until(lambda: spares.ready == 12)
    taken = [spares.take() for _ in range(12)]
    assert threading.get_ident() not in {vad.thread for vad in taken if isinstance(vad, Made)}
    assert len({id(vad) for vad in taken}) == 12


def test_where_none_is_ready_one_is_made(spares: SpareVads) -> None:
    vad = spares.take()
    assert isinstance(vad, Made)
    assert vad.thread == threading.get_ident()


def test_there_are_no_more_than_calls_need(spares: SpareVads) -> None:
    spares.keep(10)
    until(lambda: spares.ready == 10)
    taken = [spares.take() for _ in range(8)]
    until(lambda: spares.ready == FEWEST)
    del taken
    gc.collect()
    until(lambda: spares.ready == 10)


def test_a_detector_that_was_used_is_given_to_nobody_else() -> None:
    spares = SpareVads()
    spares.keep(1)
    until(lambda: spares.ready == FEWEST)
    noise = np.random.default_rng(7).integers(-20_000, 20_000, (8, CHUNK_SAMPLES)).astype(np.int16)
    fresh = SileroVad()
    expected = [fresh.probability(chunk) for chunk in noise]
    for _ in range(3):
        vad = spares.take()
        assert [vad.probability(chunk) for chunk in noise] == expected
        del vad
    spares.close()


def test_where_none_can_be_made_the_call_that_needs_one_is_told_why() -> None:
    class Broken:
        def __call__(self) -> Made:
            raise RuntimeError("no model")

    spares = SpareVads(Broken())
    spares.keep(3)
    with pytest.raises(RuntimeError, match="no model"):
        spares.take()
    spares.close()


def test_one_that_could_not_be_made_does_not_keep_later_ones_from_it() -> None:
    failures = iter([OSError("too many open files"), MemoryError()])

    def make() -> Made:
        for error in failures:
            raise error
        return Made()

    spares = SpareVads(make, again_s=0.001)
    spares.keep(6)
    until(lambda: spares.ready == 6)
    spares.close()


def test_where_voice_detection_is_not_installed_none_is_made_again_and_again() -> None:
    tried: list[int] = []

    def make() -> Made:
        tried.append(1)
        raise MissingError("not installed")

    spares = SpareVads(make, again_s=0.0)
    spares.keep(6)
    thread = spares._thread
    assert thread is not None
    thread.join(10)
    assert tried == [1]


def test_a_closed_one_makes_no_more(spares: SpareVads) -> None:
    spares.keep(2)
    until(lambda: spares.ready == FEWEST)
    spares.close()
    spares.take()
    thread = spares._thread
    assert thread is not None
    thread.join(10)
    assert spares.ready == FEWEST - 1
