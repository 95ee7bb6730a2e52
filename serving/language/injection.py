"""Words that try to make the assistant break its rules: found, so that policy answers and no engine obeys.

Reads `data/lexicons/injection.yaml`: phrases with gaps over the words of a text, and marks over its
characters. A text is made plain first: look-alike letters, invisible characters, letters spelled one by one
and figures for letters count as the letters that they stand for. It answers nothing; `serving.call` does.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError
from serving.language.lexicon import words

_FIELDS = frozenset({"version", "same_as", "sets", "patterns", "marks"})
_SENTENCES = re.compile(r"[.!?;:,\n]+(?=\s|$)")
_GAP = re.compile(r"\.\.([1-9])")
_ALIKE = {
    "a": "аαɑΑА", "b": "вβВΒ", "c": "сϲС", "d": "ԁ", "e": "еεЕΕ", "g": "ɡ", "h": "һнНΗ", "i": "іιıІΙ",
    "j": "јЈ", "k": "кκКΚ", "m": "мМΜ", "n": "ηпΝ", "o": "оοОΟ", "p": "рρРΡ", "q": "ԛ", "r": "г", "s": "ѕЅ",
    "t": "тτТΤ", "u": "υ", "v": "νѵ", "w": "ԝω", "x": "хχХΧ", "y": "уγУΥ", "z": "Ζ",
}  # fmt: skip
_LOOK_ALIKES = {ord(other): letter for letter, others in _ALIKE.items() for other in others}
"""Letters of other scripts to the Latin ones that they look like."""
_FIGURES = str.maketrans("013457@$!|", "oieastasil")
"""Letters that figures and marks stand for inside a word ("1gn0re")."""
_TAGS = range(0xE0000, 0xE0080)
"""Invisible characters, each a copy of an ASCII one."""
_LONGEST_WORD = 12
_FEWEST_SPELLED = 10


@dataclass(frozen=True, slots=True)
class InjectionGuard:
    """The loaded lexicon.

    Attributes:
        phrases: group → expression over the words of a text, a blank before and behind each.
        squeezed: the same over words without blanks between, for text that is spelled.
        marks: group → expression over the text itself.
        same_as: word → what it counts as.
    """

    phrases: Mapping[str, re.Pattern[str]]
    squeezed: Mapping[str, re.Pattern[str]]
    marks: Mapping[str, re.Pattern[str]]
    same_as: Mapping[str, str]

    def attempted(self, text: str) -> bool:
        """Whether a caller's words try to change what the assistant is, may do, or keeps to itself."""
        return bool(self.found(text))

    def found(self, text: str) -> str:
        """The group of the first pattern that a text fits; empty where it fits none."""
        plain = _plain(text)
        for group, mark in self.marks.items():
            if mark.search(plain):
                return group
        for reading in _readings(plain):
            barred = self._said(reading)
            for said in dict.fromkeys((barred, barred.replace(" |", ""))):
                for group, phrase in self.phrases.items():
                    if phrase.search(said):
                        return group
        for letters in _spelled(plain):
            for group, phrase in self.squeezed.items():
                if phrase.search(letters):
                    return group
        return ""

    def _said(self, text: str) -> str:
        """The words of a text with one blank before and behind each; a bar stands between sentences."""
        sentences = (
            " ".join(self.same_as.get(word, word) for word in words(sentence))
            for sentence in _SENTENCES.split(text)
        )
        return f" {' | '.join(sentence for sentence in sentences if sentence)} "


def _plain(text: str) -> str:
    """Compatible forms folded, invisible characters gone, look-alike letters as Latin ones."""
    if text.isascii():
        return text
    shown = "".join(chr(ord(c) - _TAGS.start) if ord(c) in _TAGS else c for c in text)
    folded = unicodedata.normalize("NFKC", shown)
    kept = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return " ".join(_latin(word) for word in re.split(" ", kept))


def _latin(word: str) -> str:
    """A word with its look-alike letters as Latin ones."""
    return word if word.isascii() else word.translate(_LOOK_ALIKES)


def _readings(text: str) -> Iterator[str]:
    """The text, and where words hold figures or marks among letters, the text with letters for them."""
    yield text
    read = " ".join(_with_letters(word) for word in text.split())
    if read != " ".join(text.split()):
        yield read


def _with_letters(word: str) -> str:
    bare = word.strip(".,?!;:\"'")
    letters = sum(character.isalpha() for character in bare)
    return bare.translate(_FIGURES) if 1 < letters < len(bare) else word


