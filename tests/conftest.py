"""Fixtures that tests of several packages share. Nothing here trains or loads a model by itself."""

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.settings import Settings, default_data_dir
from tests.properties import choose_examples

if TYPE_CHECKING:
    from serving.language.encoder import SentenceEncoder

pytest_plugins = ("tests.circle.fixtures",)

TESTS = Path(__file__).parent
REAL_TIME = {"benchmarks", "circle", "page", "scenarios"}
"""Folders of tests that train, keep a browser, or run calls in real time."""

TODAY = date(2026, 11, 20)
"""A day on which every rate and wording of the project's data is in force."""


def pytest_configure() -> None:
    """Before torch is loaded: its threads do not spin beside other work on the same cores."""
    choose_examples()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What works in real time shares one process and goes first; any other file is on its own.

    Two browsers, or two trainings, at once on two cores would measure each other. The circle is trained once.
    """
    folders = {item: item.path.relative_to(TESTS).parts[0] for item in items}
    for item in items:
        together = folders[item] in REAL_TIME
        item.add_marker(pytest.mark.xdist_group("real time" if together else str(item.path)))
    items.sort(key=lambda item: folders[item] not in REAL_TIME)


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
