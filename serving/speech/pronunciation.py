"""How words sound, in the phones of pocketsphinx's acoustic model.

Pronunciations come from the dictionary inside the pocketsphinx wheel (CMUdict, BSD-like); a word
that it lacks is spoken by espeak-ng's rules and its IPA is read through the table below. An
abbreviation that people spell (`apr`) gets its letters as well. Nothing here guesses silently:
a word without any pronunciation is left out of the dictionary, and so of the language model.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from serving.errors import MissingError

SPELLED = frozenset(
    {"ach", "apr", "apy", "atm", "cd", "cvv", "dob", "ein", "eur", "faq", "fdic", "gbp", "id", "ira"}
    | {"irs", "isa", "kyc", "llc", "ltv", "nsf", "otp", "pdf", "qr", "sms", "ssn", "tv", "usd", "vip"}
)
"""Abbreviations that are said letter by letter."""

IPA_TO_PHONES: dict[str, str] = {
    # Two signs first in reading: longest match wins.
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY", "tʃ": "CH", "dʒ": "JH",
    "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɛɹ": "EH R", "ɪɹ": "IH R", "ʊɹ": "UH R",
    "aɪɚ": "AY ER", "aɪə": "AY AH", "iə": "IY AH", "əl": "AH L", "n̩": "AH N", "l̩": "AH L",
    "ɜː": "ER", "ɑː": "AA", "ɔː": "AO", "oː": "AO", "iː": "IY", "uː": "UW", "juː": "Y UW",
    "ɚ": "ER", "ɝ": "ER", "ɜ": "ER", "ɐ": "AH", "ə": "AH", "ʌ": "AH", "a": "AA", "ɑ": "AA", "ɒ": "AA",
    "æ": "AE", "ɛ": "EH", "e": "EY", "ɪ": "IH", "ᵻ": "IH", "i": "IY", "ɨ": "IH", "ɔ": "AO", "o": "OW",
    "ʊ": "UH", "u": "UW", "y": "Y UW", "ø": "ER", "œ": "ER",
    "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "j": "Y", "k": "K", "l": "L",
    "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "ɾ": "T", "s": "S", "ʃ": "SH", "t": "T",
    "θ": "TH", "v": "V", "w": "W", "ʍ": "W", "x": "K", "ç": "K", "z": "Z", "ʒ": "ZH", "ʔ": "T", "ɬ": "L",
    "ʲ": "Y", "ɫ": "L", "β": "V", "ɣ": "G", "q": "K", "c": "K", "ʁ": "R",
}  # fmt: skip
"""IPA as espeak-ng writes American English, to CMUdict phones."""

LETTERS: dict[str, str] = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH",
    "i": "AY", "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY",
    "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW", "v": "V IY",
    "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip
"""Names of the letters."""

_LONGEST = max(map(len, IPA_TO_PHONES))
_UNHEARD = re.compile(r"[ˈˌː‖|\u0361\u0303\u200d\s_^~-]")
_VOWEL = re.compile(r"[aeiouy]")


def read_dictionary(path: Path) -> dict[str, list[str]]:
    """Pronunciations by word of a CMUdict file; `word(2)` is another way to say `word`.

    Raises:
        MissingError: the file does not exist.
    """
    if not path.is_file():
        raise MissingError(f"The pronunciation dictionary {path} does not exist.")
    entries: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.strip().partition(" ")
            if phones:
                entries.setdefault(word.split("(", 1)[0] or word, []).append(phones.strip())
    return entries


def pronounce(
    words: Iterable[str], dictionary: dict[str, list[str]], ipa: Callable[[str], str]
) -> dict[str, list[str]]:
    """Pronunciations of each word that has any.

    Args:
        words: lower-case words of letters and apostrophes.
        dictionary: known pronunciations.
        ipa: a word in IPA, for the words that the dictionary lacks.
    """
    found: dict[str, list[str]] = {}
    for word in sorted(set(words)):
        ways = list(dictionary.get(word, ()))
        if word in SPELLED or (not ways and not _VOWEL.search(word)):
            ways.insert(0, spell(word))
        if len(word) == 1 and word in LETTERS:
            ways.append(LETTERS[word])
        if not ways:
            ways.append(ipa_to_phones(ipa(word)))
        unique = list(dict.fromkeys(way for way in ways if way))
        if unique:
            found[word] = unique
    return found


def spell(word: str) -> str:
    """The letters' names as phones; other characters are silent."""
    return " ".join(LETTERS[letter] for letter in word if letter in LETTERS)


def ipa_to_phones(ipa: str) -> str:
    """Read IPA by longest match; an unknown sign is skipped, empty if nothing is left."""
    marks = _UNHEARD.sub(lambda m: m.group() if m.group() == "ː" else "", ipa)
    phones: list[str] = []
    index = 0
    while index < len(marks):
        for size in range(min(_LONGEST, len(marks) - index), 0, -1):
            match = IPA_TO_PHONES.get(marks[index : index + size])
            if match:
                phones.append(match)
                index += size
                break
        else:
            index += 1
    return " ".join(phones)


def write_dictionary(entries: dict[str, list[str]]) -> str:
    """Text of a CMUdict file, sorted by word."""
    lines: list[str] = []
    for word, ways in sorted(entries.items()):
        lines.extend(f"{word if n == 1 else f'{word}({n})'} {way}" for n, way in enumerate(ways, start=1))
    return "\n".join(lines) + "\n"
