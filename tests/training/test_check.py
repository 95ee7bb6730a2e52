"""The checker of data/intents: every kind of mistake is found, and the shipped data has none."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.errors import InvalidInputError, MissingError
from serving.settings import default_data_dir
from training.banking77 import LABELS
from training.check import MINIMA, IntentsReport, check_intents


def entry(label: str, **changes: Any) -> dict[str, Any]:
    """A sound entry; its utterances name the label, so that entries do not repeat each other."""
    texts = {
        split: [f"{label} {split} number {chr(97 + i)}" for i in range(least)]
        for split, least in MINIMA.items()
    }
    return {"description": "What the caller wants.", "kind": "problem", **texts} | changes


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """All 77 labels and one of the project's own, with the fewest utterances allowed."""
    write(tmp_path / "all.yaml", {label: entry(label) for label in (*LABELS, "greeting")})
    return tmp_path


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


def told(report: IntentsReport) -> str:
    return "\n".join(str(problem) for problem in report.problems)


def test_sound_data_has_no_problem_and_is_counted(sound: Path) -> None:
    report = check_intents(sound)
    assert not report.problems
    assert dict(report.texts) == {"train": 78 * 20, "validate": 78 * 5, "test": 78 * 5}
    assert report.files[0].labels == 78
    assert report.files[0].bytes == (sound / "all.yaml").stat().st_size
    report.require_sound()


def test_the_shipped_intents_have_no_problem() -> None:
    report = check_intents(default_data_dir() / "intents")
    assert told(report) == ""


def test_a_missing_label_of_banking77_is_named(sound: Path) -> None:
    write(sound / "all.yaml", {label: entry(label) for label in LABELS - {"pin_blocked"}})
    assert "pin_blocked: the label has no intent here" in told(check_intents(sound))


@pytest.mark.parametrize(
    ("label", "changes", "said"),
    [
        ("pin_blockd", {}, "unknown label; BANKING77 writes 'pin_blocked'"),
        ("refund_not_showing_up", {}, "BANKING77 writes 'Refund_not_showing_up'"),
        ("two words", {}, "a label is letters"),
        ("new_one", {"kind": "tols"}, "kind is 'tols'"),
        ("new_one", {"kind": None}, "kind is None"),
        ("new_one", {"description": " "}, "description is missing"),
        ("new_one", {"tests": []}, "unknown fields: tests"),
        ("new_one", {"train": ["only one of them"]}, "1 utterances in train, at least 20"),
        ("new_one", {"test": []}, "0 utterances in test, at least 5"),
        ("new_one", {"validate": "a text"}, "0 utterances in validate"),
    ],
)
def test_a_mistake_in_an_entry_is_named(sound: Path, label: str, changes: dict[str, Any], said: str) -> None:
    write(sound / "extra.yaml", {label: entry(label, **changes)})
    assert f"extra.yaml: {label}: " in told(check_intents(sound))
    assert said in told(check_intents(sound))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "train: empty"),
        ("  ?! ", "train: empty"),
        (True, "no text (quote yes, no and numbers)"),
        (5, "no text"),
        (None, "no text"),
        ("word " * 80, "400 characters, 300 at most"),
        ("my card\u200b please", "a control or invisible character"),
        ("my\tcard please", "a control or invisible character"),
    ],
)
def test_a_text_that_nobody_can_say_is_named(sound: Path, text: object, said: str) -> None:
    bad = entry("new_one")
    write(sound / "extra.yaml", {"new_one": bad | {"train": [*bad["train"], text]}})
    assert said in told(check_intents(sound))


@pytest.mark.parametrize("split", ["train", "validate", "test"])
def test_a_text_that_stands_twice_is_found_across_splits_files_case_and_punctuation(
    sound: Path, split: str
) -> None:
    bad = entry("new_one")
    write(sound / "extra.yaml", {"new_one": bad | {split: [*bad[split], "Pin_blocked TRAIN, number a?"]}})
    assert f"{split}: 'Pin_blocked TRAIN, number a?' stands in all.yaml, pin_blocked, train too" in told(
        check_intents(sound)
    )


def test_a_label_in_two_files_is_found(sound: Path) -> None:
    write(sound / "extra.yaml", {"greeting": entry("hello there")})
    assert "extra.yaml: greeting: the label stands in all.yaml too" in told(check_intents(sound))


def test_an_unreadable_file_does_not_hide_the_problems_of_the_others(sound: Path) -> None:
    (sound / "broken.yaml").write_text("a: [", encoding="utf-8")
    write(sound / "extra.yaml", {"new_one": entry("new_one", kind="x")})
    problems = told(check_intents(sound))
    assert "broken.yaml" in problems
    assert "kind is 'x'" in problems


def test_a_folder_with_problems_cannot_be_required_to_be_sound(sound: Path) -> None:
    write(sound / "extra.yaml", {"new_one": entry("new_one", kind="x")})
    with pytest.raises(InvalidInputError, match="1 problems"):
        check_intents(sound).require_sound()


def test_a_folder_without_intents_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        check_intents(tmp_path)
