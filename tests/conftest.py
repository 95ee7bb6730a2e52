"""Fixtures that tests of several packages share. Nothing here trains or loads a model by itself."""

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.settings import Settings, default_data_dir
from tests.properties import choose_examples

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

    from serving.language.encoder import SentenceEncoder

pytest_plugins = ("tests.circle.fixtures", "tests.circle.deployed")

TESTS = Path(__file__).parent
REAL_TIME = {"benchmarks", "circle", "page", "scenarios", "test_adapter_approval.py"}
"""Folders and files of tests that train, keep a browser or a Prefect server, or run calls in real time."""
OWN_FLOWS = {
    "test_adapter_approval.py",
    "test_data_report.py",
    "test_deployments.py",
    "test_dialogue_flow.py",
    "test_flow_errors.py",
    "test_sweep_flow.py",
}
"""Those of them that need neither the trained circle nor a quick answer: Prefect, with data of their own."""

TODAY = date(2026, 11, 20)
"""A day on which every rate and wording of the project's data is in force."""


def pytest_configure() -> None:
    """Before torch is loaded: its threads do not spin beside other work on the same cores."""
    choose_examples()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling":
    """What works in real time shares one process and goes first; of the rest each file goes by itself.

    Two browsers, or two trainings, at once on two cores would measure each other. The circle is trained once.
    Flows with data of their own follow in the same process. Files, being small, fill both to the end.
    """
    from xdist.scheduler import LoadScopeScheduling

    class RealTimeTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return file if _turn(nodeid) == 2 else "real time"

    return RealTimeTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In this order, for the scheduler above."""
    items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    """When a test goes: in real time first (0), flows of its own (1), all others (2)."""
    parts = nodeid.split("::", 1)[0].split("/")
    if parts[-1] in OWN_FLOWS:
        return 1
    return 2 if REAL_TIME.isdisjoint(parts) else 0


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the defaults, not the environment of whoever runs them."""
    for name in [
        name for name in os.environ if name.startswith("VOICEBOT_") and name != "VOICEBOT_SHARED_DATA"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An empty installation of its own."""
    return Settings(home=tmp_path / "var", mlruns=tmp_path / "mlruns")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The project's data."""
    return default_data_dir()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; tests that need it are skipped, visibly, without it."""
    folder = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}")
    return folder


@pytest.fixture(scope="session")
def encoder() -> "SentenceEncoder":
    """The default sentence encoder from its wheel."""
    from serving.language.encoder import load_encoder, use_one_thread

    use_one_thread()
    return load_encoder()
