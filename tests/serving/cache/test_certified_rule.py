"""The certified rule: it never scores a difference above none, and serves nothing that is not certified."""

import json
import math
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.belief import LEAST_PRIOR, PRIOR, posterior
from serving.cache.calibration import Calibration, Certificate, load_calibration, save_calibration
from serving.cache.choice import choose_rule, prior_of_home, project_scorer
from serving.cache.comparison import FEATURES
from serving.cache.evidence import load_concepts, read_evidence, stem
from serving.cache.local import LocalCache
from serving.cache.nearby import ACCURACY_FLOOR
from serving.cache.protocol import Feedback, HitRule, Neighbour, Signal, Verdict
from serving.cache.rule import CertifiedRule, CosineRule, prior_of, weigh
from serving.cache.scorer import EvidenceScorer, agreed, load_scorer
from serving.cache.signature import RULES
from serving.cache.telling import as_believed, renew_beliefs
from serving.cache.types import Reason
from serving.errors import IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder, reference_at
from serving.settings import Settings, default_data_dir
from tests.properties import examples
from tests.serving.cache.replicas import door
from tests.serving.cache_world import INTENT, NOON, SIGNER, WordEmbedder, ask, entry, fill

SCORER = project_scorer(default_data_dir(), SIGNER.lexicon)
CONCEPTS = load_concepts(default_data_dir() / "lexicons" / "concepts.yaml")
VECTOR = np.zeros(384, np.float32)
EMBEDDER = "an encoder"
FEE = "What does a wire transfer cost?"


def certified(threshold: float = 0.5, **changes: object) -> Calibration:
    made = Calibration(
        embedder=EMBEDDER,
        rules=RULES,
        rule=SCORER.fingerprint,
        pairs="sha256 of pairs",
        alpha=0.05,
        confidence=0.95,
        pooled=Certificate(threshold, 400, 2, 0.02),
        covered={INTENT: 40},
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def near(question: str = FEE, similarity: float = 0.9, answer: str = "25 dollars.") -> Neighbour:
    return Neighbour(entry(question, answer), similarity, VECTOR)


def score(asked: str, stored: str, cosine: float = 0.9, intent: float = 3.0) -> float:
    return SCORER.score(asked, stored, cosine, intent).value


class TestScore:
    @pytest.mark.parametrize(
        ("stored", "paraphrase", "twin"),
        [
            (FEE, "How much do I pay for a wire transfer?", "How long does a wire transfer take?"),
            (
                "Where is the nearest branch?",
                "Which office is close to me?",
                "Where was my last branch visit?",
            ),
            ("Is my money insured?", "Are my deposits protected?", "Is my phone insured?"),
            ("How do I order a card?", "What do I do to get a card?", "How do I order a checkbook?"),
        ],
    )
    def test_other_words_for_the_same_score_above_one_word_for_another(
        self, stored: str, paraphrase: str, twin: str
    ) -> None:
        assert score(paraphrase, stored, 0.7) > score(twin, stored, 0.9)

    @examples(60)
    @given(extra=st.sampled_from(["checkbook", "after I die", "for my boat", "last week", "or a loan"]))
    def test_nothing_that_is_added_raises_the_score(self, extra: str) -> None:
        assert score(f"What does a wire transfer cost {extra}?", FEE) <= score(FEE, FEE)

    def test_no_weight_rewards_a_difference(self) -> None:
        found = json.loads((default_data_dir() / "cache_rule.json").read_text())
        weights = dict(zip(FEATURES, found["regression"]["weights"], strict=True))
        raising = {"cosine", "intent", "asked_covered", "stored_covered", "focus_shared", "words_shared"}
        assert {name for name, weight in weights.items() if weight > 0} <= raising
        assert {name for name, weight in weights.items() if weight < 0}.isdisjoint(raising)

    def test_a_question_is_served_for_itself(self) -> None:
        assert score(FEE, FEE, 1.0) > 0.9

    def test_what_is_missing_is_named(self) -> None:
        found = SCORER.score("What does a wire transfer of my yacht cost?", FEE, 0.9, 3.0)
        assert found.missing == ("yacht",)

    def test_an_intent_that_was_never_seen_counts_as_average(self) -> None:
        assert SCORER.intent(VECTOR, "never heard of") == SCORER.intent(VECTOR + 1, "never heard of")

    @given(nearest=st.floats(-20, 20), others=st.lists(st.floats(-20, 20), max_size=4))
    def test_other_phrasings_can_only_doubt_the_nearest(self, nearest: float, others: list[float]) -> None:
        assert agreed(nearest, [nearest, *others]) <= nearest

    @examples(100)
    @given(text=st.text(st.characters(), max_size=120))
    def test_any_text_is_read_and_scored(self, text: str) -> None:
        assert read_evidence(text, CONCEPTS, SIGNER.lexicon) == SCORER.read(text)
        assert 0 <= score(text, FEE) <= 1


class TestReading:
    @pytest.mark.parametrize(
        ("words", "root"),
        [
            (["charge", "charges", "charged", "charging"], "charg"),
            (["country", "countries"], "country"),
            (["stop", "stopped", "stopping"], "stop"),
            (["fee", "fees"], "fee"),
            (["rate", "rates"], "rate"),
            (["box", "boxes"], "box"),
        ],
    )
    def test_the_forms_of_a_word_have_one_stem(self, words: list[str], root: str) -> None:
        assert {stem(word) for word in words} == {root}

    def test_ideas_focus_and_circumstances_are_read(self) -> None:
        found = SCORER.read("How long does my card take to get here if I order it express?")
        assert {"time"} <= found.asks
        assert "conditional" in found.marks
        assert any("card" in unit.ideas for unit in found.units)

    def test_whose_a_thing_is_said_to_be_is_read(self) -> None:
        mine, theirs = SCORER.read("What is my rate?"), SCORER.read("What is your rate?")
        assert mine.owners != theirs.owners

    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            "{}",
            "concepts: {a: [on]}\nfocus: {}\nmarks: {}\nplain: []\nlight: []\nasks: []\nversion: 1",
            "concepts: a",
            "\x00",
        ],
    )
    def test_a_lexicon_of_another_shape_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "concepts.yaml"
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=r"concepts\.yaml"):
            load_concepts(path)


