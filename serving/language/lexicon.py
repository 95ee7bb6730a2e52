"""Word lists kept as data: facets that set questions apart, negators, phrases that point back.

Reads `data/lexicons/signature.yaml` and matches its phrases in a text, longest first, each word used once
in a facet. It decides nothing; the cache's signature and the responder's slots do.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError
from serving.spoken.lexicon import word_set
from serving.spoken.text import read

Phrase = tuple[str, ...]
"""Words in order; `..3` among them stands for up to three words of any kind."""
_FIELDS = frozenset({"version", "facets", "poles", "reversals", "bounds", "idioms", "negators", "context"})
_GAP = re.compile(r"\.\.([1-9])")
_INFLECTIONS = ("", "d", "ed", "s", "es", "ing", "able", "ment")

_NAMING = word_set(
    "a an the my your our his her their this that these those any some another each every one two"
)
"""Words that stand before a thing, so that an "it" beside them may be that thing."""
_UNFOLDING = word_set("to that if until till before for when whether unless after")
"""Words after an "it" that stands for what they begin."""
_NO_THINGS = frozenset({"action", "freshness", "polarity"})
"""Facets that are no thing which an "it" could be."""


@dataclass(frozen=True, slots=True)
class Span:
    """A phrase that was found.

    Attributes:
        value: what it stands for.
        first: its first word.
        last: one past its last word.
    """

    value: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The word lists.

    Attributes:
        facets: facet → phrase → canonical value.
        negators: words that reverse a sentence, besides all that end in "n't".
        context: phrases that point to an earlier turn.
        sha256: hash of the file, part of the knowledge version.
        poles: facet → value → what it counts as in a signature; an empty pole is evidence and no part of it.
        reversals: word → what it is the opposite of, made of prefixes and stems.
        bounds: phrase beside a value → which end of a range the value is.
        idioms: phrase with a negator in it → `plain` where the negator reverses nothing.
    """

    facets: Mapping[str, Mapping[Phrase, str]]
    negators: frozenset[str]
    context: Mapping[Phrase, str]
    sha256: str
    poles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reversals: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[Phrase, str] = field(default_factory=dict)
    idioms: Mapping[Phrase, str] = field(default_factory=dict)

    def found(self, text: str) -> dict[str, tuple[str, ...]]:
        """Facet → canonical values that a text expresses, each once, in order of mention.

        Facets that find nothing are absent.
        """
        tokens = [token.removesuffix("'s") for token in words(text)]
        matches = {facet: match_phrases(tokens, phrases) for facet, phrases in self.facets.items()}
        return {facet: tuple(dict.fromkeys(values)) for facet, values in matches.items() if values}

    def negations(self, text: str) -> int:
        """How many words of a text reverse it; those inside a phrase that has a meaning of its own do not."""
        tokens = [token.removesuffix("'s") for token in words(text)]
        tables = (*self.facets.values(), self.idioms, self.bounds)
        spans = [span for table in tables for span in match_spans(tokens, table) if span.value != "reverses"]
        inside = {at for span in spans for at in range(span.first, span.last)}
        return sum(self._negates(word) for at, word in enumerate(tokens) if at not in inside)

    def reversed_words(self, text: str) -> list[str]:
        """Opposites made with a prefix, in order: "unlinked" is `not link`, "reopen" is `again open`."""
        return [self.reversals[word] for word in words(text) if word in self.reversals]

    def points_back(self, text: str) -> bool:
        """Whether a text means little without the turns before it.

        A phrase says so, or an "it" that is nothing in the text: "Is it free?", and not "Is it free to pay by
        card?" or "I lost my card, can I block it?".
        """
        said = words(text)
        return bool(match_phrases(said, self.context)) or self._asks_of_something_before(said)

    def _asks_of_something_before(self, said: Sequence[str]) -> bool:
        if "it" not in said or not _NAMING.isdisjoint(said):
            return False
        at = said.index("it")
        things = self.found(" ".join(said[:at])).keys() - _NO_THINGS
        return not things and _UNFOLDING.isdisjoint(said[at + 1 :])

    def _negates(self, word: str) -> bool:
        return word in self.negators or word.endswith("n't")


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


