"""A lookup's work does not grow with the scope around the bucket that it asks."""

from pathlib import Path

import pytest

from serving.cache.store_reader import StoreReader, View
from serving.cache.types import bucket, exact_key
from tests.serving.cache_world import INTENT, SCOPE, SIGNER, entry, fill

MANY = 2_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    fill(folder, [entry(f"what does it cost {letter(at)}", "It is free.") for at in range(MANY)])
    return folder / "cache.sqlite"


def letter(at: int) -> str:
    """Words without a number, which would be a signature of its own."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(at))


@pytest.mark.parametrize(
    "asked",
    [
        lambda view: view.entries(SCOPE.key, [1, 2, 3, 4, 5]),
        lambda view: view.exact(SCOPE.key, INTENT, exact_key("what does it cost b")),
        lambda view: view.newer(SCOPE.key, bucket(INTENT, SIGNER.sign("what does it cost b")), MANY - 3),
        lambda view: view.holds(SCOPE.key),
        lambda view: view.newest(),
        lambda view: view.last_seq(),
    ],
    ids=["entries", "exact", "newer", "holds", "newest", "last_seq"],
)
def test_what_every_lookup_asks_of_the_store_walks_through_no_scope(path: Path, asked: object) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with StoreReader(path).view() as view:
        assert isinstance(view, View)
        view.db.set_progress_handler(count, 50)
        assert asked(view)  # type: ignore[operator]  # one of the lambdas above
    assert steps * 50 < MANY
