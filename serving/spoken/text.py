"""Text to tokens with exact positions in the original text.

Speech recognisers, typed chats and hostile input meet here: letters are lowered, digits of every
script become 0-9, invisible and combining characters vanish, and each token still knows which
characters of the original it came from. One pass, linear in the text.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from serving.spoken.lexicon import VULGAR
from serving.spoken.values import PERSONAL, Kind, TypedValue, Value

PLACEHOLDER = re.compile(rf"<(?:{'|'.join(sorted(PERSONAL))})(?:_[0-9]{{1,6}})?>")
"""What redaction leaves where a personal value stood."""

_TOKEN = re.compile(
    rf"(?P<placeholder>{PLACEHOLDER.pattern})"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*)"
    r"|(?P<number>(?<![\w.,])\.[0-9]+(?![.,]?[0-9])|[0-9]+(?:[.,][0-9]+)*)"
    r"|(?P<mark>\S)"
)
_PADDING = 8
_REPLACED = {**dict.fromkeys("‘’ʼ`´", "'"), **dict.fromkeys("‐‑‒–—−", "-"), "⁄": "/"}


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens of one text, and which of them a value has already taken.

    Attributes:
        text: the original text.
        words: token texts, folded; a taken token is blanked; eight blanks at the end so that rules
            may look ahead without a check.
        starts: first character of each token in `text`.
        ends: one past its last character.
        written: whether the token is made of digits.
        size: number of tokens.
        values: what has been found so far, in any order.
    """

    text: str
    words: list[str]
    starts: list[int]
    ends: list[int]
    written: list[bool]
    size: int
    values: list[TypedValue] = field(default_factory=list)

    def adjacent(self, index: int) -> bool:
        """Whether nothing stands between token `index` and the next one."""
        return index + 1 < self.size and self.ends[index] == self.starts[index + 1]

    def take(self, kind: Kind, value: Value, first: int, last: int, unit: str = "") -> None:
        """Record a value made of tokens `first` up to, not including, `last`, and blank them."""
        self.values.append(TypedValue(kind, value, unit, self.starts[first], self.ends[last - 1]))
        self.blank(first, last)

    def blank(self, first: int, last: int) -> None:
        """Take tokens out of play."""
        self.reword(first, last, "")

    def without(self, dropped: Collection[int]) -> "Reading":
        """The same text with some tokens left out; what has been found so far is shared."""
        kept = [index for index in range(self.size) if index not in dropped]
        words, written = [self.words[at] for at in kept], [self.written[at] for at in kept]
        starts, ends = [self.starts[at] for at in kept], [self.ends[at] for at in kept]
        words.extend([""] * _PADDING)
        written.extend([False] * _PADDING)
        return Reading(self.text, words, starts, ends, written, len(kept), self.values)

    def reword(self, first: int, last: int, word: str) -> None:
        """Read another word in place of each of the tokens; it is no figure, whatever stood there."""
        for index in range(first, last):
            self.words[index] = word
            self.written[index] = False


def read(text: str) -> Reading:
    """Cut a text into tokens."""
    folded, offsets = _fold(text)
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    written: list[bool] = []
    for match in _TOKEN.finditer(folded):
        kind = match.lastgroup
        first, last = match.span()
        word = "" if kind == "placeholder" else match.group()
        words.append(f"0{word}" if kind == "number" and word.startswith(".") else word)
        starts.append(offsets[first])
        ends.append(max(offsets[last], offsets[last - 1] + 1) if last < len(folded) else len(text))
        written.append(kind == "number")
    size = len(words)
    words.extend([""] * _PADDING)
    written.extend([False] * _PADDING)
    return Reading(text, words, starts, ends, written, size)


def _fold(text: str) -> tuple[str, Sequence[int]]:
    """Folded text, and for each of its characters the index of its source in the original."""
    if text.isascii():
        # Control characters other than white space are not spaces to the token expression, yet
        # nobody means them: they separate.
        return text.lower().translate(_CONTROLS), range(len(text) + 1)
    pieces: list[str] = []
    offsets: list[int] = []
    for index, character in enumerate(text):
        folded = _fold_character(character)
        if not folded and pieces:
            pieces[-1] = _composed(pieces[-1], character)
        pieces.append(folded)
        offsets.extend([index] * len(folded))
    offsets.append(len(text))
    return "".join(pieces), offsets


_CONTROLS = dict.fromkeys((*range(32), 127), " ")


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    if character in VULGAR:
        return character
    if character in _REPLACED:
        return _REPLACED[character]
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", character).lower()
    return "".join(_fold_part(part) for part in folded)


def _composed(letter: str, mark: str) -> str:
    """A letter and its combining mark as one character, or the letter where there is none."""
    both = unicodedata.normalize("NFC", letter + mark)
    return both if len(both) == len(letter) == 1 else letter


def _fold_part(part: str) -> str:
    category = unicodedata.category(part)
    if category in {"Mn", "Me", "Cf"}:
        return ""
    if category in {"Cc", "Cs", "Co", "Cn"} or part.isspace():
        return " "
    digit = unicodedata.digit(part, None)
    return _REPLACED.get(part, part) if digit is None else str(digit)
