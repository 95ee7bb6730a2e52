"""Word lists kept as data: facets that set questions apart, negators, phrases that point back.

Reads `data/lexicons/signature.yaml` and matches its phrases in a text, longest first, each word used once
in a facet. It decides nothing; the cache's signature and the responder's slots do.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The word lists.

    Attributes:
        facets: facet → phrase → canonical value.
        negators: words that reverse a sentence; two of them cancel.
        context: phrases that point to an earlier turn.
        sha256: hash of the file, part of the knowledge version.
    """

    facets: Mapping[str, Mapping[Phrase, str]]
    negators: frozenset[str]
    context: Mapping[Phrase, str]
    sha256: str

    def found(self, text: str) -> dict[str, tuple[str, ...]]:
        """Facet → sorted canonical values that a text expresses; facets that find nothing are absent."""
        tokens = words(text)
        result = {}
        for facet, phrases in self.facets.items():
            values = match_phrases(tokens, phrases)
            if values:
                result[facet] = tuple(sorted(set(values)))
        return result

    def negated(self, text: str) -> bool:
        """Whether the number of negators is odd."""
        return sum(word in self.negators for word in words(text)) % 2 == 1

    def points_back(self, text: str) -> bool:
        """Whether a text means little without the turns before it."""
        return bool(match_phrases(words(text), self.context))


def words(text: str) -> list[str]:
    """Lower-case words of a text; an apostrophe stays inside its word."""
    return _WORD.findall(text.lower().replace("’", "'"))


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
        InvalidInputError: absent, not YAML, a wrong shape, or one phrase with two values in a facet.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.safe_load(raw)
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError(f"Lexicon {path} cannot be read: {error}.") from error
    if not isinstance(data, dict) or not isinstance(data.get("facets"), dict):
        raise InvalidInputError(f"Lexicon {path} needs a mapping `facets`.")
    facets = {facet: _phrases(path, facet, values) for facet, values in data["facets"].items()}
    context = {tuple(words(str(phrase))): "context" for phrase in data.get("context", [])}
    negators = frozenset(str(word).lower() for word in data.get("negators", []))
    return Lexicon(facets, negators, context, hashlib.sha256(raw).hexdigest())


def _phrases(path: Path, facet: str, values: Any) -> dict[Phrase, str]:
    if not isinstance(values, dict):
        raise InvalidInputError(f"Lexicon {path}: facet {facet!r} needs a mapping of values to phrases.")
    phrases: dict[Phrase, str] = {}
    for value, surfaces in values.items():
        for surface in surfaces or ():
            phrase = tuple(words(str(surface)))
            if not phrase or phrases.get(phrase, value) != value:
                raise InvalidInputError(
                    f"Lexicon {path}: {surface!r} in facet {facet!r} is empty or has two values "
                    f"({phrases.get(phrase)} and {value})."
                )
            phrases[phrase] = str(value)
    return phrases
