"""An audit that was shortened is noticed, then and ever after, and never keeps anyone from a rollback."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.adapters.history import GAP, read_history
from serving.adapters.promotion import promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.errors import IntegrityError, InvalidInputError, MissingError

NAME = "banking-lora"
BundleMaker = Callable[..., Path]


def shorten(registry: AdapterRegistry, rows: int) -> None:
    lines = registry.audit.path.read_text().splitlines(keepends=True)
    registry.audit.path.write_text("".join(lines[:-rows]))


def test_a_whole_audit_has_no_losses(challenged: AdapterRegistry) -> None:
    promote(challenged, NAME, 3, by="ann", reason="better")
    history = read_history(challenged)
    assert history.losses == ()
    history.require_whole()
    assert not any(GAP in entry.act.evidence for entry in history.entries)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_shortened_audit_is_noticed(challenged: AdapterRegistry, rows: int) -> None:
    shorten(challenged, rows)
    with pytest.raises(IntegrityError, match="shortened: the last row on banking-lora is gone"):
        challenged.history(NAME)


def test_a_shortened_audit_cannot_be_laundered_by_what_is_done_next(challenged: AdapterRegistry) -> None:
    head = challenged.audit_head(NAME)
    shorten(challenged, 4)
    done = rollback(challenged, NAME, by="mallory", reason="nothing to see")
    assert done.champion_after == 1
    rollback(challenged, NAME, by="ann", reason="and back")
    assert [e.act.evidence.get(GAP) for e in challenged.audit.entries()][-4:] == [None, head, None, None]
    for name in (NAME, None):
        with pytest.raises(IntegrityError, match=r"when row \d+ was written .* before it was gone"):
            challenged.history(name)


def test_a_removed_audit_beside_registered_versions_is_an_integrity_error(
    challenged: AdapterRegistry,
) -> None:
    challenged.audit.path.unlink()
    for name in (NAME, None):
        with pytest.raises(IntegrityError, match="the last row on banking-lora is gone"):
            challenged.history(name)
    with sqlite3.connect(challenged.folder / "mlflow.db") as database:
        database.execute("DELETE FROM registered_model_tags")
    with pytest.raises(IntegrityError, match="has registered versions, but no row"):
        challenged.history()


def test_a_row_of_another_model_does_not_cover_a_loss_up(
    challenged: AdapterRegistry, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.adapters.audit import Act, Action, Step

    shorten(challenged, 4)
    with challenged.writing():
        challenged.record(Step.DONE, Act(Action.DECIDE, "other", 1, "ann", "why"))
    with pytest.raises(IntegrityError, match="the last row on banking-lora is gone"):
        challenged.history()


def test_what_others_register_in_the_same_database_is_left_out(challenged: AdapterRegistry) -> None:
    from mlflow import MlflowClient

    MlflowClient(challenged.tracking_uri, challenged.tracking_uri).create_registered_model("A Foreign Model")
    assert challenged.models() == [NAME]
    assert len(challenged.versions()) == 3
    assert challenged.history()


def test_without_registry_and_audit_there_is_no_history(tmp_path: Path) -> None:
    registry = AdapterRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    with pytest.raises(MissingError, match="no adapter registry yet"):
        registry.history()


def test_an_audit_without_its_registry_is_still_shown(challenged: AdapterRegistry) -> None:
    rows = len(challenged.history())
    (challenged.folder / "mlflow.db").unlink()
    assert len(challenged.history()) == rows


def test_a_name_that_is_none_is_refused(challenged: AdapterRegistry) -> None:
    with pytest.raises(InvalidInputError, match="no adapter name"):
        challenged.history("../x")


def test_rows_tell_the_login_of_who_acted(challenged: AdapterRegistry) -> None:
    rollback(challenged, NAME, by="the auditor", reason="why")
    rows = [json.loads(line) for line in challenged.audit.path.read_text().splitlines()]
    assert all(row["act"]["evidence"]["os_user"] for row in rows)
