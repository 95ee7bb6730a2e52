"""Compliance wording inside an answer: found, so that it is never cached there.

Wording is spoken verbatim from its register, by version and jurisdiction; a copy inside a cached answer would
outlive both. Whole sentences count, and long runs of their words, whatever stands in their holes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from serving.cache.types import exact_key
from serving.tools.compliance import ComplianceLibrary

_RUN = 8
"""Words in a row that no answer shares with a wording by chance."""
_SHORTEST = 5
"""Words of the shortest sentence that counts as a whole."""
_LONGEST_VALUE = 12
"""Words that may stand in a hole of a wording."""
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_HOLE = re.compile(r"\{[a-z_]+\}")


@dataclass(frozen=True, slots=True)
class Wordings:
    """What to look for.

    Attributes:
        ids: wordings that an answer may name.
        runs: words in a row → id of the wording that they are from.
        sentences: expressions over the words of whole sentences with holes, each with its wording's id.
    """

    ids: frozenset[str]
    runs: Mapping[tuple[str, ...], str]
    sentences: tuple[tuple[re.Pattern[str], str], ...]

    @classmethod
    def of(cls, library: ComplianceLibrary) -> "Wordings":
        """What a register's texts and fallbacks consist of."""
        runs: dict[tuple[str, ...], str] = {}
        sentences = []
        for text in library.texts:
            for sentence in (*_SENTENCE.split(text.text), *_SENTENCE.split(text.fallback)):
                for run in _runs(sentence):
                    runs.setdefault(run, text.id)
                if len(exact_key(_HOLE.sub(" ", sentence)).split()) >= _SHORTEST:
                    sentences.append((_expression(sentence), text.id))
        return cls(frozenset(text.id for text in library.texts), runs, tuple(sentences))

    def within(self, answer: str) -> str:
        """Id of a wording that an answer holds words of; empty where it holds none."""
        said = exact_key(answer)
        for expression, id_ in self.sentences:
            if expression.search(f" {said} "):
                return id_
        heard = said.split()
        runs = (tuple(heard[at : at + _RUN]) for at in range(len(heard) - _RUN + 1))
        return next((self.runs[run] for run in runs if run in self.runs), "")


def _runs(sentence: str) -> Iterator[tuple[str, ...]]:
    for piece in _HOLE.split(sentence):
        said = tuple(exact_key(piece).split())
        yield from (said[at : at + _RUN] for at in range(len(said) - _RUN + 1))


def _expression(sentence: str) -> re.Pattern[str]:
    """A sentence over words with a blank before and behind each; holes take some words."""
    pieces = [exact_key(piece).split() for piece in _HOLE.split(sentence)]
    said = ["".join(f" {re.escape(word)}" for word in piece) for piece in pieces]
    return re.compile(rf"(?: \S+){{1,{_LONGEST_VALUE}}}".join(said) + "(?= )")
