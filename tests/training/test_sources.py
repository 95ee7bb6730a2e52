"""Reading CSV, YAML and hub datasets: the same rows from each, and errors that name the place."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import InvalidInputError, MissingError
from tests.training.hub_server import hub, hub_folder
from training.config import TrainConfig
from training.data import Dataset
from training.row_files import read_csv, read_file
from training.sources import is_hub_name, load_splits, read_hub, read_intents

ROWS = [
    ("Where is my card?", "card_arrival"),
    ('It says "declined",\nwhy?', "declined_card_payment"),
    ("Is my card in\r\nthe post", "card_arrival"),
    ("Card declined again, and again", "declined_card_payment"),
    ("reverted", "reverted_card_payment?"),
    ("my payment came back", "reverted_card_payment?"),
]
HALF = TrainConfig(validation_share=0.5)
SHARED = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data"))


def write_csv(
    path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "category")
) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def rows_of(data: Dataset) -> list[tuple[str, str]]:
    return list(zip(data.texts, data.labels, strict=True))


def test_a_csv_text_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    data = read_csv(write_csv(tmp_path / "train.csv", ROWS), "train")
    assert len(data) == 6
    assert data.texts[1] == 'It says "declined",\nwhy?'
    assert data.texts[2] == "Is my card in\nthe post"
    assert data.labels[4] == "reverted_card_payment?"


def write_jsonl(path: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"text": text, "label": label, "id": 1}) for text, label in rows]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_jsonl_gives_the_same_rows_as_csv_whether_train_or_test(tmp_path: Path) -> None:
    from_csv = read_file(write_csv(tmp_path / "rows.csv", ROWS), "train")
    assert rows_of(read_file(write_jsonl(tmp_path / "rows.jsonl", ROWS), "train")) == rows_of(from_csv)
    splits = load_splits(tmp_path / "rows.jsonl", test=tmp_path / "rows.jsonl", config=HALF)
    assert splits.sha256 == load_splits(tmp_path / "rows.csv", config=HALF).sha256
    assert splits.test is not None
    assert splits.test.sha256 == from_csv.sha256


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "split is empty"),
        ("[1]", "line 1: no JSON object"),
        ('{"text": "a", "label": "b"}\n{"text": ', "line 2: no JSON"),
        ('{"text": "a", "label": 3}', "line 1: text and label must be texts"),
        ('{"question": "a", "label": "b"}', "line 1: columns"),
        ('{"text": "a", "label": "b"}\n{"text": "", "label": "b"}', "row 2: the text of 'b' is empty"),
        ("[" * 100_000, "line 1: no JSON"),
    ],
)
def test_a_jsonl_file_that_cannot_be_used_says_why(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl") as caught:
        read_file(path, "train")
    assert said in caught.value.message


def test_a_recipe_with_shots_reads_so_many_texts_of_each_label(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"{label} {i}", label) for label in "xy" for i in range(20)])
    splits = load_splits(path, config=TrainConfig(shots=3, refit=False))
    assert splits.train.counts == {"x": 3, "y": 3}


def test_a_text_of_100_000_characters_is_refused_by_every_reader(tmp_path: Path) -> None:
    rows = [("fine", "x"), ("a" * 100_000, "x"), ("fine too", "y")]
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "a.yaml").write_text(f"x: {{train: [{rows[1][0]}]}}", encoding="utf-8")
    hub_folder(tmp_path / "hub", rows, rows[:1])
    sources = ["yaml", "hub"]
    for name, write in (("rows.csv", write_csv), ("rows.jsonl", write_jsonl)):
        write(tmp_path / name, rows)
        sources.append(name)
    for source in sources:
        with pytest.raises(InvalidInputError, match="the text of 'x' has 100000 characters, 2000 at most"):
            load_splits(tmp_path / source, cache=tmp_path / "cache")


def test_a_class_of_a_dataset_without_a_training_text_is_named(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["x", "y", "nobody_asks"])}
    )
    rows = {"text": ["a", "b", "c"], "label": [0, 1, 1]}
    (tmp_path / "set" / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(
        tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    )
    with pytest.raises(InvalidInputError, match="'nobody_asks' has no training text"):
        read_hub(str(tmp_path / "set"), cache=tmp_path / "cache")


def test_an_intent_without_a_training_text_is_named(tmp_path: Path) -> None:
    content = f"greeting: {ENTRY}\nnobody_asks: {{train: [], validate: [a], test: [b]}}\n"
    (tmp_path / "a.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"a\.yaml: 'nobody_asks' has no training text"):
        read_intents(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_text("\ufefftext,category\nhello there,greeting\n", encoding="utf-8")
    assert rows_of(read_csv(path, "train")) == [("hello there", "greeting")]


def test_the_hub_gives_the_same_rows_as_the_csv(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "owner" / "banking77", ROWS, ROWS[:2])
    write_csv(tmp_path / "train.csv", ROWS)
    write_csv(tmp_path / "test.csv", ROWS[:2])
    from_hub = read_hub(str(folder), cache=tmp_path / "cache")
    from_csv = load_splits(tmp_path / "train.csv", test=tmp_path / "test.csv", config=HALF)
    assert rows_of(from_hub["train"]) == rows_of(read_csv(tmp_path / "train.csv", "train"))
    whole = load_splits(folder, config=HALF, cache=tmp_path / "cache")
    assert (whole.sha256, whole.test and whole.test.sha256) == (
        from_csv.sha256,
        from_csv.test and from_csv.test.sha256,
    )


def read_by_name(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Read `PolyAI/banking77` in a process of its own, which waits for nothing, and whose hub is at `url`."""
    program = (
        "import pathlib, sys, time\n"
        "time.sleep = lambda _seconds: None\n"  # the library tries again, later and later
        "from training.sources import read_hub\n"
        "for split, data in read_hub('PolyAI/banking77', cache=pathlib.Path(sys.argv[1])).items():\n"
        "    print(split, len(data), data.sha256)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(folder / "cache")],
        env=os.environ
        | {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def expected_output(tmp_path: Path) -> list[str]:
    rows = {"train": ROWS, "test": ROWS[:2]}
    data = {s: read_csv(write_csv(tmp_path / f"{s}.csv", part), s) for s, part in rows.items()}
    return [f"{split} {len(part)} {part.sha256}" for split, part in data.items()]


def test_a_hub_name_gives_the_same_rows_as_the_csv(tmp_path: Path) -> None:
    with hub("PolyAI/banking77", {"main": hub_folder(tmp_path / "repo", ROWS, ROWS[:2])}) as url:
        done = read_by_name(url, tmp_path)
    assert done.stdout.splitlines() == expected_output(tmp_path), done.stderr[-2_000:]


def test_a_repository_with_a_loading_script_is_read_from_its_converted_branch_and_never_run(
    tmp_path: Path,
) -> None:
    script = tmp_path / "main" / "banking77.py"
    script.parent.mkdir()
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    converted = hub_folder(tmp_path / "converted", ROWS, ROWS[:2])
    with hub("PolyAI/banking77", {"main": script.parent, "refs/convert/parquet": converted}) as url:
        done = read_by_name(url, tmp_path)
    assert done.stdout.splitlines() == expected_output(tmp_path), done.stderr[-2_000:]
    assert not (tmp_path / "ran").exists()


def test_a_name_that_the_hub_does_not_know_is_missing(tmp_path: Path) -> None:
    with hub("someone/else", {"main": tmp_path}) as url:
        done = read_by_name(url, tmp_path)
    assert "MissingError" in done.stderr


def test_a_hub_that_does_not_answer_is_unavailable_and_the_csv_is_named_as_the_way_out(
    tmp_path: Path,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    done = read_by_name(f"http://127.0.0.1:{port}", tmp_path)
    assert "UnavailableError" in done.stderr
    assert "path of a CSV file" in done.stderr


@pytest.mark.shared_data
@pytest.mark.skipif(not (SHARED / "banking77").is_dir(), reason="BANKING77 is not beside the checkout")
def test_banking77_is_read_whole_from_csv_and_hub_layout_alike(tmp_path: Path) -> None:
    train = read_csv(SHARED / "banking77" / "train.csv", "train")
    assert (len(train), len(set(train.labels))) == (10_003, 77)
    assert sum("\n" in text for text in train.texts) > 0
    folder = hub_folder(tmp_path / "hub", rows_of(train), rows_of(train)[:77])
    assert read_hub(str(folder), cache=tmp_path / "cache")["train"].sha256 == train.sha256


def test_the_validation_split_is_the_same_in_every_process_and_for_every_seed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", ROWS)
    assert load_splits(path, config=HALF).sha256 == load_splits(path, config=HALF).sha256


def test_an_unknown_label_in_the_test_file_is_named_with_the_file(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", ROWS)
    test = write_csv(tmp_path / "test.csv", [("hi", "card_arrival"), ("hi", "card_arival")])
    with pytest.raises(InvalidInputError, match=r"test\.csv, test row 2: the label 'card_arival' is unknown"):
        load_splits(train, test=test)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,category\n", "empty"),
        (b"", "hold no text and label"),
        (b"question,answer\na,b\n", "hold no text and label"),
        (b"text,category\nhello\n", "a column is missing"),
        (b"text,category\n,greeting\n", "is empty"),
        (b"text,category\nhello,\n", "label is empty"),
        (b"text,category\n\xff\xfe,x\n", "not UTF-8"),
        (b'text,category\n"never closed,x\n', "unexpected end of data"),
        (b"text,category\n" + b"a" * 200_000 + b",x\n", "field larger"),
    ],
)
def test_a_csv_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"bad\.csv") as caught:
        read_csv(path, "train")
    assert said in caught.value.message


def test_a_source_that_is_nowhere_is_missing(tmp_path: Path) -> None:
    for source in (tmp_path / "none.csv", "banking77", "../no/such/place"):
        with pytest.raises(MissingError):
            load_splits(source)
    with pytest.raises(MissingError):
        read_csv(tmp_path, "train")


def test_a_misspelt_path_below_a_folder_that_is_here_is_no_hub_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("data/intent")
    assert is_hub_name("PolyAI/banking77")
    with pytest.raises(MissingError, match="no data at data/intent"):
        load_splits("data/intent")


def test_a_source_is_named_without_its_place_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,category\na b,x\nc d,x\ne f,y\ng h,y\n", encoding="utf-8")
    assert load_splits(path, config=HALF).source == "mine.csv"


# YAML

ENTRY = "{description: d, kind: problem, train: [a b, c d], validate: [e f], test: [g h]}"


def test_yaml_intents_give_three_splits(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"card_arrival: {ENTRY}\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text(
        "greeting: {train: [hello], validate: [hi], test: [hey]}\n", encoding="utf-8"
    )
    data = read_intents(tmp_path)
    assert rows_of(data["train"]) == [("a b", "card_arrival"), ("c d", "card_arrival"), ("hello", "greeting")]
    assert {split: len(rows) for split, rows in data.items()} == {"train": 3, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("greeting: {train: [yes, no]}", "must be a list of texts"),
        ("greeting: {train: hello}", "must be a list of texts"),
        ("greeting: [hello]", "must be a label with a mapping"),
        ("- hello", "must map each label"),
        ("", "must map each label"),
        ("greeting: {train: [a]}\ngreeting: {train: [b]}", "stands twice"),
        ("greeting: {train: [a], train: [b]}", "stands twice"),
        ("a: &x {train: [b]}\nc: *x", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "no YAML file"),
        ("a: {train: [\x00]}", "no YAML file"),
        ("a: [" * 2_000, "no YAML file"),
    ],
)
def test_yaml_that_cannot_be_used_says_why_and_where(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "bad.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"bad\.yaml") as caught:
        read_intents(tmp_path)
    assert said in caught.value.message


def test_a_label_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(f"card_arrival: {ENTRY}", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"b\.yaml: the label 'card_arrival' stands in a\.yaml too"):
        read_intents(tmp_path)
