"""Words that callers spell: "s m i t h", "S-M-I-T-H", "s as in sam", "sierra mike india tango hotel".

Reads letters only; whether they are a name is for the rules of names to say. Letters beside figures belong
to a reference or an address and are left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.spoken.lexicon import FILLERS, word_set
from serving.spoken.numerals import digit_of

FEWEST_LETTERS = 3
"""From so many letters on, letters spell a word."""
_UNLED_LETTERS = 4
"""Without any cue so many letters are needed."""
_EXPLAINED = frozenset({("as", "in"), ("like", "in"), ("as",), ("for",), ("like",), ("in",)})
_BETWEEN = (FILLERS - {"space", "slash", "stroke"}) | {",", ".", "-", "…", '"', "'"}
_LINKING = frozenset({"and", "then", "next"})
_CAPITAL = frozenset({"capital", "uppercase", "big"})
_ALPHABET = {
    word[0]: word
    for word in word_set(
        """
        alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa
        quebec romeo sierra tango uniform victor whiskey xray yankee zulu
        """
    )
}
_LETTER_OF = {word: letter for letter, word in _ALPHABET.items()} | {
    "alfa": "a", "juliett": "j", "whisky": "w",
}  # fmt: skip
_ACRONYMS = word_set(
    """
    iban swift heloc fdic ncua cfpb finra sepa bacs chaps isas visa amex amen help okay paypal html faqs
    ebay nsfs lgbt nasa opec info hsbc rbs usda ukraine fico
    """
)
"""What is spelled in a bank's calls and is nobody's name."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """Letters read out one by one, and the tokens that say them."""

    letters: str
    first: int
    last: int


def read_spelling(words: Sequence[str], index: int) -> Spelled | None:
    """The letters that are spelled from token `index` on, three at least; None where nothing is spelled."""
    letters, at, last, pieces, previous = "", index, index, 0, index
    while True:
        piece, after = _piece(words, at)
        if not piece:
            break
        letters, previous, last, pieces = letters + piece, last, after, pieces + 1
        at = _past(words, after)
    loose = previous == last - 1 and words[last - 1] in {"a", "i"}
    if loose and len(words[last]) > 1 and words[last].isalpha():
        letters, last, pieces = letters[:-1], previous, pieces - 1  # the next sentence's first word
    if pieces < FEWEST_LETTERS:
        return None
    return Spelled(letters, index, last)


def is_alone(words: Sequence[str], found: Spelled) -> bool:
    """Whether spelled letters are a word by themselves: no known acronym, and no part of a reference."""
    before = words[found.first - 1] if found.first else ""
    beside = any(word[:1].isdecimal() or digit_of(word) is not None for word in (before, words[found.last]))
    article = words[found.first] in {"a", "i"} and words[found.first + 1] not in {"as", "for", "like"}
    letters = found.letters[article:]  # "do you have a k y c disclosure"
    return len(letters) >= _UNLED_LETTERS and letters not in _ACRONYMS and not beside


def words_before(words: Sequence[str], found: Spelled) -> int:
    """First token of the words before that are what is spelled: "smith | s m i t h", "quill feather | …"."""
    at, joined = found.first, ""
    while at > 0 and (words[at - 1] in _BETWEEN or words[at - 1] in _SPELLING_WORDS):
        at -= 1
    while at > 0 and len(joined) < len(found.letters) and len(words[at - 1]) > 1 and words[at - 1].isalpha():
        at -= 1
        joined = words[at] + joined
        if joined == found.letters:
            return at
    return found.first


_SPELLING_WORDS = frozenset({"spelled", "spelt", "spelling", "that's", "is", "which"})


def past_spelling_words(words: Sequence[str], index: int) -> int:
    """Past "spelled", "that's" and marks, where letters follow."""
    at = index
    while words[at] in _SPELLING_WORDS or words[at] in _BETWEEN:
        at += 1
    return at


def _past(words: Sequence[str], at: int) -> int:
    """Past sounds, marks and "and then" between two letters."""
    while words[at] in _BETWEEN or words[at] in _LINKING or words[at] in _CAPITAL:
        at += 1
    return at


def _piece(words: Sequence[str], at: int) -> tuple[str, int]:
    """One letter with the word that explains it, "double l", or a word of the spelling alphabet."""
    if words[at] in _CAPITAL:
        at += 1
    word, follow = words[at], words[at + 1]
    if word == "double" and len(follow) == 1 and follow.isalpha():
        return ("w", at + 2) if follow == "u" else (follow * 2, at + 2)
    if word == "double" and follow == "you":
        return "w", at + 2
    if len(word) == 1 and word.isalpha():
        return word, _explained(words, at + 1, word)
    return (_LETTER_OF[word], at + 1) if word in _LETTER_OF else ("", at)


def _explained(words: Sequence[str], at: int, letter: str) -> int:
    """One past "as in sam", "for sugar" behind a letter; `at` where nothing explains it."""
    for length in (2, 1):
        explains = words[at + length]
        if tuple(words[at : at + length]) in _EXPLAINED and len(explains) > 1 and explains[0] == letter:
            return at + length + 1
    return at
