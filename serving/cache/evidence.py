"""What a question says, read for comparison with another one: ideas, what it asks for, circumstances.

A signature holds what must be equal; this holds what is weighed. Words are read as ideas ("fee" and
"cost" are one) by a lexicon kept as data (data/lexicons/concepts.yaml); words that it does not know stand for
themselves. It decides nothing; the hit rule does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.cache.sentence import Act, read_act
from serving.errors import InvalidInputError
from serving.language.lexicon import Lexicon, Phrase, PhraseTable, match_spans, words

_PARTS = ("concepts", "focus", "marks")
_WORDS = ("plain", "light", "asks", "orders")
_BETWEEN = "|"
_LEAST_STEM = 3


@dataclass(frozen=True, slots=True)
class Concepts:
    """The lexicon of ideas; every word is stemmed.

    Attributes:
        ideas: phrase → ideas, with `|` between them.
        split_ideas: the same of phrases with gaps, whose words may each stand for something as well.
        focus: phrase → what it asks for.
        marks: phrase → circumstances.
        plain: words that carry nothing by themselves.
        light: words that carry little.
        asks: kinds of focus that a paraphrase keeps.
        orders: verbs that tell somebody to do something where they begin a sentence; not stemmed.
        sha256: hash of the file.
    """

    ideas: PhraseTable
    split_ideas: PhraseTable
    focus: PhraseTable
    marks: PhraseTable
    plain: frozenset[str]
    light: frozenset[str]
    asks: frozenset[str]
    orders: frozenset[str]
    sha256: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A word or phrase that carries something.

    Attributes:
        key: the ideas it stands for, or the stemmed word itself.
        ideas: empty for a word that the lexicon does not know.
        words: as they were said.
        stems: of those of its words that carry something by themselves, or else of all.
        at: its place in the question.
    """

    key: str
    ideas: frozenset[str]
    words: tuple[str, ...]
    stems: frozenset[str]
    at: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One question.

    Attributes:
        units: what it says, in order, each idea once.
        light: its words that carry little.
        focus: what it asks for.
        marks: its circumstances.
        values: `facet:value` that a lexicon found and that no signature holds.
        asks: those of the focus that a paraphrase keeps.
        lead: the first thing that it asks for; empty where nothing tells.
        owners: thing → whose it is said to be: `mine`, `yours` or `others`.
        stems: its words, stemmed.
        length: its number of words.
        act: what it does by its grammar.
        little: its question words, prepositions and other small words that turn a sentence.
    """

    units: tuple[Unit, ...]
    light: tuple[Unit, ...]
    focus: frozenset[str]
    marks: frozenset[str]
    values: frozenset[str]
    asks: frozenset[str]
    lead: str
    owners: Mapping[str, frozenset[str]]
    stems: frozenset[str]
    length: int
    act: Act
    little: frozenset[str]


def read_evidence(text: str, concepts: Concepts, lexicon: Lexicon) -> Evidence:
    """Read a question."""
    plain_tokens = words(text)
    tokens = [stem(token) for token in plain_tokens]
    units: dict[str, Unit] = {}
    light: dict[str, Unit] = {}
    inside: set[int] = set()
    for span in match_spans(tokens, concepts.ideas):
        inside.update(range(span.first, span.last))
        ideas, said = frozenset(span.value.split(_BETWEEN)), tuple(plain_tokens[span.first : span.last])
        bare = frozenset(tokens[span.first : span.last])
        bare = bare - concepts.plain or bare
        units.setdefault(span.value, Unit(span.value, ideas, said, bare, span.first))
    for span in match_spans(tokens, concepts.split_ideas):
        units.setdefault(
            span.value, Unit(span.value, frozenset(span.value.split(_BETWEEN)), (), frozenset(), span.first)
        )
    for at, token in enumerate(tokens):
        if at not in inside and token not in concepts.plain and not token[0].isdigit():
            kind = light if token in concepts.light else units
            kind.setdefault(token, Unit(token, frozenset(), (plain_tokens[at],), frozenset((token,)), at))
    focus = _all(tokens, concepts.focus)
    values = {
        f"{facet}:{value}"
        for facet, found in lexicon.found(text).items()
        for value in found
        if lexicon.poles.get(facet, {}).get(value) == ""
    }
    return Evidence(
        tuple(sorted(units.values(), key=lambda unit: unit.at)),
        tuple(light.values()),
        focus,
        _all(tokens, concepts.marks),
        frozenset(values),
        focus & concepts.asks,
        next((span.value for span in match_spans(tokens, concepts.focus)), ""),
        _owners(plain_tokens, list(units.values())),
        frozenset(tokens),
        len(tokens),
        read_act(text, concepts.orders, asks_how="method" in focus),
        frozenset(_TURNING.get(token, token) for token in plain_tokens if token in _TURNING),
    )


_TURNING = {
    **{
        word: word
        for word in """what when where why how who which from to into out "off" back without through against
        before after during again already still yet other else any all only but every both than until
        instead under over am never more less another must see much many long""".replace('"', "").split()
    },
    **dict.fromkeys(("what's",), "what"),
    **dict.fromkeys(("where's",), "where"),
    **dict.fromkeys(("who's", "whom", "whose"), "who"),
    **dict.fromkeys(("how's",), "how"),
    **dict.fromkeys(("when's",), "when"),
    **dict.fromkeys(("onto", "in"), "into"),
    **dict.fromkeys(("has", "had", "was", "were", "did"), "past"),
}
"""Small words that make two nearly equal sentences different ones, by what they count as."""


def _owners(tokens: list[str], units: list[Unit]) -> dict[str, frozenset[str]]:
    """Of every thing right behind a possessive, or one word further, whose it is said to be."""
    found: dict[str, set[str]] = {}
    for unit in units:
        for word in reversed(tokens[max(unit.at - _POSSESSIVE_REACH, 0) : unit.at]):
            owner = _POSSESSIVES.get(word) or (
                "others" if word.endswith(("'s", "s'")) and word not in _SHORT_IS else ""
            )
            if owner:
                for idea in unit.ideas or {unit.key}:
                    found.setdefault(idea, set()).add(owner)
                break
    return {thing: frozenset(owners) for thing, owners in found.items()}


_POSSESSIVE_REACH = 3
_POSSESSIVES = {
    **dict.fromkeys(("my", "our", "mine"), "mine"),
    **dict.fromkeys(("your", "yours"), "yours"),
    **dict.fromkeys(("his", "her", "their", "its", "somebody's", "someone's"), "others"),
}
_SHORT_IS = frozenset(
    {"it's", "that's", "what's", "where's", "there's", "here's", "how's", "who's", "when's", "let's"}
)


def _all(tokens: list[str], table: PhraseTable) -> frozenset[str]:
    return frozenset(value for span in match_spans(tokens, table) for value in span.value.split(_BETWEEN))


def stem(word: str) -> str:
    """A word without the endings of a regular noun or verb: charges, charged and charging are "charg"."""
    word = word.removesuffix("'s").removesuffix("'")
    for ending in ("ies", "ied"):
        if word.endswith(ending) and len(word) > _LEAST_STEM + 1:
            return word.removesuffix(ending) + "y"
    for ending in ("ing", "ed", "es", "s"):
        bare = word.removesuffix(ending)
        if bare != word and len(bare) >= _LEAST_STEM and not word.endswith("ss"):
            if len(bare) > _LEAST_STEM and bare[-1] == bare[-2] and bare[-1] not in "sl":
                bare = bare[:-1]
            return bare.removesuffix("e") if len(bare) > _LEAST_STEM else bare
    return word.removesuffix("e") if len(word) > _LEAST_STEM + 1 else word


def load_concepts(path: Path) -> Concepts:
    """Read and check the lexicon of ideas.

    Raises:
        InvalidInputError: absent, not YAML, or of another shape.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"Lexicon {path} cannot be read: {error}.") from error
    if not isinstance(data, dict) or data.keys() != {"version", *_WORDS, *_PARTS}:
        raise InvalidInputError(
            f"Lexicon {path} needs version, {', '.join((*_WORDS, *_PARTS))} and nothing else."
        )
    ideas, focus, marks = (_table(path, part, data[part]) for part in _PARTS)
    plain, light = (
        frozenset(stem(word) for phrase in _phrases(path, name, data[name]) for word in phrase)
        for name in ("plain", "light")
    )
    asks, orders = (
        frozenset(word for phrase in _phrases(path, name, data[name]) for word in phrase)
        for name in ("asks", "orders")
    )
    gapped = {phrase: value for phrase, value in ideas.items() if any(word[:2] == ".." for word in phrase)}
    whole = PhraseTable({phrase: value for phrase, value in ideas.items() if phrase not in gapped})
    sha256 = hashlib.sha256(raw).hexdigest()
    return Concepts(whole, PhraseTable(gapped), focus, marks, plain, light - plain, asks, orders, sha256)


def _table(path: Path, part: str, values: Any) -> PhraseTable:
    """Phrase → every name that it stands under."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise InvalidInputError(f"Lexicon {path}: {part} needs a mapping of names to lists of phrases.")
    found: dict[Phrase, dict[str, None]] = {}
    for name, surfaces in values.items():
        for phrase in _phrases(path, f"{part}.{name}", surfaces):
            stemmed = tuple(word if word.startswith("..") else stem(word) for word in phrase)
            found.setdefault(stemmed, {})[name] = None
    return PhraseTable({phrase: _BETWEEN.join(sorted(names)) for phrase, names in found.items()})


def _phrases(path: Path, where: str, surfaces: Any) -> list[Phrase]:
    if not isinstance(surfaces, list) or not all(isinstance(surface, str) for surface in surfaces):
        raise InvalidInputError(
            f"Lexicon {path}: {where} needs a list of phrases.",
            advice="Put quotes around words such as no, on and off.",
        )
    cut = [
        tuple(word for part in surface.split() for word in ([part] if part[:2] == ".." else words(part)))
        for surface in surfaces
    ]
    return [phrase for phrase in cut if phrase]