class PhraseTable(dict[Phrase, str]):
    """Phrase → value, with what a search needs to know of all phrases; it is filled once.

    Attributes:
        longest: first word → most words of a phrase that begins with it.
        gapped: first word → phrases with gaps.
        starts: all first words.
    """

    def __init__(self, phrases: Mapping[Phrase, str]) -> None:
        super().__init__(phrases)
        self.longest: dict[str, int] = {}
        self.gapped: dict[str, list[Phrase]] = {}
        for phrase in phrases:
            if any(part.startswith("..") for part in phrase):
                self.gapped.setdefault(phrase[0], []).append(phrase)
            else:
                self.longest[phrase[0]] = max(len(phrase), self.longest.get(phrase[0], 0))
        self.starts = frozenset(phrase[0] for phrase in phrases)


def match_phrases(tokens: Sequence[str], phrases: Mapping[Phrase, str]) -> list[str]:
    """Canonical values in order of appearance: longest phrase first, each word used once."""
    return [span.value for span in match_spans(tokens, phrases)]


def match_spans(tokens: Sequence[str], phrases: Mapping[Phrase, str]) -> list[Span]:
    """The phrases of a table in a text, in order; of those at one word the longest, each word used once."""
    table = phrases if isinstance(phrases, PhraseTable) else PhraseTable(phrases)
    if table.starts.isdisjoint(tokens):  # most tables have nothing to say to most texts
        return []
    longest, gapped = table.longest, table.gapped
    found, position = [], 0
    while position < len(tokens):
        best: Span | None = None
        for length in range(min(longest.get(tokens[position], 0), len(tokens) - position), 0, -1):
            value = table.get(tuple(tokens[position : position + length]))
            if value is not None:
                best = Span(value, position, position + length)
                break
        for phrase in gapped.get(tokens[position], ()):
            end = _gapped_end(tokens, position, phrase)
            if end is not None and (best is None or end > best.last):
                best = Span(table[phrase], position, end)
        if best is not None:
            found.append(best)
        position = best.last if best is not None else position + 1
    return found


def _gapped_end(tokens: Sequence[str], position: int, phrase: Phrase) -> int | None:
    """One past the last word of a phrase with gaps, shortest gaps first; None where it is not there."""
    for at, part in enumerate(phrase):
        gap = _GAP.fullmatch(part)
        if gap is not None:
            ends = (_gapped_end(tokens, position + skip, phrase[at + 1 :]) for skip in range(int(gap[1]) + 1))
            return next((end for end in ends if end is not None), None)
        if position >= len(tokens) or tokens[position] != part:
            return None
        position += 1
    return position


