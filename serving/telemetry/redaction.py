"""Personal values out of everything that is stored or sent (design D12).

`redact` puts typed placeholders where personal values stood; the true values stay in memory, in a mapping
that the tool executor resolves arguments with and that shows nothing of itself. Where a stored record must
still recognise the same person or account, `keyed_hash` stands for the value. Nothing here logs.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import IntegrityError, InvalidInputError, RefusedError, UnavailableError
from serving.files import make_folder, write_once, writing_to
from serving.spoken.given_names import EVERYDAY_NAMES
from serving.spoken.parser import parse
from serving.spoken.people import NO_NAMES
from serving.spoken.values import Kind, TypedValue, Value

if TYPE_CHECKING:
    from serving.settings import Settings

KEY_FILE = "pii.key"
KEY_BYTES = 32
_SHORTEST_KEY = 16
_HASH_HEX = 32


class Placeholders(Mapping[str, str]):
    """Placeholder to true value, for resolving tool arguments; printed, it tells only the placeholders."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, placeholder: str) -> str:
        return self._values[placeholder]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Placeholders({', '.join(self._values)})"

    def __reduce__(self) -> str:
        raise TypeError("Placeholders hold personal values and are never written out.")


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text that may leave the process, and what its placeholders stand for.

    Attributes:
        text: the text with placeholders in place of personal values.
        values: all typed values with spans in `text`; a personal one has its placeholder as value.
        placeholders: placeholder to true value, including those of earlier turns that were passed in.
    """

    text: str
    values: tuple[TypedValue, ...]
    placeholders: Placeholders


def redact(
    text: str,
    values: Sequence[TypedValue] | None = None,
    *,
    known: Mapping[str, str] | None = None,
    expecting: Kind | None = None,
) -> Redacted:
    """Replace every personal value of a text by a placeholder such as `<card>` or `<card_2>`.

    Args:
        text: the true text.
        values: what `parse` found in it (with the call's currency, date and expectation); None parses here.
        known: placeholders of the call so far. The same value gets the same placeholder again, and names
            and codes that were introduced once are found again without a cue.
        expecting: what the caller is in the middle of giving or was asked for (see
            `serving.spoken.unfinished`): a few bare digits or a bare name in this turn are a part of it.

    Raises:
        InvalidInputError: spans of `values` that overlap or do not lie in `text`.
    """
    found = list(parse(text, expect=expecting) if values is None else values)
    _check_spans(text, found)
    if values is not None and expecting is not None:
        asked = [value for value in parse(text, expect=expecting) if value.personal]
        found = _merged(asked, found)
    names = _Names(known or {})
    found = _recognise(text, found, names)
    pieces: list[str] = []
    shifted: list[TypedValue] = []
    at = length = 0
    for value in found:
        gap, span, shown = text[at : value.start], text[value.start : value.end], value.value
        if value.personal:
            shown = span = names.placeholder(value.kind, value.value)
        start = length + len(gap)
        shifted.append(TypedValue(value.kind, shown, value.unit, start, start + len(span)))
        pieces += (gap, span)
        at, length = value.end, start + len(span)
    pieces.append(text[at:])
    return Redacted("".join(pieces), tuple(shifted), Placeholders(names.by_placeholder))


def contains_personal(text: str) -> bool:
    """Whether a text holds anything that `redact` would replace."""
    return any(value.personal for value in parse(text))


def keyed_hash(kind: Kind, value: Value, key: bytes) -> str:
    """What stands for a personal value in stored data: HMAC-SHA256 of kind and value, 32 hex digits.

    Names and addresses count as equal whatever their case. Without the key, equal values cannot be
    recognised, nor short ones guessed.

    Raises:
        InvalidInputError: a key of fewer than 16 bytes.
    """
    if len(key) < _SHORTEST_KEY:
        raise InvalidInputError(f"The key of personal hashes needs {_SHORTEST_KEY} bytes or more.")
    message = f"{kind}\x1f{str(value).casefold()}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:_HASH_HEX]


def load_pii_key(settings: "Settings") -> bytes:
    """The key of personal hashes: the setting `pii_key`, else a random one kept in `home/pii.key`.

    The file is made once, mode 0600; of several processes that start together, one makes it and all
    read the same.

    Raises:
        InvalidInputError: the setting is too short.
        RefusedError: the file may be read by others.
        IntegrityError: the file does not hold a key.
        UnavailableError: the file cannot be read, or not be made.
    """
    if settings.pii_key is not None:
        key = settings.pii_key.get_secret_value().encode()
        if len(key) < _SHORTEST_KEY:
            raise InvalidInputError(f"Setting 'pii_key' needs {_SHORTEST_KEY} characters or more.")
        return key
    path = settings.home / KEY_FILE
    try:
        if not path.exists():
            _create_key(path)
        return _read_key(path)
    except OSError as error:
        raise UnavailableError(
            f"The key file {path} cannot be read: {error.strerror or error}.",
            advice="Give this user the right to read it, or set VOICEBOT_PII_KEY.",
        ) from error


def _create_key(path: Path) -> None:
    with writing_to(path.parent):
        make_folder(path.parent)
        write_once(path, secrets.token_hex(KEY_BYTES))


def _read_key(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise RefusedError(
            f"The key file {path} may be read or changed by other users.", advice=f"Run: chmod 600 {path}"
        )
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise IntegrityError(
            f"The key file {path} does not hold {2 * KEY_BYTES} hex digits.",
            advice="Restore it from a backup; a new key makes stored hashes unrecognisable.",
        )
    return key


class _Names:
    """Placeholders handed out so far."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.by_placeholder = dict(known)
        self._by_value = {(_kind_of(name), value): name for name, value in known.items()}
        self._handed_out: dict[Kind, int] = {}

    def placeholder(self, kind: Kind, value: Value) -> str:
        """The placeholder of a value, a new one where it has none."""
        key = (str(kind), str(value))
        if key not in self._by_value:
            number = self._handed_out.get(kind, 0) + 1
            while (name := f"<{kind}_{number}>" if number > 1 else f"<{kind}>") in self.by_placeholder:
                number += 1
            self._handed_out[kind] = number
            self._by_value[key] = name
            self.by_placeholder[name] = str(value)
        return self._by_value[key]

    def values_of(self, kind: Kind) -> list[str]:
        """All values of a kind."""
        return [value for known, value in self._by_value if known == str(kind)]


def _kind_of(placeholder: str) -> str:
    return re.sub(r"_[0-9]+$", "", placeholder.strip("<>"))


def _check_spans(text: str, values: Sequence[TypedValue]) -> None:
    at = 0
    for value in values:
        if not at <= value.start < value.end <= len(text):
            raise InvalidInputError(
                f"The {value.kind} value at {value.start} to {value.end} overlaps one or leaves the text.",
                advice="Pass the values that parse returned for this very text.",
            )
        at = value.end


def _recognise(text: str, values: list[TypedValue], names: _Names) -> list[TypedValue]:
    """Find names and codes that were introduced before where they now stand without a cue."""
    for value in values:
        if value.personal:
            names.placeholder(value.kind, value.value)
    codes = {code.lstrip("0"): code for code in names.values_of(Kind.CODE)}
    found = [
        replace(value, kind=Kind.CODE, value=codes[str(value.value)])
        if value.kind is Kind.COUNT and str(value.value) in codes
        else replace(value, kind=Kind.BIRTH_DATE)
        if _is_birth(text, value)
        else value
        for value in values
    ]
    return _merged(found, _mentions(text, names.values_of(Kind.NAME)))


_LONG_AGO = range(1900, 2011)
_OF_THINGS = frozenset(
    {"since", "opened", "open", "opening", "joined", "started", "began", "dated", "issued", "signed",
     "member", "customer", "statement", "bought", "founded", "married"}
)  # fmt: skip
"""What a day long ago may be other than a birthday."""
_CONTEXT = 60


def _is_birth(text: str, value: TypedValue) -> bool:
    """Whether a date without any cue lies so far back that it is most likely the caller's birthday."""
    if value.kind is not Kind.DATE or not isinstance(value.value, date) or value.value.year not in _LONG_AGO:
        return False
    before = _WORD.findall(text[max(0, value.start - _CONTEXT) : value.start].casefold())
    return _OF_THINGS.isdisjoint(before)


def _mentions(text: str, known: Sequence[str]) -> Iterator[TypedValue]:
    """Where known names stand in a text, whatever their case, in order; of two at one place the longer."""
    by_words: dict[str, str] = {}
    lengths: set[int] = set()
    for name in known:
        by_words.setdefault(_folded(name), name)
        lengths.add(len(_WORD.findall(name)))
    for name in known:
        for part in _parts(name):
            by_words.setdefault(part, name)
            lengths.add(1)
    spans = [match.span() for match in _WORD.finditer(text)] if known else []
    longest_first = sorted(lengths, reverse=True)
    at = 0
    while at < len(spans):
        step = 1
        for length in longest_first:
            start, end = spans[at][0], spans[min(at + length, len(spans)) - 1][1]
            found = by_words.get(_folded(text[start:end]))
            if found is not None:
                yield TypedValue(Kind.NAME, found, "", start, end)
                step = length
                break
        at += step


_WORD = re.compile(r"\w+")
_SHORTEST_PART = 3


def _parts(name: str) -> list[str]:
    """Words of a name that tell of the person by themselves; everyday words do not."""
    words = [word.casefold() for word in _WORD.findall(name)]
    return [word for word in words if len(word) >= _SHORTEST_PART and word not in _WORDS] if words[1:] else []


_WORDS = EVERYDAY_NAMES | NO_NAMES


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _merged(values: Sequence[TypedValue], others: Iterable[TypedValue]) -> list[TypedValue]:
    """All values, and those of the others that overlap none of them; both come in order of their start."""
    merged: list[TypedValue] = []
    at = 0
    for other in others:
        while at < len(values) and values[at].start < other.end:
            merged.append(values[at])
            at += 1
        if not merged or merged[-1].end <= other.start:
            merged.append(other)
    return [*merged, *values[at:]]
