import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from serving.adapters import live as live_module
from serving.adapters.live import LiveAdapter
from serving.adapters.pin import Reference, write_pin
from serving.adapters.promotion import promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.errors import IntegrityError, MissingError, UnavailableError
from serving.language.encoder import SentenceEncoder

NAME = "banking-lora"
NEVER = 1e6
BundleMaker = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "home" / "adapters"


@pytest.fixture
def make_live(
    registry: AdapterRegistry, tiny_encoder: SentenceEncoder, store: Path
) -> Iterator[Callable[..., LiveAdapter]]:
    """A live adapter of this test's home; its watcher sleeps unless `poll_s` is given."""
    made: list[LiveAdapter] = []

    def make(poll_s: float = NEVER) -> LiveAdapter:
        live = LiveAdapter(registry, tiny_encoder, store, poll_s=poll_s)
        made.append(live)
        return live

    yield make
    for live in made:
        live.close()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


def take_registry_away(registry: AdapterRegistry) -> Path:
    return registry.folder.rename(registry.folder.with_name("away"))


def test_the_champion_serves_from_a_private_copy(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter]
) -> None:
    live = make_live().start()
    assert live.current.version == "banking-lora/2"
    assert live.current.source == "registry"
    shutil.rmtree(challenged.get(NAME, 2).bundle)
    assert live.current.tagger.tag("i lost my card").version == "banking-lora/2"


def test_before_the_start_nothing_serves(make_live: Callable[..., LiveAdapter]) -> None:
    with pytest.raises(MissingError, match="start"):
        _ = make_live().current


def test_a_promotion_and_a_rollback_are_picked_up_by_a_check(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter]
) -> None:
    live = make_live().start()
    assert live.check() is False
    held = live.current
    promote(challenged, NAME, 3, by="ann", reason="better")
    assert live.check() is True
    assert live.current.version == "banking-lora/3"
    assert held.tagger.tag("i lost my card").version == "banking-lora/2"
    rollback(challenged, NAME, by="ann", reason="complaints")
    assert live.check() is True
    assert live.current.version == "banking-lora/2"


def test_the_watcher_notices_a_promotion_by_itself(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = threading.Event()
    live = make_live(poll_s=0.02)
    remember = live_module.remember_good

    def note(copied: object, store: Path) -> None:
        remember(copied, store)
        if copied.label == "banking-lora/3":
            swapped.set()

    monkeypatch.setattr(live_module, "remember_good", note)
    with live:
        promote(challenged, NAME, 3, by="ann", reason="better")
        assert swapped.wait(10)
        assert live.current.version == "banking-lora/3"


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_in_service_and_warns_once(
    challenged: AdapterRegistry,
    make_live: Callable[..., LiveAdapter],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = make_live().start()
    promote(challenged, NAME, 3, by="ann", reason="better")
    card = challenged.get(NAME, 3).bundle / "card.md"
    text = card.read_text()
    card.write_text("altered")
    assert [live.check() for _ in range(3)] == [False, False, False]
    assert live.current.version == "banking-lora/2"
    told = [line for line in warnings if "card.md was altered" in line]
    assert len(told) == 1
    assert "banking-lora/2 goes on serving" in told[0]
    card.write_text(text)
    later = live_module.time.monotonic() + 2 * NEVER
    monkeypatch.setattr(live_module.time, "monotonic", lambda: later)
    assert live.check() is True
    assert live.current.version == "banking-lora/3"


def test_the_registry_may_go_away_and_come_back_while_calls_go_on(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], warnings: list[str]
) -> None:
    live = make_live().start()
    away = take_registry_away(challenged)
    assert [live.check(), live.check()] == [False, False]
    assert live.current.version == "banking-lora/2"
    assert len([line for line in warnings if "no adapter registry" in line]) == 1
    away.rename(challenged.folder)
    promote(challenged, NAME, 3, by="ann", reason="better")
    assert live.check() is True


def test_without_a_registry_a_new_server_starts_on_the_last_good_copy(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], warnings: list[str]
) -> None:
    make_live().start()
    take_registry_away(challenged)
    served = make_live().start().current
    assert (served.version, served.source, served.target) == ("banking-lora/2", "last good", None)
    assert any("last good adapter banking-lora/2" in line for line in warnings)


def test_a_server_on_the_last_good_copy_returns_to_the_registry_when_it_is_back(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter]
) -> None:
    make_live().start()
    away = take_registry_away(challenged)
    live = make_live().start()
    away.rename(challenged.folder)
    assert live.check() is True
    assert live.current.source == "registry"


def test_with_nothing_at_all_the_error_says_how_to_get_an_adapter(
    registry: AdapterRegistry, make_live: Callable[..., LiveAdapter], make_bundle: BundleMaker
) -> None:
    with pytest.raises(MissingError, match="no adapter to serve with") as caught:
        make_live().start()
    assert "make demo" in caught.value.advice
    assert "voicebot train" in caught.value.advice
    registry.register(NAME, make_bundle(), by="ci")
    with pytest.raises(MissingError, match="no champion yet"):
        make_live().start()


def test_a_damaged_champion_at_the_first_start_is_named(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter]
) -> None:
    (challenged.get(NAME, 2).bundle / "intent.json").unlink()
    with pytest.raises(IntegrityError, match=r"intent\.json is missing"):
        make_live().start()


