"""A bank to call, a span collector, and an environment without OpenTelemetry's variables."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.settings import Settings
from tests.serving.call.phone import Bank, fill_cache
from tests.serving.telemetry.collector import Collector


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the project's knowledge, built once; calls only read it."""
    folder = tmp_path_factory.mktemp("cache")
    fill_cache(folder)
    return folder


@pytest.fixture
def bank(settings: Settings, cache_folder: Path) -> Bank:
    """An installation of its own with an empty database."""
    return Bank(settings, cache_folder)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().serving() as running:
        yield running
