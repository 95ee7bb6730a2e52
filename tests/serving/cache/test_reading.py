"""`cache-manager` reads; what it cannot read it says in one line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.cli.cache import app
from tests.serving.cache_world import entry, fill
from tests.serving.permissions import folder_of_all, without_rights


def stats(home: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("VOICEBOT_HOME", str(home))
    return CliRunner().invoke(app, ["stats"])


def test_a_cache_that_this_user_may_not_enter_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with folder_of_all() as home:
        fill(home / "cache", [entry()])
        (home / "cache").chmod(0)
        with without_rights():
            result = stats(home, monkeypatch)
        (home / "cache").chmod(0o700)
    assert result.exit_code == 4
    assert "Permission denied" in result.stderr
    assert "try: Give this user the right" in result.stderr
    assert "Traceback" not in result.output


def test_a_home_without_a_cache_is_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = stats(tmp_path, monkeypatch)
    assert result.exit_code == 3
    assert "voicebot build-cache" in result.stderr


def test_looking_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "cache", [entry()])
    (tmp_path / "cache" / "cache.sqlite").chmod(0o444)
    opened: list[bool] = []

    from serving.cache import store

    real = store.CacheStore.__init__

    def watched(self: store.CacheStore, path: Path, *, read_only: bool = False) -> None:
        opened.append(read_only)
        real(self, path, read_only=read_only)

    monkeypatch.setattr(store.CacheStore, "__init__", watched)
    assert stats(tmp_path, monkeypatch).exit_code == 0
    assert opened == [True]
