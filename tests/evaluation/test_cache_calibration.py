"""Thresholds are certified by the rules of the game, and the shipped calibration is what the data gives."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.cache_calibration import (
    CONFIDENCE,
    GRID,
    LADDER,
    LEAST_PAIRS,
    Replayed,
    Rung,
    calibrate,
    certify,
    preferred,
    refine,
    reliability,
    replay,
    starting_threshold,
)
from evaluation.cache_pairs import CachePair, load_pairs
from evaluation.cache_plots import calibration_plots
from evaluation.statistics import Interval, clopper_pearson, clopper_pearson_upper
from flows.calibrate_cache import project_calibration, write_report
from serving.cache.calibration import Certificate, load_calibration
from serving.cache.choice import project_scorer
from serving.errors import InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.knowledge import Answer, Cacheability, Knowledge
from serving.settings import Settings, default_data_dir
from tests.serving.cache_world import SIGNER

PAIR = CachePair("p", "stored", "probe", True, "paraphrase", "fees", "calibration")
TWIN = replace(PAIR, same=False, kind="topic")
SCORER = project_scorer(default_data_dir(), SIGNER.lexicon)


def outcomes(right: int, wrong: int, score: float) -> list[Replayed]:
    return [Replayed(PAIR, score, True)] * right + [Replayed(TWIN, score, False)] * wrong


def of(intent: str, outcome: Replayed) -> Replayed:
    return replace(outcome, pair=replace(outcome.pair, intent=intent))


def rung(alpha: float, coverage: Interval | None = None) -> Rung:
    certificate = Certificate(0.5, 300, 1, alpha) if coverage is not None else None
    return Rung(alpha, certificate, 0.5 if certificate else None, coverage, alpha)


class TestCertifying:
    def test_299_without_an_error_certify_one_percent_at_95_percent(self) -> None:
        assert certify(outcomes(299, 0, 0.9), 0.01, 0.95, 0.9).certificate is not None
        assert certify(outcomes(298, 0, 0.9), 0.01, 0.95, 0.9).certificate is None

    def test_the_tests_stop_at_the_first_failure(self) -> None:
        found = outcomes(400, 0, 0.9) + outcomes(0, 60, 0.8) + outcomes(4_000, 0, 0.7)
        rung = certify(found, 0.05, 0.95, 0.9)
        assert rung.lowest is not None
        assert rung.lowest > 0.8

    def test_nothing_stricter_than_the_start_is_tested(self) -> None:
        rung = certify(outcomes(0, 50, 0.95) + outcomes(4_000, 0, 0.6), 0.05, 0.95, 0.6)
        assert rung.certificate is not None
        assert rung.certificate.threshold <= 0.6
        assert certify(outcomes(400, 0, 0.9), 0.05, 0.95, None).certificate is None

    def test_of_what_is_certified_the_aim_is_served(self) -> None:
        found = outcomes(1_000, 0, 0.9) + outcomes(0, 40, 0.5)
        rung = certify(found, 0.05, 0.95, 0.9)
        assert rung.certificate is not None
        assert rung.certificate.wrong <= 0.5 * 0.05 * rung.certificate.served

    def test_the_order_begins_where_train_is_right_enough(self) -> None:
        train = outcomes(500, 0, 0.9) + outcomes(0, 3, 0.6)
        assert starting_threshold(train, 0.1) == pytest.approx(0.1)
        assert starting_threshold(train, 0.05) == pytest.approx(0.61)
        assert starting_threshold(outcomes(0, 5, 0.9), 0.05) is None

    def test_a_certificate_is_false_as_seldom_as_it_says(self) -> None:
        """With a true share of exactly alpha at every threshold, any certificate is false."""
        alpha, runs, rng = 0.05, 400, random.Random(7)  # a simulation
        false = 0
        for _ in range(runs):
            found = [Replayed(PAIR, rng.choice(GRID), rng.random() >= alpha) for _ in range(400)]
            false += certify(found, alpha, 0.95, 0.9).certificate is not None
        assert clopper_pearson_upper(false, runs, 0.5) <= 0.06

    def test_an_intent_has_a_threshold_of_its_own_once_its_own_pairs_certify_one(self) -> None:
        much, little = outcomes(200, 0, 0.9), [of("rates", outcome) for outcome in outcomes(20, 0, 0.9)]
        found = refine([*much, *little], 0.05, 0.9)
        assert list(found) == ["fees"]
        assert found["fees"].upper <= 0.05

    def test_an_intent_that_is_often_wrong_gets_none(self) -> None:
        assert refine(outcomes(150, 50, 0.9), 0.05, 0.9) == {}

    def test_intents_share_the_confidence(self) -> None:
        alone = outcomes(60, 0, 0.9)
        assert list(refine(alone, 0.05, 0.9)) == ["fees"]
        crowd = [of(f"intent {n}", outcome) for n in range(20) for outcome in alone]
        assert refine(crowd, 0.05, 0.9) == {}

    def test_of_the_levels_the_strictest_that_answers_enough_is_preferred(self) -> None:
        few, many = clopper_pearson(56, 100), clopper_pearson(71, 100)
        none, strict, lax = rung(0.01), rung(0.05, few), rung(0.1, many)
        assert preferred([none, strict, lax]) is lax
        assert preferred([none, rung(0.05, many), lax]).alpha == 0.05  # type: ignore[union-attr]
        assert preferred([none, strict]) is strict, "where none answers enough"
        assert preferred([none]) is None

    def test_the_reliability_curve_says_how_often_each_range_of_scores_was_right(self) -> None:
        found = [
            *outcomes(3, 1, 0.72), *outcomes(1, 0, 0.3), *outcomes(5, 0, 1.0), *outcomes(0, 2, 0.0),
            Replayed(PAIR, None, right=False),
        ]  # fmt: skip
        curve = reliability(found)
        assert [(round(row.low, 1), round(row.high, 1)) for row in curve] == [
            (0.0, 0.1), (0.3, 0.4), (0.7, 0.8), (0.9, 1.0),
        ]  # fmt: skip
        assert [row.right for row in curve] == [
            clopper_pearson(0, 2), clopper_pearson(1, 1), clopper_pearson(3, 4), clopper_pearson(5, 5),
        ]  # fmt: skip
        assert reliability([]) == ()

    def test_the_grid_is_in_order(self) -> None:
        assert list(GRID) == sorted(GRID, reverse=True)


KNOWN = Knowledge(
    (
        Answer("a", "fees", Cacheability.SEMANTIC, ("What does a wire cost?",), "25.", (), {}, None),
        Answer(
            "b",
            "fees",
            Cacheability.SEMANTIC,
            ("What does a wire cost with premium?",),
            "Nothing.",
            (),
            {"tier": "premium"},
            None,
        ),
    ),
    {},
    "sha256",
)


class TestReplay:
    def pair(self, stored: str, probe: str, *, same: bool) -> CachePair:
        kind = "paraphrase" if same else "tier"
        return CachePair(stored + probe, stored, probe, same, kind, "fees", "calibration")

    def test_a_twin_that_gets_its_own_answer_is_left_out(self, encoder: SentenceEncoder) -> None:
        pair = self.pair("What does a wire cost?", "What does a premium wire cost?", same=False)
        assert replay([pair], KNOWN, SIGNER, SCORER, encoder) == ()

    def test_a_paraphrase_is_right_where_it_gets_the_stored_questions_answer(
        self, encoder: SentenceEncoder
    ) -> None:
        pair = self.pair("What does a wire cost?", "How much is the fee for a wire?", same=True)
        (outcome,) = replay([pair], KNOWN, SIGNER, SCORER, encoder)
        assert outcome.right
        assert outcome.score is not None

    def test_a_twin_that_gets_the_stored_answer_is_wrong(self, encoder: SentenceEncoder) -> None:
        pair = self.pair("What does a wire cost?", "What does a wire weigh?", same=False)
        (outcome,) = replay([pair], KNOWN, SIGNER, SCORER, encoder)
        assert not outcome.right
        assert outcome.score is not None

    def test_what_no_entry_has_the_signature_of_is_never_served(self, encoder: SentenceEncoder) -> None:
        pair = self.pair("What does a wire cost?", "What does a wire to Mexico cost?", same=False)
        (outcome,) = replay([pair], KNOWN, SIGNER, SCORER, encoder)
        assert outcome.score is None

    def test_an_intent_without_pairs_of_split_calibration_is_not_covered(
        self, encoder: SentenceEncoder
    ) -> None:
        """However many it has of split train: on them no bound was measured."""
        wire, card = KNOWN.answers[0], replace(KNOWN.answers[0], id="c", intent="cards")
        known = Knowledge((wire, card), {}, "sha256")
        own = [replace(PAIR, stored=wire.questions[0], probe=f"Fee {n}?") for n in range(LEAST_PAIRS)]
        few = [replace(pair, intent="cards") for pair in own[1:]]
        train = [replace(pair, intent="cards", split="train") for pair in own]
        found = calibrate([*own, *few, *train], known, SIGNER, SCORER, encoder, pairs_sha256="x", alpha=0.1)
        assert found.calibration.covered == {"fees": LEAST_PAIRS}
        assert found.left_out == ("cards",)

    def test_an_alpha_below_the_ladder_is_refused(self, encoder: SentenceEncoder) -> None:
        with pytest.raises(InvalidInputError, match=r"0\.01"):
            calibrate([], KNOWN, SIGNER, SCORER, encoder, pairs_sha256="x", alpha=0.001)
        with pytest.raises(InvalidInputError, match="split calibration"):
            calibrate([], KNOWN, SIGNER, SCORER, encoder, pairs_sha256="x", alpha=0.1)


def test_the_shipped_calibration_is_what_the_data_gives(tmp_path: Path, encoder: SentenceEncoder) -> None:
    settings = Settings()
    found = project_calibration(settings, settings.cache_alpha)
    path = settings.data / "cache_calibration.json"
    shipped = load_calibration(path, embedder=encoder.fingerprint, rule=SCORER.fingerprint)
    assert found.calibration == shipped
    assert shipped.confidence == CONFIDENCE
    assert shipped.alpha in LADDER
    assert shipped.pooled is not None
    assert shipped.pooled.upper <= shipped.alpha
    pairs = load_pairs(settings.data / "cache_pairs" / "pairs.jsonl")
    evidence = Counter(pair.intent for pair in pairs if pair.split == "calibration")
    assert {i: n for i, n in shipped.covered.items() if n != evidence[i] or n < LEAST_PAIRS} == {}
    write_report(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "reliability.svg",
        "thresholds.svg",
        "calibration.json",
    }
    assert set(calibration_plots(found)) == {"reliability", "thresholds"}