def load_lexicon(path: Path) -> Lexicon:
    """Read and check a lexicon file.

    Raises:
        InvalidInputError: absent, not YAML, a wrong shape (also a word that YAML reads as true or false),
            or one phrase with two values in a facet.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
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
    context = PhraseTable(dict.fromkeys(_surfaces(path, "context", data.get("context")), "context"))
    return Lexicon(
        facets,
        frozenset(spellings),
        context,
        hashlib.sha256(raw).hexdigest(),
        _poles(path, facets, data.get("poles")),
        _reversals(path, facets, data.get("reversals")),
        _table(path, "bounds", data.get("bounds")),
        _table(path, "idioms", data.get("idioms")),
    )


def _table(path: Path, name: str, values: Any) -> PhraseTable:
    return PhraseTable({}) if values is None else _phrases(path, name, values)


def _poles(path: Path, facets: Mapping[str, Mapping[Phrase, str]], raw: Any) -> dict[str, dict[str, str]]:
    """Facet → value → pole, where each is one of the facets above."""
    if not isinstance(raw, dict | None):
        raise InvalidInputError(f"Lexicon {path}: poles needs a mapping of facets.")
    for facet, poles in (raw or {}).items():
        known = set(facets.get(facet, {}).values())
        if not isinstance(poles, dict) or not poles.keys() <= known:
            raise InvalidInputError(
                f"Lexicon {path}: poles.{facet} needs a mapping of values of that facet to poles."
            )
    return {
        facet: {value: str(pole) for value, pole in poles.items()} for facet, poles in (raw or {}).items()
    }


def _reversals(path: Path, facets: Mapping[str, Mapping[Phrase, str]], raw: Any) -> dict[str, str]:
    """Every prefix before every inflected stem; words that a facet lists already have a meaning there."""
    if not isinstance(raw, dict | None):
        raise InvalidInputError(f"Lexicon {path}: reversals needs a mapping of meanings.")
    listed = {phrase[0] for phrases in facets.values() for phrase in phrases if len(phrase) == 1}
    made: dict[str, str] = {}
    for meaning, parts in (raw or {}).items():
        if not isinstance(parts, dict) or parts.keys() != {"prefixes", "stems"}:
            raise InvalidInputError(f"Lexicon {path}: reversals.{meaning} needs prefixes and stems.")
        prefixes, stems = (
            _surfaces(path, f"reversals.{meaning}", parts[key]) for key in ("prefixes", "stems")
        )
        for (stem,) in stems:
            for form in _inflected(stem):
                made.update({prefix + form: f"{meaning} {stem}" for (prefix,) in prefixes})
    return {word: value for word, value in made.items() if word not in listed}


def _inflected(stem: str) -> set[str]:
    """Forms of a regular verb or adjective: "link" gives linked, links, linking, linkable and so on."""
    bare = stem.removesuffix("e")
    doubled = f"{stem}{stem[-1]}"
    regular = {stem + ending for ending in _INFLECTIONS}
    return (
        regular | {bare + ending for ending in ("ing", "ation", "able")} | {doubled + "ed", doubled + "ing"}
    )


def _phrases(path: Path, facet: object, values: Any) -> PhraseTable:
    if not isinstance(facet, str) or not isinstance(values, dict):
        raise InvalidInputError(f"Lexicon {path}: facet {facet!r} needs a mapping of values to phrases.")
    phrases: dict[Phrase, str] = {}
    for value, surfaces in values.items():
        if not isinstance(value, str):
            raise InvalidInputError(f"Lexicon {path}: the value {value!r} of {facet!r} needs quotes.")
        for phrase in map(_bare, _surfaces(path, f"{facet}.{value}", surfaces)):
            if phrases.setdefault(phrase, value) != value:
                raise InvalidInputError(
                    f"Lexicon {path}: {' '.join(phrase)!r} in facet {facet!r} has two values "
                    f"({phrases[phrase]} and {value})."
                )
    return PhraseTable(phrases)


def _surfaces(path: Path, where: str, surfaces: Any) -> list[Phrase]:
    """The phrases of a list, cut into words."""
    if not isinstance(surfaces, list | None):
        raise InvalidInputError(f"Lexicon {path}: {where} needs a list of phrases.")
    found = []
    for surface in surfaces or ():
        phrase = _cut(surface) if isinstance(surface, str) else ()
        if not phrase or _GAP.fullmatch(phrase[0]) or _GAP.fullmatch(phrase[-1]):
            raise InvalidInputError(
                f"Lexicon {path}: {surface!r} in {where} is no phrase.",
                advice="Put quotes around words such as no, on and off.",
            )
        found.append(phrase)
    return found


def _bare(phrase: Phrase) -> Phrase:
    """Without the genitive, which a text loses as well before its facets are looked for."""
    return tuple(word.removesuffix("'s") for word in phrase)


def _cut(surface: str) -> Phrase:
    """A phrase as words; `..3` stays as it is."""
    parts = [[part] if _GAP.fullmatch(part) else words(part) for part in surface.split()]
    return tuple(word for part in parts for word in part)