class TestJudging:
    def judge(self, question: str, *neighbours: Neighbour, rule: CertifiedRule | None = None) -> Verdict:
        return (rule or CertifiedRule(SCORER, certified())).judge(ask(question), VECTOR, neighbours)

    def test_without_neighbours_there_is_no_entry(self) -> None:
        assert self.judge(FEE).reason is Reason.NO_ENTRY

    def test_what_scores_enough_is_served(self) -> None:
        rule = CertifiedRule(SCORER, certified(threshold=0.01))
        verdict = self.judge("How much do I pay for a wire transfer?", near(), rule=rule)
        assert verdict.reason is None
        assert verdict.neighbour is not None
        assert "at least 0.01" in verdict.detail

    def test_a_refusal_names_what_spoke_against_it(self) -> None:
        rule = CertifiedRule(SCORER, certified(threshold=0.999))
        verdict = self.judge("What does a wire transfer of my yacht cost?", near(), rule=rule)
        assert verdict.reason is Reason.THRESHOLD
        assert "without counterpart: yacht" in verdict.detail

    @pytest.mark.parametrize("calibration", [None, certified(pooled=None), certified(covered={"other": 40})])
    def test_without_evidence_nothing_is_served(self, calibration: Calibration | None) -> None:
        verdict = self.judge(FEE, near(similarity=1.0), rule=CertifiedRule(SCORER, calibration))
        assert verdict.reason is Reason.UNCERTIFIED

    def test_an_intents_own_certificate_replaces_the_pools(self) -> None:
        own = certified(intents={INTENT: Certificate(1.0, 400, 0, 0.01)})
        assert own.threshold(INTENT) == 1.0
        assert own.threshold("other") is None

    def test_another_answer_that_fits_better_keeps_the_nearest_from_being_served(self) -> None:
        other = near("How much do I pay for a wire transfer abroad?", 0.85, "40 dollars.")
        asked = "How much do I pay for a wire transfer abroad?"
        near_words = near("What does a wire transfer cost me at home with a checkbook?", 0.9)
        rule = CertifiedRule(SCORER, certified(threshold=0.0))
        verdict = self.judge(asked, near_words, other, rule=rule)
        assert verdict.reason is Reason.THRESHOLD
        assert "another answer" in verdict.detail

    def test_phrasings_of_one_answer_speak_together(self) -> None:
        asked, intent = "How much is a wire transfer?", 3.0
        alone = weigh(SCORER, asked, [(FEE, "a", 0.9)], intent)
        doubted = weigh(SCORER, asked, [(FEE, "a", 0.9), ("Do wires of my yacht run?", "a", 0.3)], intent)
        assert doubted.value < alone.value

    def test_the_fingerprint_changes_with_the_calibration(self) -> None:
        prints = {CertifiedRule(SCORER, it).fingerprint for it in (None, certified(0.5), certified(0.6))}
        assert len(prints) == 3


