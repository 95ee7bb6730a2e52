"""Reviewed utterances come back: checked line by line against what was exported, and added to a data set.

A reviewer fills in labels and may hide more of a text behind placeholders; nothing else may change. What is
added goes to the training split only. A text that stands in the validation or test split stays out, or the
adapter would be judged by what it has learned.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError
from serving.spoken.values import PERSONAL
from training.data import Splits, comparable
from training.utterances import HEADER, Export, Utterance, read_export, still_personal

_MAX_BYTES = 50_000_000
_PLACEHOLDER = re.compile(rf"<(?:{'|'.join(sorted(PERSONAL))})(?:_[0-9]+)?>")


@dataclass(frozen=True, slots=True)
class ReviewedFile:
    """A reviewer's file, read but not yet compared.

    Attributes:
        export_sha256: hash of the export that its header names.
        rows: line number and fields of each text.
        sha256: of the file itself.
    """

    export_sha256: str
    rows: tuple[tuple[int, Mapping[str, Any]], ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a review adds.

    Attributes:
        added: text and label, in the order of the file.
        unlabelled: texts whose label was left empty.
        known: texts that the training split has already, with the same label.
        held_out: texts that stand in the validation or test split.
        corrected: texts whose label is not what the adapter said.
    """

    added: tuple[tuple[str, str], ...]
    unlabelled: int = 0
    known: int = 0
    held_out: int = 0
    corrected: int = 0


@dataclass(slots=True)
class _Findings:
    added: list[tuple[str, str]] = field(default_factory=list)
    unlabelled: int = 0
    known: int = 0
    held_out: int = 0
    corrected: int = 0


def read_reviewed(path: Path) -> ReviewedFile:
    """Read a reviewer's file.

    Raises:
        MissingError: there is no such file.
        InvalidInputError: it is no export; the message names the line.
    """
    rows = list(_lines(path))
    header = rows[0][1].get(HEADER) if rows else None
    sha256 = header.get("sha256") if isinstance(header, dict) else None
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidInputError(
            f"{path.name}, line 1: the header of the export is missing or damaged.",
            advice="Keep the first line of what `voicebot export-utterances` wrote.",
        )
    return ReviewedFile(sha256, tuple(rows[1:]), hashlib.sha256(path.read_bytes()).hexdigest())


def read_kept_export(path: Path) -> Export:
    """The export as it was written, from the copy that stayed at home.

    Raises:
        InvalidInputError: it is no export.
        MissingError: it is gone.
    """
    return read_export([row for _, row in _lines(path)])


def check_reviewed(file: ReviewedFile, export: Export, base: Splits, name: str = "the file") -> Reviewed:
    """Compare a review with what was exported and with the data it is to be added to.

    Args:
        file: the reviewer's file.
        export: the export that it came from.
        base: the data set.
        name: of the file, for messages.

    Raises:
        InvalidInputError: the file belongs to another export, or a line cannot be taken over; the message
            names the line.
    """
    if file.export_sha256 != export.sha256:
        raise InvalidInputError(
            f"{name}, line 1: it is of the export {file.export_sha256[:12]}…, not {export.sha256[:12]}….",
            advice="Import the file that was made of this export.",
        )
    there = {row.id: row for row in export.utterances}
    trained = {comparable(t): label for t, label in zip(base.train.texts, base.train.labels, strict=True)}
    held = {comparable(t) for part in (base.validation, base.test) if part for t in part.texts}
    findings, seen = _Findings(), set[str]()
    for line, row in file.rows:
        where = f"{name}, line {line}"
        original = there.get(str(row.get("id")))
        if original is None or original.id in seen:
            problem = "stands twice" if original else "is not of this export"
            raise InvalidInputError(f"{where}: the id {str(row.get('id'))[:20]!r} {problem}.")
        seen.add(original.id)
        text, label = _text(row, original, where), _label(row, base.labels, where)
        if not label:
            findings.unlabelled += 1
        elif comparable(text) in held:
            findings.held_out += 1
        elif trained.get(comparable(text), label) != label:
            raise InvalidInputError(
                f"{where}: the training split calls this text {trained[comparable(text)]!r}, not {label!r}.",
                advice="Leave the label empty to skip the text, or correct the training text first.",
            )
        elif comparable(text) in trained:
            findings.known += 1
        else:
            findings.added.append((text, label))
            findings.corrected += label != original.predicted
            trained[comparable(text)] = label
    counts = (findings.unlabelled, findings.known, findings.held_out, findings.corrected)
    return Reviewed(tuple(findings.added), *counts)


def only_hides(changed: str, original: str) -> bool:
    """Whether a text is the original with some of its words behind placeholders such as `<name>`.

    What a placeholder hides is at least one character; the rest stays as it was.
    """
    first, *others = _PLACEHOLDER.split(changed)
    if not others:
        return changed == original
    *inner, last = others
    if not original.startswith(first):
        return False
    at = len(first)
    # The earliest place of each piece leaves most for those behind it, so no other needs to be tried.
    for piece in inner:
        found = original.find(piece, at + 1)
        if found < 0:
            return False
        at = found + len(piece)
    return len(original) - len(last) > at and original.endswith(last)


def _text(row: Mapping[str, Any], original: Utterance, where: str) -> str:
    text = row.get("text")
    if not isinstance(text, str) or not only_hides(text, original.text):
        raise InvalidInputError(
            f"{where}: the text is not the one that was exported.",
            advice="A reviewer may put a placeholder such as <name> in the place of words, no more.",
        )
    if still_personal(text):
        raise InvalidInputError(
            f"{where}: the text holds something personal.",
            advice="Put a placeholder such as <name> in its place, or leave the line out.",
        )
    return text


def _label(row: Mapping[str, Any], labels: Sequence[str], where: str) -> str:
    label = row.get("label")
    if not isinstance(label, str):
        raise InvalidInputError(f"{where}: the label must be a text; leave it empty to skip the line.")
    if label.strip() and label.strip() not in labels:
        raise InvalidInputError(
            f"{where}: the label {label[:80]!r} is unknown.",
            advice="Take one of the data set's labels, or add the new one to its YAML files first.",
        )
    return label.strip()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidInputError(f"{path.name} is larger than {_MAX_BYTES} bytes.")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise MissingError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path.name} is not UTF-8 (byte {error.start}).") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path.name}, line {number}: this is no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise InvalidInputError(f"{path.name}, line {number}: this is no JSON object.")
        yield number, row
