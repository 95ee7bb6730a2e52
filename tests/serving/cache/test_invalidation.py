"""What makes an old answer doubtful puts it out of reach before the next turn; undone, it is back."""

from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from serving.cache.eviction import GRACE, apply, plan
from serving.cache.lookup import SemanticCache
from serving.cache.protocol import Feedback, Signal
from serving.cache.store import FILE, CacheStore
from serving.cache.telling import tell
from serving.cache.types import CacheScope, Outcome, Reason
from serving.call.scope import ScopeParts, scope_for
from serving.language.prompt import prompt_sha256
from serving.speech.protocols import EngineInfo
from tests.serving.cache_world import FEE, NOON, SCOPE, WordEmbedder, ask, entry, fill

PARTS = ScopeParts(
    "harbour", "en-US", ("answers", "rates", "wordings", "lexicon", "rules"), "Harbour Bank",
    EngineInfo("embedded", "approved answers", ""), WordEmbedder.fingerprint,
)  # fmt: skip


def scope(
    parts: ScopeParts = PARTS, adapter: str = "banking-lora-1-aaa", dialogue: str = "none"
) -> CacheScope:
    return scope_for(parts, adapter, dialogue)


NOW = scope()
CHANGES = {
    "adapter promoted": scope(adapter="banking-lora-2-bbb"),
    "same number in a new registry": scope(adapter="banking-lora-1-ccc"),
    "frozen head instead": scope(adapter="baseline:banking-lora-1-aaa"),
    "dialogue adapter promoted": scope(dialogue="banking-dialogue-lora-1-ddd"),
    "answer edited": scope(replace(PARTS, knowledge=("edited", *PARTS.knowledge[1:]))),
    "rate edited": scope(replace(PARTS, knowledge=("answers", "edited", *PARTS.knowledge[2:]))),
    "wording edited": scope(replace(PARTS, knowledge=(*PARTS.knowledge[:2], "edited", "lexicon", "rules"))),
    "lexicon edited": scope(replace(PARTS, knowledge=(*PARTS.knowledge[:3], "edited", "rules"))),
    "signature rules changed": scope(replace(PARTS, knowledge=(*PARTS.knowledge[:4], "new rules"))),
    "prompt changed": scope(replace(PARTS, bank_name="Port Bank")),
    "engine changed": scope(replace(PARTS, llm=EngineInfo("local", "another model", ""))),
    "another bank": scope(replace(PARTS, tenant="port")),
    "another language": scope(replace(PARTS, locale="es-US")),
}


def found(
    folder: Path, asked: CacheScope, *, at: datetime = NOON, cache: SemanticCache | None = None
) -> Reason:
    cache = cache or SemanticCache(folder, WordEmbedder(), threshold=0.75, now=lambda: at)
    decision = cache.lookup(ask(), asked)
    assert (decision.entry is not None) is (decision.outcome is Outcome.HIT)
    return decision.reason


@pytest.fixture
def cache_folder(tmp_path: Path) -> Path:
    fill(tmp_path, [entry(scope=NOW)], NOW)
    return tmp_path


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_nothing_of_before_is_served_and_undoing_it_brings_all_back(
    cache_folder: Path, change: str
) -> None:
    assert found(cache_folder, NOW) is Reason.EXACT
    assert found(cache_folder, CHANGES[change]) is Reason.NO_SCOPE
    assert found(cache_folder, NOW) is Reason.EXACT


def test_every_part_of_a_scope_is_changed_above() -> None:
    changed = {
        field.name
        for field in fields(CacheScope)
        if any(getattr(other, field.name) != getattr(NOW, field.name) for other in CHANGES.values())
    }
    assert changed == {field.name for field in fields(CacheScope)} - {"embedder"}
    assert prompt_sha256("Harbour Bank") != prompt_sha256("Port Bank")


def test_an_encoder_of_another_make_finds_nothing(cache_folder: Path) -> None:
    class Other(WordEmbedder):
        fingerprint = "words:256 in half precision"

    changed = scope(replace(PARTS, embedder=Other.fingerprint))
    other = SemanticCache(cache_folder, Other(), threshold=0.75)
    assert found(cache_folder, changed, cache=other) is Reason.NO_SCOPE
    assert found(cache_folder, NOW, cache=other) is Reason.ERROR


def test_an_answer_ends_with_its_day_without_anybody_doing_anything(tmp_path: Path) -> None:
    last = datetime.combine(date(2026, 12, 31), datetime.max.time(), NOON.tzinfo)
    fill(tmp_path, [entry(expires_at=last)])
    times = [NOON]
    cache = SemanticCache(tmp_path, WordEmbedder(), threshold=0.75, now=lambda: times[-1])
    assert found(tmp_path, SCOPE, cache=cache) is Reason.EXACT
    times.append(last)
    assert found(tmp_path, SCOPE, cache=cache) is Reason.EXPIRED


def test_a_verdict_holds_from_the_next_question_on_in_a_cache_that_is_open(cache_folder: Path) -> None:
    cache = SemanticCache(cache_folder, WordEmbedder(), threshold=0.75, now=lambda: NOON)
    assert found(cache_folder, NOW, cache=cache) is Reason.EXACT
    store = CacheStore(cache_folder / FILE)
    (id_,) = (it.id for it in store.entries())
    tell(store, Feedback(id_, Signal.WRONG, NOON, "person:kim", "kim"))
    assert found(cache_folder, NOW, cache=cache) is Reason.QUARANTINED
    store.remove([id_], actor="kim", why="test")
    assert found(cache_folder, NOW, cache=cache) in {Reason.NO_SCOPE, Reason.NO_ENTRY}


def test_rollback_finds_the_scope_of_before_warm_whatever_was_evicted_meanwhile(cache_folder: Path) -> None:
    after = CHANGES["adapter promoted"]
    fill(cache_folder, [entry(scope=after)], after)
    store, later = CacheStore(cache_folder / FILE), NOON + 10 * GRACE
    live = {NOW.key, after.key}  # previous and champion
    apply(store, plan(store.stored(), later, live_scopes=live), actor="flow")
    assert found(cache_folder, NOW, at=later) is Reason.EXACT


def test_two_promotions_on_the_first_scope_goes(cache_folder: Path) -> None:
    second, third = CHANGES["adapter promoted"], scope(adapter="banking-lora-3-eee")
    for other in (second, third):
        fill(cache_folder, [entry(FEE, scope=other, created_at=NOON + timedelta(days=1))], other)
    store, later = CacheStore(cache_folder / FILE), NOON + 10 * GRACE
    found_ = plan(store.stored(), later, live_scopes={second.key, third.key}, scopes_since={NOW.key: NOON})
    assert found_.orphaned == {NOW.key}
    apply(store, found_, actor="flow")
    assert found(cache_folder, NOW, at=later) is Reason.NO_SCOPE
    assert found(cache_folder, second, at=later) is Reason.EXACT