def _spelled(text: str) -> Iterator[str]:
    """Single letters in a row, without what stands between them: "i g n o r e", "i.g.n.o.r.e"."""
    for match in re.finditer(r"(?<![^\W_])(?:[^\W\d_][\W_]{1,3}){9,}[^\W\d_](?![^\W_])", text):
        letters = re.sub(r"[\W_]", "", match.group()).lower()
        if len(letters) >= _FEWEST_SPELLED:
            yield letters


@cache
def load_injection_guard(path: Path) -> InjectionGuard:
    """Read and check the lexicon of injection phrases; read once for a path.

    Raises:
        InvalidInputError: absent, not YAML, a wrong shape, an unknown set, or a mark that is no expression.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"Injection lexicon {path} cannot be read: {error}.") from error
    if not isinstance(data, dict) or data.keys() - _FIELDS or not data.get("patterns"):
        raise InvalidInputError(
            f"Injection lexicon {path} needs a mapping with `patterns`.",
            advice=f"Fields are {sorted(_FIELDS)}.",
        )
    sets = {name: _alternatives(path, name, items) for name, items in _mapping(path, data, "sets").items()}
    groups = {name: _texts(path, name, items) for name, items in _mapping(path, data, "patterns").items()}
    marks = {name: _texts(path, name, items) for name, items in _mapping(path, data, "marks").items()}
    same = _mapping(path, data, "same_as")
    return InjectionGuard(
        {
            name: _compiled(path, [_expression(path, item, sets) for item in items])
            for name, items in groups.items()
        },
        {
            name: _compiled(path, [_squeezed(path, item, sets) for item in items])
            for name, items in groups.items()
        },
        {
            name: _compiled(path, items, re.IGNORECASE if name != "blob" else 0)
            for name, items in marks.items()
        },
        {str(word): str(other) for word, other in same.items()},
    )


def _mapping(path: Path, data: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    found = data.get(field) or {}
    if not isinstance(found, dict):
        raise InvalidInputError(f"Injection lexicon {path}: `{field}` needs a mapping.")
    return found


def _texts(path: Path, name: str, items: Any) -> list[str]:
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise InvalidInputError(
            f"Injection lexicon {path}: {name!r} needs a list of texts.",
            advice="Put quotes around words such as no, on and off.",
        )
    return items


def _alternatives(path: Path, name: str, items: Any) -> str:
    texts = sorted(_texts(path, name, items), key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, texts))})".replace("\\ ", " ").replace("\\'", "'")


def _compiled(path: Path, expressions: Sequence[str], flags: int = 0) -> re.Pattern[str]:
    try:
        return re.compile("|".join(f"(?:{expression})" for expression in expressions), flags)
    except re.error as error:
        raise InvalidInputError(
            f"Injection lexicon {path} has a mark that is no expression: {error}."
        ) from error


def _expression(path: Path, pattern: str, sets: Mapping[str, str]) -> str:
    """A pattern as an expression: each item takes one blank and its words."""
    made = ""
    for item in pattern.split():
        gap = _GAP.fullmatch(item)
        if gap:
            made += rf"(?: \S+){{0,{gap[1]}}}"
        elif item == "^":
            made += r"(?:\A| \|)"
        elif item[0] == "^":
            made += rf"(?:\A| \|| {_set(path, item[1:], sets)})"
        elif item[0] == "!":
            made += rf"(?:\A| (?!{_set(path, item[1:], sets)} )\S+)"
        elif item.startswith("?!"):
            made += rf"(?! {_set(path, item[2:], sets)} )"
        else:
            made += f" {_set(path, item, sets) if item[0] == '{' else re.escape(item)}"
    return f"{made}(?= )"


def _squeezed(path: Path, pattern: str, sets: Mapping[str, str]) -> str:
    """A pattern over letters without blanks; what stands around it is not looked at."""
    made = ""
    for item in pattern.split():
        gap = _GAP.fullmatch(item)
        if gap:
            made += f".{{0,{int(gap[1]) * _LONGEST_WORD}}}"
        elif item[0] not in "^!?":
            made += (_set(path, item, sets) if item[0] == "{" else re.escape(item)).replace(" ", "")
    return made


def _set(path: Path, item: str, sets: Mapping[str, str]) -> str:
    name = item.strip("{}")
    if name not in sets:
        raise InvalidInputError(f"Injection lexicon {path} has no set {name!r}.")
    return sets[name]
