"""The arithmetic of the cache comparison: what an answer is worth, which threshold is best, what is timed."""

import numpy as np
import pytest

from evaluation.cache_pairs import CachePair
from tests.benchmarks.cache.peers_start import FEW, grown_by_entry
from tests.benchmarks.cache.replay import (
    NOTHING,
    Judge,
    Worth,
    alone,
    as_often_right,
    as_seldom_wrong,
    at_threshold,
    best_threshold,
    together,
)
from tests.benchmarks.cache.stopwatch import Stopwatch
from tests.benchmarks.cache.workload import FAR, LARGEST_BUCKET, MORE, NEAR, Speed, workload


def pair(stored: str, probe: str, *, same: bool, intent: str = "fees") -> CachePair:
    return CachePair(f"{stored}/{probe}", stored, probe, same, "kind", intent, "test")


PAIRS = (
    pair("fee", "what is the fee", same=True),
    pair("fee", "cost", same=True),
    pair("price", "cost", same=True),
    pair("fee", "no fee", same=False),
    pair("limit", "the limit", same=True),
    pair("limit", "no limit", same=False),
    pair("cap", "the cap", same=True),
)
JUDGE = Judge(PAIRS, {("limit", "fees"): "a1", ("cap", "fees"): "a1", ("fee", "fees"): "a2"})


@pytest.mark.parametrize(
    ("asked", "served", "worth"),
    [
        (PAIRS[0], None, Worth.NONE),
        (PAIRS[0], "fee", Worth.RIGHT),
        (PAIRS[0], "price", Worth.RIGHT),  # joined by "cost"
        (PAIRS[0], "limit", Worth.WRONG),
        (PAIRS[4], "cap", Worth.RIGHT),  # one approved answer
        (PAIRS[3], "fee", Worth.WRONG),
        (PAIRS[3], "price", Worth.WRONG),  # the same answer as the twin's
        (PAIRS[3], "limit", Worth.UNJUDGED),
        (PAIRS[5], "cap", Worth.UNJUDGED),  # no label parts the two
    ],
)
def test_an_answer_is_worth_what_the_labels_say(asked: CachePair, served: str | None, worth: Worth) -> None:
    assert JUDGE.worth(asked, None if served is None else (served, "fees")) is worth


def test_alone_every_stored_question_has_a_cache_of_its_own_and_together_there_is_one() -> None:
    assert [contest.stored for contest in alone(PAIRS)] == [
        (("fee", "fees"),),
        (("price", "fees"),),
        (("limit", "fees"),),
        (("cap", "fees"),),
    ]
    (contest,) = together(PAIRS)
    assert [text for text, _ in contest.stored] == ["fee", "price", "limit", "cap"]
    assert contest.probes == PAIRS


def test_shares_are_of_paraphrases_and_of_near_twins() -> None:
    contests = together(PAIRS)
    found = JUDGE.tally(contests, [[0, 2, NOTHING, 0, 3, 3, 3]])
    assert (found.right.estimate, found.right.items) == (3 / 5, 5)
    assert found.astray.estimate == 1 / 5
    assert (found.wrong.estimate, found.wrong.items) == (1 / 2, 2)
    assert found.unjudged == 1


INTENTS = [f"intent {at}" for at in range(60)]
SCORES = [[(0, 0.9), (0, 0.6), (1, 0.5), (0, 0.7), (2, 0.8), (2, 0.85), (3, 0.4)]]


def test_a_threshold_serves_what_reaches_it() -> None:
    assert at_threshold(SCORES, 0.8) == [[0, NOTHING, NOTHING, NOTHING, 2, 2, NOTHING]]


def test_the_best_threshold_has_the_best_f1() -> None:
    contests = together(PAIRS)
    assert best_threshold(JUDGE, contests, SCORES) == 0.4  # 2·5 / (7 + 5), more than anywhere above
    spoilt = [[(0, 0.9), *[(NOTHING + 1, 0.1)] * 2, (0, 0.2), (2, 0.8), (2, 0.2), (0, 0.1)]]
    assert best_threshold(JUDGE, contests, spoilt) == 0.1


def test_a_threshold_is_found_that_is_as_often_right_or_as_seldom_wrong() -> None:
    contests = together(PAIRS)
    assert as_often_right(JUDGE, contests, SCORES, 2 / 5) == 0.8
    assert as_often_right(JUDGE, contests, SCORES, 1.0) == 0.4
    assert as_seldom_wrong(JUDGE, contests, SCORES, 0.5) == 0.8
    assert as_seldom_wrong(JUDGE, contests, SCORES, 0.0) == 0.9
    only_wrong = [[(0, 0.1)] * 3 + [(0, 0.9), (0, 0.1), (2, 0.9), (0, 0.1)]]
    assert as_seldom_wrong(JUDGE, contests, only_wrong, 0.0) > 0.9


def test_the_workload_has_the_sizes_and_cosines_that_it_promises() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((480, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    work = workload([f"sentence {at}" for at in range(480)], vectors, INTENTS, 2_000, 50)
    assert (len(work.stored), len(work.asked), len(work.more)) == (2_000, 100, MORE)
    assert len(work.by_text()) == len(work.vectors) == 2_000 + 100 + MORE
    assert np.allclose(np.linalg.norm(work.vectors, axis=1), 1, atol=1e-5)
    nearest = (work.vectors[2_000:2_100] @ work.vectors[:2_000].T).max(axis=1)
    assert np.allclose(nearest[1::2], NEAR, atol=0.01)
    assert nearest[::2].max() < (NEAR + FAR) / 2 + 0.1
    largest = max(work.intents.count(intent) for intent in set(work.intents))
    assert largest <= 1.3 * LARGEST_BUCKET * 2_000


def test_speed_is_told_in_milliseconds_and_rates() -> None:
    vectors = np.eye(240, dtype=np.float32)
    work = workload([str(at) for at in range(240)], vectors, INTENTS, 300, 4)
    times, disturbed = [*[0.1] * 4, *[0.001] * 100, 7.0], [*[False] * 104, True]
    watch = Stopwatch(times, disturbed)
    found = Speed.of("side", work, 2.0, watch, 3, 0.01)
    assert (found.entries, found.p50) == (300, 1.0)
    assert (found.p99, found.per_s) == (1.0, pytest.approx(1_000))
    assert found.p99_all > 0.1
    assert found.disturbed == 1 / 105
    assert (found.hit_share, found.fill_per_s, found.insert_per_s) == (3 / 105, 150, 100)


def test_where_everything_was_disturbed_everything_counts() -> None:
    vectors = np.eye(240, dtype=np.float32)
    work = workload([str(at) for at in range(240)], vectors, INTENTS, 300, 4)
    watch = Stopwatch([*[0.1] * 4, *[0.02] * 200], [*[False] * 4, *[True] * 200])
    assert Speed.of("side", work, 2.0, watch, 0, 0.01).p50 == 20.0


def test_an_entry_costs_what_a_large_cache_has_more_than_a_small_one() -> None:
    small = [{"own": 50.0}, {"own": 1_000.0}, {"own": 100.0}]
    large = [{"own": 100.0 + 10 * 2_000}, {"own": 9e9}, {"own": 0.0}]
    assert grown_by_entry(small, large, "own", FEW + 2_000) == 10
