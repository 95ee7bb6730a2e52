"""Places in a row, spoken or written: "fifteenth", "twenty first", "21st" are one and the same."""

import re
from collections.abc import Sequence

from serving.spoken.lexicon import ORDINAL_ENDINGS, ORDINALS, TENS

_ROUND = {
    "fortieth": 40, "fiftieth": 50, "sixtieth": 60, "seventieth": 70, "eightieth": 80, "ninetieth": 90,
}  # fmt: skip
_WRITTEN = re.compile(r"([0-9]{1,3})(?:st|nd|rd|th)")


def ordinal_at(words: Sequence[str], index: int) -> tuple[int, int] | None:
    """The ordinal number that starts at word `index`, and the word behind it; None where none starts.

    Args:
        words: words of a text in lower case without marks; figures and their ending may be two words.
        index: of a word; from 1 on, a ten before it makes it the end of a number ("twenty | first").
    """
    word = words[index]
    follow = words[index + 1] if index + 1 < len(words) else ""
    if word in TENS:
        unit = ORDINALS.get(follow, 0)
        return (TENS[word] + unit, index + 2) if 0 < unit < 10 else None
    written = _WRITTEN.fullmatch(word)
    if written:
        return int(written[1]), index + 1
    if word.isdecimal() and len(word) <= 3 and follow in ORDINAL_ENDINGS:
        return int(word), index + 2
    place = ORDINALS.get(word, 0) or _ROUND.get(word, 0)
    if not place or (place < 10 and index and words[index - 1] in TENS):
        return None
    return place, index + 1
