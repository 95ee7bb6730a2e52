"""`cache-manager` without an adapter: looking, judging, letting go, and files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from loguru import logger
from typer.testing import CliRunner

from serving.cache.protocol import Feedback, Signal
from serving.cache.store import FILE, CacheStore
from serving.cache.types import CacheEntry
from serving.cli.cache import app
from tests.serving.cache_world import FEE, SCOPE, entry, fill

OTHER = replace(SCOPE, intent_adapter="banking-lora/2")
QUESTIONS = (
    FEE,
    "How much is a wire?",
    "What is the price of a wire?",
    "Is a wire free?",
    "wire fees please",
)
NOW = datetime.now(UTC)


class Home:
    """A home with a cache of five entries, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cache"
        self.entries = [entry(question, created_at=NOW) for question in QUESTIONS]
        fill(self.folder, self.entries)

    @property
    def store(self) -> CacheStore:
        return CacheStore(self.folder / FILE)

    def run(self, *arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "\x1b[" not in result.output
        return result

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refill(self, entries: Sequence[CacheEntry]) -> None:
        self.entries = list(entries)
        fill(self.folder, self.entries)


@pytest.fixture(autouse=True)
def _no_logs_to_a_closed_terminal() -> Iterator[None]:
    yield
    logger.remove()  # a command's own, which ended with it


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path))
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(tmp_path / "mlruns"))
    monkeypatch.setenv("VOICEBOT_OPERATOR", "kim")
    return Home(tmp_path)


def test_stats_count_what_there_is_and_what_went(home: Home) -> None:
    first = home.entries[0].id
    home.store.remove([first], actor="kim", why="evicted: accuracy")
    home.store.quarantine(home.entries[1].id, actor="kim", why="test")
    home.store.count_hits({home.entries[2].id: (7, NOW)})
    home.store.add_feedback(Feedback(first, Signal.SHADOW_AGREES, NOW, "call:a:1", "shadow"))
    found = home.json("stats")
    assert (found["generation"], found["entries"], found["quarantined"], found["hits"]) == (1, 4, 1, 7)
    assert found["evicted"] == {"accuracy": 1}
    assert (found["shadow"]["checks"], found["shadow"]["disagreements"]) == (1, 0)
    (scope,) = found["scopes"]
    assert (scope["scope"], scope["entries"], scope["intents"]) == (SCOPE.key, 4, 1)
    told = home.run("stats").stdout
    assert "1 accuracy" in told
    assert "1, 0 disagree" in told


def test_a_damaged_manifest_keeps_nobody_from_the_counts(home: Home) -> None:
    (home.store.path.parent / "MANIFEST.json").write_text("{")
    result = home.run("stats", "--json")
    assert json.loads(result.stdout)["entries"] == 5
    assert json.loads(result.stdout)["generation"] == 0
    assert "MANIFEST.json is damaged" in result.stderr


def test_a_list_can_be_narrowed(home: Home) -> None:
    home.store.quarantine(home.entries[1].id, actor="kim", why="test")
    assert len(home.json("list")) == 5
    assert len(home.json("list", "--limit", "2")) == 2
    assert home.json("list", "--intent", "none") == []
    assert home.json("list", "--scope", "ffff") == []
    (only,) = home.json("list", "--quarantined")
    assert (only["id"], only["state"]) == (home.entries[1].id, "quarantined")


def test_an_entry_is_shown_with_all_that_became_of_it(home: Home) -> None:
    id_ = home.entries[0].id
    assert home.run("feedback", id_[:10], "wrong", "--note", "not since May").exit_code == 0
    found = home.json("inspect", id_)
    assert (found["question"], found["state"], found["verdict"]) == (FEE, "quarantined", None)
    assert [(it["signal"], it["actor"], it["note"]) for it in found["feedback"]] == [
        ("wrong", "kim", "not since May")
    ]
    assert {it["action"] for it in found["audit"]} == {"set_accuracy", "quarantine"}
    assert "not since May" in home.run("inspect", id_[:6]).stdout


