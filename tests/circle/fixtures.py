"""One circle for all tests that need one: the real flows train, judge, promote and build, once.

Training is two epochs instead of the demo's recipe (after one, some seeds stay below the frozen baseline and
the gate refuses them); everything else is what `make demo` runs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.settings import Settings

if TYPE_CHECKING:
    from flows.build_cache_index import CacheOutcome
    from flows.promote_adapter import PromotionOutcome
    from flows.train_adapter import TrainOutcome

QUICK = {"epochs": 2, "patience": 0, "refit": False}


@dataclass(frozen=True)
class Circle:
    """An installation in which the circle has gone round once."""

    settings: Settings
    trained: "TrainOutcome"
    promoted: "PromotionOutcome"
    cache: "CacheOutcome"


@contextmanager
def installed_at(folder: Path) -> Iterator[Settings]:
    """Let commands and flows find an installation through the environment, as users do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEBOT_HOME", str(folder / "var"))
        patch.setenv("VOICEBOT_MLRUNS", str(folder / "mlruns"))
        patch.setenv("VOICEBOT_OPERATOR", "test-operator")
        yield Settings.load()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect database and server for the whole session."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def finished_circle(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """Train, promote and build once; about a minute on two cores."""
    from flows.build_cache_index import build_cache_index
    from flows.promote_adapter import promote_adapter
    from flows.train_adapter import train_adapter
    from flows.training_inputs import TrainRequest

    with installed_at(tmp_path_factory.mktemp("circle")) as settings:
        trained = train_adapter(TrainRequest(changes=QUICK))
        promoted = promote_adapter(reason="the first of all")
        return Circle(settings, trained, promoted, build_cache_index())


@pytest.fixture
def circle(finished_circle: Circle) -> Iterator[Circle]:
    """The finished circle, found through the environment."""
    with installed_at(finished_circle.settings.home.parent):
        yield finished_circle
