"""What `verify` sees: damage of files, rows by another door, signatures and embeddings of other rules."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from serving.cache.admission import entry_id
from serving.cache.soundness import Soundness, check_cache
from serving.cache.store import FILE
from serving.cache.types import CacheEntry
from serving.language.knowledge import Answer, Cacheability, Knowledge
from tests.serving.cache_world import FEE_ANSWER, INTENT, SCOPE, SIGNER, entry, fill

KNOWLEDGE = Knowledge(
    (Answer("fees", INTENT, Cacheability.SEMANTIC, ("x",), FEE_ANSWER, (), {}, None),), {}, "sha256"
)
LIVE = frozenset({SCOPE.key})


def named(question: str = "What does a wire transfer cost?", **changes: object) -> CacheEntry:
    made = entry(question, **changes)  # type: ignore[arg-type]  # fields by name
    return replace(made, id=entry_id(SCOPE, made.intent, question))


def checked(folder: Path, *, live: frozenset[str] | None = LIVE) -> Soundness:
    return check_cache(folder, KNOWLEDGE, SIGNER, live)


def told(folder: Path, **options: frozenset[str] | None) -> str:
    return "; ".join(problem.what for problem in checked(folder, **options).problems)


def change(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db, db:
        db.execute(statement, values)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    fill(tmp_path, [named(), named("How much is a wire?")])
    return tmp_path


def test_a_cache_as_it_was_built_is_sound(cache: Path) -> None:
    found = checked(cache)
    assert found == Soundness(files=3, scopes=1, entries=2, problems=())


def test_a_changed_or_missing_file_is_named(cache: Path) -> None:
    first, second, _ = sorted((cache / "gen-000001").iterdir())
    first.write_bytes(first.read_bytes() + b"x")
    second.unlink()
    problems = {problem.place: problem.what for problem in checked(cache).problems}
    assert problems.keys() == {first.name, second.name}
    assert "published" in problems[first.name]
    assert "cannot be read" in problems[second.name]


def test_a_damaged_or_missing_manifest_is_named(cache: Path) -> None:
    (cache / "MANIFEST.json").write_text("{")
    assert "damaged" in told(cache)
    (cache / "MANIFEST.json").unlink()
    assert "never published" in told(cache)


@pytest.mark.parametrize(
    ("statement", "values", "what"),
    [
        ("UPDATE entry SET question = ?", ("Another question?",), "id is not that of its words"),
        ("UPDATE entry SET question = 'сколько стоит' WHERE seq = 1", (), "another script"),
        ("UPDATE entry SET answer = ? WHERE seq = 1", ("x" * 3_000,), "characters"),
        ("UPDATE entry SET cacheability = 'never' WHERE seq = 1", (), "never be reused"),
        ("UPDATE entry SET accuracy = 1.5 WHERE seq = 1", (), "no probability"),
        ("UPDATE entry SET question = 'wire from 4111 1111 1111 1111' WHERE seq = 1", (), "personal data"),
        ('UPDATE entry SET signature = \'[["channel", "ach"]]\' WHERE seq = 1', (), "signature"),
        ("UPDATE entry SET embedding = ?", (b"\x00\x00\x80\x40" * 256,), "length 1"),
    ],
)
def test_a_row_against_the_rules_is_named(
    cache: Path, statement: str, values: tuple[object, ...], what: str
) -> None:
    change(cache, statement, *values)
    assert what in told(cache)


def test_an_intent_that_may_be_reused_less_is_named(cache: Path) -> None:
    exact = replace(KNOWLEDGE, answers=(replace(KNOWLEDGE.answers[0], cacheability=Cacheability.EXACT),))
    (first, *_) = check_cache(cache, exact, SIGNER, LIVE).problems
    assert "the knowledge allows exact" in first.what


def test_old_scopes_are_not_held_to_the_rules_of_today(cache: Path) -> None:
    change(cache, "UPDATE entry SET signature = ?", '[["rules", "old"]]')
    assert told(cache, live=frozenset()) == ""
    assert told(cache, live=None) == ""
    assert "signature" in told(cache)
