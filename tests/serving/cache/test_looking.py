"""`cache-manager` commands that only look: no trace is left, and no adapter needed for a given intent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from loguru import logger
from typer.testing import CliRunner

from serving.cache import Offer, open_cache, scope_of
from serving.cache.store import FILE, CacheStore
from serving.cli.cache import app
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings

STORED = "Can I pay off my loan early?"
PARAPHRASE = "Can I settle my loan ahead of time?"
INTENT = "loan_early_repayment"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: SentenceEncoder) -> Iterator[None]:
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOICEBOT_MLRUNS", str(tmp_path / "mlruns"))
    for where in ("serving.call.runtime", "serving.language.encoder"):
        monkeypatch.setattr(f"{where}.load_encoder", lambda *_: encoder)
    for where in ("serving.call.runtime", "serving.language.encoder_backend"):
        monkeypatch.setattr(f"{where}.with_backend", lambda loaded, _: loaded)
    yield
    logger.remove()  # a command's own, which ended with it


def made_alone(home: Path) -> str:
    """A cache as the ten lines of docs/cache.md make one; the id of its entry."""
    with open_cache(Settings(home=home)) as cache:
        scope = scope_of(cache, tenant="my bank")
        cache.create_scope(scope, actor="me")
        answer = next(it for it in cache.admission.knowledge.answers if it.id == INTENT)
        entry = cache.insert(Offer(STORED, INTENT, answer.text), scope, actor="me").entry
    assert entry is not None
    return entry.id


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder; what SQLite keeps beside a database that is read is no change of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize("arguments", [["explain", STORED], ["explain", STORED, "--intent", INTENT]])
def test_to_explain_on_an_empty_home_leaves_it_empty(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "home").mkdir()
    result = run(*arguments)
    assert result.exit_code == 3
    assert "There is no cache" in result.stderr
    assert files(tmp_path) == {}


def test_without_an_adapter_a_look_at_a_cache_changes_nothing(tmp_path: Path) -> None:
    entry = made_alone(tmp_path / "home")
    exported = tmp_path / "out.jsonl"
    assert run("export", str(exported)).exit_code == 0
    before = files(tmp_path)
    looks = (
        ["explain", STORED],
        ["inspect", entry, "--question", STORED],
        ["import", str(exported), "--dry-run"],
    )
    for arguments in looks:
        assert run(*arguments).exit_code == 3, arguments
    run("verify")
    assert run("evict", "--dry-run").exit_code == 0
    after = files(tmp_path)
    assert {name: after[name] for name in after if not name.startswith("home/logs/")} == before


def test_a_cache_made_alone_is_explained_when_the_intent_is_given(tmp_path: Path) -> None:
    entry = made_alone(tmp_path / "home")
    before = files(tmp_path)
    result = run("explain", PARAPHRASE, "--intent", INTENT, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["decision"]["outcome"], found["decision"]["reason"]) == ("hit", "semantic")
    assert (found["intent"], found["probability"], found["asked"]) == (INTENT, None, True)
    assert [it["id"] for it in found["neighbours"]] == [entry]
    shown = run("explain", "Is account 12345678 insured?", "--intent", "deposit_protection").stdout
    assert "bypass (personal)" in shown
    assert "12345678" not in shown
    assert files(tmp_path) == before
    assert [it.hits for it in CacheStore(tmp_path / "home" / "cache" / FILE).stored()] == [0]


def test_an_entry_made_alone_says_why_it_would_or_would_not_answer(tmp_path: Path) -> None:
    entry = made_alone(tmp_path / "home")
    asked = ["inspect", entry, "--intent", INTENT, "--json", "--question"]
    assert json.loads(run(*asked, PARAPHRASE).stdout)["verdict"]["hits"] is True
    other = json.loads(run(*asked, "Can I not pay off my loan early?").stdout)["verdict"]
    assert next(it["name"] for it in other["guards"] if it["passed"] is False) == "signature"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_is_personal_in_a_question_to_an_entry_is_not_shown(tmp_path: Path, form: list[str]) -> None:
    entry = made_alone(tmp_path / "home")
    question = "Does my card 4111 1111 1111 1111, maria@example.com, let me pay early?"
    shown = run("inspect", entry, "--intent", INTENT, "--question", question, *form).stdout
    assert "Does my card <card>, <email>, let me pay early?" in " ".join(shown.split())
    assert "4111" not in shown
    assert "maria" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["explain", STORED, "--intent", "loan_early_repayments"], 2, f"Did you mean: {INTENT}"),
        (["explain", STORED, "--intent", INTENT, "--scope", "zzz"], 3, "no scope zzz"),
        (["explain", STORED, "--scope", "abcd"], 2, "--scope belongs to --intent"),
        (["inspect", "abcd", "--intent", INTENT], 2, "--intent is the intent of a --question"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    made_alone(tmp_path / "home")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_an_export_of_a_cache_made_alone_comes_back_without_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = made_alone(tmp_path / "home")
    file = tmp_path / "out.jsonl"
    assert run("export", str(file)).exit_code == 0
    monkeypatch.setenv("VOICEBOT_HOME", str(tmp_path / "other"))
    dry = run("import", str(file), "--alone", "--dry-run", "--json")
    assert (dry.exit_code, json.loads(dry.stdout)["taken"]) == (1, 0)  # nothing is made, so no scope either
    assert not (tmp_path / "other").exists()
    assert json.loads(run("import", str(file), "--alone", "--json").stdout)["taken"] == 1
    assert [it.id for it in CacheStore(tmp_path / "other" / "cache" / FILE).entries()] == [entry]
