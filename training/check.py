"""Judges the project's own intents before anything is trained on them (`voicebot check-data`).

Reads every file of the folder and lists all problems at once, each with file and label, so that a
writer corrects them in one go. It changes nothing.
"""

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError
from training.banking77 import LABELS
from training.data import comparable
from training.sources import SPLIT_KEYS, Intents, intent_files, read_intent_file

MINIMA: Mapping[str, int] = {"train": 20, "validate": 5, "test": 5}
"""Fewest utterances of one intent in each split."""
KINDS = frozenset({"informational", "problem", "action", "tool", "control", "out_of_scope"})
MAX_SPOKEN_CHARS = 300
"""Longest utterance that anyone would say in one breath on the phone."""
_FIELDS = frozenset({"description", "kind", *SPLIT_KEYS})
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\??")
_ALIKE = 0.9
"""Similarity of two labels above which one is taken for a misspelling of the other."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct.

    Attributes:
        file: file name.
        label: intent, empty where the whole file is meant.
        message: what is wrong.
    """

    file: str
    label: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}{': ' + self.label if self.label else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class FileReport:
    """Size and identity of one file, for the data card.

    Attributes:
        name: file name.
        sha256: of its bytes.
        bytes: its size.
        labels: number of intents.
        texts: utterances by split, named as in the file.
    """

    name: str
    sha256: str
    bytes: int
    labels: int
    texts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class IntentsReport:
    """The verdict on a folder of intents.

    Attributes:
        files: a row per readable file.
        problems: everything to correct; empty means that the folder may be trained on.
    """

    files: tuple[FileReport, ...]
    problems: tuple[Problem, ...]

    @property
    def texts(self) -> Mapping[str, int]:
        """Utterances by split over all files."""
        return {key: sum(file.texts[key] for file in self.files) for key in SPLIT_KEYS}

    def require_sound(self) -> None:
        """Refuse a folder with problems.

        Raises:
            InvalidInputError: with the first problems and their number.
        """
        if self.problems:
            shown = "; ".join(str(problem) for problem in self.problems[:3])
            raise InvalidInputError(
                f"The intents have {len(self.problems)} problems: {shown}.",
                advice="`voicebot check-data` lists all of them.",
            )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an utterance stands."""

    file: str
    label: str
    split: str


def check_intents(folder: Path) -> IntentsReport:
    """Check all intents of a folder.

    Raises:
        MissingError: the folder holds no YAML file.
    """
    reports, problems = [], []
    origin: dict[str, str] = {}
    seen: dict[str, _Place] = {}
    for path in intent_files(folder):
        try:
            intents = read_intent_file(path)
        except InvalidInputError as error:
            problems.append(Problem(path.name, "", error.message))
            continue
        reports.append(_report(path, intents))
        for label, entry in intents.items():
            problems += [Problem(path.name, label, message) for message in _entry_problems(label, entry)]
            if label in origin:
                problems.append(Problem(path.name, label, f"the label stands in {origin[label]} too"))
            origin[label] = path.name
            problems += _text_problems(path.name, label, entry, seen)
    problems += [
        Problem(folder.name, label, "the label has no intent here")
        for label in sorted(LABELS - origin.keys())
    ]
    return IntentsReport(tuple(reports), tuple(problems))


def _report(path: Path, intents: Intents) -> FileReport:
    content = path.read_bytes()
    return FileReport(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        labels=len(intents),
        texts={key: sum(len(_listed(entry, key)) for entry in intents.values()) for key in SPLIT_KEYS},
    )


def _entry_problems(label: str, entry: Mapping[str, Any]) -> Iterator[str]:
    if not _LABEL.fullmatch(label):
        yield "a label is letters, digits and _ (63 at most)"
    elif label not in LABELS and (alike := difflib.get_close_matches(label, LABELS, n=1, cutoff=_ALIKE)):
        yield f"unknown label; BANKING77 writes {alike[0]!r}"
    unknown = sorted(str(key) for key in entry.keys() - _FIELDS)
    if unknown:
        yield f"unknown fields: {', '.join(unknown)}"
    description = entry.get("description")
    if not isinstance(description, str) or not description.strip():
        yield "the description is missing"
    if entry.get("kind") not in KINDS:
        yield f"kind is {entry.get('kind')!r}, not one of {', '.join(sorted(KINDS))}"
    for key, least in MINIMA.items():
        count = len(_listed(entry, key))
        if count < least:
            yield f"{count} utterances in {key}, at least {least} are needed"


def _text_problems(
    file: str, label: str, entry: Mapping[str, Any], seen: dict[str, _Place]
) -> Iterator[Problem]:
    """Problems of single utterances; `seen` collects every utterance of the folder."""
    for key in SPLIT_KEYS:
        for text in _listed(entry, key):
            message = _text_problem(text)
            if message:
                yield Problem(file, label, f"{key}: {message}: {str(text)[:60]!r}")
                continue
            place = _Place(file, label, key)
            before = seen.setdefault(comparable(text), place)
            if before is not place:
                where = f"{before.file}, {before.label}, {before.split}"
                yield Problem(file, label, f"{key}: {text[:60]!r} stands in {where} too")


def _text_problem(text: object) -> str:
    if not isinstance(text, str):
        return "no text (quote yes, no and numbers)"
    if not comparable(text):
        return "empty"
    if len(text) > MAX_SPOKEN_CHARS:
        return f"{len(text)} characters, {MAX_SPOKEN_CHARS} at most"
    if any(unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn"} for sign in text):
        return "a control or invisible character"
    return ""


def _listed(entry: Mapping[str, Any], key: str) -> list[Any]:
    found = entry.get(key)
    return found if isinstance(found, list) else []
