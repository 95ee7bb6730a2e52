"""One bank with a filled cache for the tests of a call."""

from pathlib import Path

import pytest

from serving.settings import Settings
from tests.serving.call.phone import Bank, fill_cache


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
