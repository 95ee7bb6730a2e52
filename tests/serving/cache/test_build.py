"""Filling a scope from the knowledge: what the cache answers is what the knowledge answers, or nothing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from serving.cache.build import BuildReport, build_from_knowledge
from serving.cache.store import CacheStore
from serving.cache.types import CacheEntry, CacheScope, Outcome, Reason, bucket
from serving.errors import InvalidInputError
from serving.language.knowledge import Answer, Cacheability, Knowledge, load_knowledge
from serving.language.protocols import Embeddings
from tests.conftest import TODAY
from tests.serving import cache_world
from tests.serving.cache_world import INTENT, NOON, SCOPE, SIGNER, WordEmbedder, ask, open_cache

FEES = Answer(
    id="fees",
    intent=INTENT,
    cacheability=Cacheability.SEMANTIC,
    questions=("What does a transfer cost?", "Is there a fee for a transfer?"),
    text="A transfer is free.",
    disclosures=("fee_schedule",),
    applies_to={},
    valid_until=None,
)
WIRE_FEES = replace(
    FEES,
    id="fees_wire",
    questions=("What does a wire cost?",),
    text="A wire costs 25 dollars.",
    applies_to={"channel": "wire"},
    valid_until=date(2026, 12, 31),
)
ACTIVATE = replace(
    FEES, id="activate", intent="activate_my_card", cacheability=Cacheability.EXACT, disclosures=()
)
BALANCE = replace(FEES, id="balance", intent="balance", cacheability=Cacheability.NEVER)


def knowledge(*answers: Answer) -> Knowledge:
    return Knowledge(answers, {}, "sha256")


def build(folder: Path, *answers: Answer, scope: CacheScope = SCOPE, now: datetime = NOON) -> BuildReport:
    return build_from_knowledge(
        folder, scope, knowledge(*answers), SIGNER, WordEmbedder(), actor="test", now=now
    )


def stored(folder: Path) -> list[CacheEntry]:
    return CacheStore(folder / "cache.sqlite").entries()


def test_each_phrasing_of_each_reusable_answer_becomes_an_entry(tmp_path: Path) -> None:
    report = build(tmp_path, FEES, WIRE_FEES, ACTIVATE, BALANCE)
    assert report == BuildReport(SCOPE.key, entries=5, intents=2, left_out=1, generation=1)
    found = {entry.question: entry for entry in stored(tmp_path)}
    assert set(found) == {*FEES.questions, *WIRE_FEES.questions}
    entry = found["What does a wire cost?"]
    assert (entry.answer, entry.source, entry.disclosures) == (
        WIRE_FEES.text,
        "knowledge:fees_wire",
        ("fee_schedule",),
    )
    assert (entry.scope, entry.accuracy, entry.created_at) == (SCOPE.key, 1.0, NOON)
    assert {entry.intent for entry in stored(tmp_path)} == {INTENT, "activate_my_card"}


def test_an_answer_that_nobody_allowed_to_be_reused_has_no_entry(tmp_path: Path) -> None:
    report = build(tmp_path, BALANCE)
    assert (report.entries, report.left_out, stored(tmp_path)) == (0, 1, [])
    assert open_cache(tmp_path).lookup(ask(intent="balance"), SCOPE).reason is Reason.NO_SCOPE


def test_building_twice_changes_nothing_but_the_generation(tmp_path: Path) -> None:
    first = build(tmp_path, FEES, WIRE_FEES)
    before = stored(tmp_path)
    second = build(tmp_path, FEES, WIRE_FEES)
    assert stored(tmp_path) == before
    assert second == replace(first, generation=2)


def test_building_one_scope_leaves_the_others(tmp_path: Path) -> None:
    other = replace(SCOPE, intent_adapter="banking-lora/2")
    build(tmp_path, FEES)
    build(tmp_path, replace(FEES, text="Now 1 dollar."), scope=other)
    cache = open_cache(tmp_path)
    answers = [cache.lookup(ask(FEES.questions[0]), scope).entry for scope in (SCOPE, other)]
    assert [entry and entry.answer for entry in answers] == ["A transfer is free.", "Now 1 dollar."]


def test_questions_that_differ_in_punctuation_alone_are_one_entry(tmp_path: Path) -> None:
    assert build(tmp_path, replace(FEES, questions=("Is it free?", "is it free"))).entries == 1


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), Outcome.HIT),
        (datetime(2027, 1, 1, tzinfo=UTC), Outcome.MISS),
    ],
)
def test_an_answer_is_served_through_its_last_day_and_no_longer(
    tmp_path: Path, at: datetime, outcome: Outcome
) -> None:
    build(tmp_path, FEES, WIRE_FEES)
    decision = open_cache(tmp_path, at=at).lookup(ask("What does a wire cost?"), SCOPE)
    assert decision.outcome is outcome
    assert (decision.reason is Reason.EXPIRED) is (outcome is Outcome.MISS)
    assert knowledge(FEES, WIRE_FEES).best(INTENT, {"channel": ("wire",)}, at.date()) is (
        WIRE_FEES if outcome is Outcome.HIT else FEES
    )


def test_an_answer_that_has_expired_is_left_out(tmp_path: Path) -> None:
    report = build(tmp_path, FEES, WIRE_FEES, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert (report.entries, report.left_out) == (2, 1)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("My card is 4111 1111 1111 1111, what does a transfer cost?", "personal data"),
        ("My name is Maria Lopez, what does a transfer cost?", "personal data"),
        ("What does a wire cost me?", "fees_wire"),
    ],
)
def test_a_question_that_must_not_become_an_entry_stops_the_build_before_it_writes(
    tmp_path: Path, question: str, told: str
) -> None:
    build(tmp_path, FEES)
    before = stored(tmp_path)
    with pytest.raises(InvalidInputError, match=told) as raised:
        build(tmp_path, replace(FEES, questions=(*FEES.questions, question)), WIRE_FEES)
    assert "4111" not in str(raised.value)
    assert "Lopez" not in str(raised.value)
    assert stored(tmp_path) == before
    assert open_cache(tmp_path).generation() == 1


def test_a_question_without_the_words_that_its_answer_applies_to_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="applies_to"):
        build(tmp_path, replace(WIRE_FEES, questions=("What does it cost?",)))


def test_an_embedder_that_is_not_the_scopes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="embedder"):
        build(tmp_path, FEES, scope=replace(SCOPE, embedder="another"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def approved(data_dir: Path) -> Knowledge:
    return load_knowledge(data_dir / "knowledge" / "answers.yaml")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, approved: Knowledge) -> Path:
    """A cache of the project's own knowledge."""
    folder = tmp_path_factory.mktemp("cache")
    now = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    report = build_from_knowledge(folder, SCOPE, approved, SIGNER, WordEmbedder(), actor="test", now=now)
    assert report.entries == sum(
        len(answer.questions)
        for answer in approved.answers
        if approved.cacheability(answer.intent) is not Cacheability.NEVER
    )
    return folder


