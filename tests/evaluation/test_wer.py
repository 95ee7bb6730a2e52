"""Word error rates, their intervals, comparisons and wrong values."""

import json
import math

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.wer import Utterance, compare, score
from evaluation.wer_normaliser import normaliser
from serving.errors import InvalidInputError
from serving.plain import plain
from tests.properties import examples

FEW = 500
"""Resamples where only the point estimate is looked at."""


def pairs(*rows: tuple[str, str, str]) -> list[Utterance]:
    return [Utterance(*row) for row in rows]


def test_errors_are_counted_by_kind_over_all_words_together() -> None:
    report = score(
        pairs(
            ("a", "my card was stolen", "my car was stolen"),
            ("a", "yes", "yes yes"),
            ("b", "what is the rate", "what the rate"),
            ("b", "no", "no"),
        ),
        resamples=FEW,
    )
    assert (report.words, report.substitutions, report.insertions, report.deletions) == (10, 1, 1, 1)
    assert report.wer.estimate == pytest.approx(0.3)
    assert report.exact == 0.25
    assert (report.utterances, report.calls) == (4, 2)


words = st.lists(st.sampled_from(["my", "card", "loan", "rate", "please", "block"]), max_size=6).map(" ".join)


@examples(60)
@given(st.lists(st.tuples(st.sampled_from("abc"), words.filter(bool), words), min_size=1, max_size=12))
def test_the_estimate_is_jiwers(rows: list[tuple[str, str, str]]) -> None:
    report = score(pairs(*rows), resamples=20)
    references, hypotheses = [row[1] for row in rows], [row[2] for row in rows]
    assert report.wer.estimate == pytest.approx(jiwer.wer(references, hypotheses))
    assert report.cer == pytest.approx(jiwer.cer(references, hypotheses))
    assert 0 <= report.wer.low <= report.wer.high


def test_spelling_is_no_error() -> None:
    report = score(
        pairs(
            (
                "a",
                "I owe $304.15 at 6.5 % A.P.R.",
                "i owe three hundred four dollars and fifteen cents at six point five percent a p r",
            )
        ),
        resamples=FEW,
    )
    assert report.wer.estimate == 0.0
    assert report.entities.spoken == 2
    assert report.entities.missed == 0


def test_utterances_in_which_nothing_was_said_are_counted_apart() -> None:
    report = score(
        pairs(("a", "yes", "yes"), ("a", "", "the the the"), ("a", "[noise]", ""), ("b", "uh", "no")),
        resamples=FEW,
    )
    assert report.wer.estimate == 0.0
    assert report.utterances == 1
    assert (report.silent.utterances, report.silent.answered, report.silent.words) == (3, 2, 4)


def test_a_silent_recogniser_misses_every_word() -> None:
    report = score(pairs(("a", "my card was stolen", ""), ("b", "yes", "")), resamples=FEW)
    assert report.wer.estimate == 1.0
    assert report.deletions == 5


@pytest.mark.parametrize("rows", [[], [("a", "", "hello")], [("a", "...", "")]])
def test_without_a_spoken_word_there_is_no_rate(rows: list[tuple[str, str, str]]) -> None:
    with pytest.raises(InvalidInputError, match="something was said"):
        score(pairs(*rows))
    with pytest.raises(InvalidInputError, match="something was said"):
        compare(pairs(*rows), pairs(*rows))


# Intervals


def clustered(seed: int, calls: int, per_call: int) -> list[Utterance]:
    """Calls that are either all right or all wrong: the worst case for drawing single utterances."""
    random = np.random.default_rng(seed)
    rows = []
    for call in range(calls):
        heard = "card" if random.random() < 0.5 else "loan"
        rows += [Utterance(str(call), "card", heard) for _ in range(per_call)]
    return rows


def test_whole_calls_are_drawn_so_that_many_alike_utterances_prove_little() -> None:
    by_call = score(clustered(0, 12, 40)).wer
    alone = [Utterance(str(i), u.reference, u.hypothesis) for i, u in enumerate(clustered(0, 12, 40))]
    by_utterance = score(alone).wer
    assert by_call.estimate == by_utterance.estimate
    assert by_call.high - by_call.low > 4 * (by_utterance.high - by_utterance.low)
    assert by_call.items == 12


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        interval = score(clustered(seed, 40, 2), resamples=400, seed=seed).wer
        covered += interval.low <= 0.5 <= interval.high
    assert 50 <= covered <= 60