def test_a_locked_registry_at_the_first_start_is_unavailable(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_name: str) -> dict[str, int]:
        raise UnavailableError("The adapter registry has been locked for 5 s.")

    monkeypatch.setattr(challenged, "aliases", locked)
    with pytest.raises(UnavailableError, match="locked"):
        make_live().start()


def test_a_pin_chooses_a_version_and_the_champion_no_longer_matters(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path
) -> None:
    live = make_live().start()
    write_pin(store, Reference(NAME, 1), enabled=True, by="ann", reason="comparison")
    assert live.check() is True
    promote(challenged, NAME, 3, by="ann", reason="better")
    assert live.check() is False
    assert live.current.version == "banking-lora/1"


def test_a_pinned_alias_is_followed(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path, make_bundle: BundleMaker
) -> None:
    write_pin(store, Reference(NAME, "challenger"), enabled=True, by="ann", reason="test line")
    live = make_live().start()
    assert live.current.version == "banking-lora/3"
    challenged.register(NAME, make_bundle(4), by="ci")
    assert live.check() is True
    assert live.current.version == "banking-lora/4"


def test_disabled_means_the_frozen_head_of_the_same_bundle(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path
) -> None:
    live = make_live().start()
    labels = live.current.tagger.labels
    write_pin(store, Reference(NAME), enabled=False, by="ann", reason="strange answers")
    assert live.check() is True
    served = live.current
    assert (served.version, served.source) == ("baseline:banking-lora/2", "disabled")
    assert served.tagger.labels == labels
    write_pin(store, Reference(NAME), enabled=True, by="ann", reason="fixed")
    assert live.check() is True
    assert live.current.version == "banking-lora/2"


def test_an_adapter_can_be_switched_off_while_the_registry_is_down(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path
) -> None:
    live = make_live().start()
    take_registry_away(challenged)
    write_pin(store, Reference(NAME), enabled=False, by="ann", reason="strange answers")
    assert live.check() is True
    assert live.current.version == "baseline:banking-lora/2"
    assert make_live().start().current.version == "baseline:banking-lora/2"


def test_a_pinned_version_of_this_home_serves_without_the_registry(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path
) -> None:
    write_pin(store, Reference(NAME, 2), enabled=True, by="ann", reason="fixed")
    make_live().start()
    take_registry_away(challenged)
    served = make_live().start().current
    assert (served.version, served.source) == ("banking-lora/2", "registry")


def test_a_damaged_pin_changes_nothing_and_is_reported(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path, warnings: list[str]
) -> None:
    live = make_live().start()
    (store / "pin.json").write_text("{")
    assert live.check() is False
    assert live.current.version == "banking-lora/2"
    assert any("pin" in line for line in warnings)


def test_an_unexpected_error_does_not_end_the_watcher(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = make_live(poll_s=0.01)
    looked = threading.Semaphore(0)

    def broken() -> bool:
        looked.release()
        raise ZeroDivisionError

    monkeypatch.setattr(live, "check", broken)
    with live:
        assert all(looked.acquire(timeout=10) for _ in range(3))


def test_a_full_disk_of_this_home_leaves_the_old_adapter_in_service(
    challenged: AdapterRegistry,
    make_live: Callable[..., LiveAdapter],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from serving.adapters import loader

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    live = make_live().start()
    promote(challenged, NAME, 3, by="ann", reason="better")
    monkeypatch.setattr(loader, "copy_files", full)
    assert live.check() is False
    assert live.current.version == "banking-lora/2"
    assert any("No space left" in line for line in warnings)


def test_a_registry_of_another_mlflow_version_does_not_keep_a_server_from_starting(
    challenged: AdapterRegistry,
    make_live: Callable[..., LiveAdapter],
    tiny_encoder: SentenceEncoder,
    store: Path,
    warnings: list[str],
) -> None:
    make_live().start()
    folder = shutil.copytree(challenged.folder, challenged.folder.with_name("updated"))
    with sqlite3.connect(folder / "mlflow.db") as database:  # MLflow looks once per process and address
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef'")
    updated = AdapterRegistry(f"sqlite:///{folder / 'mlflow.db'}", folder)
    with LiveAdapter(updated, tiny_encoder, store, poll_s=NEVER) as live:
        assert (live.current.version, live.current.source) == ("banking-lora/2", "last good")
        assert live.check() is False
    assert any("mlflow db upgrade" in line for line in warnings)


def test_an_adapter_can_be_switched_off_when_its_registered_bundle_was_altered(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path
) -> None:
    live = make_live().start()
    (challenged.get(NAME, 2).bundle / "card.md").write_text("altered")
    write_pin(store, Reference(NAME), enabled=False, by="ann", reason="strange answers")
    assert live.check() is True
    assert live.current.version == "baseline:banking-lora/2"


@pytest.mark.parametrize(
    "reference", [Reference("no-such-model"), Reference(NAME, "nightly"), Reference(NAME, 9)]
)
def test_switching_off_works_also_where_the_pin_names_what_is_not_there(
    challenged: AdapterRegistry, make_live: Callable[..., LiveAdapter], store: Path, reference: Reference
) -> None:
    live = make_live().start()
    write_pin(store, reference, enabled=False, by="ann", reason="strange answers")
    assert live.check() is True
    assert live.current.version == "baseline:banking-lora/2"
    assert live.check() is False