class TestFiles:
    def test_a_calibration_is_what_was_saved(self, tmp_path: Path) -> None:
        made = certified(intents={"fees": Certificate(0.7, 300, 0, 0.01)})
        save_calibration(made, tmp_path / "c.json")
        assert load_calibration(tmp_path / "c.json", embedder=EMBEDDER, rule=SCORER.fingerprint) == made

    @pytest.mark.parametrize(
        ("embedder", "rule", "rules", "told"),
        [
            ("another", SCORER.fingerprint, RULES, "sentence encoder"),
            (EMBEDDER, "another", RULES, "another rule"),
            (EMBEDDER, SCORER.fingerprint, "0", "version of the signature's rules"),
        ],
    )
    def test_a_calibration_of_something_else_is_refused(
        self, tmp_path: Path, embedder: str, rule: str, rules: str, told: str
    ) -> None:
        save_calibration(certified(rules=rules), tmp_path / "c.json")
        with pytest.raises(IntegrityError, match=told):
            load_calibration(tmp_path / "c.json", embedder=embedder, rule=rule)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("alpha", 2),
            ("alpha", True),
            ("alpha", 0.01),
            ("alpha", math.nan),
            ("pooled", {}),
            ("pooled", {"threshold": 0.5, "served": 400, "wrong": 2, "upper": 0.06}),
            ("pooled", {"threshold": 0.5, "served": 400, "wrong": 12, "upper": 0.02}),
            ("intents", {INTENT: {"threshold": 0.0, "served": 0, "wrong": 0, "upper": 1.0}}),
            ("covered", []),
            ("format", 2),
            ("rule", 5),
        ],
    )
    def test_a_damaged_calibration_is_refused(self, tmp_path: Path, field: str, value: object) -> None:
        path = tmp_path / "c.json"
        save_calibration(certified(), path)
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
        with pytest.raises(IntegrityError, match="damaged"):
            load_calibration(path, embedder=EMBEDDER, rule=SCORER.fingerprint)

    def test_a_calibration_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError, match="calibrate-cache"):
            load_calibration(tmp_path / "c.json", embedder=EMBEDDER, rule="r")

    def test_weights_of_other_word_lists_are_refused(self, tmp_path: Path) -> None:
        content = json.loads((default_data_dir() / "cache_rule.json").read_text())
        path = tmp_path / "rule.json"
        path.write_text(json.dumps(content | {"concepts": "another"}))
        with pytest.raises(IntegrityError, match="another concepts"):
            load_scorer(path, CONCEPTS, SIGNER.lexicon)
        path.write_text(json.dumps(content | {"labels": ["one"]}))
        with pytest.raises(IntegrityError, match="damaged"):
            load_scorer(path, CONCEPTS, SIGNER.lexicon)

    def test_every_weight_counts_in_the_fingerprint(self, tmp_path: Path) -> None:
        content = json.loads((default_data_dir() / "cache_rule.json").read_text())
        content["regression"]["bias"] += 0.1
        path = tmp_path / "rule.json"
        path.write_text(json.dumps(content))
        assert load_scorer(path, CONCEPTS, SIGNER.lexicon).fingerprint != SCORER.fingerprint