def test_one_call_is_resampled_by_utterance_and_says_so() -> None:
    report = score(pairs(("a", "yes", "yes"), ("a", "no", "yes")), resamples=FEW)
    assert report.resampled_by == "utterance"
    assert "only one call" in report.summary()
    assert score(pairs(("a", "yes", "yes"), ("b", "no", "yes")), resamples=FEW).resampled_by == "call"


def test_equal_input_gives_equal_reports() -> None:
    rows = clustered(3, 9, 3)
    assert score(rows) == score(rows)


def test_a_report_is_json_and_names_its_rules() -> None:
    report = score(pairs(("a", "five dollars", "nine dollars")), resamples=FEW)
    data = json.loads(json.dumps(plain(report), allow_nan=False))
    assert data["normaliser"] == "banking-en-1"
    assert data["normaliser_sha256"] == normaliser().sha256
    assert data["entities"]["missed"] == 1


# Values


@pytest.mark.parametrize(
    ("said", "heard", "missed", "invented"),
    [
        ("fifteen thousand dollars over five years", "fifty thousand dollars over five years", 1, 1),
        ("six point nine nine percent", "six point nine percent", 1, 1),
        ("pay two hundred dollars", "play to under dollars", 1, 0),
        ("no amount at all", "no amount of five dollars", 0, 1),
        (
            "my account number is 4 0 7 1 8 8 2 9",
            "my account number is four oh seven one double eight two nine",
            0,
            0,
        ),
        ("one card", "two cards", 0, 0),
        ("five dollars and five dollars", "five dollars", 1, 0),
    ],
)
def test_values_are_compared_and_not_words(said: str, heard: str, missed: int, invented: int) -> None:
    found = score(pairs(("a", said, heard)), resamples=FEW).entities
    assert (found.missed, found.invented) == (missed, invented)


def test_without_values_there_is_no_rate_of_wrong_ones() -> None:
    found = score(pairs(("a", "hello there", "hello")), resamples=FEW).entities
    assert found.error_rate is None


# Comparison


def test_a_recogniser_compared_with_itself_does_not_differ() -> None:
    rows = clustered(1, 20, 3)
    result = compare(rows, rows)
    assert (result.difference.estimate, result.difference.low, result.difference.high) == (0.0, 0.0, 0.0)
    assert result.probability_of_improvement == 0.5


def test_a_recogniser_that_is_better_in_every_call_is_surely_better() -> None:
    old = [Utterance(str(i), "my card is lost", "my car is last") for i in range(15)]
    new = [Utterance(str(i), "my card is lost", "my card is last") for i in range(15)]
    result = compare(new, old)
    assert result.difference.estimate == pytest.approx(-0.25)
    assert result.probability_of_improvement == 1.0
    assert compare(old, new).probability_of_improvement == 0.0


def test_a_gain_in_one_call_of_many_is_not_sure() -> None:
    old = [Utterance(str(i), "lost card", "lost card") for i in range(20)]
    old[0] = Utterance("0", "lost card", "last car")
    new = [Utterance(str(i), "lost card", "lost card") for i in range(20)]
    new[1] = Utterance("1", "lost card", "lost car")
    result = compare(new, old)
    assert 0.5 < result.probability_of_improvement < 0.95
    assert result.difference.low < 0 < result.difference.high


def test_pairing_finds_what_two_separate_intervals_hide() -> None:
    """Hard calls are hard for both; the difference within each call is small but steady."""
    old, new = [], []
    for i in range(40):
        wrong = i % 20
        reference = " ".join(["card"] * 20)
        old.append(Utterance(str(i), reference, " ".join(["card"] * (19 - wrong) + ["loan"] * (wrong + 1))))
        new.append(Utterance(str(i), reference, " ".join(["card"] * (20 - wrong) + ["loan"] * wrong)))
    apart = score(new).wer, score(old).wer
    assert apart[0].high > apart[1].low
    assert compare(new, old).probability_of_improvement > 0.999


def test_different_utterances_are_not_compared() -> None:
    with pytest.raises(InvalidInputError, match="same utterances"):
        compare(pairs(("a", "yes", "yes")), pairs(("a", "no", "yes")))
    with pytest.raises(InvalidInputError, match="same utterances"):
        compare(pairs(("a", "yes", "yes")), pairs(("b", "yes", "yes")))


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": math.nan}, {"resamples": 0}])
def test_an_impossible_resampling_is_refused(options: dict[str, float]) -> None:
    rows = pairs(("a", "yes", "yes"), ("b", "no", "no"))
    with pytest.raises(InvalidInputError):
        score(rows, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        compare(rows, rows, **options)  # type: ignore[arg-type]
