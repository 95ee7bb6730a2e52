import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.adapters import registry as registry_module
from serving.adapters.audit import Action, Step
from serving.adapters.database import translated
from serving.adapters.decision import GateDecision
from serving.adapters.promotion import rollback
from serving.adapters.registry import AdapterRegistry, quiet_mlflow
from serving.adapters.verdicts import attach_decision
from serving.adapters.versions import CHALLENGER, CHAMPION, PREVIOUS
from serving.errors import (
    IntegrityError,
    InvalidInputError,
    MissingError,
    RefusedError,
    UnavailableError,
)

NAME = "banking-lora"
BundleMaker = Callable[..., Path]
DecisionMaker = Callable[..., GateDecision]


class KilledError(BaseException):
    """Ends a writer where it stands, as a kill does: nothing of ours catches it."""


@contextmanager
def locked(mlruns: Path) -> Iterator[None]:
    """Another program that writes and does not finish."""
    connection = sqlite3.connect(mlruns / "mlflow.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


def places(registry: AdapterRegistry) -> list[str]:
    folder = registry.folder / "artifacts" / "adapters" / NAME
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def steps(registry: AdapterRegistry) -> list[tuple[str, str]]:
    return [(entry.act.action.value, entry.step.value) for entry in registry.history()]


def test_a_registered_bundle_is_copied_tagged_and_the_challenger(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    source = make_bundle()
    version = registry.register(NAME, source, by="ci", run_id="run42", tags={"purpose": "test"})
    manifest = version.verify()
    assert (version.label, version.aliases, version.run_id) == ("banking-lora/1", (CHALLENGER,), "run42")
    assert version.gate_status == "not judged"
    assert abs(datetime.now(UTC) - version.created) < timedelta(minutes=5)
    expected = {
        "adapter.sha256": manifest.adapter_sha256,
        "base.sha256": manifest.provenance.base_sha256,
        "dataset.sha256": "d" * 64,
        "git.dirty": "false",
        "purpose": "test",
    }
    assert expected.items() <= version.tags.items()
    shutil.rmtree(source)
    assert registry.get(NAME, CHALLENGER).verify() == manifest
    assert registry.get(NAME, 1) == registry.get(NAME, CHALLENGER) == version


def test_a_second_bundle_takes_the_challenger_alias(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    for seed in (1, 2):
        registry.register(NAME, make_bundle(seed), by="ci")
    assert registry.aliases(NAME) == {CHALLENGER: 2}
    assert [version.version for version in registry.versions(NAME)] == [1, 2]
    assert registry.champion_version(NAME) is None


def test_registering_the_same_bundle_again_changes_nothing(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    first = registry.register(NAME, make_bundle(1), by="ci")
    assert registry.register(NAME, make_bundle(1), by="ci") == first
    assert len(registry.versions()) == len(places(registry)) == 1


def test_a_damaged_bundle_registers_nothing(registry: AdapterRegistry, make_bundle: BundleMaker) -> None:
    bundle = make_bundle()
    (bundle / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        registry.register(NAME, bundle, by="ci")
    assert registry.versions() == []
    assert registry.history() == ()


def test_a_bundle_for_another_model_or_with_a_taken_tag_is_refused(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    with pytest.raises(InvalidInputError, match="is for banking-lora"):
        registry.register("other", make_bundle(), by="ci")
    with pytest.raises(InvalidInputError, match=r"adapter\.sha256"):
        registry.register(NAME, make_bundle(), by="ci", tags={"adapter.sha256": "0"})


@pytest.mark.parametrize("method", ["create_model_version", "set_registered_model_alias"])
def test_a_writer_killed_at_any_step_leaves_no_half_registered_version(
    open_registry: Callable[[], AdapterRegistry],
    make_bundle: BundleMaker,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    import mlflow

    def die(*_args: object, **_options: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, method, die)
        with pytest.raises(KilledError):
            open_registry().register(NAME, make_bundle(1), by="ci")
    registry = open_registry()
    made_version = method == "set_registered_model_alias"
    registry.register(NAME, make_bundle(2), by="ci")
    versions = registry.versions(NAME)
    assert len(versions) == (2 if made_version else 1)
    assert versions[-1].aliases == (CHALLENGER,)
    assert [version.verify().sha256 for version in versions]
    assert places(registry) == sorted(version.bundle.parent.name for version in versions)
    first_outcome = Step.DONE if made_version else Step.ABANDONED
    assert steps(registry)[:2] == [("register", "begun"), ("register", first_outcome.value)]
    assert registry.audit.unfinished() == ()


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from serving.adapters.registry import AdapterRegistry
mlruns, bundle = Path(sys.argv[1]), Path(sys.argv[2])
registry = AdapterRegistry(f"sqlite:///{mlruns / 'mlflow.db'}", mlruns)
registry.set_alias = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
registry.register("banking-lora", bundle, by="ci")
"""


def test_a_really_killed_registration_is_finished_by_the_next_writer(
    registry: AdapterRegistry, mlruns: Path, make_bundle: BundleMaker
) -> None:
    command = [sys.executable, "-c", KILLED_WRITER, str(mlruns), str(make_bundle(1))]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert registry.aliases(NAME) == {}
    with registry.writing():
        pass
    assert registry.aliases(NAME) == {CHALLENGER: 1}
    assert registry.get(NAME, 1).verify()
    assert steps(registry) == [("register", "begun"), ("register", "done")]
    assert registry.history()[-1].act.version == 1


def test_a_registration_that_fails_in_mlflow_raises_and_leaves_nothing(
    registry: AdapterRegistry, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    def fail(*_args: object, **_options: object) -> None:
        raise MlflowException("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", fail)
        with pytest.raises(UnavailableError, match="disk full"):
            registry.register(NAME, make_bundle(), by="ci")
    assert registry.versions() == []
    assert places(registry) == []
    assert steps(registry) == [("register", "begun"), ("register", "abandoned")]


def test_without_a_database_every_question_says_how_to_get_one(tmp_path: Path) -> None:
    registry = AdapterRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    for question in (
        lambda: registry.champion_version(NAME),
        lambda: registry.get(NAME),
        registry.versions,
        lambda: registry.delete(NAME, 1, by="ann", reason="why"),
    ):
        with pytest.raises(MissingError, match="no adapter registry yet") as caught:
            question()
        assert "make demo" in caught.value.advice
    assert not (tmp_path / "mlflow.db").exists()


def test_a_locked_database_is_unavailable_after_a_bounded_wait(
    registry: AdapterRegistry, mlruns: Path, make_bundle: BundleMaker
) -> None:
    bundle = make_bundle()
    with locked(mlruns):
        for attempt in (
            lambda: registry.champion_version(NAME),
            lambda: registry.register(NAME, bundle, by="ci"),
        ):
            with pytest.raises(UnavailableError, match=r"locked for 0\.2 s") as caught:
                attempt()
            assert caught.value.retryable
    assert registry.register(NAME, bundle, by="ci").version == 1


def test_a_writer_that_holds_the_lock_keeps_others_out(
    open_registry: Callable[[], AdapterRegistry], make_bundle: BundleMaker
) -> None:
    with open_registry().writing(), pytest.raises(UnavailableError, match="Another operator"):
        open_registry().register(NAME, make_bundle(), by="ci")


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"this is no database at all" * 100, IntegrityError), (None, InvalidInputError)],
)
def test_a_foreign_file_in_the_databases_place_is_reported_as_such(
    tmp_path: Path, content: bytes | None, error: type[Exception]
) -> None:
    path = tmp_path / "mlflow.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE other (x)")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(error, match=r"mlflow\.db"):
        AdapterRegistry(f"sqlite:///{path}", tmp_path).champion_version(NAME)


@pytest.mark.parametrize("uri", ["file:./mlruns", "", "http://localhost:5000", "./mlruns"])
def test_an_address_that_is_no_database_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InvalidInputError, match="VOICEBOT_TRACKING_URI"):
        AdapterRegistry(uri, tmp_path).champion_version(NAME)


def test_unknown_models_versions_and_aliases_are_missing(challenged: AdapterRegistry) -> None:
    for question in (
        lambda: challenged.champion_version("other"),
        lambda: challenged.get(NAME, 99),
        lambda: challenged.get(NAME, "nightly"),
        lambda: challenged.versions("other"),
    ):
        with pytest.raises(MissingError):
            question()


@pytest.mark.parametrize("name", ["x' OR name='banking-lora", "../x", "a b", ""])
def test_a_name_that_is_none_never_reaches_the_database(registry: AdapterRegistry, name: str) -> None:
    for question in (registry.champion_version, registry.get):
        with pytest.raises(InvalidInputError, match="no adapter name"):
            question(name)


def test_a_decision_is_stored_with_its_version_and_shown(
    registry: AdapterRegistry, make_bundle: BundleMaker, make_decision: DecisionMaker
) -> None:
    registry.register(NAME, make_bundle(), by="ci")
    assert registry.decision(NAME, 1) is None
    stored = attach_decision(registry, NAME, 1, make_decision(), by="gate")
    assert stored.challenger_version == 1
    assert registry.decision(NAME, 1) == stored
    assert registry.get(NAME, 1).gate_status == "passed"
    failed = attach_decision(registry, NAME, 1, make_decision(passed=False), by="gate")
    assert registry.decision(NAME, 1) == failed
    assert registry.get(NAME, 1).gate_status == "failed"
    assert registry.history()[-1].act.evidence["decision"] == failed.sha256


def test_a_decision_about_another_version_is_refused(
    challenged: AdapterRegistry, make_decision: DecisionMaker
) -> None:
    judged = challenged.decision(NAME, 1)
    assert judged is not None
    with pytest.raises(InvalidInputError, match=r"banking-lora/1, not banking-lora/2"):
        attach_decision(challenged, NAME, 2, judged, by="ci")
    with pytest.raises(InvalidInputError, match=r"other"):
        attach_decision(challenged, NAME, 2, make_decision(model="other"), by="ci")


def test_a_stored_decision_that_was_edited_or_removed_is_an_integrity_error(
    challenged: AdapterRegistry,
) -> None:
    version = challenged.get(NAME, 2)
    path = version.decision_file(version.tags["gate.decision"])
    path.write_text(path.read_text().replace("0.1 pp", "9.9 pp"))
    with pytest.raises(IntegrityError, match="altered"):
        challenged.decision(NAME, 2)
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        challenged.decision(NAME, 2)


def test_neither_champion_nor_previous_can_be_deleted(
    challenged: AdapterRegistry,
) -> None:
    for version, alias in ((2, CHAMPION), (1, PREVIOUS)):
        with pytest.raises(RefusedError, match=rf"{alias} and cannot be deleted"):
            challenged.delete(NAME, version, by="ann", reason="tidy")
    third = challenged.get(NAME, 3)
    challenged.delete(NAME, 3, by="ann", reason="tidy")
    assert [version.version for version in challenged.versions(NAME)] == [1, 2]
    assert not third.bundle.exists()
    assert challenged.history()[-1].act.action == Action.DELETE


def test_a_database_of_another_mlflow_version_is_unavailable_and_the_advice_names_the_command(
    challenged: AdapterRegistry, open_registry: Callable[[], AdapterRegistry], make_bundle: BundleMaker
) -> None:
    with sqlite3.connect(challenged.folder / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef'")
    bundle = make_bundle(4)
    for attempt in (
        lambda: open_registry().champion_version(NAME),
        lambda: open_registry().versions(),
        lambda: open_registry().register(NAME, bundle, by="ci"),
        lambda: rollback(open_registry(), NAME, by="ann", reason="why"),
    ):
        with pytest.raises(UnavailableError, match="another version of MLflow") as caught:
            attempt()
        assert "mlflow db upgrade sqlite:///" in caught.value.advice


def test_the_password_of_a_database_is_not_in_the_advice() -> None:
    error = translated("postgresql://bot:secret@db/x", "X", Exception("Detected out-of-date database schema"))
    assert "mlflow db upgrade" in error.advice
    assert "secret" not in str(error)


def test_a_moved_folder_still_serves_its_bundles(challenged: AdapterRegistry, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    challenged.folder.rename(moved)
    elsewhere = AdapterRegistry(f"sqlite:///{moved / 'mlflow.db'}", moved)
    assert elsewhere.get(NAME).verify()


def test_a_new_database_is_made_by_the_first_registration_only(
    empty_template: Path, tmp_path: Path, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = []

    def create(self: AdapterRegistry) -> object:
        if not (tmp_path / "new" / "mlflow.db").exists():
            created.append(shutil.copyfile(empty_template / "mlflow.db", tmp_path / "new" / "mlflow.db"))
        return original(self)

    original = AdapterRegistry._open
    monkeypatch.setattr(AdapterRegistry, "_open", create)
    registry = AdapterRegistry(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}", tmp_path / "new")
    assert registry.register(NAME, make_bundle(), by="ci").version == 1
    assert len(created) == 1


def test_mlflow_is_kept_off_the_network_without_overriding_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    quiet_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_a_full_disk_registers_nothing_and_says_so(
    registry: AdapterRegistry, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(registry_module, "copy_files", full)
        with pytest.raises(UnavailableError, match="No space left") as caught:
            registry.register(NAME, make_bundle(), by="ci")
    assert "Free space" in caught.value.advice
    assert registry.versions() == []
    assert places(registry) == []