def test_every_question_of_the_project_gets_its_own_answer(built: Path) -> None:
    cache = open_cache(built)
    for entry in stored(built):
        decision = cache.lookup(ask(entry.question, intent=entry.intent), SCOPE)
        assert (decision.reason, decision.entry) == (Reason.EXACT, entry)


def test_two_questions_of_one_bucket_have_one_answer(built: Path) -> None:
    answers = defaultdict(set)
    for entry in stored(built):
        answers[bucket(entry.intent, entry.signature)].add(entry.answer)
    assert {key: found for key, found in answers.items() if len(found) > 1} == {}


def test_no_intent_of_the_project_is_cached_that_nobody_decided_on(built: Path, approved: Knowledge) -> None:
    for entry in stored(built):
        assert entry.cacheability is approved.cacheability(entry.intent) is not Cacheability.NEVER
    assert approved.cacheability("an_intent_of_tomorrow") is Cacheability.NEVER


def test_what_others_add_and_remove_while_a_scope_is_built_again_holds(tmp_path: Path) -> None:
    """Embedding all questions takes time, in which calls and operators go on."""
    build(tmp_path, FEES)
    store = CacheStore(tmp_path / "cache.sqlite")
    add(store, removed := cache_world.entry("How much is a transfer?", source="engine:test"))
    added = cache_world.entry("What do you charge for a transfer?", source="engine:test")

    class Slow(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> Embeddings:
            store.remove([removed.id], actor="anna", why="test")
            add(store, added)
            return super().embed(texts)

    build_from_knowledge(tmp_path, SCOPE, knowledge(FEES), SIGNER, Slow(), actor="test", now=NOON)
    assert {it.question for it in stored(tmp_path)} == {*FEES.questions, added.question}


def test_building_again_keeps_other_phrasings_of_what_is_approved(tmp_path: Path) -> None:
    build(tmp_path, FEES)
    store = CacheStore(tmp_path / "cache.sqlite")
    add(store, cache_world.entry("How much is a transfer?", FEES.text, source="knowledge:fees"))
    add(store, cache_world.entry("Is it dear?", "It was dearer.", source="knowledge:fees"))
    assert build(tmp_path, FEES).entries == 3
    assert {it.question for it in stored(tmp_path)} == {*FEES.questions, "How much is a transfer?"}


def add(store: CacheStore, made: CacheEntry) -> None:
    store.insert(SCOPE, [made], WordEmbedder().embed([made.question]), actor="test")
