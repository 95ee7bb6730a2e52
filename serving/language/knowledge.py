"""The bank's approved answers and the bot's own phrases, read from `data/knowledge/answers.yaml`.

An answer belongs to an intent and may be limited to facets of the question ("mortgage"). It says how far it
may be reused; an intent that nobody decided on is never cached.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
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
        """The narrowest reuse of the intent's answers; NEVER for an intent without any."""
        return min(
            (answer.cacheability for answer in self.answers if answer.intent == intent),
            key=_ORDER.index,
            default=Cacheability.NEVER,
        )

    def best(self, intent: str, facets: Mapping[str, tuple[str, ...]], on: date) -> Answer | None:
        """The approved answer to a question: the most specific one that fits, then the first in the file.

        None where the intent has no valid answer, or where its answers differ by product and the question
        names a product that none of them was written for.
        """
        valid = [
            a for a in self.answers if a.intent == intent and (a.valid_until is None or on <= a.valid_until)
        ]
        products = {answer.applies_to["product"] for answer in valid if "product" in answer.applies_to}
        asked = facets.get("product", ())
        if products and asked and products.isdisjoint(asked):
            return None
        fitting = [answer for answer in valid if answer.fits(facets)]
        return max(fitting, key=lambda answer: len(answer.applies_to), default=None)

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
        InvalidInputError: absent, not YAML, a field missing or of a wrong kind, an id used twice, or
            answers of one intent that cannot be told apart or disagree on reuse.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
        answers = tuple(_answer(item) for item in data["answers"])
        prompts = _texts("prompts", data["prompts"])
    except KeyError as error:
        raise InvalidInputError(f"Knowledge {path} lacks the field {error}.") from error
    except OSError as error:
        raise InvalidInputError(
            f"Knowledge {path} cannot be read: {error.strerror}.",
            advice="Point VOICEBOT_DATA_DIR to the project's data folder.",
        ) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidInputError(f"Knowledge {path} cannot be read: {error}.") from error
    problem = next(_conflicts(answers), None)
    if problem:
        raise InvalidInputError(f"Knowledge {path}: {problem}.")
    return Knowledge(answers, prompts, hashlib.sha256(raw).hexdigest())


def _answer(item: dict[str, Any]) -> Answer:
    valid_until = item["valid_until"]
    # A datetime is a date to Python, yet the two cannot be compared.
    if valid_until is not None and type(valid_until) is not date:
        raise ValueError(f"{item['id']}: valid_until must be a day or null")
    return Answer(
        id=_text("id", item["id"]),
        intent=_text("intent", item["intent"]),
        cacheability=Cacheability(item["cacheability"]),
        questions=_list(f"questions of {item['id']}", item["questions"]),
        text=_text(f"answer of {item['id']}", item["answer"]),
        disclosures=_list(f"disclosures of {item['id']}", item.get("disclosures", [])),
        applies_to=_texts(f"applies_to of {item['id']}", item.get("applies_to", {})),
        valid_until=valid_until,
    )


def _text(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} must be a text, found {value!r}")
    return value


def _list(what: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{what} must be a list, found {values!r}")
    return tuple(_text(what, value) for value in values)


def _texts(what: str, values: object) -> dict[str, str]:
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a mapping, found {values!r}")
    return {_text(f"a name in {what}", name): _text(f"{what}: {name}", text) for name, text in values.items()}


def _conflicts(answers: Sequence[Answer]) -> Iterator[str]:
    """What would leave the choice of an answer, or its reuse, to chance."""
    ids: set[str] = set()
    reuse: dict[str, Answer] = {}
    limits: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for answer in answers:
        if answer.id in ids:
            yield f"the id {answer.id} is used twice"
        ids.add(answer.id)
        first = reuse.setdefault(answer.intent, answer)
        if first.cacheability is not answer.cacheability:
            yield f"{first.id} and {answer.id} are of one intent and need one cacheability"
        twin = limits.setdefault((answer.intent, frozenset(answer.applies_to.items())), answer.id)
        if twin != answer.id:
            yield f"{twin} and {answer.id} apply to the same questions"
