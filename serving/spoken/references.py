"""Identifiers with letters: IBANs, and references such as "AB 12 34 56 C" after a cue.

An IBAN is recognised by its country, length and check digits (ISO 13616, ISO 7064 MOD 97-10), spoken or
written, with or without a cue.
"""

from serving.spoken.cues import Cue, Cues
from serving.spoken.lexicon import CONNECTIVES, FILLERS, SOFT_FILLERS
from serving.spoken.numbers import read_number
from serving.spoken.text import Reading
from serving.spoken.values import Kind

_IBAN_LENGTHS = {
    "ad": 24, "ae": 23, "at": 20, "be": 16, "bg": 22, "ch": 21, "cy": 28, "cz": 24, "de": 22, "dk": 18,
    "ee": 20, "es": 24, "fi": 18, "fr": 27, "gb": 22, "gi": 23, "gr": 27, "hr": 21, "hu": 28, "ie": 22,
    "il": 23, "is": 26, "it": 27, "li": 21, "lt": 20, "lu": 20, "lv": 21, "mc": 27, "mt": 31, "nl": 18,
    "no": 15, "pl": 28, "pt": 25, "ro": 24, "sa": 24, "se": 24, "si": 19, "sk": 24, "sm": 27, "tr": 26,
}  # fmt: skip
_LONGEST_REFERENCE = 34
_SHORTEST_REFERENCE = 5
_FEWEST_DIGITS = 3
_LONGEST_LEAD = 6
_WORDS = frozenset({"with", "from", "that", "this", "have", "your", "card", "please"})
"""Four letters that are no group of a reference."""
_LETTERS = frozenset({"a", "i"})
_JOINTS = FILLERS | frozenset({"-", ".", ",", "/", "capital"})


def take_references(reading: Reading, cues: Cues) -> None:
    """Record every IBAN, and every mix of letters and digits that an account cue introduces."""
    index = 0
    while index < reading.size:
        text, last = _iban(reading, index)
        if text:
            reading.take(Kind.ACCOUNT, text.upper(), index, last)
        index = max(last, index + 1)
    for end, cue in cues.by_end.items():
        if cue is Cue.ACCOUNT:
            _take_reference(reading, end)


def _iban(reading: Reading, index: int) -> tuple[str, int]:
    """The IBAN that starts at token `index` and one past its last token, or an empty string."""
    words = reading.words
    word = words[index]
    length = _IBAN_LENGTHS.get(word if len(word) == 2 else word + words[index + 1], 0)
    if length:
        text, last = _collect(reading, index, length, lead=True)
        if len(text) == length and text[2:4].isdecimal() and _mod97(text):
            return text, last
    return "", index


def _mod97(text: str) -> bool:
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _take_reference(reading: Reading, index: int) -> None:
    first = index
    while first - index < _LONGEST_LEAD and reading.words[first] in CONNECTIVES:
        first += 1
    text, last = _collect(reading, first, _LONGEST_REFERENCE)
    digits = sum(character.isdecimal() for character in text)
    if len(text) >= _SHORTEST_REFERENCE and _FEWEST_DIGITS <= digits < len(text):
        reading.take(Kind.ACCOUNT, text.upper(), first, last)


def _collect(reading: Reading, index: int, limit: int, *, lead: bool = False) -> tuple[str, int]:
    """Letters and digits spelled or written from token `index` on, and where they end.

    Args:
        reading: the text.
        index: first token.
        limit: most characters.
        lead: of an IBAN, which starts with its country and holds the four letters of a bank; in any other
            reference four letters by themselves are the next word ("10482917, born in …").
    """
    collected, at, last = "", index, index
    while at < reading.size and len(collected) < limit:
        if reading.words[at] in _JOINTS:
            at += 1
            continue
        piece, at = (reading.words[at], at + 1) if lead and at == index else _piece(reading, at, bank=lead)
        if not piece or len(collected) + len(piece) > limit:
            break
        collected, last = collected + piece, at
    if collected[-1:] in {"a", "i"} and reading.words[last].isalpha():
        return collected[:-1], last - 1
    return collected, last


def _piece(reading: Reading, at: int, *, bank: bool) -> tuple[str, int]:
    """One letter, a few letters written against digits, a bank's letters, or the digits of one number."""
    word = reading.words[at]
    if len(word) != 1 or word == "o" or not word.isalpha():
        number = read_number(reading, at)
        if number is not None and number.digits:
            return number.digits, number.last
    if word.isascii() and word.isalpha() and _is_group(reading, at, bank=bank):
        return (word, at + 1) if word not in _WORDS and word not in SOFT_FILLERS - _LETTERS else ("", at)
    return "", at


def _is_group(reading: Reading, at: int, *, bank: bool) -> bool:
    """Whether letters are a part of a reference: one, or against figures, or in capitals."""
    length = len(reading.words[at])
    if length == 1 or (bank and length == 4) or _glued(reading, at):
        return True
    shown = reading.text[reading.starts[at] : reading.ends[at]]
    return length <= 4 and shown.isupper() and not reading.text.isupper()


def _glued(reading: Reading, at: int) -> bool:
    """Whether figures touch the letters at token `at`, perhaps with a hyphen between."""
    before, after = at - 1, at + 1
    if at > 1 and reading.words[before] == "-" and reading.adjacent(before):
        before -= 1
    if reading.words[after] == "-" and reading.adjacent(after):
        after += 1
    return (before >= 0 and reading.written[before] and reading.adjacent(before)) or (
        reading.written[after] and reading.adjacent(at)
    )