def test_wrong_stops_an_entry_at_once_and_right_releases_it(home: Home) -> None:
    id_ = home.entries[0].id
    assert home.json("feedback", id_, "wrong")["quarantined"] is True
    assert home.json("feedback", id_, "right", "--by", "jo")["quarantined"] is False
    assert [row.actor for row in home.store.audit_rows(2)] == ["jo", "jo"]
    home.json("feedback", id_, "wrong")
    assert home.json("release", id_)["quarantined"] is False


def test_a_wrong_answer_can_be_stopped_in_all_its_phrasings(home: Home) -> None:
    alone = home.json("feedback", home.entries[0].id, "wrong")
    assert alone["others"] == []
    assert home.store.quarantined() == 1
    home.refill([*home.entries[:4], replace(home.entries[4], answer="Another answer.")])
    found = home.json("feedback", home.entries[0].id, "wrong", "--same-answer")
    assert {it["entry_id"] for it in found["others"]} == {it.id for it in home.entries[1:4]}
    assert home.store.quarantined() == 4


def test_an_id_may_be_cut_short_as_long_as_it_names_one_entry(home: Home) -> None:
    twins = [replace(entry(f"q {at}"), id=f"abcd{at}" + "0" * 27) for at in range(2)]
    home.refill(twins)
    assert home.json("inspect", "ABCD1")["id"] == twins[1].id
    for which, code, told in (
        ("abcd", 2, "2 entries"),
        ("abc", 2, "4 hex"),
        ("ffffff", 3, "no entry"),
        ("%s%n", 2, ""),
    ):
        result = home.run("inspect", which)
        assert result.exit_code == code
        assert told in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize("note", ["two\nlines", "x" * 501, "card 4111 1111 1111 1111"])
def test_a_note_that_must_not_be_kept_is_refused(home: Home, note: str) -> None:
    result = home.run("feedback", home.entries[0].id, "wrong", "--note", note)
    assert result.exit_code == 2
    assert "4111" not in result.output
    assert home.store.feedback(home.entries[0].id) == []


def test_a_name_that_the_audit_cannot_hold_is_refused(home: Home) -> None:
    assert home.run("feedback", home.entries[0].id, "wrong", "--by", "two\nlines").exit_code == 2


def doubted(home: Home, count: int) -> None:
    home.store.set_accuracy({it.id: 0.5 for it in home.entries[:count]}, actor="test")


@pytest.mark.parametrize("form", [["--evict", "--threshold=0.6"], ["evict", "--threshold", "0.6"]])
def test_evict_removes_what_is_too_often_wrong_in_both_forms(home: Home, form: list[str]) -> None:
    doubted(home, 1)
    found = home.json(*form)
    assert (found["entries"], found["planned"], found["removed"]) == (5, {"accuracy": 1}, {"accuracy": 1})
    assert [it["entry_id"] for it in found["evictions"]] == [home.entries[0].id]
    assert found["scopes_known"] is False
    assert len(home.store.entries()) == 4
    removed = next(row for row in home.store.audit_rows(3) if row.action == "remove")
    assert (removed.actor, removed.detail["entries"]) == ("kim", [home.entries[0].id])


def test_a_dry_run_writes_nothing(home: Home) -> None:
    doubted(home, 1)
    home.store.add_feedback(Feedback(home.entries[1].id, Signal.WRONG, NOW, "person:x", "kim"))
    before = home.store.stored(), home.store.audit_rows(), sorted(it.name for it in home.folder.iterdir())
    found = home.json("--evict", "--threshold=0.9", "--dry-run", "--max-fraction", "0")
    assert found["planned"] == {"accuracy": 2}  # feedback that nobody has acted on yet counts
    assert found["removed"] == {}
    after = home.store.stored(), home.store.audit_rows(), sorted(it.name for it in home.folder.iterdir())
    assert [item for item in after[2] if not item.startswith(FILE)] == [
        item for item in before[2] if not item.startswith(FILE)
    ]
    assert after[:2] == before[:2]


