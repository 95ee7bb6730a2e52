"""The bank's approved answers and the bot's own phrases, read from `data/knowledge/answers.yaml`.

An answer belongs to an intent and may be limited to facets of the question ("mortgage"). It says how far it
may be reused; an intent that nobody decided on is never cached.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError


class Cacheability(StrEnum):
    """How far an intent's answers may be reused."""

    NEVER = "never"
    """Personal data, tool results, actions, disputes."""
    EXACT = "exact"
    """Only for the same words."""
    SEMANTIC = "semantic"
    """For the same meaning: policy, FAQ, how-to."""


_ORDER = (Cacheability.NEVER, Cacheability.EXACT, Cacheability.SEMANTIC)


@dataclass(frozen=True, slots=True)
class Answer:
    """An approved answer.

    Attributes:
        questions: phrasings it was approved for.
        text: what is said; compliance wording is named in `disclosures`, never part of it.
        applies_to: facet → value that the question must express.
        valid_until: last day on which it may be said; None for no limit.
    """

    id: str
    intent: str
    cacheability: Cacheability
    questions: tuple[str, ...]
    text: str
    disclosures: tuple[str, ...]
    applies_to: Mapping[str, str]
    valid_until: date | None

    def fits(self, facets: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether a question with these facets is one of those it was written for."""
        return all(value in facets.get(facet, ()) for facet, value in self.applies_to.items())


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All approved answers and phrases.

    Attributes:
        prompts: the bot's own phrases by name.
        sha256: hash of the file.
    """

    answers: tuple[Answer, ...]
    prompts: Mapping[str, str]
    sha256: str

    def cacheability(self, intent: str) -> Cacheability:
        """The widest reuse that any answer of the intent allows; NEVER for an intent without answers."""
        return max(
            (answer.cacheability for answer in self.answers if answer.intent == intent),
            key=_ORDER.index,
            default=Cacheability.NEVER,
        )

    def best(self, intent: str, facets: Mapping[str, tuple[str, ...]], on: date) -> Answer | None:
        """The approved answer to a question: the most specific one that fits.

        None where the intent has no valid answer, or where its answers differ by product and the question
        names a product that none of them was written for.
        """
        valid = [
            a for a in self.answers if a.intent == intent and (a.valid_until is None or on <= a.valid_until)
        ]
        fitting = [answer for answer in valid if answer.fits(facets)]
        best = max(fitting, key=lambda answer: len(answer.applies_to), default=None)
        products = {answer.applies_to["product"] for answer in valid if "product" in answer.applies_to}
        asked = set(facets.get("product", ()))
        foreign = products and asked and not asked & products
        return None if foreign and best is not None and not best.applies_to else best

    def prompt(self, name: str) -> str:
        """One of the bot's phrases.

        Raises:
            MissingError: the knowledge lacks it.
        """
        try:
            return self.prompts[name]
        except KeyError:
            raise MissingError(f"The knowledge lacks the phrase {name!r}.") from None


def load_knowledge(path: Path) -> Knowledge:
    """Read and check the knowledge.

    Raises:
        InvalidInputError: absent, not YAML, a field missing or of a wrong kind, or an id used twice.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
        answers = tuple(_answer(item) for item in data["answers"])
        prompts = {str(name): str(text) for name, text in data["prompts"].items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"Knowledge {path} cannot be read: {error!r}.") from error
    ids = [answer.id for answer in answers]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    if twice:
        raise InvalidInputError(f"Knowledge {path}: the id {twice[0]} is used twice.")
    return Knowledge(answers, prompts, hashlib.sha256(raw).hexdigest())


def _answer(item: dict[str, Any]) -> Answer:
    valid_until = item["valid_until"]
    if valid_until is not None and not isinstance(valid_until, date):
        raise ValueError(f"{item['id']}: valid_until must be a date or null")
    return Answer(
        id=item["id"],
        intent=item["intent"],
        cacheability=Cacheability(item["cacheability"]),
        questions=tuple(str(question) for question in item["questions"]),
        text=str(item["answer"]),
        disclosures=tuple(item.get("disclosures", ())),
        applies_to={str(facet): str(value) for facet, value in item.get("applies_to", {}).items()},
        valid_until=valid_until,
    )