class TestChoice:
    def rule(self, home: Path, **changes: object) -> HitRule:
        settings = Settings(home=home, **changes)  # type: ignore[arg-type]  # fields by name
        return choose_rule(settings, SIGNER.lexicon, EMBEDDER)

    def test_a_threshold_of_the_operator_is_a_plain_cosine(self, tmp_path: Path) -> None:
        assert isinstance(self.rule(tmp_path, cache_threshold=0.8), CosineRule)

    def test_the_homes_calibration_counts(self, tmp_path: Path) -> None:
        save_calibration(certified(), tmp_path / "cache" / "calibration.json")
        rule = self.rule(tmp_path)
        assert isinstance(rule, CertifiedRule)
        assert rule.calibration == certified()

    def test_one_that_does_not_fit_certifies_nothing(self, tmp_path: Path) -> None:
        save_calibration(certified(embedder="another"), tmp_path / "cache" / "calibration.json")
        rule = self.rule(tmp_path)
        assert isinstance(rule, CertifiedRule)
        assert rule.calibration is None

    def test_one_for_a_larger_alpha_than_the_operator_accepts_certifies_nothing(self, tmp_path: Path) -> None:
        save_calibration(certified(), tmp_path / "cache" / "calibration.json")
        rule = self.rule(tmp_path, cache_alpha=0.02)
        assert isinstance(rule, CertifiedRule)
        assert rule.calibration is None


class TestPrior:
    def prior(self, calibration: Calibration | None, intent: str = INTENT) -> float:
        return prior_of(CertifiedRule(SCORER, calibration))(intent)

    def test_an_entry_begins_with_the_precision_that_its_intents_calibration_achieved(self) -> None:
        calibration = certified(
            pooled=Certificate(0.5, 400, 12, 0.08), intents={"rates": Certificate(0.6, 100, 2, 0.1)}
        )
        assert self.prior(calibration) == pytest.approx(0.97)
        assert self.prior(calibration, "rates") == pytest.approx(0.98)

    def test_without_a_certificate_it_begins_as_approved(self) -> None:
        assert self.prior(None) == self.prior(certified(), "another intent") == PRIOR
        assert self.prior(certified(pooled=None)) == PRIOR
        assert prior_of(CosineRule(0.5))(INTENT) == PRIOR

    @pytest.mark.parametrize(("wrong", "expected"), [(0, PRIOR), (30, LEAST_PRIOR)])
    def test_it_is_neither_certain_nor_so_low_that_one_soft_doubt_would_stop_an_entry(
        self, wrong: int, expected: float
    ) -> None:
        prior = self.prior(certified(pooled=Certificate(0.5, 100, wrong, 0.5)))
        assert prior == expected
        assert posterior([(Signal.REASKED, timedelta(0))], prior=prior) >= ACCURACY_FLOOR

    def test_what_is_told_is_weighed_against_it_wherever_it_is_told(self, tmp_path: Path) -> None:
        calibration = certified(pooled=Certificate(0.5, 400, 12, 0.08))
        save_calibration(calibration, tmp_path / "cache" / "calibration.json")
        expected = posterior([(Signal.REASKED, timedelta(0))], prior=0.97)
        told = [Feedback(entry().id, Signal.REASKED, NOON, "call:a:1", "test")]
        fill(tmp_path / "cache", [entry()])
        rule = CertifiedRule(SCORER, calibration)
        with closing(LocalCache(tmp_path / "cache", WordEmbedder(), door(), rule, now=lambda: NOON)) as cache:
            assert cache.feedback(told[0]).accuracy == pytest.approx(expected)
            store = cache.writer.store
            store.set_accuracy({entry().id: 1.0}, actor="test")
            assert renew_beliefs(store, NOON, actor="test", prior=prior_of(rule))[0].accuracy == expected
            seen = as_believed(store.stored(), {entry().id: told}, NOON, prior=prior_of(rule))
            assert seen[0].entry.accuracy == expected

    def test_a_home_has_the_prior_of_the_calibration_that_serves_there(
        self, tmp_path: Path, encoder: SentenceEncoder
    ) -> None:
        assert reference_at() == encoder.reference
        shipped = load_calibration(
            default_data_dir() / "cache_calibration.json", embedder=encoder.reference, rule=SCORER.fingerprint
        )
        intent = next(iter(shipped.covered))
        assert prior_of_home(Settings(home=tmp_path))(intent) == shipped.precision(intent)
        assert prior_of_home(Settings(home=tmp_path))("activate_my_card") == PRIOR
        assert prior_of_home(Settings(home=tmp_path, cache_threshold=0.8))(intent) == PRIOR
        assert prior_of_home(Settings(home=tmp_path, encoder=tmp_path))(intent) == PRIOR  # none is there


def test_the_scorer_is_of_the_shipped_weights() -> None:
    assert isinstance(SCORER, EvidenceScorer)
    assert SCORER.fingerprint.startswith("evidence:")