def test_too_much_at_once_is_refused_until_it_is_meant(home: Home) -> None:
    doubted(home, 3)
    result = home.run("--evict", "--threshold=0.6")
    assert result.exit_code == 1
    assert "60.0%" in result.stderr
    assert "--max-fraction" in result.stderr
    assert len(home.store.entries()) == 5
    assert home.run("--evict", "--threshold=0.6", "--max-fraction", "0.6").exit_code == 0
    assert len(home.store.entries()) == 2


def test_a_dry_run_says_that_the_real_one_would_be_refused(home: Home) -> None:
    refused = ["evict", "--max-entries", "0", "--dry-run"]
    assert "100.0%" in home.json(*refused)["refusal"]
    shown = home.run(*refused)
    assert shown.exit_code == 0
    assert "without --dry-run this is refused: This would take 100.0%" in shown.stderr
    real = home.run("evict", "--max-entries", "0")
    assert real.exit_code == 1
    assert home.json(*refused)["refusal"] in real.stderr
    for allowed in (["--max-fraction", "1"], ["--max-entries", "4"]):
        assert home.json(*refused, *allowed)["refusal"] is None
        assert "refused" not in home.run(*refused, *allowed).output


def test_the_least_used_make_room(home: Home) -> None:
    home.store.count_hits({it.id: (9, NOW) for it in home.entries[:4]})
    found = home.json("evict", "--max-entries", "4")
    assert found["removed"] == {"crowded": 1}
    assert home.store.get(home.entries[4].id) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--evict", "--threshold=1.5"], "0 to 1"),
        (["--evict", "--threshold=nan"], "0 to 1"),
        (["--evict", "--max-fraction=-1"], "0 to 1"),
        (["--evict", "--max-entries=-1"], "cannot hold"),
        (["--threshold=0.6"], "belong to --evict"),
        (["--dry-run"], "belong to --evict"),
        (["--evict", "stats"], "stands alone"),
        (["--json", "stats"], "stands alone"),
        (["--evict", "--threshold=much"], "threshold"),
    ],
)
def test_what_cannot_be_meant_is_refused(home: Home, arguments: list[str], told: str) -> None:
    result = home.run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "WARNING" not in result.stderr  # what else is amiss has nothing to do with it
    assert len(home.store.entries()) == 5


def test_without_a_word_it_says_what_it_can_do(home: Home) -> None:
    result = home.run()
    assert result.exit_code == 0
    assert "explain" in result.stdout


def test_verify_tells_sound_from_unsound_by_its_exit_code(home: Home) -> None:
    # Ids of this test's world are its own, so every entry is a finding.
    result = home.run("verify", "--json")
    assert result.exit_code == 5
    found = json.loads(result.stdout)
    assert {it["what"] for it in found["problems"]} == {"its id is not that of its words"}
    (next((home.folder / "gen-000001").iterdir())).unlink()
    assert "cannot be read" in home.run("verify").stdout


def test_an_export_holds_one_scope_without_what_is_quarantined(home: Home, tmp_path: Path) -> None:
    home.store.quarantine(home.entries[0].id, actor="kim", why="test")
    file = tmp_path / "out" / "cache.jsonl"
    assert home.json("export", str(file))["entries"] == 4
    assert len(file.read_text().splitlines()) == 5
    assert home.run("export", str(file)).exit_code == 2  # it is there
    fill(home.folder, [entry(scope=OTHER)], OTHER)
    several = home.run("export", str(tmp_path / "b.jsonl"))
    assert several.exit_code == 2
    assert "--scope" in several.stderr
    assert home.json("export", str(tmp_path / "b.jsonl"), "--scope", OTHER.key[:9])["entries"] == 1
    assert home.run("export", str(tmp_path / "c.jsonl"), "--scope", "zzz").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [["stats"], ["list"], ["inspect", "abcd"], ["evict"], ["feedback", "abcd", "wrong"], ["verify"],
     ["export", "x.jsonl"], ["--evict", "--threshold=0.6"]],
)  # fmt: skip
def test_a_home_without_a_cache_gets_none_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "empty"))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "build" in result.stderr
    assert not (tmp_path / "empty" / "cache").exists()


def test_an_expired_entry_is_said_to_be(home: Home) -> None:
    home.refill([entry(created_at=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))])
    (only,) = home.json("list")
    assert only["state"] == "expired"
