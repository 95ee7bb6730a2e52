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

from serving.cache.forms import Form, read_form
from serving.cache.sentence import Act, read_act
from serving.errors import InvalidInputError
from serving.language.lexicon import Lexicon, Phrase, PhraseTable, match_spans, words

_PARTS = ("concepts", "focus", "marks")
_WORDS = ("plain", "light", "faint", "asks", "orders", "reversing", "unprefixed")
_BETWEEN, _OF = "|", ":"
_LEAST_REVERSED = 4
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
        faint: words that say nothing in the place of the main verb.
        asks: kinds of focus that a paraphrase keeps.
        orders: verbs that tell somebody to do something where they begin a sentence; not stemmed.
        verbs: the same, stemmed.
        exclusive: phrase → `class:member`, of which two of one class exclude each other.
        reversing: prefixes that turn a word round.
        unprefixed: words that only look as if they had one.
        sha256: hash of the file.
    """

    ideas: PhraseTable
    split_ideas: PhraseTable
    focus: PhraseTable
    marks: PhraseTable
    plain: frozenset[str]
    light: frozenset[str]
    faint: frozenset[str]
    asks: frozenset[str]
    orders: frozenset[str]
    verbs: frozenset[str]
    exclusive: PhraseTable
    reversing: tuple[str, ...]
    unprefixed: frozenset[str]
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
        poles: `class:member` of what it says that excludes something else.
        reverses: what its words turn round by a prefix.
    """

    key: str
    ideas: frozenset[str]
    words: tuple[str, ...]
    stems: frozenset[str]
    at: int
    poles: frozenset[str] = frozenset()
    reverses: frozenset[str] = frozenset()

    def excludes(self, other: "Unit") -> bool:
        """Whether the two are different members of one class, or one is the other with a prefix."""
        if self.reverses & other.stems or other.reverses & self.stems:
            return True
        return opposed(self.poles, other.poles)


