"""Rules of the house that no linter holds."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400
"""Lines that are still read in one sitting."""


@pytest.mark.parametrize("package", ["serving", "evaluation", "training", "flows", "tests"])
def test_every_file_is_read_in_one_sitting(package: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}
