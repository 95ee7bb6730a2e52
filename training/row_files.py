"""Labelled texts in one file of rows: CSV, or JSONL with an object per line.

The same rows come out of both. Nothing here knows of splits or of the network.
"""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from serving.errors import InvalidInputError, MissingError
from training.data import Dataset, make_dataset

_TEXT_COLUMNS = ("text", "utterance", "query")
_LABEL_COLUMNS = ("category", "label", "intent", "label_text")


def read_file(path: Path, split: str, *, known: Iterable[str] | None = None) -> Dataset:
    """Read a file of rows: JSONL where it is called .jsonl, otherwise CSV; errors as of `read_csv`."""
    read = read_jsonl if path.suffix == ".jsonl" else read_csv
    return read(path, split, known=known)


def read_jsonl(path: Path, split: str, *, known: Iterable[str] | None = None) -> Dataset:
    """Read a file with one JSON object per line, with the columns of a CSV; empty lines do not count.

    Raises:
        MissingError: no such file.
        InvalidInputError: a line is no such object, or a row cannot be used; the message names it.
    """
    rows = []
    for number, line in enumerate(_content(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path}, line {number}: no JSON ({error}).") from error
        if not isinstance(found, dict):
            raise InvalidInputError(f"{path}, line {number}: no JSON object with text and label.")
        row = [found[name] for name in text_and_label(list(found), f"{path}, line {number}")]
        if not all(isinstance(value, str) for value in row):
            raise InvalidInputError(f"{path}, line {number}: text and label must be texts.")
        rows.append((row[0], row[1]))
    return make_dataset(rows, split, str(path), known=known)


def _content(path: Path) -> str:
    """The text of a file, with its line ends as they are and without a byte order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:  # csv reads line ends itself
            return handle.read()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingError(f"There is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not UTF-8 (byte {error.start}).", advice="Save it as UTF-8."
        ) from error


def read_csv(path: Path, split: str, *, known: Iterable[str] | None = None) -> Dataset:
    """Read a CSV file with a text and a label column; quoted texts may hold line breaks.

    Raises:
        MissingError: no such file.
        InvalidInputError: it is no UTF-8 CSV with these columns, or a row cannot be used.
    """
    reader = csv.DictReader(io.StringIO(_content(path), newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        text, label = text_and_label(columns, str(path))
        rows = [(row[text], row[label]) for row in reader]
    except csv.Error as error:
        raise InvalidInputError(f"{path}, line {reader.line_num}: {error}.") from error
    short = next((i for i, row in enumerate(rows, start=1) if None in row), None)
    if short is not None:
        raise InvalidInputError(f"{path}, row {short}: a column is missing.")
    return make_dataset(rows, split, str(path), known=known)


def text_and_label(columns: list[str], source: str) -> tuple[str, str]:
    """Which of the columns hold text and label.

    Raises:
        InvalidInputError: none does.
    """
    text = next((name for name in _TEXT_COLUMNS if name in columns), None)
    label = next((name for name in _LABEL_COLUMNS if name in columns), None)
    if text is None or label is None:
        raise InvalidInputError(
            f"{source}: columns {columns[:8]} hold no text and label.",
            advice=f"Name them {_TEXT_COLUMNS[0]} and {_LABEL_COLUMNS[0]}.",
        )
    return text, label