def opposed(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two questions (or words) name members of one class, and none in common."""
    if not one or not other:
        return False
    mine, theirs = {pole.partition(_OF)[0] for pole in one}, {pole.partition(_OF)[0] for pole in other}
    return not mine & theirs <= {pole.partition(_OF)[0] for pole in one & other}


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
        poles: `class:member` of all that excludes something else.
        reverses: what its words turn round by a prefix.
        form: how it is built.
        heads: keys of its units, and of its words that carry little, that the sentence turns on.
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
    poles: frozenset[str]
    reverses: frozenset[str]
    form: Form
    heads: frozenset[str]


def read_evidence(text: str, concepts: Concepts, lexicon: Lexicon) -> Evidence:
    """Read a question."""
    plain_tokens = words(text)
    tokens = [stem(token) for token in plain_tokens]
    poles = _poles(tokens, concepts.exclusive)
    reverses = [_reversed(token, concepts) for token in plain_tokens]
    units: dict[str, Unit] = {}
    light: dict[str, Unit] = {}
    at_place: dict[int, str] = {}

    def unit(key: str, first: int, last: int, ideas: frozenset[str], bare: frozenset[str]) -> Unit:
        at_place.update(dict.fromkeys(range(first, last), key))
        said, beside = tuple(plain_tokens[first:last]), (poles.get(at, _NONE) for at in range(first, last))
        turned = _NONE.union(*reverses[first:last])
        return Unit(key, ideas, said, bare, first, _NONE.union(*beside), turned)

    for span in match_spans(tokens, concepts.ideas):
        bare = frozenset(tokens[span.first : span.last])
        bare = bare - concepts.plain or bare
        ideas = frozenset(span.value.split(_BETWEEN))
        units.setdefault(span.value, unit(span.value, span.first, span.last, ideas, bare))
    inside = frozenset(at_place)
    for span in match_spans(tokens, concepts.split_ideas):
        units.setdefault(
            span.value, Unit(span.value, frozenset(span.value.split(_BETWEEN)), (), frozenset(), span.first)
        )
    for at, token in enumerate(tokens):
        if at not in inside and token not in concepts.plain and not token[0].isdigit():
            kind = light if token in concepts.light else units
            kind.setdefault(token, unit(token, at, at + 1, _NONE, frozenset((token,))))
    form = read_form(plain_tokens, tokens, concepts.verbs)
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
        _NONE.union(*poles.values()),
        _NONE.union(*reverses),
        form,
        frozenset(at_place[at] for at in form.heads if at in at_place and tokens[at] not in concepts.faint),
    )


_NONE: frozenset[str] = frozenset()


def _poles(tokens: list[str], exclusive: PhraseTable) -> dict[int, frozenset[str]]:
    """Place → `class:member` of what is said there."""
    return {
        at: frozenset(span.value.split(_BETWEEN))
        for span in match_spans(tokens, exclusive)
        for at in range(span.first, span.last)
    }


def _reversed(word: str, concepts: Concepts) -> frozenset[str]:
    """What a word turns round by a prefix, stemmed: "illegal" is of "legal"."""
    if word in concepts.unprefixed:
        return _NONE
    bare = (word.removeprefix(prefix) for prefix in concepts.reversing if word.startswith(prefix))
    return frozenset(stem(rest) for rest in bare if len(rest) >= _LEAST_REVERSED)


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


_HISSING = ("s", "x", "z", "ch", "sh")


def stem(word: str) -> str:
    """A word without the endings of a regular noun or verb: charges, charged and charging are "charg"."""
    word = word.removesuffix("'s").removesuffix("'")
    for ending in ("ies", "ied"):
        if word.endswith(ending) and len(word) > _LEAST_STEM + 1:
            return word.removesuffix(ending) + "y"
    for ending in ("ing", "ed", "es", "s"):
        bare = word.removesuffix(ending)
        if ending == "es" and len(bare) == _LEAST_STEM and not bare.endswith(_HISSING):
            continue  # "rates" is of "rate", which keeps its "e"
        if bare != word and len(bare) >= _LEAST_STEM and not word.endswith("ss"):
            if len(bare) > _LEAST_STEM and bare[-1] == bare[-2] and bare[-1] not in "sl":
                bare = bare[:-1]
            return bare.removesuffix("e") if len(bare) > _LEAST_STEM + 1 else bare
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
    if not isinstance(data, dict) or data.keys() != {"version", "exclusive", *_WORDS, *_PARTS}:
        raise InvalidInputError(
            f"Lexicon {path} needs version, exclusive, {', '.join((*_WORDS, *_PARTS))} and nothing else."
        )
    ideas, focus, marks = (_table(path, part, data[part]) for part in _PARTS)
    plain, light, faint = (
        frozenset(stem(word) for phrase in _phrases(path, name, data[name]) for word in phrase)
        for name in ("plain", "light", "faint")
    )
    asks, orders, reversing, unprefixed = (
        frozenset(word for phrase in _phrases(path, name, data[name]) for word in phrase)
        for name in ("asks", "orders", "reversing", "unprefixed")
    )
    gapped = {phrase: value for phrase, value in ideas.items() if any(word[:2] == ".." for word in phrase)}
    whole = PhraseTable({phrase: value for phrase, value in ideas.items() if phrase not in gapped})
    sha256 = hashlib.sha256(raw).hexdigest()
    return Concepts(
        whole,
        PhraseTable(gapped),
        focus,
        marks,
        plain,
        light - plain,
        faint,
        asks,
        orders,
        frozenset(map(stem, orders)),
        _exclusive(path, data["exclusive"]),
        tuple(sorted(reversing)),
        unprefixed,
        sha256,
    )


def _exclusive(path: Path, classes: Any) -> PhraseTable:
    """Phrase → `class:member`."""
    if not isinstance(classes, Mapping) or not all(isinstance(of, Mapping) for of in classes.values()):
        raise InvalidInputError(f"Lexicon {path}: exclusive needs a mapping of classes to members.")
    members = {
        f"{name}{_OF}{member}": surfaces for name, of in classes.items() for member, surfaces in of.items()
    }
    return _table(path, "exclusive", members)


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
