"""What all calls of a server share: knowledge, cache, engines, tools, and the bank's own facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from string import Formatter

from serving.cache.lookup import SemanticCache
from serving.cache.signature import Signer
from serving.call.patience import Patience
from serving.errors import InvalidInputError
from serving.language.embedded import PHRASES as ENGINE_PHRASES
from serving.language.knowledge import Knowledge
from serving.language.protocols import Llm
from serving.language.roles import Role
from serving.tools.executor import ToolExecutor


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a responder works with besides its adapter.

    Attributes:
        fallback: engine that takes over when `llm` fails: the embedded responder.
        notice_flows: id of a compliance wording → its flow type.
        confirm_below: recognition confidence under which decisive values are read back first.
        today: the bank's day.
        currency: of amounts that name none, ISO 4217.
        greeting: the phrase that every call begins with.
        patience: how long `llm` is waited for.
    """

    knowledge: Knowledge
    signer: Signer
    cache: SemanticCache
    llm: Llm
    fallback: Llm
    executor: ToolExecutor
    notice_flows: Mapping[str, str]
    confirm_below: float
    today: Callable[[], date]
    currency: str
    bank_name: str
    greeting: str
    patience: Patience

    def phrase(self, name: str, **fields: str) -> str:
        """One of the bot's phrases, filled.

        Raises:
            MissingError: the knowledge lacks it.
        """
        return self.knowledge.prompt(name).format(bank_name=self.bank_name, **fields)


PHRASES: Mapping[str, frozenset[str]] = {
    **{
        name: frozenset({"bank_name"})
        for name in (
            "greeting", "greeting_again", "thanks", "goodbye", "affirm_without_question", "repeat_nothing",
            "deny_without_question", "low_confidence", "reprompt_2", "too_long", "apology", "transfer",
            "out_of_scope", "out_of_scope_again", "confirm_again",
        )
    },
    "repeat": frozenset({"bank_name", "answer"}),
    "confirm_values": frozenset({"bank_name", "values"}),
    **{f"doubt_{role}": frozenset({"bank_name", "words"}) for role in Role},
}  # fmt: skip
"""The call's own phrases, and what each may be filled with."""


def check_phrases(knowledge: Knowledge) -> None:
    """Make sure, before the first call, that no phrase is missing in the middle of one.

    Raises:
        MissingError: the knowledge lacks a phrase.
        InvalidInputError: a phrase has a hole that nothing fills.
    """
    for name, fields in {**PHRASES, **ENGINE_PHRASES}.items():
        try:
            holes = {hole for _, hole, _, _ in Formatter().parse(knowledge.prompt(name)) if hole is not None}
        except ValueError as error:
            raise InvalidInputError(f"The phrase {name!r} is no template: {error}.") from error
        if not holes <= fields:
            raise InvalidInputError(
                f"The phrase {name!r} asks for {', '.join(sorted(holes - fields))!r}; "
                f"it can have {', '.join(sorted(fields)) or 'nothing'}."
            )
