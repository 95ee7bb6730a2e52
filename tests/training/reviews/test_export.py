"""Utterances out to reviewers: what never leaves, and in which order the rest does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.utterances import ExportOutcome, export_for_review
from serving.call.record import Unrecorded
from serving.errors import InvalidInputError, MissingError, RefusedError, UnavailableError
from serving.settings import Settings
from tests.properties import examples
from tests.training.reviews.exports import CONSENT, NOW, PERSONAL, call, rows, texts_of
from training.utterances import export_utterances


def test_nothing_is_exported_without_a_stated_consent(
    bank: Settings, exported: Callable[..., ExportOutcome]
) -> None:
    exported(call("a", "where is my card"))
    refusing = bank.model_copy(update={"training_consent": " "})
    with pytest.raises(RefusedError, match="none is stated") as caught:
        export_for_review(refusing, 7, bank.home / "out.jsonl")
    assert "VOICEBOT_TRAINING_CONSENT" in caught.value.advice
    assert not (bank.home / "out.jsonl").exists()


def test_callers_who_want_no_recording_are_never_exported(exported: Callable[..., ExportOutcome]) -> None:
    told = replace(call("b", "one private word").turns[0], intent="recording_opt_out")
    found = exported(
        call("a", "another private word", unrecorded=Unrecorded.OPTED_OUT),
        replace(call("b", "one private word"), turns=(told,)),
        call("c", "a third private word", "please do not record this call"),
        call("d", "where is my card"),
        call("e", "a fourth private word", unrecorded=Unrecorded.UNANSWERED),
    )
    assert texts_of(found) == ["where is my card"]
    assert found.dropped["opted_out_calls"] == 4
    assert "private" not in found.file.read_text(encoding="utf-8")


def test_a_call_that_still_lasts_is_not_exported(exported: Callable[..., ExportOutcome]) -> None:
    found = exported(call("a", "not yet over", ended=False), call("b", "where is my card"))
    assert (texts_of(found), found.dropped["open_calls"]) == (["where is my card"], 1)


@pytest.mark.parametrize("said", PERSONAL)
def test_a_text_with_something_personal_left_in_it_is_dropped_and_counted(
    said: str, exported: Callable[..., ExportOutcome]
) -> None:
    found = exported(call("a", said, "where is my card"))
    assert (texts_of(found), found.dropped["personal"]) == (["where is my card"], 1)


@given(
    st.lists(st.sampled_from(PERSONAL), min_size=1, max_size=4), st.permutations(["so", "um", "well then"])
)
@examples(40)
def test_no_planted_personal_value_is_ever_exported(planted: list[str], around: list[str]) -> None:
    said = [f"{around[i % 3]} {value} {around[(i + 1) % 3]}" for i, value in enumerate(planted)]
    found = export_utterances([call("a", *said, "hello")], NOW - timedelta(days=1), NOW, CONSENT).to_jsonl()
    for value in ("4111", "thatcher", "jane.roe", "555", "1961", "4921", "baker"):
        assert value not in found.partition("\n")[2]


def test_a_text_is_exported_once_and_the_least_sure_come_first(
    exported: Callable[..., ExportOutcome],
) -> None:
    found = exported(
        call("a", ("Where is my card?", 0.9), ("block it", 0.4)),
        call("b", ("where is my card", 0.7), ("a <card> was stolen", 0.8)),
    )
    header, *texts = rows(found.file)
    assert [(row["text"], row["probability"], row["times"], row["label"]) for row in texts] == [
        ("block it", 0.4, 1, ""), ("where is my card", 0.7, 2, ""), ("a <card> was stolen", 0.8, 1, ""),
    ]  # fmt: skip
    assert header["export"]["dropped"]["repeated"] == 1
    assert header["export"]["consent"] == CONSENT
    assert header["export"]["sha256"] == found.sha256


def test_nothing_tells_which_call_or_caller_a_text_is_from(exported: Callable[..., ExportOutcome]) -> None:
    found = exported(replace(call("call-77", "where is my card"), caller="hash-of-a-caller"))
    content = found.file.read_text(encoding="utf-8")
    assert "call-77" not in content
    assert "hash-of-a-caller" not in content
    assert found.file.stat().st_mode & 0o077 == 0


def test_calls_before_the_window_stay_where_they_are(exported: Callable[..., ExportOutcome]) -> None:
    with pytest.raises(MissingError, match="nothing to review"):
        exported(call("a", "where is my card", ago=timedelta(days=8)))


def test_a_file_with_labels_is_never_written_over(
    exported: Callable[..., ExportOutcome], tmp_path: Path
) -> None:
    out = tmp_path / "mine.jsonl"
    out.write_text("labels", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="exists already"):
        exported(call("a", "where is my card"), out=out)
    assert out.read_text(encoding="utf-8") == "labels"


def test_a_write_that_fails_leaves_no_part_of_a_file(
    exported: Callable[..., ExportOutcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.files.sync", full)
    with pytest.raises(UnavailableError, match="No space left"):
        exported(call("a", "where is my card"), out=tmp_path / "out" / "mine.jsonl")
    assert not list(tmp_path.glob("out/*"))
    assert not list((tmp_path / "var" / "reviews").iterdir())
