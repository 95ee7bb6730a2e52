"""Word lists kept as data: facets that set questions apart, negators, phrases that point back.

Reads `data/lexicons/signature.yaml` and matches its phrases in a text, longest first, each word used once
in a facet. It decides nothing; the cache's signature and the responder's slots do.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError
from serving.spoken.text import read

Phrase = tuple[str, ...]
_FIELDS = frozenset({"version", "facets", "negators", "context"})


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The word lists.

    Attributes:
        facets: facet → phrase → canonical value.
        negators: words that reverse a sentence, besides all that end in "n't".
        context: phrases that point to an earlier turn.
        sha256: hash of the file, part of the knowledge version.
    """

    facets: Mapping[str, Mapping[Phrase, str]]
    negators: frozenset[str]
    context: Mapping[Phrase, str]
    sha256: str

    def found(self, text: str) -> dict[str, tuple[str, ...]]:
        """Facet → canonical values that a text expresses, each once, in order of mention.

        Facets that find nothing are absent.
        """
        tokens = words(text)
        matches = {facet: match_phrases(tokens, phrases) for facet, phrases in self.facets.items()}
        return {facet: tuple(dict.fromkeys(values)) for facet, values in matches.items() if values}

    def negations(self, text: str) -> int:
        """How many words of a text reverse it."""
        return sum(word in self.negators or word.endswith("n't") for word in words(text))

    def points_back(self, text: str) -> bool:
        """Whether a text means little without the turns before it."""
        return bool(match_phrases(words(text), self.context))


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, as every lexicon and every rule about words reads them.

    Letters lose their accents and width, invisible characters vanish, an apostrophe stays inside its word,
    placeholders are no words. A sentence encoder reads all of these alike, so the lexicon must as well.
    """
    return [unaccented(token) for token in read(text).words if token[:1].isalnum()]


def unreadable(text: str) -> list[str]:
    """Words with letters outside a to z: no list here knows them, whatever they mean."""
    return [word for word in words(text) if not word.isascii() and any(map(str.isalpha, word))]


def unaccented(text: str) -> str:
    """A text without accents and other combining marks."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def match_phrases(tokens: Sequence[str], phrases: Mapping[Phrase, str]) -> list[str]:
    """Canonical values in order of appearance: longest phrase first, each word used once."""
    longest = max((len(phrase) for phrase in phrases), default=0)
    found, position = [], 0
    while position < len(tokens):
        for length in range(min(longest, len(tokens) - position), 0, -1):
            value = phrases.get(tuple(tokens[position : position + length]))
            if value is not None:
                found.append(value)
                position += length
                break
        else:
            position += 1
    return found


def load_lexicon(path: Path) -> Lexicon:
    """Read and check a lexicon file.

    Raises:
        InvalidInputError: absent, not YAML, a wrong shape (also a word that YAML reads as true or false),
            or one phrase with two values in a facet.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.safe_load(raw)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"Lexicon {path} cannot be read: {error}.") from error
    if not isinstance(data, dict) or not isinstance(data.get("facets"), dict):
        raise InvalidInputError(f"Lexicon {path} needs a mapping `facets`.")
    unknown = sorted(str(field) for field in data.keys() - _FIELDS)
    if unknown:
        raise InvalidInputError(
            f"Lexicon {path} has the unknown field {unknown[0]!r}.", advice=f"Fields are {sorted(_FIELDS)}."
        )
    facets = {facet: _phrases(path, facet, values) for facet, values in data["facets"].items()}
    negators = _surfaces(path, "negators", data.get("negators"))
    wordy = [" ".join(phrase) for phrase in negators if len(phrase) > 1]
    if wordy:
        raise InvalidInputError(f"Lexicon {path}: the negator {wordy[0]!r} is more than one word.")
    spellings = {spelling for (word,) in negators for spelling in (word, word.replace("'", ""))}
    context = dict.fromkeys(_surfaces(path, "context", data.get("context")), "context")
    return Lexicon(facets, frozenset(spellings), context, hashlib.sha256(raw).hexdigest())


def _phrases(path: Path, facet: object, values: Any) -> dict[Phrase, str]:
    if not isinstance(facet, str) or not isinstance(values, dict):
        raise InvalidInputError(f"Lexicon {path}: facet {facet!r} needs a mapping of values to phrases.")
    phrases: dict[Phrase, str] = {}
    for value, surfaces in values.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"Lexicon {path}: the value {value!r} of {facet!r} needs quotes.")
        for phrase in _surfaces(path, f"{facet}.{value}", surfaces):
            if phrases.setdefault(phrase, value) != value:
                raise InvalidInputError(
                    f"Lexicon {path}: {' '.join(phrase)!r} in facet {facet!r} has two values "
                    f"({phrases[phrase]} and {value})."
                )
    return phrases


def _surfaces(path: Path, where: str, surfaces: Any) -> list[Phrase]:
    """The phrases of a list, cut into words."""
    if not isinstance(surfaces, list | None):
        raise InvalidInputError(f"Lexicon {path}: {where} needs a list of phrases.")
    found = []
    for surface in surfaces or ():
        phrase = tuple(words(surface)) if isinstance(surface, str) else ()
        if not phrase:
            raise InvalidInputError(
                f"Lexicon {path}: {surface!r} in {where} is no phrase.",
                advice="Put quotes around words such as no, on and off.",
            )
        found.append(phrase)
    return found
