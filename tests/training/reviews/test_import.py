"""Utterances back from reviewers: what a reviewer may change, and what training gets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.train_adapter import TrainRequest
from flows.utterances import ExportOutcome, ImportOutcome, import_review
from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.settings import Settings
from tests.properties import examples
from tests.training.reviews.exports import CONSENT, call, review, rows
from training.lineage import lineage_of
from training.reviewed import only_hides
from training.row_files import read_csv
from training.sources import load_splits


def brought_in(bank: Settings, file: Path) -> ImportOutcome:
    return import_review(bank, file)


def test_labels_become_the_next_version_with_a_lineage_back_to_the_export(bank: Settings, file: Path) -> None:
    labels = {
        "it has not come": "card_arrival", "somebody took my card": "lost_or_stolen_card",
        "i lost my card": "lost_or_stolen_card", "block the card, it was stolen": "lost_or_stolen_card",
    }  # fmt: skip
    found = brought_in(bank, review(file, labels))
    assert (found.added, found.corrected, found.known, found.held_out, found.unlabelled) == (2, 1, 1, 1, 1)
    own, new = load_splits(bank.data / "intents"), load_splits(found.dataset)
    added = set(zip(new.train.texts, new.train.labels, strict=True)) - set(
        zip(own.train.texts, own.train.labels, strict=True)
    )
    assert added == {("it has not come", "card_arrival"), ("somebody took my card", "lost_or_stolen_card")}
    assert new.validation == replace(own.validation, source=new.validation.source)
    assert new.test is not None
    assert own.test is not None
    assert new.test.sha256 == own.test.sha256
    assert len(read_csv(found.dataset / "reviewed.csv", "train")) == 2
    lineage = lineage_of(found.dataset)
    assert lineage is not None
    assert (lineage.dataset_sha256, lineage.base_sha256) == (new.sha256, own.sha256)
    (origin,) = lineage.exports
    assert (origin.sha256, origin.consent, origin.by) == (found.export_sha256, CONSENT, "ana")
    assert lineage.tags()["lineage.exports"] == found.export_sha256


def test_a_version_trains_the_model_of_the_own_intents_and_other_data_do_not(
    bank: Settings, file: Path
) -> None:
    found = brought_in(bank, review(file, {"it has not come": "card_arrival"}))
    assert TrainRequest(dataset=str(found.dataset)).is_own(bank)
    (found.dataset / "lineage.json").rename(found.dataset / "gone")
    assert not TrainRequest(dataset=str(found.dataset)).is_own(bank)


def test_a_training_run_is_tagged_with_the_exports_behind_its_data(
    bank: Settings, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train_adapter

    tags: list[dict[str, str]] = []

    @contextmanager
    def tracked(_settings: object, _experiment: object, _name: str, given: dict[str, str]) -> Iterator[Mock]:
        tags.append(given)
        yield Mock(run_id="run")

    baseline, training = ({"trained_parameters": 1, "seconds": 1, "epochs": 1, "steps": 1, "log": []},) * 2
    metrics = {"config": {"logreg_c": 1}, "baseline": baseline, "training": training, "results": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    monkeypatch.setattr(train_adapter, "tracked_run", tracked)
    facts = train_adapter.DataFacts("intents", "0" * 64, 2, 4, 2, 2, own=True, key="key")
    found = brought_in(bank, review(file, {"it has not come": "card_arrival"}))
    for dataset in (str(found.dataset), ""):
        train_adapter.log_runs.fn(TrainRequest(dataset=dataset), facts, tmp_path)
    assert [item.get("lineage.exports") for item in tags] == [
        found.export_sha256,
        found.export_sha256,
        None,
        None,
    ]


def test_a_version_that_was_changed_by_hand_is_refused(bank: Settings, file: Path) -> None:
    found = brought_in(bank, review(file, {"it has not come": "card_arrival"}))
    path = found.dataset / "cards.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("it has not come", "it has come"), encoding="utf-8"
    )
    with pytest.raises(IntegrityError, match="not those"):
        lineage_of(found.dataset)


def test_a_second_review_goes_on_from_the_version_of_the_first(
    bank: Settings, file: Path, exported: Callable[..., ExportOutcome]
) -> None:
    first = brought_in(bank, review(file, {"it has not come": "card_arrival"}))
    later = exported(call("c", "the postman lost it"), out=bank.home / "later.jsonl")
    done = review(later.file, {"the postman lost it": "card_arrival"})
    second = import_review(bank, done, first.dataset)
    lineage = lineage_of(second.dataset)
    assert lineage is not None
    assert [item.sha256 for item in lineage.exports] == [first.export_sha256, later.sha256]
    assert lineage.base_sha256 == load_splits(bank.data / "intents").sha256
    with pytest.raises(InvalidInputError, match="was added to"):
        import_review(bank, done, second.dataset)


def test_the_same_review_twice_makes_one_version(bank: Settings, file: Path) -> None:
    done = review(file, {"it has not come": "card_arrival"})
    brought_in(bank, done)
    with pytest.raises(InvalidInputError, match="exists already"):
        brought_in(bank, done)


def test_a_reviewer_may_hide_more_of_a_text(bank: Settings, file: Path) -> None:
    labels = {"john took it": "lost_or_stolen_card"}
    found = brought_in(bank, review(file, labels, text="<name> took it"))
    assert "<name> took it" in load_splits(found.dataset).train.texts


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": "no_such_intent"}, "line 2: the label 'no_such_intent' is unknown"),
        ({"text": "it has never come"}, "line 2: the text is not the one that was exported"),
        ({"text": "<nonsense> not come"}, "line 2: the text is not the one that was exported"),
        ({"id": "0123456789abcdef"}, "line 2: the id '0123456789abcdef' is not of this export"),
    ],
)
def test_a_line_that_cannot_be_taken_over_is_named(
    bank: Settings, file: Path, changed: dict[str, str], message: str
) -> None:
    done = review(file, {"it has not come": "card_arrival"})
    header, first, *others = rows(done)
    done.write_text(
        "".join(json.dumps(row) + "\n" for row in (header, first | changed, *others)), encoding="utf-8"
    )
    with pytest.raises(InvalidInputError, match=message):
        brought_in(bank, done)
    assert not (bank.home / "datasets").exists()


def test_a_label_that_training_contradicts_is_named(bank: Settings, file: Path) -> None:
    with pytest.raises(InvalidInputError, match="line 4: the training split calls this text"):
        brought_in(bank, review(file, {"i lost my card": "card_arrival"}))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda text: text.partition("\n")[2], InvalidInputError, "line 1: the header"),
        (lambda text: text + "{no json\n", InvalidInputError, "line 7: this is no JSON"),
        (lambda text: text + "[1]\n", InvalidInputError, "line 7: this is no JSON object"),
        (lambda text: text + text.splitlines()[1] + "\n", InvalidInputError, "line 7: .* stands twice"),
        (
            lambda text: text.replace('"sha256": "', '"sha256": "0')[:-1],
            InvalidInputError,
            "line 1: the header",
        ),
        (lambda _: "", InvalidInputError, "line 1: the header"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(
    bank: Settings, file: Path, spoil: Callable[[str], str], error: type[Exception], message: str
) -> None:
    damaged = file.with_name("damaged.jsonl")
    damaged.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(error, match=message):
        brought_in(bank, damaged)


def test_a_file_of_an_export_that_this_home_never_made_is_refused(
    bank: Settings, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingError, match="line 1: this home never made the export"):
        import_review(bank.model_copy(update={"home": tmp_path / "elsewhere"}), file)


def test_a_kept_export_that_was_altered_is_noticed(bank: Settings, file: Path) -> None:
    (kept,) = (bank.home / "reviews").glob("export-*.jsonl")
    kept.write_text(kept.read_text(encoding="utf-8").replace("not come", "never come"), encoding="utf-8")
    with pytest.raises(IntegrityError, match="is not the export"):
        brought_in(bank, file)


def test_a_review_without_any_label_adds_nothing_and_says_so(bank: Settings, file: Path) -> None:
    with pytest.raises(InvalidInputError, match="adds nothing"):
        brought_in(bank, file)


@given(st.text("ab c", min_size=1, max_size=20), st.integers(0, 19), st.integers(1, 20))
@examples(60)
def test_hiding_any_part_is_allowed_and_changing_a_character_is_not(text: str, at: int, length: int) -> None:
    start, end = at % len(text), at % len(text) + min(length, len(text) - at % len(text))
    assert only_hides(text[:start] + "<name>" + text[end:], text)
    assert not only_hides(text[:start] + "x" + text[start + 1 :], text)
    assert not only_hides(text + "<name>", text)
