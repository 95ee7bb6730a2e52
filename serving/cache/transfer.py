"""Entries as a file and back: one JSON object a line, the scope first, questions and answers in plain text.

Embeddings and signatures are not in it: whoever reads it makes them anew, and admits each entry again. What
was told of an entry is not either; a verdict belongs to the home in which it was given.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from serving.cache.protocol import Offer
from serving.cache.types import CacheEntry, CacheScope
from serving.errors import InvalidInputError

FORMAT = "voicebot-cache-1"
LONGEST_LINE = 64_000
_FIELDS = frozenset({"question", "intent", "answer", "disclosures", "source", "expires_at"})


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a file holds: entries of one scope, as offers."""

    scope: CacheScope
    offers: tuple[Offer, ...]


def to_lines(scope: CacheScope, entries: Iterable[CacheEntry]) -> Iterator[str]:
    """The lines of a file, without line ends."""
    yield json.dumps({"format": FORMAT, "scope": asdict(scope)}, sort_keys=True, ensure_ascii=False)
    for entry in entries:
        document = {
            "question": entry.question,
            "intent": entry.intent,
            "answer": entry.answer,
            "disclosures": list(entry.disclosures),
            "source": entry.source,
            "expires_at": entry.expires_at.isoformat() if entry.expires_at else None,
        }
        yield json.dumps(document, ensure_ascii=False)


def read_transfer(path: Path) -> Transfer:
    """Read and check a file.

    Raises:
        InvalidInputError: absent, or a line that is not as `to_lines` writes it; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}.") from error
    if not lines[0]:
        raise InvalidInputError(f"{path} is empty.", advice="`cache-manager export FILE` writes one.")
    head = _object(path, 1, lines[0])
    if head.get("format") != FORMAT:
        raise InvalidInputError(f"{path}, line 1: this is no {FORMAT} file.")
    try:
        scope = CacheScope(**{str(name): str(value) for name, value in dict(head["scope"]).items()})
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"{path}, line 1: it names no scope.") from error
    return Transfer(
        scope, tuple(_offer(path, number, line) for number, line in enumerate(lines[1:], 2) if line)
    )


def _offer(path: Path, number: int, line: str) -> Offer:
    found = _object(path, number, line)
    if found.keys() != _FIELDS:
        raise InvalidInputError(
            f"{path}, line {number}: an entry has the fields {', '.join(sorted(_FIELDS))}."
        )
    ends, names = found["expires_at"], found["disclosures"]
    texts = [found[name] for name in ("question", "intent", "answer", "source")]
    if not all(isinstance(text, str) for text in texts) or not _strings(names):
        raise InvalidInputError(f"{path}, line {number}: a field is no text.")
    try:
        until = None if ends is None else datetime.fromisoformat(str(ends))
    except ValueError as error:
        raise InvalidInputError(f"{path}, line {number}: `expires_at` is no time.") from error
    if until is not None and until.tzinfo is None:
        raise InvalidInputError(f"{path}, line {number}: `expires_at` has no time zone.")
    question, intent, answer, source = texts
    return Offer(question, intent, answer, tuple(names), source, expires_at=until)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line) if len(line) <= LONGEST_LINE else None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}, line {number}: this is no JSON.") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path}, line {number}: this is no JSON object of ordinary length.")
    return found


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
