"""Cut a text into the pieces that a voice speaks one after another.

The first piece decides how soon a caller hears something, so pieces are sentences, and a sentence
that is too long for an engine is cut at a clause, else at a word. What no voice can say (control
characters, emoji, bare punctuation) is dropped here, once for all engines.
"""

import re
import unicodedata

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|\n+")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:mr|mrs|ms|dr|st|no|vs|approx|(?:[a-z]\.)*[a-z])\.$", re.IGNORECASE)
_CLAUSE_END = re.compile(r"(?<=[,;:–—])\s+")


def speakable_sentences(text: str, *, max_chars: int = 300) -> list[str]:
    """Sentences of a text in order, each with at least one letter or digit.

    Args:
        text: any text; numbers should already be words.
        max_chars: longest piece in characters (at least 1); longer sentences are cut.

    Returns:
        Pieces of 1 to `max_chars` characters; empty for a text that nobody can speak.
    """
    sentences: list[str] = []
    for part in _split_sentences(_speakable(text)):
        sentences.extend(_cut(part, max_chars))
    return [sentence for sentence in sentences if any(c.isalnum() for c in sentence)]


def _speakable(text: str) -> str:
    """Without emoji, control, private-use and unassigned characters; line ends are kept."""
    kept = []
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if character == "\n" or not (category[0] == "C" or category in {"So", "Sk"}):
            kept.append(character)
        else:
            kept.append(" ")
    return "".join(kept)


def _split_sentences(text: str) -> list[str]:
    """Split after sentence ends, but not after an abbreviation or an initial."""
    parts: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        candidate = text[start : match.end()]
        if match.group() == "." and _ABBREVIATION.search(candidate[-16:]):
            continue
        parts.append(candidate)
        start = match.end()
    parts.append(text[start:])
    return [" ".join(part.split()) for part in parts]


def _cut(sentence: str, max_chars: int) -> list[str]:
    """Pieces of at most `max_chars`: at clause ends, then between words, at worst within one."""
    if len(sentence) <= max_chars:
        return [sentence]
    pieces: list[str] = []
    current = ""
    for clause in _CLAUSE_END.split(sentence):
        words = [clause] if len(clause) <= max_chars else clause.split(" ")
        for word in words:
            if current and len(current) + 1 + len(word) > max_chars:
                pieces.append(current)
                current = ""
            current = f"{current} {word}" if current else word
            while len(current) > max_chars:
                pieces.append(current[:max_chars])
                current = current[max_chars:]
    return [*pieces, current] if current else pieces
