"""Call scripts by name."""

from pathlib import Path

import pytest

from serving.call.script import load_script
from serving.errors import MissingError


def test_an_unknown_script_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    (tmp_path / "b.yaml").touch()
    with pytest.raises(MissingError) as raised:
        load_script(tmp_path, "x")
    assert raised.value.advice == "There are: a, b."


def test_a_folder_without_scripts_is_told_to_be_the_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as raised:
        load_script(tmp_path / "absent", "x")
    assert "VOICEBOT_DATA_DIR" in raised.value.advice
