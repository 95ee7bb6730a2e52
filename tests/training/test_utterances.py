"""Utterances out to reviewers and back: what never leaves, what a reviewer may change, what training gets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.train_adapter import TrainRequest
from flows.utterances import ExportOutcome, ImportOutcome, export_for_review, import_review
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord, Unrecorded
from serving.call.store import CallStore
from serving.errors import IntegrityError, InvalidInputError, MissingError, RefusedError, UnavailableError
from serving.settings import Settings
from tests.properties import examples
from training.lineage import lineage_of
from training.reviewed import only_hides
from training.row_files import read_csv
from training.sources import load_splits
from training.utterances import export_utterances

NOW = datetime.now(UTC)
CONSENT = "Terms 2026-11, section 7"
INTENTS = {
    "card_arrival": {
        "train": ["when will my card come", "my card is not here yet"],
        "validate": ["has the card been sent"],
        "test": ["where is the card that i ordered"],
    },
    "lost_or_stolen_card": {
        "train": ["i lost my card", "somebody stole my wallet"],
        "validate": ["my card is gone"],
        "test": ["block the card it was stolen"],
    },
}
PERSONAL = (
    "my card number is 4111 1111 1111 1111",
    "my name is margaret thatcher",
    "write to jane.roe@example.com please",
    "call me on +1 555 010 0199",
    "i was born on 4 march 1961",
    "my pin is 4921",
    "i live at 221 baker street",
)


def call(name: str, *said: str | tuple[str, float], unrecorded: Unrecorded | None = Unrecorded.OFF,
         ended: bool = True, ago: timedelta = timedelta(hours=2)) -> CallRecord:  # fmt: skip
    began = NOW - ago
    turns = []
    for index, words in enumerate(said, start=1):
        text, sure = (words, 0.5) if isinstance(words, str) else words
        turns.append(
            TurnRecord(
                call_id=name, index=index, started_at=began, text=text, stt_engine="typed", confidence=1.0,
                audio_s=0.0, decision=Decision.ANSWER, answer="", spoken="", interrupted=False, stages={},
                voice_to_voice_s=None, reply_s=0.0, intent="card_arrival", intent_probability=sure,
                intent_version="banking-lora/1",
            )
        )  # fmt: skip
    return CallRecord(
        name, began, "console", "banking-lora/1", "scope", {}, ended_at=began if ended else None,
        ending=Ending.COMPLETED if ended else None, unrecorded=unrecorded, turns=tuple(turns),
    )  # fmt: skip


@pytest.fixture
def bank(tmp_path: Path) -> Settings:
    """An installation with small intents of its own."""
    (tmp_path / "data" / "intents").mkdir(parents=True)
    (tmp_path / "data" / "intents" / "cards.yaml").write_text(yaml.safe_dump(INTENTS), encoding="utf-8")
    (tmp_path / "var").mkdir()
    return Settings(
        home=tmp_path / "var", data_dir=tmp_path / "data", training_consent=CONSENT, operator="ana"
    )


@pytest.fixture
def exported(bank: Settings) -> Callable[..., ExportOutcome]:
    def export(*calls: CallRecord, out: Path | None = None) -> ExportOutcome:
        store = CallStore(bank.records_url)
        for item in calls:
            store.save(item)
        store.close()
        return export_for_review(bank, 7, out)

    return export


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def review(file: Path, labels: dict[str, str], **changed: str) -> Path:
    """A copy with labels filled in by text, and some fields of these lines changed."""
    header, *texts = rows(file)
    done = [
        row | ({"label": labels[row["text"]], **changed} if row["text"] in labels else {}) for row in texts
    ]
    copy = file.with_name("done.jsonl")
    copy.write_text("".join(json.dumps(row) + "\n" for row in (header, *done)), encoding="utf-8")
    return copy


def texts_of(outcome: ExportOutcome) -> list[str]:
    return [row["text"] for row in rows(outcome.file)[1:]]


# Out


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
    )
    assert texts_of(found) == ["where is my card"]
    assert found.dropped["opted_out_calls"] == 3
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


# Back


@pytest.fixture
def file(exported: Callable[..., ExportOutcome]) -> Path:
    return exported(
        call("a", ("it has not come", 0.3), ("john took it", 0.4), ("i lost my card", 0.5)),
        call("b", ("block the card, it was stolen", 0.6), ("somebody took my card", 0.7)),
    ).file


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
